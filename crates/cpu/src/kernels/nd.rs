//! Slices that index tuples name.

use std::sync::atomic::{AtomicUsize, Ordering};

use lampyr_backend::{Arg, ArgInfo, Kernel, Launch};
use lampyr_base::{DType, Error, Result, Shape};
use lampyr_ir::Op;
use lampyr_ops::build::GatherNd;
use lampyr_ops::common;

use super::copy::each_chunk;
use super::elements::takes_indices;
use super::operand::{Shared, start};

/// Index tuples into a row-major tensor.
pub(super) struct Tuples {
    from: Shared,
    wide: bool,
    /// Sizes of the axes that a tuple counts along.
    sizes: Shape,
    /// Elements of one slice.
    pub(super) row: usize,
    /// Number of tuples.
    pub(super) count: usize,
    per_batch: usize,
    batch_step: usize,
}

impl Tuples {
    /// Tuples `indices`, without gaps, into a tensor of shape `shape`.
    ///
    /// # Errors
    /// When they do not fit together.
    pub(super) fn new(shape: &[usize], indices: &Arg, batch_dims: i64) -> Result<Tuples> {
        let misfit = || Error::shape(format!("tuples {:?} do not fit {shape:?}", indices.shape()));
        let batch = usize::try_from(batch_dims).map_err(|_| misfit())?;
        let (&width, lead) = indices.shape().split_last().ok_or_else(misfit)?;
        if batch > lead.len() || batch + width > shape.len() || shape[..batch] != lead[..batch] {
            return Err(misfit());
        }
        Ok(Tuples {
            from: Shared(start(indices)?),
            wide: indices.dtype == DType::I64,
            sizes: Shape::from_slice(&shape[batch..batch + width]),
            row: shape[batch + width..].iter().product(),
            count: lead.iter().product(),
            per_batch: lead[batch..].iter().product::<usize>().max(1),
            batch_step: shape[batch..].iter().product(),
        })
    }

    fn raw(&self, i: usize) -> i64 {
        let from = self.from.at(0);
        // SAFETY: `i` is below the number of tuples times their width, which is the number of elements.
        unsafe {
            if self.wide {
                from.cast::<i64>().add(i).read_unaligned()
            } else {
                i64::from(from.cast::<i32>().add(i).read_unaligned())
            }
        }
    }

    /// The first element of the slice that tuple `t` names; `None` when an index is out of range.
    #[inline]
    pub(super) fn place(&self, t: usize) -> Option<usize> {
        if t >= self.count {
            return None;
        }
        let mut at = 0;
        for (k, &n) in self.sizes.iter().enumerate() {
            let i = self.raw(t * self.sizes.len() + k);
            let i = if i < 0 { i.wrapping_add(n as i64) } else { i } as usize;
            if i >= n {
                return None;
            }
            at = at * n + i;
        }
        Some(t / self.per_batch * self.batch_step + at * self.row)
    }

    /// The error for tuple `t`, an index of which is out of range.
    pub(super) fn wrong(&self, t: usize) -> Error {
        let indices = self.sizes.iter().enumerate();
        let first = indices.map(|(k, &n)| common::element(self.raw(t * self.sizes.len() + k), n)).find_map(Result::err);
        first.unwrap_or_else(|| Error::internal(format!("tuple {t} lies inside")))
    }
}

/// One block copy per tuple.
pub(super) struct GatherNdKernel;

impl Kernel for GatherNdKernel {
    fn name(&self) -> &'static str {
        "gather_nd"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        takes_indices(inputs.get(1))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let [x, indices] = launch.inputs else { return Err(Error::internal("gather_nd takes two inputs")) };
        let out = launch.output(0)?;
        let tuples = Tuples::new(x.shape(), indices, launch.op::<GatherNd>()?.batch_dims)?;
        if out.layout.len() != tuples.count * tuples.row || out.dtype != x.dtype {
            return Err(Error::internal(format!("gather_nd of {:?} into {:?}", x.shape(), out.shape())));
        }
        let size = x.dtype.size();
        let bytes = tuples.row * size;
        let (from, to) = (Shared(start(x)?), Shared(start(out)?));
        let wrong = AtomicUsize::new(usize::MAX);
        each_chunk(tuples.count, bytes, 1, |first, some| {
            for t in first..first + some {
                let Some(at) = tuples.place(t) else {
                    wrong.fetch_min(t, Ordering::Relaxed);
                    continue;
                };
                // SAFETY: the slice lies in the input, slice `t` in the result, where no other chunk writes it.
                unsafe {
                    let (from, to) = (from.at((at * size) as isize), to.at((t * bytes) as isize));
                    std::ptr::copy_nonoverlapping(from, to, bytes);
                }
            }
        });
        match wrong.into_inner() {
            usize::MAX => Ok(()),
            t => Err(tuples.wrong(t)),
        }
    }
}
