//! Slices picked by number.

use std::sync::atomic::{AtomicUsize, Ordering};

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::{DType, Error, Result};
use lampyr_ir::Op;
use lampyr_ops::common;
use lampyr_ops::index::gather::Gather;

use super::copy::each_chunk;
use super::operand::{Shared, start};

/// One block copy per index.
pub(crate) struct GatherKernel;

impl Kernel for GatherKernel {
    fn name(&self) -> &'static str {
        "cpu_gather"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.get(1).is_some_and(|i| matches!(i.dtype, DType::I32 | DType::I64))
    }

    fn reads_unaligned(&self, _op: &dyn Op, _i: usize) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let [x, indices] = launch.inputs else { return Err(Error::internal("gather takes two inputs")) };
        let output = launch.output(0)?;
        let shape = &x.layout.shape;
        let axis = common::axis(launch.op::<Gather>()?.axis, shape.len())?;
        let outer: usize = shape[..axis].iter().product();
        let row = shape[axis + 1..].iter().product::<usize>() * x.dtype.size();
        let (n, count) = (shape[axis], indices.layout.len());
        if output.layout.len() * output.dtype.size() != outer * count * row {
            return Err(Error::internal(format!("gather of {shape:?} into {:?}", output.layout.shape)));
        }
        let (from, at, to) = (Shared(start(x)?), Shared(start(indices)?), Shared(start(output)?));
        let wide = indices.dtype == DType::I64;
        let index = |i: usize| -> i64 {
            // SAFETY: `i < count`, and indices are contiguous elements of this type inside their memory.
            unsafe {
                if wide {
                    at.at((i * 8) as isize).cast::<i64>().read_unaligned()
                } else {
                    i64::from(at.at((i * 4) as isize).cast::<i32>().read_unaligned())
                }
            }
        };
        let wrong = AtomicUsize::new(usize::MAX);
        each_chunk(outer * count, row, 1, |first, some| {
            for k in first..first + some {
                let i = index(k % count);
                let i = if i < 0 { i.wrapping_add(n as i64) } else { i } as usize;
                if i >= n {
                    wrong.fetch_min(k % count, Ordering::Relaxed);
                    continue;
                }
                let source = from.at(((k / count * n + i) * row) as isize);
                let target = to.at((k * row) as isize);
                // SAFETY: `i < n`, so the row lies in `x`; row `k` lies in the output, and no other chunk writes it.
                unsafe { copy_row(source, target, row) };
            }
        });
        match wrong.into_inner() {
            usize::MAX => Ok(()),
            i => common::element(index(i), n).map(drop),
        }
    }
}

/// # Safety
/// `bytes` bytes must lie at both places, which must not overlap.
#[inline]
unsafe fn copy_row(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match bytes {
            4 => to.cast::<[u8; 4]>().write(from.cast::<[u8; 4]>().read()),
            8 => to.cast::<[u8; 8]>().write(from.cast::<[u8; 8]>().read()),
            _ => std::ptr::copy_nonoverlapping(from, to, bytes),
        }
    }
}
