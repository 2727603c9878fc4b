//! Square blocks of four-byte elements with rows and columns exchanged in registers.

use super::Tier;
use super::level::{Job, Level, run};

/// Edge of a block.
pub const EDGE: usize = 16;

/// Reads `rows` rows of [`EDGE`] elements, `from_step` elements apart, and writes them as the columns of [`EDGE`] rows of
/// `rows` elements, `to_step` elements apart.
///
/// # Safety
/// `rows` is at most [`EDGE`], all elements are valid, and source and target do not overlap; neither need be aligned.
pub type Transpose = unsafe fn(from: *const u8, from_step: isize, rows: usize, to: *mut u8, to_step: isize);

/// The function of a tier, where there is one that beats plain loops.
pub fn transpose(tier: Tier) -> Option<Transpose> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => Some(x86::wide),
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => Some(x86::half),
        _ => None,
    }
}

/// Most columns that [`interleave`] has a loop for.
pub const FEW: usize = 4;

struct Interleave {
    from: *const f32,
    from_step: isize,
    to: *mut f32,
    n: usize,
    columns: usize,
}

impl Interleave {
    /// # Safety
    /// As for [`interleave`].
    #[inline(always)]
    unsafe fn run_few<const C: usize>(&self) {
        for i in 0..self.n {
            for c in 0..C {
                // SAFETY: the caller's promise.
                unsafe { *self.to.add(i * C + c) = *self.from.offset(c as isize * self.from_step + i as isize) };
            }
        }
    }
}

impl Job for Interleave {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        // SAFETY: the promise of `interleave`.
        unsafe {
            match self.columns {
                1 => self.run_few::<1>(),
                2 => self.run_few::<2>(),
                3 => self.run_few::<3>(),
                _ => self.run_few::<4>(),
            }
        }
    }
}

/// Reads `columns` rows of `n` four-byte elements, `from_step` elements apart, and writes `n` rows of `columns` elements
/// without gaps.
///
/// # Safety
/// `columns` is at least 1 and at most [`FEW`], all elements are valid, and source and target do not overlap.
pub unsafe fn interleave(tier: Tier, from: *const f32, from_step: isize, columns: usize, to: *mut f32, n: usize) {
    run(tier, Interleave { from, from_step, to, n, columns });
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::EDGE;

    #[target_feature(enable = "avx512f")]
    pub unsafe fn wide(from: *const u8, from_step: isize, rows: usize, to: *mut u8, to_step: isize) {
        let (from, to) = (from.cast::<f32>(), to.cast::<f32>());
        let mut r = [_mm512_setzero_ps(); EDGE];
        let mut t = r;
        for (i, r) in r.iter_mut().enumerate() {
            if i < rows {
                // SAFETY: the row lies in the source.
                *r = unsafe { _mm512_loadu_ps(from.offset(i as isize * from_step)) };
            }
        }
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let low = |a, b| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
        let high = |a, b| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
        for i in 0..4 {
            r[4 * i] = low(t[4 * i], t[4 * i + 2]);
            r[4 * i + 1] = high(t[4 * i], t[4 * i + 2]);
            r[4 * i + 2] = low(t[4 * i + 1], t[4 * i + 3]);
            r[4 * i + 3] = high(t[4 * i + 1], t[4 * i + 3]);
        }
        for i in 0..4 {
            t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
            t[i + 4] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
            t[i + 8] = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
            t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
        }
        for i in 0..8 {
            r[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]);
            r[i + 8] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 8]);
        }
        let mask = ((1u32 << rows) - 1) as __mmask16;
        for (i, &r) in r.iter().enumerate() {
            // SAFETY: the row lies in the target, and masked lanes are not written.
            unsafe { _mm512_mask_storeu_ps(to.offset(i as isize * to_step), mask, r) };
        }
    }

    #[target_feature(enable = "avx2")]
    pub unsafe fn half(from: *const u8, from_step: isize, rows: usize, to: *mut u8, to_step: isize) {
        let (from, to) = (from.cast::<f32>(), to.cast::<f32>());
        for (first, across) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            let count = rows.saturating_sub(first).min(8);
            let mut r = [_mm256_setzero_ps(); 8];
            let mut t = r;
            for (i, r) in r.iter_mut().enumerate() {
                if i < count {
                    // SAFETY: the row lies in the source.
                    *r = unsafe { _mm256_loadu_ps(from.offset((first + i) as isize * from_step + across)) };
                }
            }
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..2 {
                r[4 * i] = _mm256_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
                r[4 * i + 1] = _mm256_shuffle_ps::<0xee>(t[4 * i], t[4 * i + 2]);
                r[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
                r[4 * i + 3] = _mm256_shuffle_ps::<0xee>(t[4 * i + 1], t[4 * i + 3]);
            }
            for i in 0..4 {
                t[i] = _mm256_permute2f128_ps::<0x20>(r[i], r[i + 4]);
                t[i + 4] = _mm256_permute2f128_ps::<0x31>(r[i], r[i + 4]);
            }
            for (i, &t) in t.iter().enumerate() {
                let to = to.wrapping_offset((across + i as isize) * to_step + first as isize);
                if count == 8 {
                    // SAFETY: the row lies in the target.
                    unsafe { _mm256_storeu_ps(to, t) };
                    continue;
                }
                let mut lanes = [0f32; 8];
                // SAFETY: `lanes` has room; the first `count` elements of the row lie in the target.
                unsafe {
                    _mm256_storeu_ps(lanes.as_mut_ptr(), t);
                    std::ptr::copy_nonoverlapping(lanes.as_ptr().cast::<u8>(), to.cast::<u8>(), 4 * count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_transposed() {
        for tier in Tier::available() {
            let Some(transpose) = transpose(tier) else { continue };
            for rows in 1..=EDGE {
                let from: Vec<u32> = (0..20 * EDGE as u32).collect();
                let mut to = vec![u32::MAX; 18 * EDGE];
                // SAFETY: steps 20 and 18 keep all rows inside.
                unsafe { transpose(from.as_ptr().cast(), 20, rows, to.as_mut_ptr().cast(), 18) };
                for (i, row) in to.chunks(18).enumerate() {
                    for (j, &x) in row.iter().enumerate() {
                        let want = if j < rows { (20 * j + i) as u32 } else { u32::MAX };
                        assert_eq!(x, want, "{tier:?} {rows} rows, element {i}, {j}");
                    }
                }
            }
        }
    }
}
