//! Sums of a few shifted rows, each with a weight of its own: the inner loop of depthwise convolution.

use super::vector::{Plain, Vector, unroll};
use crate::simd::Tier;

/// One call: `to[i] = bias + sum over t of weights[t] * from[offsets[t] + i]`.
#[derive(Clone, Copy)]
pub struct Taps<E> {
    /// Row that the offsets count from.
    pub from: *const E,
    /// Where each tap sees its row.
    pub offsets: *const isize,
    /// A weight per tap.
    pub weights: *const E,
    /// Number of taps.
    pub count: usize,
    /// What sums start from.
    pub bias: E,
    /// Results.
    pub to: *mut E,
    /// Number of results; rows can be read and results written up to the next multiple of [`TAPS_ROUND`].
    pub len: usize,
}

/// Elements that rows and results of [`Taps`] are rounded up to.
pub const TAPS_ROUND: usize = 16;

/// A function for [`Taps`].
pub type TapsFn<E> = unsafe fn(&Taps<E>);

/// # Safety
/// The instruction set of `V` must be there, and the pointers of `t` valid for `VECTORS` registers from `at` on.
#[inline(always)]
unsafe fn block<V: Vector, const VECTORS: usize>(t: &Taps<V::E>, at: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [V::splat(t.bias); VECTORS];
        let from = t.from.add(at);
        for i in 0..t.count {
            let from = from.offset(*t.offsets.add(i));
            let weight = V::splat(*t.weights.add(i));
            unroll!(j < VECTORS, {
                sums[j] = V::load(from.add(j * V::LANES)).fma(weight, sums[j]);
            });
        }
        unroll!(j < VECTORS, {
            sums[j].store(t.to.add(at + j * V::LANES));
        });
    }
}

/// # Safety
/// The instruction set of `V` must be there, and the pointers of `t` valid as documented.
#[inline(always)]
unsafe fn all<V: Vector>(t: &Taps<V::E>) {
    let mut at = 0;
    // SAFETY: blocks end at the last multiple of a register's lanes at or behind `len`, at most `TAPS_ROUND` further on.
    unsafe {
        while at + 7 * V::LANES < t.len {
            block::<V, 8>(t, at);
            at += 8 * V::LANES;
        }
        match t.len.saturating_sub(at).div_ceil(V::LANES) {
            0 => {}
            1 => block::<V, 1>(t, at),
            2 => block::<V, 2>(t, at),
            3 => block::<V, 3>(t, at),
            4 => block::<V, 4>(t, at),
            5 => block::<V, 5>(t, at),
            6 => block::<V, 6>(t, at),
            _ => block::<V, 7>(t, at),
        }
    }
}

macro_rules! taps {
    ($name:ident, $($feature:literal)?, $vector:ty, $e:ty) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name(t: &Taps<$e>) {
            // SAFETY: the feature is enabled here; the rest is the caller's contract.
            unsafe { all::<$vector>(t) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    taps!(wide_f32, "avx512f", __m512, f32);
    taps!(wide_f64, "avx512f", __m512d, f64);
    taps!(half_f32, "avx2,fma", __m256, f32);
    taps!(half_f64, "avx2,fma", __m256d, f64);
    pub const WIDE: (TapsFn<f32>, TapsFn<f64>) = (wide_f32, wide_f64);
    pub const HALF: (TapsFn<f32>, TapsFn<f64>) = (half_f32, half_f64);
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::*;

    taps!(neon_f32, "neon", float32x4_t, f32);
    taps!(neon_f64, "neon", float64x2_t, f64);
    pub const NEON: (TapsFn<f32>, TapsFn<f64>) = (neon_f32, neon_f64);
}

taps!(plain_f32, , Plain<f32>, f32);
taps!(plain_f64, , Plain<f64>, f64);

/// The functions of a SIMD tier.
pub fn taps(tier: Tier) -> (TapsFn<f32>, TapsFn<f64>) {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => x86::WIDE,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => x86::HALF,
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => arm::NEON,
        _ => (plain_f32, plain_f64),
    }
}
