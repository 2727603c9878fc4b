//! Softmax of one contiguous row.

use super::Tier;

/// Writes the softmax of the `n` elements at `x` to `y`.
///
/// # Safety
/// Both are valid for `n` elements and do not overlap.
pub type SoftmaxRow = unsafe fn(x: *const f32, y: *mut f32, n: usize);

/// The function of a tier, where there is one that beats generic loops.
pub fn softmax_row(tier: Tier) -> Option<SoftmaxRow> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => Some(x86::wide),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::simd::wide::exp;

    /// Elements of a register.
    const LANES: usize = 16;
    /// Elements between two widenings of the sum.
    const PIECE: usize = 2048;

    #[target_feature(enable = "avx512f")]
    pub unsafe fn wide(x: *const f32, y: *mut f32, n: usize) {
        let least = _mm512_set1_ps(f32::NEG_INFINITY);
        let mask = |at: usize| if n - at >= LANES { u16::MAX } else { ((1u32 << (n - at)) - 1) as __mmask16 };
        // SAFETY: masked lanes behind the end are neither read nor written.
        unsafe {
            let mut most = least;
            for at in (0..n).step_by(LANES) {
                most = _mm512_max_ps(_mm512_mask_loadu_ps(least, mask(at), x.add(at)), most);
            }
            // A maximum ignores some NaN; each makes its own term and so the sum NaN.
            let most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
            let mut total = 0f64;
            for piece in (0..n).step_by(PIECE) {
                let mut sum = _mm512_setzero_ps();
                for at in (piece..n.min(piece + PIECE)).step_by(LANES) {
                    let m = mask(at);
                    let e = exp(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, x.add(at)), most));
                    sum = _mm512_mask_add_ps(sum, m, sum, e);
                    _mm512_mask_storeu_ps(y.add(at), m, e);
                }
                total += f64::from(_mm512_reduce_add_ps(sum));
            }
            let factor = _mm512_set1_ps((1.0 / total) as f32);
            for at in (0..n).step_by(LANES) {
                let m = mask(at);
                let e = _mm512_maskz_loadu_ps(m, y.add(at));
                _mm512_mask_storeu_ps(y.add(at), m, _mm512_mul_ps(e, factor));
            }
        }
    }
}
