//! The short way for elementwise ops on equal types: no facts, no symbols, one output.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use lampyr_backend::{Arg, ArgInfo, Direct, Launch, Reason};
use lampyr_base::{DType, Device, Layout, Result, broadcast_shapes};
use lampyr_ir::{Class, Op};
use lampyr_ops::registry;
use smallvec::SmallVec;

use super::fallback;
use crate::destination;
use crate::reuse::{self, Fresh};
use crate::storage::Storage;
use crate::tensor::Tensor;
use crate::trace;

/// The result of an op without attributes on small row-major host tensors of one dtype and shape; `None` sends the call
/// on.
#[inline]
pub(super) fn small(op: &dyn Op, inputs: &[&Tensor]) -> Result<Option<Tensor>> {
    let [first, rest @ ..] = inputs else { return Ok(None) };
    let Some(x) = first.dense() else { return Ok(None) };
    let dtype = first.dtype();
    if x.len().wrapping_sub(1) >= reuse::MOST || rest.len() > 2 || trace::enabled() {
        return Ok(None);
    }
    let mut all = [x; 3];
    for (place, t) in all[1..].iter_mut().zip(rest) {
        match t.dense() {
            Some(y) if t.dtype() == dtype && reuse::same(t.shape(), first.shape()) => *place = y,
            _ => return Ok(None),
        }
    }
    let Some(host) = lampyr_backend::host() else { return Ok(None) };
    let Some(function) = host.kernels().direct(op, dtype) else { return Ok(None) };
    let Some(made) = reuse::like(host, first, function.output())? else { return Ok(None) };
    let Some(to) = made.dense() else { return Ok(None) };
    Ok(function.run_dense(&all[..inputs.len()], to).then_some(made))
}

/// The result of an op without attributes on row-major host tensors of one dtype, which have one shape or one element;
/// `None` sends the call on.
pub(super) fn direct(op: &dyn Op, inputs: &[&Tensor]) -> Result<Option<Tensor>> {
    let Some((first, rest)) = inputs.split_first() else { return Ok(None) };
    if rest.len() > 2 || trace::enabled() {
        return Ok(None);
    }
    let mut widest = *first;
    for t in rest {
        if t.rank() > widest.rank() || t.rank() == widest.rank() && widest.len() == 1 {
            widest = t;
        }
    }
    let dtype = first.dtype();
    let fits = |t: &Tensor| {
        t.dtype() == dtype
            && t.device() == Device::CPU
            && (t.shape() == widest.shape() && t.is_contiguous() || t.len() == 1)
    };
    if !inputs.iter().all(|t| fits(t)) {
        return Ok(None);
    }
    let Some(backend) = lampyr_backend::host() else { return Ok(None) };
    let Some(function) = backend.kernels().direct(op, dtype) else { return Ok(None) };
    let mut layout = widest.layout().clone();
    layout.offset = 0;
    let Some(bytes) = bytes(function.output(), &layout) else { return Ok(None) };
    if let Some(made) = destination::take(&layout, function.output()) {
        return Ok(run(function, inputs, &made.arg()).then_some(made));
    }
    let fresh = Fresh::new(backend, bytes)?;
    let done = run(function, inputs, &Arg::new(fresh.memory(), 0, function.output(), &layout));
    Ok(done.then(|| fresh.tensor(layout, function.output())))
}

fn run(function: &dyn Direct, inputs: &[&Tensor], to: &Arg) -> bool {
    match inputs {
        [a] => function.run(&[a.arg()], to),
        [a, b] => function.run(&[a.arg(), b.arg()], to),
        [a, b, c] => function.run(&[a.arg(), b.arg(), c.arg()], to),
        _ => false,
    }
}
/// The result of an elementwise op whose inputs have one dtype that the op takes, when the device has a kernel for it;
/// `None` sends the call the long way, which also makes the error messages.
pub(super) fn elementwise(op: &dyn Op, inputs: &[&Tensor]) -> Result<Option<Tensor>> {
    if op.class() != Class::Elementwise || inputs.is_empty() || inputs.len() > 4 {
        return Ok(None);
    }
    let arity = op.arity();
    let dtype = inputs[0].dtype();
    let Some(entry) = registry::builtin().get(op.id().0 as usize) else { return Ok(None) };
    if !entry.dtypes.contains(&dtype)
        || inputs.len() < arity.min
        || inputs.len() > arity.max
        || inputs[1..].iter().any(|t| t.dtype() != dtype)
    {
        return Ok(None);
    }
    let dtypes = [dtype; 4];
    let Some(out_dtype) = output_dtype(op, &dtypes[..inputs.len()], entry.attrs.is_empty()) else { return Ok(None) };
    let layout = match layout(inputs) {
        Some(layout) => layout,
        None => return Ok(None),
    };
    let backend = inputs[0].backend()?;
    let infos: SmallVec<[ArgInfo; 4]> = inputs.iter().map(|t| ArgInfo::new(dtype, t.layout())).collect();
    let Some(kernel) = backend.kernels().find(op, &infos, &[ArgInfo::new(out_dtype, &layout)]) else {
        return Ok(None);
    };
    let Some(bytes) = bytes(out_dtype, &layout) else { return Ok(None) };
    let made = match destination::take(&layout, out_dtype) {
        Some(made) if made.device() == backend.device() => made,
        _ => Tensor::over(Arc::new(Storage::new(backend.allocate(bytes)?, 0)), layout.clone(), out_dtype),
    };
    let start = if trace::enabled() { trace::now() } else { 0 };
    {
        let args: SmallVec<[Arg; 4]> = inputs.iter().map(|t| t.arg()).collect();
        let outputs = [Some(made.arg())];
        let launch = Launch { op, inputs: &args, outputs: &outputs, workspace: None, packed: &[], backend: &*backend };
        backend.enqueue(kernel, &launch)?;
    }
    fallback::note(op, kernel.name(), backend.device(), Reason::Kernel.code(), start, inputs);
    Ok(Some(made))
}

/// Type of the output for equal inputs. Where an op has no attributes the answer is remembered: making a scalar
/// expression costs more than a small op.
fn output_dtype(op: &dyn Op, dtypes: &[DType], plain: bool) -> Option<DType> {
    const OPS: usize = 512;
    const TYPES: usize = 32;
    static KNOWN: [AtomicU8; OPS * TYPES] = [const { AtomicU8::new(0) }; OPS * TYPES];
    let (id, ty) = (op.id().0 as usize, dtypes.first().map_or(TYPES, |d| *d as usize));
    let slot = (plain && id < OPS && ty < TYPES && op.arity().min == op.arity().max).then(|| &KNOWN[id * TYPES + ty]);
    if let Some(slot) = slot
        && let Some(known) = DType::ALL.get((slot.load(Ordering::Relaxed) as usize).wrapping_sub(1))
    {
        return Some(*known);
    }
    let found = op.scalar(dtypes).and_then(|e| e.outputs.first().map(|o| o.1))?;
    if let (Some(slot), Some(at)) = (slot, DType::ALL.iter().position(|d| *d == found)) {
        slot.store(at as u8 + 1, Ordering::Relaxed);
    }
    Some(found)
}

fn layout(inputs: &[&Tensor]) -> Option<Layout> {
    let first = inputs[0].layout();
    if inputs[1..].iter().all(|t| t.shape() == inputs[0].shape()) {
        let mut layout = if first.is_contiguous() { first.clone() } else { Layout::contiguous(&first.shape) };
        layout.offset = 0;
        return Some(layout);
    }
    let mut shape = first.shape.clone();
    for t in &inputs[1..] {
        shape = broadcast_shapes(&shape, t.shape()).ok()?;
    }
    Some(Layout::contiguous(&shape))
}

fn bytes(dtype: DType, layout: &Layout) -> Option<usize> {
    dtype.bytes_for(lampyr_base::num_elements(&layout.shape).ok()?)
}
