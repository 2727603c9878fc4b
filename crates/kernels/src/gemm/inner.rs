//! Inner products of one row with a few others, all contiguous.

use super::vector::{Vector, unroll, unroll_few};
use crate::simd::Tier;

/// Sums kept side by side for each product; their number fixes the bits.
pub const LANES: usize = 32;
/// Most rows on the right side.
pub const COLUMNS: usize = 4;

/// Products of `a` with `columns` rows of `k` elements, `b_step` elements apart from `b` on.
///
/// # Safety
/// The rows are valid, `columns` is at most [`COLUMNS`], and `sums` is valid for as many elements.
pub type InnerFn<E> = unsafe fn(a: *const E, b: *const E, b_step: isize, columns: usize, k: usize, sums: *mut E);

/// # Safety
/// The instruction set of `V` must be there; the rest as for [`InnerFn`].
#[inline(always)]
unsafe fn some<V: Vector, const REGISTERS: usize, const COUNT: usize>(
    a: *const V::E,
    b: *const V::E,
    b_step: isize,
    k: usize,
    sums: *mut V::E,
) {
    const { assert!(REGISTERS * V::LANES == LANES) };
    // SAFETY: the caller's promise; the last pieces are read in part.
    unsafe {
        let mut acc = [[V::splat(<V::E as super::Real>::ZERO); REGISTERS]; COUNT];
        let mut p = 0;
        while p + LANES <= k {
            unroll!(r < REGISTERS, {
                let x = V::load(a.add(p + r * V::LANES));
                unroll_few!(j < COUNT, {
                    let y = V::load(b.offset(j as isize * b_step).add(p + r * V::LANES));
                    acc[j][r] = x.fma(y, acc[j][r]);
                });
            });
            p += LANES;
        }
        // No closure: it would not have the instruction set.
        macro_rules! load {
            ($from:expr, $n:expr) => {
                if $n >= V::LANES { V::load($from) } else { V::load_part($from, $n) }
            };
        }
        unroll!(r < REGISTERS, {
            let at = p + r * V::LANES;
            if at < k {
                let x = load!(a.add(at), k - at);
                unroll_few!(j < COUNT, {
                    let y = load!(b.offset(j as isize * b_step).add(at), k - at);
                    acc[j][r] = x.fma(y, acc[j][r]);
                });
            }
        });
        unroll_few!(j < COUNT, {
            let acc = &mut acc[j];
            // Constant bounds keep the sums in registers.
            if REGISTERS == 8 {
                for r in 0..4 {
                    acc[r] = acc[r].add(acc[(r + 4) % REGISTERS]);
                }
            }
            if REGISTERS >= 4 {
                for r in 0..2 {
                    acc[r] = acc[r].add(acc[(r + 2) % REGISTERS]);
                }
            }
            acc[0] = acc[0].add(acc[1]);
            let mut lanes = [<V::E as super::Real>::ZERO; 16];
            acc[0].store(lanes.as_mut_ptr());
            let mut half = V::LANES / 2;
            while half > 0 {
                for i in 0..half {
                    lanes[i] = lanes[i] + lanes[i + half];
                }
                half /= 2;
            }
            sums.add(j).write(lanes[0]);
        });
    }
}

macro_rules! inner {
    ($name:ident, $feature:literal, $vector:ty, $e:ty, $registers:literal) => {
        #[target_feature(enable = $feature)]
        unsafe fn $name(a: *const $e, b: *const $e, b_step: isize, columns: usize, k: usize, sums: *mut $e) {
            // SAFETY: the feature is enabled here; the rest is the caller's contract.
            unsafe {
                match columns {
                    0 => {}
                    1 => some::<$vector, $registers, 1>(a, b, b_step, k, sums),
                    2 => some::<$vector, $registers, 2>(a, b, b_step, k, sums),
                    3 => some::<$vector, $registers, 3>(a, b, b_step, k, sums),
                    _ => some::<$vector, $registers, 4>(a, b, b_step, k, sums),
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    inner!(wide_f32, "avx512f", __m512, f32, 2);
    inner!(wide_f64, "avx512f", __m512d, f64, 4);
    inner!(half_f32, "avx2,fma", __m256, f32, 4);
    inner!(half_f64, "avx2,fma", __m256d, f64, 8);
    pub const WIDE: (InnerFn<f32>, InnerFn<f64>) = (wide_f32, wide_f64);
    pub const HALF: (InnerFn<f32>, InnerFn<f64>) = (half_f32, half_f64);
}

/// The functions of a tier, where there are any.
pub fn inner(tier: Tier) -> Option<(InnerFn<f32>, InnerFn<f64>)> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => Some(x86::WIDE),
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => Some(x86::HALF),
        _ => None,
    }
}
