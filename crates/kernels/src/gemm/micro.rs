//! Register-blocked inner kernels: a tile of C stays in registers while the contraction runs over one block.

use super::vector::{Plain, Real, Vector, unroll, unroll_few};
use crate::simd::Tier;

/// One call of an inner kernel.
#[derive(Clone, Copy)]
pub struct Tile<E> {
    /// Length of the contraction.
    pub depth: usize,
    /// Left panel: `depth` groups of as many elements as the kernel has rows.
    pub a: *const E,
    /// Right panel: `depth` rows of at least as many readable elements as the kernel has columns.
    pub b: *const E,
    /// Elements from one row of the right panel to the next.
    pub b_step: isize,
    /// Where the rows of the right panel begin, in elements from `b` on, for kernels that take no `b_step`.
    pub offsets: *const isize,
    /// First element of the result tile; columns are contiguous.
    pub c: *mut E,
    /// Elements from one row of the result to the next.
    pub c_step: usize,
    /// Columns to write, at most the width of the kernel.
    pub columns: usize,
    /// Factor of the products.
    pub alpha: E,
    /// Whether the result is added to what is there.
    pub accumulate: bool,
    /// One value per row to start from instead; may be null.
    pub bias: *const E,
    /// Where lines lie that a later tile reads; they are asked for meanwhile, and need not be valid.
    pub next: *const E,
    /// How many of them every four steps of the contraction.
    pub lines: usize,
}

/// An inner kernel.
pub type Micro<E> = unsafe fn(&Tile<E>);

/// The inner kernels of one instruction set.
#[derive(Clone, Copy)]
pub struct Kernels<E: 'static> {
    /// Kernels for 1, 2, ... rows.
    pub rows: &'static [Micro<E>],
    /// The same for at most half as many columns.
    pub half: &'static [Micro<E>],
    /// As `rows`, with a right panel whose rows lie anywhere.
    pub scattered: &'static [Micro<E>],
    /// The same for at most half as many columns.
    pub scattered_half: &'static [Micro<E>],
    /// Columns of the widest of them.
    pub width: usize,
}

impl<E> Kernels<E> {
    /// Most rows.
    pub fn height(&self) -> usize {
        self.rows.len()
    }

    /// Rows of a panel of a matrix with `m` rows: all panels but the last have as many, and that one hardly fewer.
    pub fn height_for(&self, m: usize) -> usize {
        m.div_ceil(m.div_ceil(self.height()).max(1)).max(1)
    }

    /// The kernels for this many columns.
    #[inline]
    pub fn of(&self, columns: usize, scattered: bool) -> &'static [Micro<E>] {
        match (2 * columns <= self.width, scattered) {
            (false, false) => self.rows,
            (true, false) => self.half,
            (false, true) => self.scattered,
            (true, true) => self.scattered_half,
        }
    }
}

/// Bytes of a line of the caches.
pub const LINE: usize = 64;

/// Steps of the contraction between the request for a line and its use.
const AHEAD: usize = 8;

/// The same for rows that are pages apart, which no prefetcher of the processor follows.
const FAR: usize = 24;

/// Bytes from row to row from which they are.
const PAGES: usize = 4096;

/// # Safety
/// The instruction set of `V` must be there and the pointers of `t` valid as documented.
#[inline(always)]
unsafe fn micro<V: Vector, const ROWS: usize, const VECTORS: usize, const SCATTERED: bool>(t: &Tile<V::E>) {
    // SAFETY: all accesses are those that the fields of `Tile` document.
    unsafe {
        let mut acc = [[V::splat(V::E::ZERO); VECTORS]; ROWS];
        let (mut a, mut b, mut at) = (t.a, t.b, t.offsets);
        let apart = t.b_step.unsigned_abs() * size_of::<V::E>() >= PAGES;
        let ahead = t.b_step * if apart { FAR } else { AHEAD } as isize;
        macro_rules! step {
            () => {{
                let here = if SCATTERED { b.offset(*at) } else { b };
                V::prefetch(a.wrapping_add(AHEAD * ROWS));
                if !SCATTERED {
                    unroll_few!(j < VECTORS, {
                        V::prefetch(b.wrapping_offset(ahead).wrapping_add(j * V::LANES));
                    });
                }
                let mut row = [V::splat(V::E::ZERO); VECTORS];
                unroll_few!(j < VECTORS, {
                    row[j] = V::load(here.add(j * V::LANES));
                });
                unroll!(i < ROWS, {
                    let x = V::splat(*a.add(i));
                    unroll_few!(j < VECTORS, {
                        acc[i][j] = x.fma(row[j], acc[i][j]);
                    });
                });
                a = a.add(ROWS);
                if SCATTERED {
                    at = at.add(1);
                } else {
                    b = b.wrapping_offset(t.b_step);
                }
            }};
        }
        // The lines of the result are asked for one by one, between products.
        let lead = ROWS.min(t.depth);
        for i in 0..lead {
            let c = t.c.wrapping_add(i * t.c_step);
            V::prefetch(c);
            V::prefetch(c.wrapping_add((VECTORS * V::LANES).saturating_sub(1)));
            step!();
        }
        let mut next = t.next;
        for _ in 0..(t.depth - lead) / 4 {
            for _ in 0..t.lines {
                V::prefetch_near(next);
                next = next.wrapping_add(LINE / size_of::<V::E>());
            }
            step!();
            step!();
            step!();
            step!();
        }
        for _ in 0..(t.depth - lead) % 4 {
            step!();
        }
        let alpha = V::splat(t.alpha);
        let whole = t.columns == VECTORS * V::LANES;
        unroll!(i < ROWS, {
            let c = t.c.add(i * t.c_step);
            let bias = V::splat(if t.bias.is_null() { V::E::ZERO } else { *t.bias.add(i) });
            unroll_few!(j < VECTORS, {
                let c = c.wrapping_add(j * V::LANES);
                let x = acc[i][j].mul(alpha);
                if whole || t.columns >= (j + 1) * V::LANES {
                    let x = if t.accumulate { V::load(c).add(x) } else { bias.add(x) };
                    x.store(c);
                } else if t.columns > j * V::LANES {
                    let n = t.columns - j * V::LANES;
                    let x = if t.accumulate { V::load_part(c, n).add(x) } else { bias.add(x) };
                    x.store_part(c, n);
                }
            });
        });
    }
}

macro_rules! kernels {
    ($name:ident, $($feature:literal)?, $vector:ty, $e:ty, $vectors:literal, [$($rows:literal)*]) => {
        pub mod $name {
            use super::*;
            #[allow(unused_imports)]
            use crate::gemm::vector::Vector as _;

            $(#[target_feature(enable = $feature)])?
            unsafe fn run<const ROWS: usize, const VECTORS: usize, const SCATTERED: bool>(t: &Tile<$e>) {
                // SAFETY: the feature is enabled here; the rest is the caller's contract.
                unsafe { micro::<$vector, ROWS, VECTORS, SCATTERED>(t) }
            }

            pub static KERNELS: Kernels<$e> = Kernels {
                rows: &[$(run::<$rows, $vectors, false>,)*],
                half: &[$(run::<$rows, { $vectors / 2 }, false>,)*],
                scattered: &[$(run::<$rows, $vectors, true>,)*],
                scattered_half: &[$(run::<$rows, { $vectors / 2 }, true>,)*],
                width: $vectors * <$vector as Vector>::LANES,
            };
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    kernels!(wide_f32, "avx512f", __m512, f32, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
    kernels!(wide_f64, "avx512f", __m512d, f64, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
    kernels!(half_f32, "avx2,fma", __m256, f32, 2, [1 2 3 4 5 6]);
    kernels!(half_f64, "avx2,fma", __m256d, f64, 2, [1 2 3 4 5 6]);
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::*;

    kernels!(neon_f32, "neon", float32x4_t, f32, 4, [1 2 3 4 5 6]);
    kernels!(neon_f64, "neon", float64x2_t, f64, 4, [1 2 3 4 5 6]);
}

kernels!(plain_f32, , Plain<f32>, f32, 2, [1 2 3 4]);
kernels!(plain_f64, , Plain<f64>, f64, 2, [1 2 3 4]);

/// The kernels for `f32` of a SIMD tier.
pub fn kernels_f32(tier: Tier) -> &'static Kernels<f32> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => &x86::wide_f32::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => &x86::half_f32::KERNELS,
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => &arm::neon_f32::KERNELS,
        _ => &plain_f32::KERNELS,
    }
}

/// The kernels for `f64` of a SIMD tier.
pub fn kernels_f64(tier: Tier) -> &'static Kernels<f64> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => &x86::wide_f64::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => &x86::half_f64::KERNELS,
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => &arm::neon_f64::KERNELS,
        _ => &plain_f64::KERNELS,
    }
}
