//! Running a form: in place, into `out`, or plainly.

use lampyr_base::{Error, Result, TypeKind};
use lampyr_runtime::{Tensor, into_memory, is_grad_enabled};
use smallvec::SmallVec;

use super::call::Call;
use super::signature::Role;
use super::table::{Form, RENEW, served};
use super::value::{Output, Value};

/// Runs a form on its arguments. In place and with `out`, the tensors written are the result.
///
/// # Errors
/// What the function raises, and when a result cannot be written where it should go.
pub fn run(form: &Form, call: &Call) -> Result<Output> {
    if form.inplace {
        return if form.entry.spaces & RENEW != 0 { renew(form, call) } else { in_place(form, call) };
    }
    let (mut made, mut leaf) = (None, false);
    for (at, param) in form.signature.params.iter().enumerate().filter(|(_, p)| served(p.role)) {
        match param.role {
            Role::Inplace if call.bool(at)? => return in_place(form, call),
            Role::Leaf => leaf = call.bool(at)?,
            Role::Out if call.given(at) => match call.values.get(at) {
                Some(Value::Tensor(out)) => made = Some(into(form, call, &[out])?),
                Some(Value::Held(out)) => made = Some(into(form, call, &[out])?),
                Some(Value::Made(_)) => {
                    return Err(Error::dtype("`out` is not a tensor of Lampyr").with_op(form.signature.name));
                }
                Some(Value::Tensors(all)) => made = Some(into(form, call, &all.iter().collect::<Vec<_>>())?),
                _ => {}
            },
            _ => {}
        }
    }
    let made = match made {
        Some(made) => made,
        None => (form.entry.run)(call).map_err(|e| e.with_op(form.signature.name))?,
    };
    if leaf {
        match &made {
            Output::Tensor(t) => t.requires_grad_(true).map(drop),
            Output::Resized(all) => all.iter().try_for_each(|(_, t)| t.requires_grad_(true).map(drop)),
            _ => Ok(()),
        }
        .map_err(|e| e.with_op(form.signature.name))?;
    }
    Ok(made)
}

/// Runs a form whose result is the new form of its tensor.
fn renew(form: &Form, call: &Call) -> Result<Output> {
    let name = form.signature.name;
    let target = call.tensor(form.receiver)?;
    let holders = if matches!(call.values.get(form.receiver), Some(Value::Held(_))) { 2 } else { 1 };
    let made = || match (form.entry.run)(call)? {
        Output::Tensor(made) => target.renewed(made, holders),
        _ => Err(Error::internal("a function without one result in place")),
    };
    let made = made().map_err(|e| e.with_op(name))?;
    Ok(Output::Renewed(target.clone(), made))
}

fn in_place(form: &Form, call: &Call) -> Result<Output> {
    let name = form.signature.name;
    let target = call.tensor(form.receiver)?;
    let made = match (form.entry.run)(call).map_err(|e| e.with_op(name))? {
        Output::Tensor(made) => made,
        _ => return Err(Error::internal("a function without one result in place").with_op(name)),
    };
    if !made.same(target) {
        if made.shape() != target.shape() {
            return Err(Error::shape(format!(
                "a result of shape {:?} does not fit in place of {:?}",
                made.shape(),
                target.shape()
            ))
            .with_op(name)
            .with_help("use the function that returns a new tensor"));
        }
        check_kind(&made, target).map_err(|e| e.with_op(name))?;
        target.assign_(&made.to_dtype(target.dtype())?).map_err(|e| e.with_op(name))?;
    }
    Ok(Output::Tensor(target.clone()))
}

fn into(form: &Form, call: &Call, outs: &[&Tensor]) -> Result<Output> {
    let name = form.signature.name;
    if is_grad_enabled() && call.each_tensor().any(Tensor::requires_grad) {
        return Err(Error::autograd("`out` and gradients do not go together, and an argument requires a gradient")
            .with_op(name)
            .with_help("leave `out` away, or call it in no_grad()"));
    }
    let run = || (form.entry.run)(call).map_err(|e| e.with_op(name));
    let made = match outs {
        // The destination is among the tensors.
        [out] if call.each_tensor().filter(|t| t.shares_memory(out)).count() == 1 => into_memory(out, run),
        _ => run(),
    };
    let made: SmallVec<[Tensor; 2]> = match made? {
        Output::Tensor(t) => SmallVec::from_iter([t]),
        Output::Tensors(all) => all,
        _ => return Err(Error::internal("a function without tensors has an `out`").with_op(name)),
    };
    if made.len() != outs.len() {
        return Err(Error::value(format!("`out` has {} tensors", outs.len()))
            .with_op(name)
            .with_expected(format!("{}", made.len())));
    }
    for (made, out) in made.iter().zip(outs) {
        check_kind(made, out).map_err(|e| e.with_op(name))?;
    }
    let mut written = Vec::with_capacity(outs.len());
    for (made, out) in made.iter().zip(outs) {
        if made.is_over(out) {
            out.note_written();
            written.push(((*out).clone(), (*out).clone()));
            continue;
        }
        let fits = made.shape() == out.shape();
        let target = if fits { (*out).clone() } else { out.resized(made.shape()).map_err(|e| e.with_op(name))? };
        target.assign_(&made.to_dtype(out.dtype())?).map_err(|e| e.with_op(name))?;
        written.push(((*out).clone(), target));
    }
    if written.iter().any(|(old, new)| !old.same(new)) {
        return Ok(Output::Resized(written));
    }
    Ok(match outs {
        [one] => Output::Tensor((*one).clone()),
        many => Output::Tensors(many.iter().map(|t| (*t).clone()).collect()),
    })
}

/// Whether a result may be written into a tensor: it must not lose its category (a float in an integer tensor).
pub(crate) fn check_kind(made: &Tensor, target: &Tensor) -> Result<()> {
    let rank = |t: &Tensor| match t.dtype().kind() {
        TypeKind::Bool => 0,
        TypeKind::Unsigned | TypeKind::Signed => 1,
        TypeKind::Float => 2,
    };
    if rank(made) <= rank(target) {
        return Ok(());
    }
    Err(Error::dtype(format!("a {} result cannot be kept in a {} tensor", made.dtype(), target.dtype()))
        .with_help("cast the tensor, or use the function that returns a new one"))
}
