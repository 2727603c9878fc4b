//! Convolution of one channel by rows: results of a few rows stay in registers while all taps are added, and rows of the
//! image are read where they lie, with masks for padding.

use crate::simd::Tier;

/// One channel. Position `(y, x)` and tap `(i, j)` meet at element `(y * step.0 + i * tap_step.0 + shift.0, ...)`, or at
/// padding.
#[derive(Clone, Copy)]
pub struct Channel<E> {
    /// First element.
    pub from: *const E,
    /// Elements from row to row; elements of a row are contiguous.
    pub row: isize,
    /// Rows and columns.
    pub source: (usize, usize),
    /// A weight per tap.
    pub weights: *const E,
    /// Rows and columns of taps.
    pub taps: (usize, usize),
    /// Elements from position to position; across 1 or 2.
    pub step: (isize, isize),
    /// Elements from tap to tap.
    pub tap_step: (isize, isize),
    /// Where position 0 and tap 0 meet.
    pub shift: (isize, isize),
    /// What sums start from.
    pub bias: E,
    /// Results without gaps.
    pub to: *mut E,
    /// Rows and columns of results.
    pub positions: (usize, usize),
}

/// A function for a [`Channel`] that [`suits`].
pub type ChannelFn<E> = unsafe fn(&Channel<E>);

/// Most taps across.
const MOST_ACROSS: usize = 32;
/// Elements from the first tap of a row to the last one at most.
const MOST_REACH: isize = 192;

/// Whether the functions take it.
pub fn suits<E>(c: &Channel<E>) -> bool {
    let reach = (c.taps.1 as isize - 1) * c.tap_step.1;
    (1..=2).contains(&c.step.1) && c.positions.0 > 1 && c.taps.1 <= MOST_ACROSS && (0..=MOST_REACH).contains(&reach)
}

/// The function of a tier that has one.
pub fn channel(tier: Tier) -> Option<ChannelFn<f32>> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => Some(x86::channel),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Channel, MOST_ACROSS, MOST_REACH};
    use crate::gemm::vector::unroll;

    /// Most rows of results in registers.
    const ROWS: usize = 8;

    /// Places that `unroll` names.
    const MOST: usize = 16;

    /// Rows of padding.
    static ZEROS: [f32; MOST_REACH as usize + 32] = [0.0; MOST_REACH as usize + 32];

    /// Which of `lanes` elements from column `begin` on lie in a row of `width`.
    #[inline(always)]
    fn inside(begin: isize, lanes: isize, width: usize) -> u16 {
        let ones = |n: isize| ((1u32 << n.clamp(0, lanes)) - 1) as u16;
        ones(width as isize - begin) & !ones(-begin)
    }

    macro_rules! width {
        ($name:ident, $lanes:literal, $mask:ty, $one:ident, $load:ident, $store:ident, $fma:ident, $even:expr) => {
            mod $name {
                use super::*;

                /// Results of `R` rows from `(y, x)` on, in one register each.
                ///
                /// # Safety
                /// The operands of the channel are valid, and the rows are rows of results.
                #[target_feature(enable = "avx512f,avx512vl")]
                unsafe fn group<const R: usize, const TWO: bool>(
                    c: &Channel<f32>,
                    (y, x): (usize, usize),
                    masks: &[[u16; 2]; MOST_ACROSS],
                ) {
                    let mut sums = [$one(c.bias); MOST];
                    let mut weights = c.weights;
                    let begin = x as isize * c.step.1 + c.shift.1;
                    for i in 0..c.taps.0 {
                        let mut rows = [ZEROS.as_ptr(); MOST];
                        unroll!(r < R, {
                            let at = (y + r) as isize * c.step.0 + i as isize * c.tap_step.0 + c.shift.0;
                            if at >= 0 && at < c.source.0 as isize {
                                rows[r] = c.from.wrapping_offset(at * c.row + begin);
                            }
                        });
                        for j in 0..c.taps.1.min(MOST_ACROSS) {
                            let [low, high] = masks[j];
                            // SAFETY: there is a weight per tap; masked lanes are not read, and the others lie in a row
                            // of the image or in `ZEROS`.
                            unsafe {
                                let weight = $one(*weights);
                                weights = weights.add(1);
                                unroll!(r < R, {
                                    let from = rows[r].wrapping_offset(j as isize * c.tap_step.1);
                                    let seen = $load(low as $mask, from);
                                    let seen = if TWO {
                                        $even(seen, $load(high as $mask, from.wrapping_add($lanes)))
                                    } else {
                                        seen
                                    };
                                    sums[r] = $fma(seen, weight, sums[r]);
                                });
                            }
                        }
                    }
                    let columns = inside(x as isize, $lanes, c.positions.1) as $mask;
                    unroll!(r < R, {
                        // SAFETY: masked lanes are not written, and the others lie in a row of results.
                        unsafe { $store(c.to.add((y + r) * c.positions.1 + x), columns, sums[r]) };
                    });
                }

                /// All rows of results from column `x` on.
                ///
                /// # Safety
                /// The operands of the channel are valid.
                #[target_feature(enable = "avx512f,avx512vl")]
                pub unsafe fn columns<const TWO: bool>(c: &Channel<f32>, x: usize) {
                    let mut masks = [[0u16; 2]; MOST_ACROSS];
                    for j in 0..c.taps.1.min(MOST_ACROSS) {
                        let begin = x as isize * c.step.1 + j as isize * c.tap_step.1 + c.shift.1;
                        masks[j] = [inside(begin, $lanes, c.source.1), inside(begin + $lanes, $lanes, c.source.1)];
                    }
                    let height = c.positions.0;
                    let rows = height.div_ceil(height.div_ceil(ROWS).max(1)).max(1);
                    let mut y = 0;
                    while y < height {
                        let at = (y, x);
                        // SAFETY: the caller's promise.
                        unsafe {
                            match rows.min(height - y) {
                                1 => group::<1, TWO>(c, at, &masks),
                                2 => group::<2, TWO>(c, at, &masks),
                                3 => group::<3, TWO>(c, at, &masks),
                                4 => group::<4, TWO>(c, at, &masks),
                                5 => group::<5, TWO>(c, at, &masks),
                                6 => group::<6, TWO>(c, at, &masks),
                                7 => group::<7, TWO>(c, at, &masks),
                                _ => group::<8, TWO>(c, at, &masks),
                            }
                        }
                        y += rows;
                    }
                }
            }
        };
    }

    width!(
        wide,
        16,
        __mmask16,
        _mm512_set1_ps,
        _mm512_maskz_loadu_ps,
        _mm512_mask_storeu_ps,
        _mm512_fmadd_ps,
        |a, b| {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            _mm512_permutex2var_ps(a, even, b)
        }
    );
    width!(half, 8, __mmask8, _mm256_set1_ps, _mm256_maskz_loadu_ps, _mm256_mask_storeu_ps, _mm256_fmadd_ps, |a, b| {
        _mm256_permutex2var_ps(a, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14), b)
    });

    /// # Safety
    /// The operands of the channel are valid, and it suits.
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    pub unsafe fn channel(c: &Channel<f32>) {
        let mut x = 0;
        while x < c.positions.1 {
            let short = c.positions.1 - x <= 8;
            // SAFETY: the caller's promise.
            unsafe {
                match (short, c.step.1 == 2) {
                    (false, false) => wide::columns::<false>(c, x),
                    (false, true) => wide::columns::<true>(c, x),
                    (true, false) => half::columns::<false>(c, x),
                    (true, true) => half::columns::<true>(c, x),
                }
            }
            x += if short { 8 } else { 16 };
        }
    }
}
