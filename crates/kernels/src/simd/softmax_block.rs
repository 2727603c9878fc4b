//! One step of a running softmax over columns (Milakov and Gimelshein 2018).

use super::Tier;

/// Columns that are worked on side by side.
pub const COLUMNS: usize = 16;

/// Scores, and what is known of their columns.
#[derive(Clone, Copy)]
pub struct SoftmaxBlock {
    /// `rows` rows of at least `columns` elements, which become weights.
    pub scores: *mut f32,
    /// Elements from row to row.
    pub step: usize,
    /// Rows.
    pub rows: usize,
    /// Columns, a multiple of [`COLUMNS`].
    pub columns: usize,
    /// The largest score of each column so far; minus infinity before the first one.
    pub most: *mut f32,
    /// The sum of the weights of each column so far.
    pub totals: *mut f32,
    /// Gets what sums of earlier weights are to be multiplied with.
    pub decay: *mut f32,
}

/// Replaces scores by `exp(score - most)`, where those below the exponential of -87 are zero, and brings `most` and
/// `totals` up to date.
///
/// # Safety
/// The pointers are valid as documented, and nothing overlaps.
pub type SoftmaxBlockFn = unsafe fn(&SoftmaxBlock);

/// The function of a tier, where there is one that beats generic loops.
pub fn softmax_block(tier: Tier) -> Option<SoftmaxBlockFn> {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => Some(x86::wide),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, SoftmaxBlock};
    use crate::simd::wide::exp;

    /// The exponential of a score less the largest one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn weight(x: __m512) -> __m512 {
        // Not below: NaN is a weight.
        let counts = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(-87.0));
        _mm512_maskz_mov_ps(counts, exp(x))
    }

    #[target_feature(enable = "avx512f")]
    pub unsafe fn wide(b: &SoftmaxBlock) {
        let least = _mm512_set1_ps(f32::NEG_INFINITY);
        for at in (0..b.columns).step_by(COLUMNS) {
            // SAFETY: rows and columns lie inside the block, by contract.
            unsafe {
                let scores = b.scores.add(at);
                let before = _mm512_loadu_ps(b.most.add(at));
                let mut chains = [before, least, least, least];
                let mut j = 0;
                while j + 4 <= b.rows {
                    for (i, chain) in chains.iter_mut().enumerate() {
                        *chain = _mm512_max_ps(_mm512_loadu_ps(scores.add((j + i) * b.step)), *chain);
                    }
                    j += 4;
                }
                while j < b.rows {
                    chains[0] = _mm512_max_ps(_mm512_loadu_ps(scores.add(j * b.step)), chains[0]);
                    j += 1;
                }
                // A maximum ignores some NaN; each makes its own weight and so the sum NaN.
                let most = _mm512_max_ps(_mm512_max_ps(chains[0], chains[1]), _mm512_max_ps(chains[2], chains[3]));
                // Without any score so far the maximum is minus infinity, which must not be taken off itself.
                let shift = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(most, least), most);
                let mut sum = _mm512_setzero_ps();
                for j in 0..b.rows {
                    let to = scores.add(j * b.step);
                    let e = weight(_mm512_sub_ps(_mm512_loadu_ps(to), shift));
                    sum = _mm512_add_ps(sum, e);
                    _mm512_storeu_ps(to, e);
                }
                let decay = weight(_mm512_sub_ps(before, shift));
                let total = _mm512_fmadd_ps(_mm512_loadu_ps(b.totals.add(at)), decay, sum);
                _mm512_storeu_ps(b.totals.add(at), total);
                _mm512_storeu_ps(b.decay.add(at), decay);
                _mm512_storeu_ps(b.most.add(at), most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_give_the_softmax_of_all_rows() {
        const ROWS: usize = 23;
        const COUNT: usize = 2 * COLUMNS;
        for tier in Tier::available() {
            let Some(step) = softmax_block(tier) else { continue };
            let score = |j: usize, c: usize| match (j, c) {
                (_, 3) => f32::NEG_INFINITY,
                (5, 4) => f32::NAN,
                (j, c) if c % 2 == 1 => (j * 71 % 29) as f32 * 11.0 - 160.0,
                (j, c) => ((j * 37 + c * 11) % 41) as f32 / 8.0 - 2.0,
            };
            let (mut most, mut totals) = ([f32::NEG_INFINITY; COUNT], [0f32; COUNT]);
            let mut weights = vec![[0f64; COUNT]; ROWS];
            for rows in [0..9, 9..10, 10..ROWS] {
                let mut scores: Vec<f32> = rows.clone().flat_map(|j| (0..COUNT).map(move |c| score(j, c))).collect();
                let mut decay = [0f32; COUNT];
                let block = SoftmaxBlock {
                    scores: scores.as_mut_ptr(),
                    step: COUNT,
                    rows: rows.len(),
                    columns: COUNT,
                    most: most.as_mut_ptr(),
                    totals: totals.as_mut_ptr(),
                    decay: decay.as_mut_ptr(),
                };
                // SAFETY: all arrays are as long as the block says.
                unsafe { step(&block) };
                for row in &mut weights[..rows.start] {
                    row.iter_mut().zip(decay).for_each(|(w, d)| *w *= f64::from(d));
                }
                for (row, new) in weights[rows].iter_mut().zip(scores.chunks(COUNT)) {
                    row.iter_mut().zip(new).for_each(|(w, &x)| *w = f64::from(x));
                }
            }
            for c in 0..COUNT {
                let largest = (0..ROWS).map(|j| score(j, c)).fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = (0..ROWS).map(|j| f64::from(score(j, c) - largest).exp()).sum();
                for (j, row) in weights.iter().enumerate() {
                    let got = row[c] / f64::from(totals[c]);
                    match c {
                        3 => assert!(totals[c] == 0.0 && row[c] == 0.0, "a column without scores"),
                        4 => assert!(got.is_nan(), "NaN is kept"),
                        _ => {
                            let want = f64::from(score(j, c) - largest).exp() / sum;
                            assert!((got - want).abs() < 1e-6, "{tier:?} {j} {c}: {got} {want}");
                        }
                    }
                }
            }
        }
    }
}
