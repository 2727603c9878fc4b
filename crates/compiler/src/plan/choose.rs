//! Which kernel runs a call, and what it needs.

use lampyr_backend::{Accepts, ArgInfo, Backend, Kernel, Reason, missing};
use lampyr_base::{DType, Layout};
use lampyr_ir::Op;

/// A kernel for a call, with the inputs that must be made contiguous first.
pub struct Chosen {
    /// The kernel.
    pub kernel: &'static dyn Kernel,
    /// By input: whether it has to be copied.
    pub copies: Vec<bool>,
}

/// The first kernel of `backend` that takes these operands, after copies where it wants them contiguous.
pub fn choose(
    backend: &dyn Backend,
    op: &dyn Op,
    inputs: &[(DType, Layout)],
    outputs: &[(DType, Layout)],
) -> Result<Chosen, Reason> {
    let table = backend.kernels();
    let outs: Vec<ArgInfo> = outputs.iter().map(|(d, l)| ArgInfo::new(*d, l)).collect();
    let plain: Vec<Layout> = inputs.iter().map(|(_, l)| Layout::contiguous(&l.shape)).collect();
    for kernel in table.candidates(op.id()) {
        let copies: Vec<bool> = (inputs.iter().enumerate())
            .map(|(i, (_, l))| !l.is_contiguous() && kernel.accepts(op, i) == Accepts::Contiguous)
            .collect();
        let ins: Vec<ArgInfo> = (inputs.iter().zip(&plain).zip(&copies))
            .map(|(((d, l), p), copy)| ArgInfo::new(*d, if *copy { p } else { l }))
            .collect();
        if kernel.supports(op, &ins, &outs) {
            return Ok(Chosen { kernel, copies });
        }
    }
    Err(missing(table, op))
}
