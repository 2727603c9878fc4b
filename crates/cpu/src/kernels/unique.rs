//! Different elements or slices.

use std::cmp::Ordering;

use lampyr_backend::{Arg, ArgInfo, Backend, Kernel, Launch};
use lampyr_base::{Error, Result, Shape, SmallVec, dispatch, smallvec};
use lampyr_ir::Op;
use lampyr_ops::build::Unique;

use super::contraction::{address, workspace};
use super::number::Number;

/// Sorts the numbers of the slices. The results are counted before they are written.
pub(super) struct UniqueKernel;

/// Slices along an axis of a row-major tensor.
struct Slices<T> {
    from: *const T,
    outer: usize,
    n: usize,
    inner: usize,
}

impl<T: Number> Slices<T> {
    fn new(op: &dyn Op, x: &Arg) -> Result<Slices<T>> {
        let op: &Unique = op.as_any().downcast_ref().ok_or_else(|| Error::internal("not unique"))?;
        let [outer, n, inner] = op.parts(x.shape())?;
        Ok(Slices { from: address::<T>(x)?.cast_const(), outer, n, inner })
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        let (a, b) = (a as usize * self.inner, b as usize * self.inner);
        for o in 0..self.outer {
            let row = o * self.n * self.inner;
            for i in row..row + self.inner {
                // SAFETY: `a` and `b` are slices of the tensor, which lies inside its memory without gaps.
                let (x, y) = unsafe { (*self.from.add(i + a), *self.from.add(i + b)) };
                if x.above(y) {
                    return Ordering::Greater;
                }
                if y.above(x) {
                    return Ordering::Less;
                }
                if x.is_nan() != y.is_nan() {
                    return x.is_nan().cmp(&y.is_nan());
                }
            }
        }
        Ordering::Equal
    }

    /// The slices in ascending order, equal ones by number, and how many different ones there are.
    fn rank(&self, order: &mut [u32]) -> usize {
        for (i, to) in order.iter_mut().enumerate() {
            *to = i as u32;
        }
        order.sort_unstable_by(|&a, &b| self.compare(a, b).then(a.cmp(&b)));
        order.windows(2).filter(|w| self.compare(w[0], w[1]).is_ne()).count() + usize::from(!order.is_empty())
    }
}

fn count(op: &dyn Op, shape: &[usize]) -> usize {
    let op: Option<&Unique> = op.as_any().downcast_ref();
    op.and_then(|op| op.parts(shape).ok()).map_or(0, |[_, n, _]| n)
}

/// # Safety
/// `at` must point to `n` numbers that nobody else uses.
unsafe fn room<'a>(at: *mut u32, n: usize) -> &'a mut [u32] {
    // SAFETY: the caller's promise; zeros make all of them initialised.
    unsafe {
        at.write_bytes(0, n);
        std::slice::from_raw_parts_mut(at, n)
    }
}

impl Kernel for UniqueKernel {
    fn name(&self) -> &'static str {
        "unique"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.first().is_some_and(|x| u32::try_from(count(op, x.shape())).is_ok())
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        inputs.first().map_or(0, |x| 3 * size_of::<u32>() * count(op, x.shape()))
    }

    fn measure(&self, backend: &dyn Backend, op: &dyn Op, inputs: &[Arg]) -> Option<Result<SmallVec<[Shape; 2]>>> {
        let x = inputs.first()?;
        let shapes = || -> Result<SmallVec<[Shape; 2]>> {
            let n = count(op, x.shape());
            let memory = backend.allocate(n * size_of::<u32>())?;
            let at = memory.host_ptr().ok_or_else(|| Error::device("workspace outside host memory"))?;
            // SAFETY: the memory was just made, with room for these.
            let order = unsafe { room(at.as_ptr().cast(), n) };
            let found = dispatch!(x.dtype, T => Slices::<T>::new(op, x)?.rank(order));
            let unique: &Unique = op.as_any().downcast_ref().ok_or_else(|| Error::internal("not unique"))?;
            let vector = |n: usize| Shape::from_slice(&[n]);
            let first = Shape::from_slice(&unique.shape(x.shape(), found)?);
            Ok(smallvec![first, vector(found), vector(n), vector(found)])
        };
        Some(shapes())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let x = launch.inputs.first().ok_or_else(|| Error::internal("one input is needed"))?;
        let op = launch.op::<Unique>()?;
        let [outer, n, inner] = op.parts(x.shape())?;
        let (at, have) = workspace::<u32>(launch)?;
        if have < 3 * n {
            return Err(Error::internal("workspace of unique is too small"));
        }
        // SAFETY: the workspace belongs to this launch.
        let (order, rest) = unsafe { room(at, 3 * n) }.split_at_mut(n);
        let (group, heads) = rest.split_at_mut(n);
        let found = dispatch!(x.dtype, T => {
            let slices = Slices::<T>::new(launch.op, x)?;
            let found = slices.rank(order);
            // Number of the group of each slice in ascending order, and the first slice of each group.
            let mut groups = 0;
            for k in 0..n {
                if k == 0 || slices.compare(order[k - 1], order[k]).is_ne() {
                    heads[groups] = order[k];
                    groups += 1;
                }
                group[order[k] as usize] = groups as u32 - 1;
            }
            found
        });
        let heads = &mut heads[..found];
        if !op.sorted {
            heads.sort_unstable();
            // The first slice of a group tells its place in the new order.
            let place = &mut order[..found];
            for (k, &head) in heads.iter().enumerate() {
                place[group[head as usize] as usize] = k as u32;
            }
            for g in group.iter_mut() {
                *g = place[*g as usize];
            }
        }
        let output = |i: usize, len: usize| -> Result<Option<*mut i64>> {
            let Some(out) = launch.outputs.get(i).and_then(Option::as_ref) else { return Ok(None) };
            if out.layout.len() != len {
                return Err(Error::internal(format!("{len} elements into {:?}", out.shape())));
            }
            address(out).map(Some)
        };
        let (first, inverse, counts) = (output(1, found)?, output(2, n)?, output(3, found)?);
        // SAFETY: the lengths of the outputs were checked; groups are numbered below `found`.
        unsafe {
            if let Some(first) = first {
                heads.iter().enumerate().for_each(|(k, &head)| *first.add(k) = i64::from(head));
            }
            if let Some(inverse) = inverse {
                group.iter().enumerate().for_each(|(i, &g)| *inverse.add(i) = i64::from(g));
            }
            if let Some(counts) = counts {
                (0..found).for_each(|k| *counts.add(k) = 0);
                group.iter().for_each(|&g| *counts.add(g as usize) += 1);
            }
        }
        let Some(out) = launch.outputs.first().and_then(Option::as_ref) else { return Ok(()) };
        let row = inner * x.dtype.size();
        if out.layout.len() != outer * found * inner {
            return Err(Error::internal(format!("{found} slices into {:?}", out.shape())));
        }
        let (from, to): (*mut u8, *mut u8) = (address(x)?, address(out)?);
        for o in 0..outer {
            for (k, &head) in heads.iter().enumerate() {
                // SAFETY: slice `head` lies in the input, slice `k` in the result, whose sizes were checked.
                unsafe {
                    let from = from.add((o * n + head as usize) * row);
                    std::ptr::copy_nonoverlapping(from, to.add((o * found + k) * row), row);
                }
            }
        }
        Ok(())
    }
}
