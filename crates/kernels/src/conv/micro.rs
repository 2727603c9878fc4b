//! Register-blocked inner kernels of convolutions whose channels lie side by side: rows of a tile are positions, read
//! where they lie; columns are output channels.

use crate::gemm::vector::{Plain, Vector, unroll, unroll_few};
use crate::simd::Tier;

/// One call of an inner kernel: as many positions as it has rows, times a panel of output channels.
#[derive(Clone, Copy)]
pub struct Tile {
    /// For every segment and every position, where the elements lie that it sees.
    pub rows: *const *const f32,
    /// Entries of `rows` from one segment to the next; 0 where all see the same ones.
    pub rows_step: usize,
    /// Elements to add to the addresses in `rows`.
    pub start: isize,
    /// The same for each segment.
    pub shifts: *const isize,
    /// Segments of the contraction.
    pub segments: usize,
    /// Length of each segment.
    pub depth: usize,
    /// Weights: a row as wide as the kernel for each element of the contraction.
    pub weights: *const f32,
    /// What is asked for meanwhile, with [`Tile::ahead_step`] elements between requests; need not be valid.
    pub ahead: *const f32,
    /// See `ahead`.
    pub ahead_step: usize,
    /// What the sums start from, one element per column of the kernel.
    pub bias: *const f32,
    /// What is added to finished sums, laid out as the result; may be null.
    pub residual: *const f32,
    /// Bounds of sums before the residual is added.
    pub inner: Option<(f32, f32)>,
    /// Bounds of results.
    pub bounds: Option<(f32, f32)>,
    /// The result at the first position.
    pub out: *mut f32,
    /// Elements from position to position of the result.
    pub out_step: usize,
    /// Columns to write, at most the width of the kernel.
    pub columns: usize,
}

/// An inner kernel.
///
/// # Safety
/// The instruction set must be there and the pointers of the tile valid as documented.
pub type Micro = unsafe fn(&Tile);

/// The inner kernels of one instruction set.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// By registers across, from 1 on, then by rows, from 1 on.
    pub by_width: [&'static [Micro]; 3],
    /// Columns of one register.
    pub lanes: usize,
}

/// What convolutions need of a register beyond matrix products.
///
/// # Safety
/// As for [`Vector`].
pub unsafe trait Bounded: Vector<E = f32> {
    /// The nearest value between `low` and `high`; NaN stays NaN.
    unsafe fn bounded(self, low: Self, high: Self) -> Self;
    /// Asks for the cache line at `p` in the second level; it need not be valid.
    #[inline(always)]
    unsafe fn prefetch_second(_p: *const f32) {}
}

// SAFETY: plain Rust.
unsafe impl Bounded for Plain<f32> {
    #[inline(always)]
    unsafe fn bounded(self, low: Self, high: Self) -> Self {
        let (mut x, mut l, mut h) = ([0.0f32; 4], [0.0f32; 4], [0.0f32; 4]);
        // SAFETY: arrays of four elements.
        unsafe {
            self.store(x.as_mut_ptr());
            low.store(l.as_mut_ptr());
            high.store(h.as_mut_ptr());
            for i in 0..4 {
                x[i] = if x[i] < l[i] { l[i] } else { x[i] };
                x[i] = if x[i] > h[i] { h[i] } else { x[i] };
            }
            Self::load(x.as_ptr())
        }
    }
}

/// The kernel of `ROWS` positions and `VECTORS` registers across; `DEEP` elements of the contraction per look at the
/// addresses of the rows.
///
/// # Safety
/// The instruction set of `V` must be there and the pointers of `t` valid as documented.
#[inline(always)]
unsafe fn micro<V: Bounded, const ROWS: usize, const VECTORS: usize, const DEEP: usize>(t: &Tile) {
    // SAFETY: all accesses are those that the fields of `Tile` document.
    unsafe {
        let mut acc = [[V::splat(0.0); VECTORS]; ROWS];
        unroll_few!(j < VECTORS, {
            let bias = V::load(t.bias.add(j * V::LANES));
            unroll!(i < ROWS, {
                acc[i][j] = bias;
            });
        });
        unroll!(i < ROWS, {
            let out = t.out.wrapping_add(i * t.out_step);
            V::prefetch(out);
            V::prefetch(out.wrapping_add(VECTORS * V::LANES - 1));
            if !t.residual.is_null() {
                let residual = t.residual.wrapping_add(i * t.out_step);
                V::prefetch(residual);
                V::prefetch(residual.wrapping_add(VECTORS * V::LANES - 1));
            }
        });
        let (mut weights, mut ahead) = (t.weights, t.ahead);
        for segment in 0..t.segments {
            let rows = t.rows.add(segment * t.rows_step);
            let mut at = t.start + *t.shifts.add(segment);
            macro_rules! step {
                ($deep:expr, $from:expr) => {{
                    let mut row = [[V::splat(0.0); VECTORS]; $deep];
                    unroll_few!(q < $deep, {
                        unroll_few!(j < VECTORS, {
                            row[q][j] = V::load(weights.add((($from + q) * VECTORS + j) * V::LANES));
                        });
                    });
                    unroll!(i < ROWS, {
                        // Volatile, or the addresses of all rows are kept in registers that do not suffice.
                        let from = std::ptr::read_volatile(rows.add(i)).offset(at + $from as isize);
                        unroll_few!(q < $deep, {
                            let x = V::splat(*from.add(q));
                            unroll_few!(j < VECTORS, {
                                acc[i][j] = x.fma(row[q][j], acc[i][j]);
                            });
                        });
                    });
                }};
            }
            for _ in 0..t.depth / 4 {
                step!(DEEP, 0);
                if DEEP < 4 {
                    step!(DEEP, DEEP);
                }
                V::prefetch_second(ahead);
                ahead = ahead.wrapping_add(t.ahead_step);
                V::prefetch_second(ahead);
                ahead = ahead.wrapping_add(t.ahead_step);
                if DEEP < 2 {
                    step!(DEEP, 2);
                    step!(DEEP, 3);
                }
                at += 4;
                weights = weights.add(4 * VECTORS * V::LANES);
            }
            for _ in 0..t.depth % 4 {
                step!(1, 0);
                at += 1;
                weights = weights.add(VECTORS * V::LANES);
            }
        }
        let (low, high) = t.bounds.unwrap_or_default();
        let (low, high) = (V::splat(low), V::splat(high));
        let (inner_low, inner_high) = t.inner.unwrap_or_default();
        let (inner_low, inner_high) = (V::splat(inner_low), V::splat(inner_high));
        unroll!(i < ROWS, {
            let place = i * t.out_step;
            unroll_few!(j < VECTORS, {
                let place = place + j * V::LANES;
                let left = t.columns.saturating_sub(j * V::LANES);
                if left > 0 {
                    let mut y = acc[i][j];
                    if t.inner.is_some() {
                        y = y.bounded(inner_low, inner_high);
                    }
                    if !t.residual.is_null() {
                        let from = t.residual.add(place);
                        y = y.add(if left >= V::LANES { V::load(from) } else { V::load_part(from, left) });
                    }
                    if t.bounds.is_some() {
                        y = y.bounded(low, high);
                    }
                    let to = t.out.add(place);
                    if left >= V::LANES {
                        y.store(to);
                    } else {
                        y.store_part(to, left);
                    }
                }
            });
        });
    }
}

macro_rules! kernels {
    ($name:ident, $($feature:literal)?, $vector:ty,
     [$($one:literal)*] $one_deep:literal, [$($two:literal)*] $two_deep:literal, [$($three:literal)*] $three_deep:literal) => {
        pub mod $name {
            use super::*;

            $(#[target_feature(enable = $feature)])?
            unsafe fn run<const ROWS: usize, const VECTORS: usize, const DEEP: usize>(t: &Tile) {
                // SAFETY: the feature is enabled here; the rest is the caller's contract.
                unsafe { micro::<$vector, ROWS, VECTORS, DEEP>(t) }
            }

            pub static KERNELS: Kernels = Kernels {
                by_width: [
                    &[$(run::<$one, 1, $one_deep>,)*],
                    &[$(run::<$two, 2, $two_deep>,)*],
                    &[$(run::<$three, 3, $three_deep>,)*],
                ],
                lanes: <$vector as Vector>::LANES,
            };
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    // SAFETY: the intrinsics need the instruction set, which the trait's contract demands.
    unsafe impl Bounded for __m512 {
        #[inline(always)]
        unsafe fn bounded(self, low: Self, high: Self) -> Self {
            // SAFETY: see the impl. The second operand is the result where one is NaN.
            unsafe { _mm512_min_ps(high, _mm512_max_ps(low, self)) }
        }
        #[inline(always)]
        unsafe fn prefetch_second(p: *const f32) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    }

    // SAFETY: as above.
    unsafe impl Bounded for __m256 {
        #[inline(always)]
        unsafe fn bounded(self, low: Self, high: Self) -> Self {
            // SAFETY: as above.
            unsafe { _mm256_min_ps(high, _mm256_max_ps(low, self)) }
        }
        #[inline(always)]
        unsafe fn prefetch_second(p: *const f32) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    }

    kernels!(wide, "avx512f", __m512, [1 2 3 4 5 6 7 8 9 10 11 12 13 14] 4, [1 2 3 4 5 6 7 8 9 10 11 12] 2,
        [1 2 3 4 5 6 7 8] 1);
    kernels!(half, "avx2,fma", __m256, [1 2 3 4 5 6 7 8] 2, [1 2 3 4 5 6] 1, [1 2 3 4] 1);
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::*;

    // SAFETY: every processor of the architecture has it.
    unsafe impl Bounded for float32x4_t {
        #[inline(always)]
        unsafe fn bounded(self, low: Self, high: Self) -> Self {
            // SAFETY: see the impl.
            unsafe { vminq_f32(high, vmaxq_f32(low, self)) }
        }
    }

    kernels!(neon, "neon", float32x4_t, [1 2 3 4 5 6 7 8] 4, [1 2 3 4 5 6 7 8] 2, [1 2 3 4 5 6 7] 1);
}

kernels!(plain, , Plain<f32>, [1 2 3 4] 1, [1 2 3 4] 1, [1 2] 1);

/// The kernels of a SIMD tier.
pub fn kernels(tier: Tier) -> &'static Kernels {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => &x86::wide::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => &x86::half::KERNELS,
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => &arm::neon::KERNELS,
        _ => &plain::KERNELS,
    }
}
