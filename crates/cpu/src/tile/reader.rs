use lampyr_base::{DType, Shape};
use lampyr_ir::scalar::Compute;
use smallvec::SmallVec;

use super::operand::Operand;
use crate::simd::prim::{Prim, Prims, is_native};

/// Reads tiles of a tensor as lanes of one compute type.
pub(crate) struct Reader {
    operand: Operand,
    shape: Shape,
    convert: SmallVec<[Prim; 2]>,
}

impl Reader {
    /// A tensor at `start` whose points, row-major over `shape`, lie at `strides` (in elements).
    pub(crate) fn new(
        start: *mut u8,
        dtype: DType,
        shape: &[usize],
        strides: &[isize],
        lane: Compute,
        prims: &Prims,
    ) -> Reader {
        let mut convert = SmallVec::new();
        if !is_native(dtype) {
            convert.push(prims.load(dtype));
        }
        if Compute::of(dtype) != lane {
            convert.push(prims.convert(Compute::of(dtype), lane));
        }
        Reader { operand: Operand::new(start, dtype.size(), shape, strides), shape: Shape::from_slice(shape), convert }
    }

    /// Lanes of points `start..start + len`: in the tensor itself, or in one of the buffers.
    ///
    /// # Safety
    /// The points must lie inside the tensor, and both buffers must be aligned and have room for `len` lanes of 8 bytes.
    #[inline]
    pub(crate) unsafe fn tile(&self, start: usize, len: usize, buffers: [*mut u8; 2]) -> *const u8 {
        let [mut next, mut other] = buffers;
        let mut at = match self.operand.dense(&self.shape, start, len) {
            Some(ptr) => ptr,
            None => {
                // SAFETY: the caller's promise.
                unsafe { self.operand.read(&self.shape, start, len, next) };
                std::mem::swap(&mut next, &mut other);
                other
            }
        };
        for run in &self.convert {
            // SAFETY: `at` holds `len` elements of the type that the conversion takes and lies in another buffer.
            unsafe { run(next, at, at, at, len) };
            std::mem::swap(&mut next, &mut other);
            at = other;
        }
        at
    }
}
