//! Depthwise convolution: every register holds channels side by side, and windows next to each other share weights.

use std::ops::Range;

use super::Axis;
use crate::gemm::vector::{Plain, Vector, unroll_few};
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

/// `X` windows from `column` on, of `N` registers of channels from `channel` on; all see the taps given.
///
/// # Safety
/// The instruction set of `V` must be there, the taps see elements, and channels are as many.
#[inline(always)]
unsafe fn tile<V: Vector<E = f32>, const X: usize, const N: usize>(
    d: &Depthwise,
    column: usize,
    channel: usize,
    (rows, columns): (&Range<usize>, &Range<usize>),
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; X];
        if !d.bias.is_null() {
            unroll_few!(j < N, {
                let bias = V::load(d.bias.add(channel + j * V::LANES));
                unroll_few!(i < X, {
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
                    let weight = V::load(weights.add(j * V::LANES));
                    unroll_few!(i < X, {
                        sums[i][j] = V::load(from.add(i * next + j * V::LANES)).fma(weight, sums[i][j]);
                    });
                });
            }
        }
        unroll_few!(i < X, {
            unroll_few!(j < N, {
                sums[i][j].store(d.to.add((column + i) * d.channels + channel + j * V::LANES));
            });
        });
    }
}

/// The last channels of one window, fewer than a register holds.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn rest<V: Vector<E = f32>>(
    d: &Depthwise,
    column: usize,
    channel: usize,
    (rows, columns): (&Range<usize>, &Range<usize>),
) {
    let count = d.channels - channel;
    // SAFETY: the caller's promise; only `count` lanes are touched.
    unsafe {
        let mut sum = if d.bias.is_null() { V::splat(0.0) } else { V::load_part(d.bias.add(channel), count) };
        for y in rows.clone() {
            let line = d.from.add(d.rows.at(d.row, y) * d.columns.size * d.channels + channel);
            for x in columns.clone() {
                let from = line.add(d.columns.at(column, x) * d.channels);
                let weights = d.weights.add((y * d.columns.taps + x) * d.channels + channel);
                sum = V::load_part(from, count).fma(V::load_part(weights, count), sum);
            }
        }
        sum.store_part(d.to.add(column * d.channels + channel), count);
    }
}

/// All windows of the row, for `N` registers of channels.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn strip<V: Vector<E = f32>, const N: usize>(d: &Depthwise, channel: usize, rows: &Range<usize>) {
    let (all, inside) = (0..d.columns.taps, d.columns.inside());
    let mut column = 0;
    // SAFETY: the caller's promise; windows inside see all taps.
    unsafe {
        while column < d.columns.count {
            if inside.contains(&column) && column + 4 <= inside.end {
                tile::<V, 4, N>(d, column, channel, (rows, &all));
                column += 4;
            } else if inside.contains(&column) && column + 2 <= inside.end {
                tile::<V, 2, N>(d, column, channel, (rows, &all));
                column += 2;
            } else {
                tile::<V, 1, N>(d, column, channel, (rows, &d.columns.taps_at(column)));
                column += 1;
            }
        }
    }
}

/// # Safety
/// The instruction set of `V` must be there, and the pointers valid as documented.
#[inline(always)]
unsafe fn run<V: Vector<E = f32>>(d: &Depthwise) {
    let rows = d.rows.taps_at(d.row);
    let mut channel = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while channel + 2 * V::LANES <= d.channels {
            strip::<V, 2>(d, channel, &rows);
            channel += 2 * V::LANES;
        }
        if channel + V::LANES <= d.channels {
            strip::<V, 1>(d, channel, &rows);
            channel += V::LANES;
        }
        if channel < d.channels {
            for column in 0..d.columns.count {
                rest::<V>(d, column, channel, (&rows, &d.columns.taps_at(column)));
            }
        }
    }
}

macro_rules! tier {
    ($name:ident, $($feature:literal)?, $vector:ty) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name(d: &Depthwise) {
            // SAFETY: the feature is enabled here; the rest is the caller's contract.
            unsafe { run::<$vector>(d) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tier!(wide, "avx512f", std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
tier!(half, "avx2,fma", std::arch::x86_64::__m256);
#[cfg(target_arch = "aarch64")]
tier!(neon, "neon", std::arch::aarch64::float32x4_t);
tier!(plain, , Plain<f32>);

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
