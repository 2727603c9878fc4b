//! From what a caller gives to the arguments of one of the forms of a name.

use lampyr_base::{Error, Result};
use smallvec::{SmallVec, smallvec};

use super::call::Call;
use super::signature::{Kind, Role};
use super::table::{Callable, Form};
use super::value::Value;

/// What became of reading an argument as a kind.
pub enum Read<'a> {
    /// It fits.
    Value(Value<'a>),
    /// It is of another kind.
    Wrong,
    /// It is of this kind but cannot be used.
    Fail(Error),
}

/// The arguments that a caller gives: positional ones first, counted from zero, then named ones.
pub trait Source<'a> {
    /// Number of positional arguments; a method's tensor is the first of them.
    fn positional(&self) -> usize;
    /// Number of named arguments.
    fn named(&self) -> usize;
    /// Name of named argument `k`.
    fn name(&self, k: usize) -> &'a str;
    /// Whether argument `at` is `None`.
    fn is_none(&self, at: usize) -> bool;
    /// Argument `at` as `kind`.
    fn read(&self, at: usize, kind: Kind) -> Read<'a>;
    /// Words for the type of argument `at`.
    fn type_name(&self, at: usize) -> String;
}

/// Why a form does not fit.
enum Mismatch {
    TooMany,
    Missing(usize),
    Wrong { param: usize, at: usize },
    Unknown(usize),
    Twice(usize),
    Fail(Error),
}

/// NumPy's names for some parameters, which PyTorch takes too.
fn also(param: &str) -> &'static [&'static str] {
    match param {
        "dim" => &["axis"],
        "keepdim" => &["keepdims"],
        "input" => &["x", "a", "x1"],
        "other" => &["x2"],
        "from_" => &["from"],
        _ => &[],
    }
}

fn bind<'a>(form: &'static Form, source: &impl Source<'a>) -> Result<Call<'a>, Mismatch> {
    let params = &form.signature.params;
    let mut values: SmallVec<[Value<'a>; 6]> = smallvec![Value::Default; params.len()];
    let given = source.positional();
    let mut taken = given;
    if let Some(first) = form.spread
        && let Some(value) = spread(form, source, first)?
    {
        taken = first;
        if let Some(slot) = form.order.get(first).and_then(|&p| values.get_mut(usize::from(p))) {
            *slot = value;
        }
    }
    if taken > form.order.len() {
        return Err(Mismatch::TooMany);
    }
    for (at, &param) in form.order.iter().take(taken).enumerate() {
        let param = usize::from(param);
        values[param] = read(form, source, param, at)?;
    }
    for k in 0..source.named() {
        let name = source.name(k);
        let known = |p: &super::Param| p.name == name || also(p.name).contains(&name);
        let found = params.iter().position(|p| p.name == name).or_else(|| params.iter().position(known));
        let usable = |p: &usize| !(form.hides(*p));
        let Some(param) = found.filter(usable) else { return Err(Mismatch::Unknown(k)) };
        if !matches!(values[param], Value::Default) {
            return Err(Mismatch::Twice(param));
        }
        values[param] = read(form, source, param, given + k)?;
    }
    for (param, (value, p)) in values.iter().zip(params).enumerate() {
        if matches!(value, Value::Default) && p.default.is_none() {
            return Err(Mismatch::Missing(param));
        }
    }
    Ok(Call { signature: &form.signature, values })
}

#[inline]
fn read<'a>(form: &'static Form, source: &impl Source<'a>, param: usize, at: usize) -> Result<Value<'a>, Mismatch> {
    let p = &form.signature.params[param];
    if p.optional && source.is_none(at) {
        return Ok(Value::None);
    }
    // `out` of several results is a sequence of tensors, of one result a tensor.
    match source.read(at, p.kind) {
        Read::Value(value) => Ok(value),
        Read::Wrong => Err(Mismatch::Wrong { param, at }),
        Read::Fail(e) => Err(Mismatch::Fail(e)),
    }
}

/// Values given one by one from position `first` on; `None` when the first of them is a sequence or there is none.
fn spread<'a>(form: &'static Form, source: &impl Source<'a>, first: usize) -> Result<Option<Value<'a>>, Mismatch> {
    let Some(&param) = form.order.get(first) else { return Ok(None) };
    let param = usize::from(param);
    let end = source.positional();
    if end <= first {
        return Ok(None);
    }
    let one = if matches!(form.signature.params[param].kind, Kind::Tensors) { Kind::Tensor } else { Kind::Int };
    let (mut ints, mut tensors) = (SmallVec::<[i64; 4]>::new(), Vec::new());
    for at in first..end {
        match source.read(at, one) {
            Read::Value(Value::Int(i)) => ints.push(i),
            Read::Value(Value::Tensor(t)) => tensors.push(t.clone()),
            Read::Value(Value::Made(t) | Value::Held(t)) => tensors.push(t),
            Read::Fail(e) => return Err(Mismatch::Fail(e)),
            _ if at == first => return Ok(None),
            _ => return Err(Mismatch::Wrong { param, at }),
        }
    }
    Ok(Some(if one == Kind::Tensor { Value::Tensors(tensors) } else { Value::Ints(ints) }))
}

/// The first form of `callable` that the arguments fit, with its arguments.
///
/// # Errors
/// When none fits; the message says what came and lists the forms.
#[inline]
pub fn resolve<'a>(callable: &'static Callable, source: &impl Source<'a>) -> Result<(&'static Form, Call<'a>)> {
    let mut last = None;
    for form in &callable.forms {
        match bind(form, source) {
            Ok(call) => return Ok((form, call)),
            Err(Mismatch::Fail(e)) => return Err(e.with_op(&callable.name)),
            Err(mismatch) => last = Some((form, mismatch)),
        }
    }
    Err(refused(callable, source, last))
}

#[cold]
fn refused<'a>(callable: &Callable, source: &impl Source<'a>, last: Option<(&'static Form, Mismatch)>) -> Error {
    let forms: Vec<String> = callable.forms.iter().map(|f| format!("{}{}", callable.name, f.text())).collect();
    let message = match last {
        Some((form, mismatch)) if callable.forms.len() == 1 => reason(form, &mismatch, source),
        _ => format!("no form takes {}", came(callable, source)),
    };
    let expected = if forms.len() == 1 { forms.concat() } else { format!("one of\n    {}", forms.join("\n    ")) };
    Error::dtype(message).with_op(&callable.name).with_expected(expected)
}

fn came<'a>(callable: &Callable, source: &impl Source<'a>) -> String {
    let skip = usize::from(callable.is_method());
    let positional = (skip..source.positional()).map(|at| source.type_name(at));
    let named =
        (0..source.named()).map(|k| format!("{}={}", source.name(k), source.type_name(source.positional() + k)));
    format!("({})", positional.chain(named).collect::<Vec<_>>().join(", "))
}

fn reason<'a>(form: &Form, mismatch: &Mismatch, source: &impl Source<'a>) -> String {
    let name = |param: usize| form.signature.params.get(param).map_or("?", |p| p.name);
    match mismatch {
        Mismatch::TooMany => {
            let skip = usize::from(form.method);
            format!(
                "takes {} positional arguments but {} were given",
                form.order.len() - skip,
                source.positional().saturating_sub(skip)
            )
        }
        Mismatch::Missing(param) => format!("the argument `{}` is missing", name(*param)),
        Mismatch::Wrong { param, at } => {
            let kind = form.signature.params.get(*param).map_or("?", |p| p.kind.words());
            let place = match (at.checked_sub(usize::from(form.method)), *at < source.positional()) {
                (Some(at), true) => format!(" (position {})", at + 1),
                _ => String::new(),
            };
            format!("the argument `{}`{place} must be {kind}, not {}", name(*param), source.type_name(*at))
        }
        Mismatch::Unknown(k) => format!("there is no argument `{}`", source.name(*k)),
        Mismatch::Twice(param) => format!("the argument `{}` is given twice", name(*param)),
        Mismatch::Fail(e) => e.to_string(),
    }
}

impl Form {
    /// Whether callers of this form cannot give the parameter: methods have no `out`.
    pub(super) fn hides(&self, param: usize) -> bool {
        let role = self.signature.params.get(param).map(|p| p.role);
        match role {
            Some(Role::Out) => self.method || self.inplace,
            Some(Role::Inplace) => self.inplace,
            _ => self.method && param == self.receiver,
        }
    }
}
