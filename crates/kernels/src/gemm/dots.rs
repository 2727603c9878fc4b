//! Products with few rows whose contraction is contiguous on both sides: inner products where the operands lie.

use lampyr_base::pool::ThreadPool;

use super::driver::Shared;
use super::inner::COLUMNS as INNER;
use super::operand::Strided;
use super::{Compute, Start, Store};
use crate::simd::{Job, Level, Tier, run};

/// Sums kept side by side.
const LANES: usize = super::inner::LANES;
/// Columns of one task.
const COLUMNS: usize = 16;
/// Multiply-adds of one chunk; the right side is read only once, so memory sets the pace.
const GRAIN: usize = 64 * 1024;
/// Most rows for which this beats packing.
pub const MOST_ROWS: usize = 8;

/// A product of `m` rows that [`dots`] runs.
pub struct Dots<'a, E, S> {
    /// Batch, rows, columns and inner size.
    pub sizes: (usize, usize, usize, usize),
    /// Left side with contiguous contraction.
    pub left: &'a Strided<S>,
    /// Right side with contiguous contraction.
    pub right: &'a Strided<S>,
    /// The result without gaps.
    pub c: *mut S,
    /// Factor of the product.
    pub alpha: E,
    /// What it is added to.
    pub start: Option<&'a dyn Start<E>>,
}

struct Dot<'a, S> {
    a: &'a [S],
    b: &'a [S],
}

impl<S> Dot<'_, S> {
    #[inline(always)]
    fn sum<E: Compute, L: Level>(self) -> E
    where
        S: Store<E>,
    {
        let step = |s: E, a: S, b: S| if L::FMA { a.get().mul_add(b.get(), s) } else { a.get() * b.get() + s };
        let mut sums = [E::ZERO; LANES];
        let (a, a_rest) = self.a.as_chunks::<LANES>();
        let (b, b_rest) = self.b.as_chunks::<LANES>();
        for j in 0..a.len().min(b.len()) {
            let (a, b) = (&a[j], &b[j]);
            for i in 0..LANES {
                sums[i] = step(sums[i], a[i], b[i]);
            }
        }
        for i in 0..a_rest.len().min(b_rest.len()) {
            sums[i] = step(sums[i], a_rest[i], b_rest[i]);
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                sums[i] = sums[i] + sums[i + width];
            }
            width /= 2;
        }
        sums[0]
    }
}

struct Task<'a, 'b, E, S> {
    dots: &'a Dots<'b, E, S>,
    batch: usize,
    first: usize,
    count: usize,
    c: *mut S,
}

impl<E: Compute, S: Store<E>> Job for Task<'_, '_, E, S> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let Dots { sizes: (_, m, n, k), left, right, alpha, start, .. } = *self.dots;
        let mut sums = [[E::ZERO; COLUMNS]; MOST_ROWS];
        if let Some(start) = start {
            for (i, sums) in sums.iter_mut().enumerate().take(m) {
                start.fill(self.batch, i, self.first, &mut sums[..self.count]);
            }
        }
        // SAFETY: rows and columns lie inside the matrices; the result of this task belongs to it alone.
        unsafe {
            let a = left.data.offset(left.batch.offset(self.batch));
            let b = right.data.offset(right.batch.offset(self.batch));
            if let Some(inner) = E::inner(Tier::current()).filter(|_| S::SAME) {
                let (a, b) = (a.cast::<E>(), b.cast::<E>());
                let mut some = [E::ZERO; INNER];
                for j in (0..self.count).step_by(INNER) {
                    let columns = INNER.min(self.count - j);
                    let b = b.offset((self.first + j) as isize * right.outer);
                    for (i, sums) in sums.iter_mut().enumerate().take(m) {
                        inner(a.offset(i as isize * left.outer), b, right.outer, columns, k, some.as_mut_ptr());
                        for (sum, &x) in sums[j..j + columns].iter_mut().zip(&some) {
                            *sum = *sum + alpha * x;
                        }
                    }
                }
            } else {
                for j in 0..self.count {
                    let b = std::slice::from_raw_parts(b.offset((self.first + j) as isize * right.outer), k);
                    for (i, sums) in sums.iter_mut().enumerate().take(m) {
                        let a = std::slice::from_raw_parts(a.offset(i as isize * left.outer), k);
                        sums[j] = sums[j] + alpha * Dot { a, b }.sum::<E, L>();
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate().take(m) {
                let c = self.c.add((self.batch * m + i) * n + self.first);
                sums[..self.count].iter().enumerate().for_each(|(j, &x)| c.add(j).write(S::put(x)));
            }
        }
    }
}

/// Whether [`dots`] is the way to multiply these.
pub fn suits<S>(m: usize, left: &Strided<S>, right: &Strided<S>) -> bool {
    m <= MOST_ROWS && left.inner == 1 && right.inner == 1 && right.outer != 1
}

/// Runs a product that [`suits`].
///
/// # Safety
/// The sides have the sizes given, and the result is valid for all its elements and overlaps no side.
pub unsafe fn dots<E: Compute, S: Store<E>>(dots: &Dots<E, S>) {
    let (batch, m, n, k) = dots.sizes;
    if m == 0 {
        return;
    }
    struct All<'a, 'b, E, S>(&'a Dots<'b, E, S>);
    // SAFETY: sides are `Sync`, and tasks write disjoint parts of the result.
    unsafe impl<E: Sync, S: Sync> Sync for All<'_, '_, E, S> {}
    impl<'a, 'b, E, S> All<'a, 'b, E, S> {
        fn get(&self) -> &'a Dots<'b, E, S> {
            self.0
        }
    }
    let (all, c, tier) = (All(dots), Shared(dots.c), Tier::current());
    let blocks = n.div_ceil(COLUMNS);
    let grain = (GRAIN / (m * k * COLUMNS).max(1)).max(1);
    ThreadPool::global().parallel_ranges(batch * blocks, grain, |range| {
        for i in range {
            let (batch, first) = (i / blocks, i % blocks * COLUMNS);
            run(tier, Task { dots: all.get(), batch, first, count: COLUMNS.min(n - first), c: c.at(0) });
        }
    });
}
