//! Register-blocked inner kernels: a tile of C stays in registers while the contraction runs over one block.

use super::vector::{Plain, Real, Vector};
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
}

/// An inner kernel.
pub type Micro<E> = unsafe fn(&Tile<E>);

/// The inner kernels of one instruction set.
#[derive(Clone, Copy)]
pub struct Kernels<E: 'static> {
    /// Kernels for 1, 2, ... rows.
    pub rows: &'static [Micro<E>],
    /// Columns of all of them.
    pub width: usize,
}

impl<E> Kernels<E> {
    /// Most rows.
    pub fn height(&self) -> usize {
        self.rows.len()
    }
}

/// # Safety
/// The instruction set of `V` must be there and the pointers of `t` valid as documented.
#[inline(always)]
unsafe fn micro<V: Vector, const ROWS: usize, const VECTORS: usize>(t: &Tile<V::E>) {
    // SAFETY: all accesses are those that the fields of `Tile` document.
    unsafe {
        let mut acc = [[V::splat(V::E::ZERO); VECTORS]; ROWS];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.depth {
            let row: [V; VECTORS] = std::array::from_fn(|j| V::load(b.add(j * V::LANES)));
            for (i, acc) in acc.iter_mut().enumerate() {
                let x = V::splat(*a.add(i));
                for (acc, &b) in acc.iter_mut().zip(&row) {
                    *acc = x.fma(b, *acc);
                }
            }
            a = a.add(ROWS);
            b = b.wrapping_offset(t.b_step);
        }
        let alpha = V::splat(t.alpha);
        if t.columns == VECTORS * V::LANES {
            for (i, row) in acc.iter().enumerate() {
                let c = t.c.add(i * t.c_step);
                for (j, x) in row.iter().enumerate() {
                    let c = c.add(j * V::LANES);
                    let x = x.mul(alpha);
                    let x = if t.accumulate { V::load(c).add(x) } else { x };
                    x.store(c);
                }
            }
            return;
        }
        let mut edge = [V::E::ZERO; 64];
        for (i, row) in acc.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                x.mul(alpha).store(edge.as_mut_ptr().add(j * V::LANES));
            }
            let c = t.c.add(i * t.c_step);
            for (j, &x) in edge.iter().enumerate().take(t.columns) {
                let c = c.add(j);
                *c = if t.accumulate { *c + x } else { x };
            }
        }
    }
}

macro_rules! kernels {
    ($name:ident, $($feature:literal)?, $vector:ty, $e:ty, $vectors:literal, [$($rows:literal)*]) => {
        pub mod $name {
            use super::*;
            #[allow(unused_imports)]
            use crate::gemm::vector::Vector as _;

            $(#[target_feature(enable = $feature)])?
            unsafe fn run<const ROWS: usize>(t: &Tile<$e>) {
                // SAFETY: the feature is enabled here; the rest is the caller's contract.
                unsafe { micro::<$vector, ROWS, $vectors>(t) }
            }

            pub static KERNELS: Kernels<$e> = Kernels {
                rows: &[$(run::<$rows>,)*],
                width: $vectors * <$vector as Vector>::LANES,
            };
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    kernels!(wide_f32, "avx512f", __m512, f32, 2, [1 2 3 4 5 6 7 8 9 10 11 12]);
    kernels!(wide_f64, "avx512f", __m512d, f64, 2, [1 2 3 4 5 6 7 8 9 10 11 12]);
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
