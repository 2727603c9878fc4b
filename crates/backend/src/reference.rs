//! The host reference: the plain implementation of each op, on host copies of the operands.

use std::sync::Arc;

use lampyr_base::{Layout, Result, ResultExt, num_elements};
use lampyr_ir::{HostTensor, HostValue, Op};

use crate::{Arg, Backend, DeviceMemory};

/// The elements of `arg` as a contiguous host tensor; waits for queued work.
pub fn to_host(backend: &dyn Backend, arg: &Arg) -> Result<HostTensor> {
    let size = arg.dtype.size();
    let shape = &arg.layout.shape;
    if arg.layout.is_empty() {
        return HostTensor::zeros(arg.dtype, shape);
    }
    let (low, high) = arg.layout.span();
    if arg.layout.is_contiguous() {
        let bytes = num_elements(shape)? * size;
        let mut failed = Ok(());
        let tensor = HostTensor::build(arg.dtype, shape, |to| {
            failed = backend.download(arg.memory, arg.base + low * size, &mut to[..bytes]);
        })?;
        return failed.map(|()| tensor);
    }
    let mut span = vec![0u8; (high - low) * size];
    backend.download(arg.memory, arg.base + low * size, &mut span)?;
    HostTensor::build(arg.dtype, shape, |to| {
        for (to, i) in to.chunks_exact_mut(size).zip(arg.layout.indices()) {
            to.copy_from_slice(&span[(i - low) * size..(i - low + 1) * size]);
        }
    })
}

/// A host tensor in fresh device memory, row-major.
pub fn to_device(backend: &dyn Backend, tensor: &HostTensor) -> Result<(Arc<dyn DeviceMemory>, Layout)> {
    let memory = backend.allocate(tensor.bytes().len())?;
    backend.upload(tensor.bytes(), &memory, 0)?;
    Ok((memory, Layout::contiguous(tensor.shape())))
}

/// Runs the reference of `op` on operands of any device; the results are on the host.
pub fn run(backend: &dyn Backend, op: &dyn Op, inputs: &[Arg]) -> Result<Vec<HostTensor>> {
    let values = inputs.iter().map(|a| to_host(backend, a).map(HostValue::Tensor)).collect::<Result<Vec<_>>>()?;
    op.reference(&values).op(op.name())?.iter().map(|v| v.tensor().cloned()).collect()
}
