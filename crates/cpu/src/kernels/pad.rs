//! Padding.

use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::{Error, Result, Shape, Strides};
use lampyr_ir::Op;
use lampyr_ops::shape::pad::{Pad, PadMode};

use super::copy::copy_strided;
use super::operand::start;

/// One strided copy of the inside; then, axis after axis, slabs of the value or of what is there already.
pub(crate) struct PadKernel;

impl Kernel for PadKernel {
    fn name(&self) -> &'static str {
        "cpu_pad"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let op = launch.op::<Pad>()?;
        let mode = op.how()?;
        let x = launch.inputs.first().ok_or_else(|| Error::internal("pad takes an input"))?;
        let y = launch.output(0)?;
        let (rank, size) = (y.layout.rank(), y.dtype.size());
        if x.layout.rank() != rank || x.dtype != y.dtype {
            return Err(Error::internal("pad of another type or rank"));
        }
        if y.layout.is_empty() {
            return Ok(());
        }
        let (to, from) = (start(y)?, start(x)?);
        let strides = &y.layout.strides;
        // On every axis: the first element of the inside in the output and in the input, and their number.
        let mut lows: smallvec::SmallVec<[isize; 8]> = smallvec::SmallVec::new();
        let mut inside = Shape::new();
        let mut offset = (0isize, 0isize);
        for i in 0..rank {
            let (begin, end) = op.amounts(i)?;
            let (n, m) = (x.layout.shape[i] as i64, y.layout.shape[i] as i64);
            if n + begin + end != m {
                return Err(Error::internal(format!("axis {i} of {n} elements padded to {m}")));
            }
            let (first, past) = (begin.clamp(0, m), (begin + n).clamp(0, m));
            let count = (past - first).max(0);
            if mode != PadMode::Constant && count == 0 {
                return Err(Error::shape(format!("axis {i} has no element to fill the padding with")));
            }
            let first = if count == 0 { 0 } else { first };
            lows.push(first as isize);
            inside.push(count as usize);
            offset.0 += first as isize * strides[i];
            offset.1 += (first - begin) as isize * x.layout.strides[i];
        }
        let step = |elements: isize| elements * size as isize;
        if !inside.contains(&0) {
            // SAFETY: the backend has checked that both operands lie inside their memories; the inside is a part of
            // both, and they do not overlap.
            unsafe {
                let (to, from) = (to.wrapping_offset(step(offset.0)), from.wrapping_offset(step(offset.1)));
                copy_strided(to, strides, from, &x.layout.strides, &inside, size);
            }
        }
        let zero = [0u8; 16];
        let value = launch.inputs.get(1).map_or(Ok(zero.as_ptr()), |v| start(v).map(<*mut u8>::cast_const))?;
        let still: Strides = std::iter::repeat_n(0, rank).collect();
        // Axes before `axis` are full already, those after it have only their inside.
        let mut origin = offset.0;
        let mut slab = inside.clone();
        for axis in 0..rank {
            origin -= lows[axis] * strides[axis];
            let (low, count, all) = (lows[axis], inside[axis] as isize, y.layout.shape[axis] as isize);
            if mode == PadMode::Constant {
                for (first, n) in [(0, low), (low + count, all - low - count)] {
                    slab[axis] = n as usize;
                    if slab.contains(&0) {
                        continue;
                    }
                    // SAFETY: the slab lies inside the output; the value is one element.
                    unsafe {
                        let to = to.wrapping_offset(step(origin + first * strides[axis]));
                        copy_strided(to, strides, value, &still, &slab, size);
                    }
                }
            } else {
                slab[axis] = 1;
                for i in (0..low).chain(low + count..all) {
                    let Some(source) = mode.source((i - low) as i64, count as i64) else { continue };
                    let source = low + source as isize;
                    // SAFETY: both slabs lie inside the output and are apart: the source is inside, the target not.
                    unsafe {
                        let target = to.wrapping_offset(step(origin + i * strides[axis]));
                        let source = to.wrapping_offset(step(origin + source * strides[axis]));
                        copy_strided(target, strides, source, strides, &slab, size);
                    }
                }
            }
            slab[axis] = y.layout.shape[axis];
        }
        Ok(())
    }
}
