//! Ops whose outputs take the place of their inputs, as steps of optimisers do.

use lampyr_backend::{Arg, ArgInfo, Choice, Kernel, Launch, backend, resolve};
use lampyr_base::{Error, Result};
use lampyr_ir::{Fact, Op};
use smallvec::SmallVec;

use crate::eager::compute;
use crate::tape::is_grad_enabled;
use crate::tensor::Tensor;

/// Whether [`update`] can run: an error here means that it would fail without having changed anything.
///
/// # Errors
/// When recording is on, when shapes or types do not fit, or when elements of a target share memory.
pub fn check_update(op: &dyn Op, inputs: &[&Tensor], targets: &[usize]) -> Result<()> {
    crate::recorder::refuse("updating weights").map_err(|e| e.with_op(op.name()))?;
    if crate::batch::any(inputs) {
        return Err(Error::unsupported("updating weights inside of a vmap").with_op(op.name()));
    }
    if is_grad_enabled() {
        return Err(Error::autograd("an update in place is not recorded")
            .with_op(op.name())
            .with_help("use no_grad()"));
    }
    let facts: SmallVec<[Fact; 8]> = inputs.iter().map(|t| t.fact()).collect();
    let refs: SmallVec<[&Fact; 8]> = facts.iter().collect();
    let inferred = lampyr_ir::checked_infer(op, &refs)?;
    if inferred.len() != targets.len() {
        return Err(Error::internal("an update has as many targets as outputs").with_op(op.name()));
    }
    for (fact, &i) in inferred.iter().zip(targets) {
        let target = inputs.get(i).ok_or_else(|| Error::internal("a target is an input").with_op(op.name()))?;
        if *fact != target.fact() {
            return Err(Error::shape(format!("{fact} in place of {}", target.fact())).with_op(op.name()));
        }
        if !target.layout().is_injective() {
            return Err(Error::value("elements of this tensor share memory; writing to it in place is ambiguous")
                .with_op(op.name())
                .with_help("clone() the expanded tensor before changing it"));
        }
    }
    Ok(())
}

/// Writes output `k` of `op` over input `targets[k]`: in one pass where the kernel can do it.
///
/// # Errors
/// As [`check_update`]; nothing has changed then.
pub fn update(op: &dyn Op, inputs: &[&Tensor], targets: &[usize]) -> Result<()> {
    check_update(op, inputs, targets)?;
    let device = inputs[0].device();
    let backend = backend(device)?;
    let infos: SmallVec<[ArgInfo; 8]> = inputs.iter().map(|t| t.arg().info()).collect();
    let outs: SmallVec<[ArgInfo; 4]> = targets.iter().map(|&i| infos[i]).collect();
    if let Choice::Kernel(kernel) = resolve(&*backend, op, &infos, &outs)
        && in_place(kernel, op, inputs, targets)
        && inputs.iter().all(|t| t.device() == device)
    {
        let args: SmallVec<[Arg; 8]> = inputs.iter().map(|t| t.arg()).collect();
        let outputs: SmallVec<[Option<Arg>; 4]> = targets.iter().map(|&i| Some(inputs[i].arg())).collect();
        let launch = Launch { op, inputs: &args, outputs: &outputs, workspace: None, packed: &[], backend: &*backend };
        if kernel.workspace(op, &infos, &outs) == 0 {
            backend.enqueue(kernel, &launch)?;
            targets.iter().for_each(|&i| inputs[i].storage().bump());
            return Ok(());
        }
    }
    let made = compute(op, inputs, &|_| true)?;
    for (value, &i) in made.iter().zip(targets) {
        let value = value.as_ref().ok_or_else(|| Error::internal("an output was not made").with_op(op.name()))?;
        inputs[i].assign_(value)?;
    }
    Ok(())
}

/// Whether every target is row-major, alone in its memory and may be overwritten while it is read.
fn in_place(kernel: &'static dyn Kernel, op: &dyn Op, inputs: &[&Tensor], targets: &[usize]) -> bool {
    let alone = |i: usize| {
        let memory = &inputs[i].storage().memory;
        inputs.iter().enumerate().all(|(k, t)| k == i || !std::sync::Arc::ptr_eq(&t.storage().memory, memory))
    };
    targets.iter().enumerate().all(|(k, &i)| kernel.in_place(op, i, k) && inputs[i].is_contiguous() && alone(i))
}
