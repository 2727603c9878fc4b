use std::cmp::Ordering;

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::{ThreadPool, num_threads};
use lampyr_base::{Error, Result, dispatch};
use lampyr_ir::Op;
use lampyr_ops::build::Topk;
use lampyr_ops::common;

use super::contraction::{address, workspace};
use super::number::Number;
use super::operand::Shared;
use crate::gemm::Slots;

/// Selection, then sorting of what was selected.
pub(super) struct TopkKernel;

fn line(op: &dyn Op, shape: &[usize]) -> Result<(usize, usize)> {
    let op: &Topk = op.as_any().downcast_ref().ok_or_else(|| Error::internal("not topk"))?;
    let axis = common::axis(op.axis, shape.len())?;
    Ok((axis, shape[axis]))
}

fn order<T: Number>(a: T, b: T) -> Ordering {
    if a.above(b) {
        return Ordering::Greater;
    }
    if b.above(a) { Ordering::Less } else { a.is_nan().cmp(&b.is_nan()) }
}

impl Kernel for TopkKernel {
    fn name(&self) -> &'static str {
        "topk"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        line(op, inputs[0].shape()).is_ok_and(|(_, n)| u32::try_from(n).is_ok())
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        line(op, inputs[0].shape()).map_or(0, |(_, n)| n * size_of::<u32>() * num_threads().min(64))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let x = &launch.inputs[0];
        let (axis, n) = line(launch.op, x.shape())?;
        let Some(any) = launch.outputs.iter().flatten().next() else { return Ok(()) };
        let k = any.shape()[axis];
        if k > n {
            return Err(Error::value(format!("k is {k} for an axis of {n} elements")));
        }
        if any.layout.is_empty() {
            return Ok(());
        }
        let largest = launch.op::<Topk>()?.largest;
        let inner: usize = x.shape()[axis + 1..].iter().product();
        let lines = x.layout.len() / n;
        let values = launch.outputs.first().and_then(Option::as_ref).map(address::<u8>).transpose()?.map(Shared);
        let indices = launch.outputs.get(1).and_then(Option::as_ref).map(address::<u8>).transpose()?.map(Shared);
        let (scratch, room) = workspace::<u32>(launch)?;
        let slots = Slots::new(room / n);
        let scratch = Shared(scratch.cast());
        dispatch!(x.dtype, T => {
            let from = Shared(address::<u8>(x)?);
            ThreadPool::global().parallel_ranges(lines, (4096 / n).max(1), |range| {
                let slot = slots.take();
                let ranked = scratch.at((slot.index() * n * size_of::<u32>()) as isize).cast::<u32>();
                for i in range {
                    let (outer, at) = (i / inner, i % inner);
                    let from = from.at(0).cast::<T>().wrapping_add(outer * n * inner + at).cast_const();
                    // SAFETY: indices below `n` lie on the line; the slot's scratch holds `n` of them, and each line of
                    // the results belongs to one chunk.
                    unsafe {
                        (0..n).for_each(|j| ranked.add(j).write(j as u32));
                        let ranked = std::slice::from_raw_parts_mut(ranked, n);
                        let element = |j: u32| *from.add(j as usize * inner);
                        let compare = |&a: &u32, &b: &u32| {
                            let (x, y) = (element(a), element(b));
                            let by_value = if largest { order(y, x) } else { order(x, y) };
                            by_value.then(a.cmp(&b))
                        };
                        if k < n {
                            ranked.select_nth_unstable_by(k - 1, compare);
                        }
                        ranked[..k].sort_unstable_by(compare);
                        for (r, &j) in ranked[..k].iter().enumerate() {
                            let to = (outer * k + r) * inner + at;
                            if let Some(values) = values {
                                *values.at(0).cast::<T>().add(to) = element(j);
                            }
                            if let Some(indices) = indices {
                                *indices.at(0).cast::<i64>().add(to) = i64::from(j);
                            }
                        }
                    }
                }
            });
        });
        Ok(())
    }
}
