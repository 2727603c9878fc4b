//! Resizing by picking elements.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::Result;
use lampyr_base::pool::ThreadPool;
use lampyr_ir::Op;
use lampyr_ops::build::Resize;

use super::contraction::address;
use super::operand::Shared;
use crate::simd::{Job, Level, Tier, run};

/// Rows of the result are copies of rows, or of picked elements of rows, of the input.
pub(super) struct NearestKernel;

impl Kernel for NearestKernel {
    fn name(&self) -> &'static str {
        "resize_nearest"
    }

    fn supports(&self, op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let fits = |r: &Resize| r.is_nearest() && r.coordinates != "tf_crop_and_resize";
        op.as_any().downcast_ref::<Resize>().is_some_and(fits)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, out) = (&launch.inputs[0], launch.output(0)?);
        if out.layout.is_empty() {
            return Ok(());
        }
        let maps = launch.op::<Resize>()?.maps(x.shape(), out.shape())?;
        let shape = out.shape();
        // Axes behind the last one that changes are copied as they are.
        let tail = maps.last().map_or(0, |(a, _)| a + 1);
        let inner: usize = shape[tail..].iter().product();
        let picked: Vec<Vec<usize>> =
            maps.iter().map(|(_, m)| (0..m.outputs()).map(|i| m.row(i).0[0]).collect()).collect();
        // Changed and unchanged axes in front of the last changed one: output size, input size, picked elements.
        let lead: Vec<(usize, usize, Option<&[usize]>)> = (0..tail.saturating_sub(1))
            .map(|a| {
                let at = maps.iter().position(|(axis, _)| *axis == a);
                (shape[a], x.shape()[a], at.map(|i| picked[i].as_slice()))
            })
            .collect();
        let last: &[usize] = picked.last().map_or(&[0], Vec::as_slice);
        let n = if tail > 0 { x.shape()[tail - 1] } else { 1 };
        let rows: usize = lead.iter().map(|l| l.0).product();
        let source = |row: usize| {
            let (mut rest, mut at, mut step) = (row, 0, 1);
            for &(m, n, picked) in lead.iter().rev() {
                let i = rest % m;
                at += picked.map_or(i, |p| p[i]) * step;
                (rest, step) = (rest / m, step * n);
            }
            at
        };
        let size = x.dtype.size();
        let (from, to) = (Shared(address(x)?), Shared(address(out)?));
        let (length, tier) = (last.len() * inner, Tier::current());
        let doubled = inner == 1 && last.len() == 2 * n && last.iter().enumerate().all(|(i, &p)| p == i / 2);
        macro_rules! pick {
            ($t:ty) => {
                ThreadPool::global().parallel_ranges(rows, (32 * 1024 / length).max(1), |range| {
                    let mut before = None;
                    for row in range {
                        let at = source(row);
                        let (from, to) = (from.at(0).cast::<$t>(), to.at(0).cast::<$t>());
                        // SAFETY: picked elements lie inside the input; each row belongs to one chunk.
                        unsafe {
                            let to = to.add(row * length);
                            if before == Some(at) {
                                std::ptr::copy_nonoverlapping(to.sub(length).cast_const(), to, length);
                                continue;
                            }
                            before = Some(at);
                            let from = from.add(at * n * inner).cast_const();
                            run(tier, Pick { from, to, picked: last, inner, doubled });
                        }
                    }
                })
            };
        }
        match size {
            1 => pick!(u8),
            2 => pick!(u16),
            4 => pick!(u32),
            _ => pick!(u64),
        }
        Ok(())
    }
}

/// One row.
struct Pick<'a, T> {
    from: *const T,
    to: *mut T,
    picked: &'a [usize],
    inner: usize,
    doubled: bool,
}

impl<T: Copy> Job for Pick<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let Pick { from, to, picked, inner, doubled } = self;
        // SAFETY: who made this says that picked elements lie inside the input and the row inside the result.
        unsafe {
            if doubled {
                let from = std::slice::from_raw_parts(from, picked.len() / 2);
                let to = std::slice::from_raw_parts_mut(to, picked.len());
                to.as_chunks_mut::<2>().0.iter_mut().zip(from).for_each(|(to, &x)| *to = [x, x]);
            } else if inner == 1 {
                picked.iter().enumerate().for_each(|(i, &p)| to.add(i).write(*from.add(p)));
            } else {
                let row = |(i, &p): (usize, &usize)| {
                    std::ptr::copy_nonoverlapping(from.add(p * inner), to.add(i * inner), inner);
                };
                picked.iter().enumerate().for_each(row);
            }
        }
    }
}
