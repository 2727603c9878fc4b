//! Products of integer matrices, which wrap.

use lampyr_base::pool::ThreadPool;

use super::operand::Batch;

/// An integer that wraps.
pub trait Wrapping: Copy + Send + Sync + 'static {
    /// 0
    const ZERO: Self;
    /// `self + a * b`
    fn mul_add(self, a: Self, b: Self) -> Self;
}

macro_rules! wrapping {
    ($($t:ty)*) => { $(
        impl Wrapping for $t {
            const ZERO: $t = 0;
            #[inline(always)]
            fn mul_add(self, a: $t, b: $t) -> $t {
                self.wrapping_add(a.wrapping_mul(b))
            }
        }
    )* };
}
wrapping! { u8 i8 u16 i16 u32 i32 u64 i64 }

/// A batch of matrices with two steps, in elements.
#[derive(Clone, Debug)]
pub struct IntMatrix<T> {
    /// First element of the first matrix.
    pub data: *const T,
    /// Step from row to row.
    pub row: isize,
    /// Step from column to column.
    pub column: isize,
    /// Where the matrices begin.
    pub batch: Batch,
}

// SAFETY: the pointer is only read, inside the lifetime of the operand it was made from.
unsafe impl<T: Send> Send for IntMatrix<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for IntMatrix<T> {}

struct Result<T>(*mut T);

// SAFETY: chunks write disjoint rows.
unsafe impl<T: Send> Sync for Result<T> {}

impl<T> Result<T> {
    fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}

/// `c = a * b` for `batch` pairs of `m x k` and `k x n` matrices; `c` is row-major without gaps.
///
/// # Safety
/// All pointers are valid for the shapes, and `c` overlaps no operand.
pub unsafe fn int_matmul<T: Wrapping>(
    (batch, m, n, k): (usize, usize, usize, usize),
    a: &IntMatrix<T>,
    b: &IntMatrix<T>,
    c: *mut T,
    pool: &ThreadPool,
) {
    let work = n.saturating_mul(k).max(1);
    let grain = (128 * 1024usize).div_ceil(work).max(1);
    let rows = batch * m;
    if rows == 0 || n == 0 {
        return;
    }
    let c = Result(c);
    pool.parallel_for(rows.div_ceil(grain), &|i| {
        for row in i * grain..((i + 1) * grain).min(rows) {
            let (matrix, at) = (row / m, row % m);
            // SAFETY: the row lies inside the matrices; every row of the result belongs to one chunk.
            unsafe {
                let left = a.data.offset(a.batch.offset(matrix) + at as isize * a.row);
                let right = b.data.offset(b.batch.offset(matrix));
                let c = c.at(row * n);
                (0..n).for_each(|j| c.add(j).write(T::ZERO));
                let c = std::slice::from_raw_parts_mut(c, n);
                for p in 0..k as isize {
                    let x = *left.offset(p * a.column);
                    let row = right.offset(p * b.row);
                    if b.column == 1 {
                        let row = std::slice::from_raw_parts(row, n);
                        c.iter_mut().zip(row).for_each(|(c, &y)| *c = c.mul_add(x, y));
                    } else {
                        c.iter_mut()
                            .enumerate()
                            .for_each(|(j, c)| *c = c.mul_add(x, *row.offset(j as isize * b.column)));
                    }
                }
            }
        }
    });
}
