//! Products of one row with several packed panels at once: sums enough to hide the latency of a multiply-add.

use super::vector::{Vector, unroll_few};
use crate::simd::Tier;

/// Adds the products of the `depth` elements at `a` with `count` panels of two registers across, `panel` elements apart
/// from `b` on, to as many rows without gaps at `c`.
///
/// # Safety
/// The pointers are valid for these elements; `count` is 1 to 4.
pub type GatesFn<E> = unsafe fn(depth: usize, a: *const E, b: *const E, panel: usize, count: usize, c: *mut E);

/// # Safety
/// The instruction set of `V` must be there; the rest as for [`GatesFn`].
#[inline(always)]
unsafe fn all<V: Vector, const COUNT: usize>(depth: usize, a: *const V::E, b: *const V::E, panel: usize, c: *mut V::E) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[V::splat(<V::E as super::Real>::ZERO); 2]; COUNT];
        for p in 0..depth {
            let x = V::splat(*a.add(p));
            unroll_few!(g < COUNT, {
                let b = b.add(g * panel + p * 2 * V::LANES);
                acc[g][0] = x.fma(V::load(b), acc[g][0]);
                acc[g][1] = x.fma(V::load(b.add(V::LANES)), acc[g][1]);
            });
        }
        unroll_few!(g < COUNT, {
            let c = c.add(g * 2 * V::LANES);
            V::load(c).add(acc[g][0]).store(c);
            let c = c.add(V::LANES);
            V::load(c).add(acc[g][1]).store(c);
        });
    }
}

#[allow(unused_macros)]
macro_rules! gates {
    ($name:ident, $feature:literal, $vector:ty, $e:ty) => {
        #[target_feature(enable = $feature)]
        unsafe fn $name(depth: usize, a: *const $e, b: *const $e, panel: usize, count: usize, c: *mut $e) {
            // SAFETY: the feature is enabled here; the rest is the caller's contract.
            unsafe {
                match count {
                    1 => all::<$vector, 1>(depth, a, b, panel, c),
                    2 => all::<$vector, 2>(depth, a, b, panel, c),
                    3 => all::<$vector, 3>(depth, a, b, panel, c),
                    _ => all::<$vector, 4>(depth, a, b, panel, c),
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    gates!(wide_f32, "avx512f", __m512, f32);
    gates!(wide_f64, "avx512f", __m512d, f64);
    gates!(half_f32, "avx2,fma", __m256, f32);
    gates!(half_f64, "avx2,fma", __m256d, f64);
    pub const WIDE: (GatesFn<f32>, GatesFn<f64>) = (wide_f32, wide_f64);
    pub const HALF: (GatesFn<f32>, GatesFn<f64>) = (half_f32, half_f64);
}

/// The functions of a tier whose kernels are two registers wide, where there are any.
pub fn gates(tier: Tier) -> Option<(GatesFn<f32>, GatesFn<f64>)> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => Some(x86::WIDE),
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => Some(x86::HALF),
        _ => None,
    }
}
