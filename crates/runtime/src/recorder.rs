//! Recording: the ops of this thread become nodes of a graph while they run. Changes in place become new values, views
//! of what was changed are made anew.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lampyr_base::{DType, Error, Layout, Result};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, Op, Var};
use lampyr_ops::registry;

use crate::eager::Outputs;
use crate::storage::Storage;
use crate::tape::{is_watched_by_recorder, watch_by_recorder};
use crate::tensor::Tensor;

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// A place in memory read as a type; the storage is kept alive by the tensor beside it.
#[derive(PartialEq, Eq, Hash)]
struct Key(*const Storage, Layout, DType);

impl Key {
    fn of(t: &Tensor) -> Key {
        Key(Arc::as_ptr(t.storage()), t.layout().clone(), t.dtype())
    }
}

struct Known {
    _alive: Tensor,
    var: Var,
    /// Version of the storage at which the value is the tensor's.
    version: u64,
    /// What it is to the caller, for messages; empty for results.
    role: String,
}

#[derive(Default)]
struct Recorder {
    builder: GraphBuilder,
    known: HashMap<Key, Known>,
    /// Storages whose contents depend on what is recorded.
    computed: HashSet<*const Storage>,
}

/// What becomes of a write in place, told by [`before_write`].
#[must_use]
pub(crate) struct Write(Vec<(Tensor, Var)>);

fn with<T>(f: impl FnOnce(&mut Recorder) -> Result<T>) -> Result<T> {
    RECORDER.with(|r| match r.borrow_mut().as_mut() {
        Some(recorder) => f(recorder),
        None => Err(Error::internal("nothing is recorded")),
    })
}

impl Recorder {
    fn note(&mut self, tensor: &Tensor, var: Var, role: &str) {
        self.computed.insert(Arc::as_ptr(tensor.storage()));
        let (tensor, version) = (tensor.detach(), tensor.storage().version());
        self.known.insert(Key::of(&tensor), Known { _alive: tensor, var, version, role: role.to_string() });
    }

    /// The value that `t` is in the graph. A tensor that was not recorded is a constant.
    fn var(&mut self, t: &Tensor) -> Result<Var> {
        let key = Key::of(t);
        let known = self.known.get(&key);
        if let Some(known) = known
            && known.version == t.storage().version()
        {
            return Ok(known.var.clone());
        }
        let role = known.map(|k| k.role.clone());
        if !self.computed.contains(&key.0) {
            let var = self.builder.constant(t.to_host()?)?;
            let version = t.storage().version();
            self.known.insert(key, Known { _alive: t.detach(), var: var.clone(), version, role: String::new() });
            return Ok(var);
        }
        let view = t.autograd().view.clone();
        if let Some(view) = view {
            let base = self.var(&view.base)?;
            let var = (&mut self.builder as &mut dyn Builder).one(&*view.how.op(t.layout()), &[base])?;
            self.note(t, var.clone(), "");
            return Ok(var);
        }
        let what = match role {
            Some(role) if !role.is_empty() => format!("{role}, which was changed in place through another tensor"),
            Some(_) => "a tensor whose memory was changed in place through another one".to_string(),
            None => "memory of a recorded tensor under another type or layout".to_string(),
        };
        Err(Error::unsupported(format!("recording {what}, a {}{:?}", t.dtype(), t.shape()))
            .with_help("use the op that returns a new tensor, or clone() before the change"))
    }

    fn op(&mut self, op: &dyn Op, inputs: &[&Tensor], outputs: &Outputs) -> Result<()> {
        let random = registry::builtin().get(op.id().0 as usize).is_some_and(|e| e.family == "random");
        if random {
            return Err(Error::unsupported("random numbers in a recorded call: they would become constants")
                .with_op(op.name())
                .with_help("record in evaluation mode, or pass the random tensor as an input"));
        }
        let vars = inputs.iter().map(|t| self.var(t)).collect::<Result<Vec<_>>>()?;
        let made = self.builder.apply(op, &vars)?;
        for (var, out) in made.iter().zip(outputs) {
            let Some(out) = out else { continue };
            let fact = self.builder.fact(var)?;
            let fixed = matches!(&fact, Fact::Tensor(f) if f.fixed_shape().is_some_and(|s| *s == *out.shape()));
            if !fixed {
                return Err(Error::unsupported(format!(
                    "recording a result whose sizes depend on values: {fact}, here {:?}",
                    out.shape()
                ))
                .with_op(op.name())
                .with_help("compute with masks instead of picking elements"));
            }
            self.note(out, var.clone(), "");
        }
        Ok(())
    }

    fn write(&mut self, target: &Tensor, value: &Tensor) -> Result<Write> {
        let mut at = target.clone();
        let mut new = self.var(value)?;
        let mut all = vec![(target.clone(), new.clone())];
        loop {
            let role = self.known.get(&Key::of(&at)).map(|k| k.role.as_str()).unwrap_or_default();
            if !role.is_empty() {
                return Err(Error::unsupported(format!("recording a change in place of {role}: it would be lost"))
                    .with_help("record in evaluation mode, or write the new value to a clone()"));
            }
            let Some(view) = at.autograd().view.clone() else { return Ok(Write(all)) };
            let base = self.var(&view.base)?;
            let op = view.how.op(at.layout());
            let name = op.name();
            new = op.unview(&mut self.builder, &base, &new).ok_or_else(|| {
                Error::unsupported(format!("recording a write into a view made by `{name}`"))
                    .with_op(name)
                    .with_help("write into the base tensor by indexing, or clone() the view")
            })??;
            all.push((view.base.clone(), new.clone()));
            at = view.base.clone();
        }
    }
}

/// Adds `op`, which made `outputs` of `inputs`, to the graph.
pub(crate) fn note(op: &dyn Op, inputs: &[&Tensor], outputs: &Outputs) -> Result<()> {
    unwatched(|| with(|r| r.op(op, inputs, outputs)).map_err(|e| e.with_op(op.name())))
}

/// Notes that `copy` holds the elements of `x`.
pub(crate) fn note_copy(x: &Tensor, copy: &Tensor) -> Result<()> {
    unwatched(|| {
        with(|r| {
            if r.computed.contains(&Arc::as_ptr(x.storage())) {
                let var = r.var(x)?;
                r.note(copy, var, "");
            }
            Ok(())
        })
    })
}

/// To be called before `value` is written into the memory of `target`.
pub(crate) fn before_write(target: &Tensor, value: &Tensor) -> Result<Write> {
    unwatched(|| with(|r| r.write(target, value)))
}

/// To be called when the memory has changed and its version was raised.
pub(crate) fn after_write(write: Write) -> Result<()> {
    with(|r| {
        write.0.into_iter().for_each(|(t, var)| r.note(&t, var, ""));
        Ok(())
    })
}

/// Whether ops of this thread are recorded into a graph.
#[inline]
pub fn is_recording() -> bool {
    is_watched_by_recorder()
}

/// Fails inside of a `vmap` for what differs between its elements, and when ops are recorded and the value of `t`, about to be read, depends on them: what the program does with it
/// could not become part of the graph.
pub fn check_readable(t: &Tensor) -> Result<()> {
    if t.is_batched() {
        return Err(Error::autograd(format!(
            "vmap: It looks like you're calling .item() on a Tensor, or reading it in another way: inside of a vmap a \
             {}{:?} stands for many and has no single value",
            t.dtype(),
            t.shape()
        ))
        .with_help("compute with tensors (where(), masks) instead of their values"));
    }
    if !is_recording() {
        return Ok(());
    }
    let from = with(|r| {
        let known = r.known.get(&Key::of(t)).map(|k| (k.role.clone(), k.var.node()));
        Ok(match known {
            Some((role, _)) if !role.is_empty() => Some(role),
            Some((_, Ok(id))) => r.builder.graph().producer(id).map(|(node, _)| {
                let name = r.builder.graph().node(node).map_or("an op", |n| n.op.name());
                format!("the result of `{name}`")
            }),
            _ if r.computed.contains(&Arc::as_ptr(t.storage())) => Some("a recorded tensor".to_string()),
            _ => None,
        })
    })?;
    let Some(from) = from else { return Ok(()) };
    Err(Error::unsupported(format!(
        "reading the value of {from}, a {}{:?}, while its computation is recorded: the branch or number would be the \
         same for all inputs",
        t.dtype(),
        t.shape()
    ))
    .with_help("compute with tensors (where(), masks) instead of item(), bool(), tolist() or iterating over values"))
}

/// Fails when ops are recorded.
pub fn refuse(what: &str) -> Result<()> {
    if !is_recording() {
        return Ok(());
    }
    Err(Error::unsupported(format!("{what} while ops are recorded"))
        .with_help("keep it out of the function that is recorded"))
}

/// Runs `f` without recording.
pub fn unwatched<T>(f: impl FnOnce() -> T) -> T {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            watch_by_recorder(self.0);
        }
    }
    let _back = Back(watch_by_recorder(false));
    f()
}

/// A tensor with its name in the graph.
pub type Named<'a> = (&'a str, &'a Tensor);

/// Runs `call` and gives the ops that it applied on this thread as a graph of fixed sizes: from `inputs` to the tensors
/// that it returns. Tensors among `weights` become constants of their names, all others constants without one.
///
/// # Errors
/// When `call` fails, reads values that depend on the inputs, changes an input or weight in place, or makes tensors whose
/// sizes depend on values; and when ops are recorded already.
pub fn record(
    inputs: &[Named],
    weights: &[Named],
    outputs: &[&str],
    call: impl FnOnce() -> Result<Vec<Tensor>>,
) -> Result<Graph> {
    refuse("recording again")?;
    let mut recorder = Recorder { builder: GraphBuilder::new("graph"), ..Recorder::default() };
    for (name, t) in weights {
        if recorder.known.contains_key(&Key::of(t)) {
            continue;
        }
        let var = recorder.builder.constant(t.to_host()?)?;
        recorder.builder.name(&var, name)?;
        recorder.note(t, var, &format!("the weight `{name}`"));
    }
    for (name, t) in inputs {
        let var = recorder.builder.input(name, Fact::fixed(t.dtype(), t.shape()));
        recorder.note(t, var, &format!("the input `{name}`"));
    }
    RECORDER.with(|r| *r.borrow_mut() = Some(recorder));
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            watch_by_recorder(false);
            RECORDER.with(|r| r.borrow_mut().take());
        }
    }
    let _end = End;
    watch_by_recorder(true);
    let made = call();
    watch_by_recorder(false);
    let made = made?;
    with(|r| {
        for (k, t) in made.iter().enumerate() {
            let var = r.var(t)?;
            let fallback = format!("output_{k}");
            r.builder.output(outputs.get(k).copied().unwrap_or(&fallback), &var)?;
        }
        Ok(std::mem::take(&mut r.builder).finish())
    })
}
