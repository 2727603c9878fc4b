use lampyr_backend::{Arg, ArgInfo, Backend, Kernel, Launch};
use lampyr_base::{Error, Result, Shape, SmallVec, dispatch, smallvec};
use lampyr_ir::Op;

use super::contraction::address;
use super::number::Number;
use crate::simd::{Job, Level, Tier, run};

/// Counts first, then writes.
pub(super) struct NonzeroKernel;

struct Count<'a, T>(&'a [T]);

impl<T: Number> Job for Count<'_, T> {
    type Output = usize;
    #[inline(always)]
    fn run<L: Level>(self) -> usize {
        self.0.iter().map(|x| usize::from(x.is_set())).sum()
    }
}

/// # Safety
/// `T` is the type of the elements, which lie without gaps.
unsafe fn elements<'a, T>(x: &'a Arg) -> Result<&'a [T]> {
    let n = x.layout.len();
    if n == 0 {
        return Ok(&[]);
    }
    // SAFETY: the caller's promise; the launcher checked that they lie inside the memory.
    Ok(unsafe { std::slice::from_raw_parts(address::<T>(x)?, n) })
}

impl Kernel for NonzeroKernel {
    fn name(&self) -> &'static str {
        "nonzero"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn measure(&self, _backend: &dyn Backend, _op: &dyn Op, inputs: &[Arg]) -> Option<Result<SmallVec<[Shape; 2]>>> {
        let x = inputs.first()?;
        let count = || -> Result<SmallVec<[Shape; 2]>> {
            // SAFETY: the kernel takes contiguous operands only, and dispatch gives their type.
            let count = dispatch!(x.dtype, T => run(Tier::current(), Count(unsafe { elements::<T>(x) }?)));
            Ok(smallvec![Shape::from_slice(&[x.layout.rank(), count])])
        };
        Some(count())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, out) = (&launch.inputs[0], launch.output(0)?);
        let (shape, count) = (x.shape(), out.shape()[1]);
        let to: *mut i64 = address(out)?;
        let mut index: Shape = smallvec![0; shape.len()];
        let mut found = 0;
        dispatch!(x.dtype, T => {
            // SAFETY: as in `measure`.
            for value in unsafe { elements::<T>(x) }? {
                if value.is_set() {
                    if found < count {
                        for (axis, &i) in index.iter().enumerate() {
                            // SAFETY: `found < count`, and the result has `count` elements for every axis.
                            unsafe { *to.add(axis * count + found) = i as i64 };
                        }
                    }
                    found += 1;
                }
                for axis in (0..shape.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < shape[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
            }
        });
        if found == count { Ok(()) } else { Err(Error::internal(format!("{found} elements are set, not {count}"))) }
    }
}
