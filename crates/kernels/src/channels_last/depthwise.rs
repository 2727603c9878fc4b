//! Depthwise convolution: every register holds channels side by side, and windows next to each other share weights.

use std::ops::Range;

use super::Axis;
use crate::conv::Bounded;
use crate::gemm::vector::{Plain, unroll, unroll_few};
use crate::simd::Tier;

/// One row of results, `[columns.count, channels]`.
#[derive(Clone, Copy)]
pub struct Depthwise {
    /// Axis of rows.
    pub rows: Axis,
    /// Axis of columns.
    pub columns: Axis,
    /// Channels of an image.
    pub channels: usize,
    /// The image, `[rows.size, columns.size, channels]`.
    pub from: *const f32,
    /// A weight per tap and channel, `[rows.taps, columns.taps, channels]`.
    pub weights: *const f32,
    /// What sums start from, one per channel; null: 0.
    pub bias: *const f32,
    /// Bounds of results.
    pub bounds: Option<(f32, f32)>,
    /// The row of results.
    pub to: *mut f32,
    /// Which row.
    pub row: usize,
}

/// A function for one row. Its pointers must be valid for the sizes given.
pub type DepthwiseFn = unsafe fn(&Depthwise);

/// Weights `[channels, taps]` as `[taps, channels]`.
pub fn transpose_weights(from: &[f32], channels: usize, to: &mut [f32]) {
    let taps = from.len() / channels.max(1);
    for (c, row) in from.chunks_exact(taps.max(1)).enumerate() {
        for (t, w) in row.iter().enumerate() {
            if let Some(to) = to.get_mut(t * channels + c) {
                *to = *w;
            }
        }
    }
}

/// Registers of channels, of which the last may have fewer lanes than it could.
#[derive(Clone, Copy)]
struct Channels {
    first: usize,
    lanes: usize,
}

impl Channels {
    /// # Safety
    /// `p` is valid for a register, or for [`Channels::lanes`] elements when this is the last one of `N` and `PART`.
    #[inline(always)]
    unsafe fn load<V: Bounded, const N: usize, const PART: bool>(self, p: *const f32, j: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { if PART && j + 1 == N { V::load_part(p, self.lanes) } else { V::load(p) } }
    }

    /// # Safety
    /// As [`Channels::load`].
    #[inline(always)]
    unsafe fn store<V: Bounded, const N: usize, const PART: bool>(self, x: V, p: *mut f32, j: usize) {
        // SAFETY: the caller's promise.
        unsafe { if PART && j + 1 == N { x.store_part(p, self.lanes) } else { x.store(p) } }
    }
}

/// `X` windows from `column` on, of `N` registers of channels; all see the taps given.
///
/// # Safety
/// The instruction set of `V` must be there, the taps see elements, and channels are as many.
#[inline(always)]
unsafe fn tile<V: Bounded, const X: usize, const N: usize, const PART: bool>(
    d: &Depthwise,
    column: usize,
    channels: Channels,
    (rows, columns): (&Range<usize>, &Range<usize>),
) {
    let channel = channels.first;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; X];
        if !d.bias.is_null() {
            unroll_few!(j < N, {
                let bias = channels.load::<V, N, PART>(d.bias.add(channel + j * V::LANES), j);
                unroll!(i < X, {
                    sums[i][j] = bias;
                });
            });
        }
        let next = d.columns.step * d.channels;
        for y in rows.clone() {
            let line = d.from.add(d.rows.at(d.row, y) * d.columns.size * d.channels + channel);
            for x in columns.clone() {
                let from = line.add(d.columns.at(column, x) * d.channels);
                let weights = d.weights.add((y * d.columns.taps + x) * d.channels + channel);
                unroll_few!(j < N, {
                    let weight: V = channels.load::<V, N, PART>(weights.add(j * V::LANES), j);
                    unroll!(i < X, {
                        let x: V = channels.load::<V, N, PART>(from.add(i * next + j * V::LANES), j);
                        sums[i][j] = x.fma(weight, sums[i][j]);
                    });
                });
            }
        }
        let (low, high) = d.bounds.unwrap_or_default();
        let (low, high) = (V::splat(low), V::splat(high));
        unroll_few!(j < N, {
            unroll!(i < X, {
                let mut y = sums[i][j];
                if d.bounds.is_some() {
                    y = y.bounded(low, high);
                }
                let to = d.to.add((column + i) * d.channels + channel + j * V::LANES);
                channels.store::<V, N, PART>(y, to, j);
            });
        });
    }
}

/// All windows of the row, for `N` registers of channels; `X` windows at once where all their taps see elements.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn strip<V: Bounded, const X: usize, const N: usize, const PART: bool>(
    d: &Depthwise,
    channels: Channels,
    rows: &Range<usize>,
) {
    let (all, inside) = (0..d.columns.taps, d.columns.inside());
    let mut column = 0;
    // SAFETY: the caller's promise; windows inside see all taps.
    unsafe {
        while column < d.columns.count {
            if inside.contains(&column) && column + X <= inside.end {
                tile::<V, X, N, PART>(d, column, channels, (rows, &all));
                column += X;
            } else if inside.contains(&column) && column + 2 <= inside.end {
                tile::<V, 2, N, PART>(d, column, channels, (rows, &all));
                column += 2;
            } else {
                tile::<V, 1, N, PART>(d, column, channels, (rows, &d.columns.taps_at(column)));
                column += 1;
            }
        }
    }
}

/// `WIDE`: whether there are registers for 16 sums.
///
/// # Safety
/// The instruction set of `V` must be there, and the pointers valid as documented.
#[inline(always)]
unsafe fn run<V: Bounded, const WIDE: bool>(d: &Depthwise) {
    let rows = d.rows.taps_at(d.row);
    let mut at = Channels { first: 0, lanes: V::LANES };
    // SAFETY: the caller's promise.
    unsafe {
        while WIDE && at.first + 4 * V::LANES <= d.channels {
            strip::<V, 4, 4, false>(d, at, &rows);
            at.first += 4 * V::LANES;
        }
        while at.first + 2 * V::LANES <= d.channels {
            strip::<V, 4, 2, false>(d, at, &rows);
            at.first += 2 * V::LANES;
        }
        if at.first + V::LANES < d.channels {
            at.lanes = d.channels - at.first - V::LANES;
            strip::<V, 4, 2, true>(d, at, &rows);
        } else if at.first + V::LANES == d.channels {
            strip::<V, 8, 1, false>(d, at, &rows);
        } else if at.first < d.channels {
            at.lanes = d.channels - at.first;
            strip::<V, 8, 1, true>(d, at, &rows);
        }
    }
}

macro_rules! tier {
    ($name:ident, $($feature:literal)?, $vector:ty, $wide:literal) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name(d: &Depthwise) {
            // SAFETY: the feature is enabled here; the rest is the caller's contract.
            unsafe { run::<$vector, $wide>(d) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tier!(wide, "avx512f", std::arch::x86_64::__m512, true);
#[cfg(target_arch = "x86_64")]
tier!(half, "avx2,fma", std::arch::x86_64::__m256, false);
#[cfg(target_arch = "aarch64")]
tier!(neon, "neon", std::arch::aarch64::float32x4_t, true);
tier!(plain, , Plain<f32>, false);

/// The function of a SIMD tier.
pub fn depthwise(tier: Tier) -> DepthwiseFn {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => wide,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => half,
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => neon,
        _ => plain,
    }
}
