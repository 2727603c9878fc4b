//! Transforms of Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural
//! Networks"): a tile of 4 x 4 results takes 36 products per pair of channels in place of 144.

use crate::gemm::vector::{Plain, Vector, unroll};
use crate::simd::Tier;

/// Results of a tile along an axis.
pub const TILE: usize = 4;
/// Elements that a tile sees along an axis.
pub const SEEN: usize = 6;
/// Products per tile.
pub const POINTS: usize = SEEN * SEEN;

/// `G g G^T` for weights of one pair of channels.
pub fn weights(g: &[f32; 9]) -> [f32; POINTS] {
    const G: [[f64; 3]; SEEN] = [
        [0.25, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    let mut half = [[0.0; 3]; SEEN];
    for (i, row) in G.iter().enumerate() {
        half[i] = std::array::from_fn(|x| (0..3).map(|y| row[y] * f64::from(g[y * 3 + x])).sum());
    }
    std::array::from_fn(|i| {
        let (a, b) = (half[i / SEEN], G[i % SEEN]);
        (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) as f32
    })
}

/// One tile on its way in.
#[derive(Clone, Copy)]
pub struct Input {
    /// Where the pixels of the tile lie.
    pub pixels: [*const f32; POINTS],
    /// Channels.
    pub channels: usize,
    /// The transformed tile at the first point.
    pub to: *mut f32,
    /// Elements from point to point.
    pub step: usize,
}

/// One tile on its way out.
#[derive(Clone, Copy)]
pub struct Output {
    /// Products at the first point.
    pub from: *const f32,
    /// Elements from point to point.
    pub step: usize,
    /// Bias of the first channel.
    pub bias: *const f32,
    /// Channels.
    pub channels: usize,
    /// The first result.
    pub to: *mut f32,
    /// Added to it, laid out alike; may be null.
    pub residual: *const f32,
    /// Elements from row to row and from column to column.
    pub steps: [usize; 2],
    /// Rows and columns of the tile that are results.
    pub sizes: [usize; 2],
    /// Bounds of sums before a residual is added.
    pub inner: Option<(f32, f32)>,
    /// Bounds of results.
    pub bounds: Option<(f32, f32)>,
}

/// The transforms of an instruction set.
#[derive(Clone, Copy)]
pub struct Transforms {
    /// Transforms a tile of the image.
    ///
    /// # Safety
    /// The instruction set must be there and the pointers valid as documented.
    pub input: unsafe fn(&Input),
    /// Transforms products back.
    ///
    /// # Safety
    /// As for `input`.
    pub output: unsafe fn(&Output),
}

/// `B^T d` for six elements.
macro_rules! forward {
    ($v:ty, $d0:expr, $d1:expr, $d2:expr, $d3:expr, $d4:expr, $d5:expr) => {{
        let (d0, d1, d2, d3, d4, d5) = ($d0, $d1, $d2, $d3, $d4, $d5);
        let (four, five) = (<$v>::splat(-4.0), <$v>::splat(-5.0));
        let (one, two) = (<$v>::splat(-1.0), <$v>::splat(2.0));
        let a = d2.fma(four, d4);
        let b = d1.fma(four, d3);
        let c = d2.fma(one, d4);
        let e = d1.fma(one, d3);
        let low = d2.fma(five, d4);
        let high = d3.fma(five, d5);
        let plus = <$v>::splat(4.0);
        [d0.fma(plus, low), a.add(b), b.fma(one, a), e.fma(two, c), e.fma(<$v>::splat(-2.0), c), d1.fma(plus, high)]
    }};
}

/// `A^T m` for six elements.
macro_rules! back {
    ($v:ty, $m0:expr, $m1:expr, $m2:expr, $m3:expr, $m4:expr, $m5:expr) => {{
        let (m0, m1, m2, m3, m4, m5) = ($m0, $m1, $m2, $m3, $m4, $m5);
        let one = <$v>::splat(-1.0);
        let (a, b) = (m1.add(m2), m2.fma(one, m1));
        let (c, d) = (m3.add(m4), m4.fma(one, m3));
        [m0.add(a).add(c), d.fma(<$v>::splat(2.0), b), c.fma(<$v>::splat(4.0), a), d.fma(<$v>::splat(8.0), b).add(m5)]
    }};
}

/// # Safety
/// As for [`Transforms::input`].
#[inline(always)]
unsafe fn input<V: Vector<E = f32>>(t: &Input) {
    // SAFETY: the pointers are valid for the channels; the last ones are read and written in part.
    unsafe {
        let mut c = 0;
        while c < t.channels {
            let n = t.channels - c;
            let whole = n >= V::LANES;
            let mut rows = [[V::splat(0.0); SEEN]; SEEN];
            // Six pixels of column `x`, down.
            unroll!(x < 6, {
                let mut d = [V::splat(0.0); SEEN];
                unroll!(y < 6, {
                    let from = t.pixels[y * SEEN + x].add(c);
                    d[y] = if whole { V::load(from) } else { V::load_part(from, n) };
                });
                let made = forward!(V, d[0], d[1], d[2], d[3], d[4], d[5]);
                unroll!(y < 6, {
                    rows[y][x] = made[y];
                });
            });
            unroll!(y < 6, {
                let d = rows[y];
                let made = forward!(V, d[0], d[1], d[2], d[3], d[4], d[5]);
                unroll!(x < 6, {
                    let to = t.to.add((y * SEEN + x) * t.step + c);
                    if whole {
                        made[x].store(to);
                    } else {
                        made[x].store_part(to, n);
                    }
                });
            });
            c += V::LANES;
        }
    }
}

/// # Safety
/// As for [`Transforms::output`].
#[inline(always)]
unsafe fn output<V: super::micro::Bounded>(t: &Output) {
    // SAFETY: as above.
    unsafe {
        let (low, high) = t.bounds.unwrap_or_default();
        let (low, high) = (V::splat(low), V::splat(high));
        let (inner_low, inner_high) = t.inner.unwrap_or_default();
        let (inner_low, inner_high) = (V::splat(inner_low), V::splat(inner_high));
        let mut c = 0;
        while c < t.channels {
            let n = t.channels - c;
            let whole = n >= V::LANES;
            let mut rows = [[V::splat(0.0); SEEN]; TILE];
            unroll!(x < 6, {
                let mut m = [V::splat(0.0); SEEN];
                unroll!(y < 6, {
                    // Products have whole registers of columns.
                    m[y] = V::load(t.from.add((y * SEEN + x) * t.step + c));
                });
                let made = back!(V, m[0], m[1], m[2], m[3], m[4], m[5]);
                unroll!(y < 4, {
                    rows[y][x] = made[y];
                });
            });
            let bias = V::load(t.bias.add(c));
            unroll!(y < 4, {
                let m = rows[y];
                let made = back!(V, m[0], m[1], m[2], m[3], m[4], m[5]);
                if y < t.sizes[0] {
                    unroll!(x < 4, {
                        if x < t.sizes[1] {
                            let place = y * t.steps[0] + x * t.steps[1] + c;
                            let mut z = made[x].add(bias);
                            if t.inner.is_some() {
                                z = z.bounded(inner_low, inner_high);
                            }
                            if !t.residual.is_null() {
                                let from = t.residual.add(place);
                                z = z.add(if whole { V::load(from) } else { V::load_part(from, n) });
                            }
                            if t.bounds.is_some() {
                                z = z.bounded(low, high);
                            }
                            if whole {
                                z.store(t.to.add(place));
                            } else {
                                z.store_part(t.to.add(place), n);
                            }
                        }
                    });
                }
            });
            c += V::LANES;
        }
    }
}

macro_rules! transforms {
    ($name:ident, $($feature:literal)?, $vector:ty) => {
        pub mod $name {
            use super::*;

            $(#[target_feature(enable = $feature)])?
            unsafe fn input_tile(t: &Input) {
                // SAFETY: the feature is enabled here; the rest is the caller's contract.
                unsafe { input::<$vector>(t) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn output_tile(t: &Output) {
                // SAFETY: as above.
                unsafe { output::<$vector>(t) }
            }

            pub static TRANSFORMS: Transforms = Transforms { input: input_tile, output: output_tile };
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    transforms!(wide, "avx512f", __m512);
    transforms!(half, "avx2,fma", __m256);
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::*;

    transforms!(neon, "neon", float32x4_t);
}

transforms!(plain, , Plain<f32>);

/// The transforms of a SIMD tier.
pub fn transforms(tier: Tier) -> &'static Transforms {
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => &x86::wide::TRANSFORMS,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => &x86::half::TRANSFORMS,
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => &arm::neon::TRANSFORMS,
        _ => &plain::TRANSFORMS,
    }
}
