//! Gradients of the weights of small convolutions: registers run along rows of positions, and the sums of a block of
//! channels times a block of taps stay in registers over all rows of a stretch of images.

use crate::gemm::vector::{Plain, Vector, unroll_few};
use crate::simd::Tier;

/// Partial sums of each weight, whatever the tier.
pub const LANES: usize = 16;

/// A stretch of images.
#[derive(Clone, Copy)]
pub struct WeightGrad<'a> {
    /// Images in frames, so that every tap of every position lies inside.
    pub image: *const f32,
    /// Elements from image to image.
    pub next_image: usize,
    /// Elements from a row of positions to the next one.
    pub pitch: usize,
    /// Where each tap of each channel sees the first position.
    pub taps: &'a [isize],
    /// Gradients, `[images, ..., height, width]` with `rows` planes of each image.
    pub gradient: *const f32,
    /// Elements from image to image.
    pub next_gradient: usize,
    /// Number of images.
    pub images: usize,
    /// Channels of the gradient.
    pub rows: usize,
    /// Rows of positions.
    pub height: usize,
    /// Positions of a row.
    pub width: usize,
    /// Partial sums, `[rows, taps, LANES]`.
    pub to: *mut f32,
}

/// A function for one stretch. Its pointers must be valid for the sizes given.
pub type WeightGradFn = unsafe fn(&WeightGrad);

/// `R` channels from `row` on times `T` taps from `tap` on.
///
/// # Safety
/// The instruction set of `V` must be there, and there are as many channels and taps.
#[inline(always)]
unsafe fn tile<V: Vector<E = f32>, const R: usize, const T: usize>(d: &WeightGrad, row: usize, tap: usize) {
    let plane = d.height * d.width;
    // SAFETY: the caller's promise; registers end with the row.
    unsafe {
        let mut sums = [[V::splat(0.0); T]; R];
        let mut seen = [0; T];
        unroll_few!(j < T, {
            seen[j] = *d.taps.get_unchecked(tap + j);
        });
        for n in 0..d.images {
            for y in 0..d.height {
                let g = d.gradient.add(n * d.next_gradient + row * plane + y * d.width);
                let x = d.image.add(n * d.next_image + y * d.pitch);
                let mut at = 0;
                while at + V::LANES <= d.width {
                    let mut left = [V::splat(0.0); R];
                    unroll_few!(i < R, {
                        left[i] = V::load(g.add(i * plane + at));
                    });
                    unroll_few!(j < T, {
                        let right = V::load(x.offset(seen[j]).add(at));
                        unroll_few!(i < R, {
                            sums[i][j] = left[i].fma(right, sums[i][j]);
                        });
                    });
                    at += V::LANES;
                }
                if at < d.width {
                    let count = d.width - at;
                    let mut left = [V::splat(0.0); R];
                    unroll_few!(i < R, {
                        left[i] = V::load_part(g.add(i * plane + at), count);
                    });
                    unroll_few!(j < T, {
                        let right = V::load_part(x.offset(seen[j]).add(at), count);
                        unroll_few!(i < R, {
                            sums[i][j] = left[i].fma(right, sums[i][j]);
                        });
                    });
                }
            }
        }
        unroll_few!(i < R, {
            unroll_few!(j < T, {
                let to = d.to.add(((row + i) * d.taps.len() + tap + j) * LANES);
                sums[i][j].store(to);
                std::ptr::write_bytes(to.add(V::LANES), 0, LANES - V::LANES);
            });
        });
    }
}

/// All taps of `R` channels.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn strip<V: Vector<E = f32>, const R: usize>(d: &WeightGrad, row: usize) {
    let mut tap = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while tap + 4 <= d.taps.len() {
            tile::<V, R, 4>(d, row, tap);
            tap += 4;
        }
        while tap < d.taps.len() {
            tile::<V, R, 1>(d, row, tap);
            tap += 1;
        }
    }
}

/// # Safety
/// The instruction set of `V` must be there, and the pointers valid as documented.
#[inline(always)]
unsafe fn run<V: Vector<E = f32>, const R: usize>(d: &WeightGrad) {
    let mut row = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while row + R <= d.rows {
            strip::<V, R>(d, row);
            row += R;
        }
        if R > 2 && row + 2 <= d.rows {
            strip::<V, 2>(d, row);
            row += 2;
        }
        while row < d.rows {
            strip::<V, 1>(d, row);
            row += 1;
        }
    }
}

macro_rules! tier {
    ($name:ident, $($feature:literal)?, $vector:ty, $rows:literal) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name(d: &WeightGrad) {
            // SAFETY: the feature is enabled here; the rest is the caller's contract.
            unsafe { run::<$vector, $rows>(d) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tier!(wide, "avx512f", std::arch::x86_64::__m512, 4);
#[cfg(target_arch = "x86_64")]
tier!(half, "avx2,fma", std::arch::x86_64::__m256, 2);
#[cfg(target_arch = "aarch64")]
tier!(neon, "neon", std::arch::aarch64::float32x4_t, 4);
tier!(plain, , Plain<f32>, 1);

/// The function of a SIMD tier.
pub fn weight_grad(tier: Tier) -> WeightGradFn {
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

/// Adds up the partial sums of all stretches, which lie `stretch` elements apart, in their order: those of `to.len()`
/// weights from the first one at `partial` on.
///
/// # Safety
/// `partial` is valid for [`LANES`] elements per weight in each of `stretches` stretches, and is overwritten.
pub unsafe fn finish(partial: *mut f32, (stretches, stretch): (usize, usize), to: &mut [f32]) {
    let count = to.len() * LANES;
    // SAFETY: the caller's promise.
    let sums = unsafe { std::slice::from_raw_parts_mut(partial, count) };
    for s in 1..stretches {
        // SAFETY: as above; stretches do not overlap.
        let own = unsafe { std::slice::from_raw_parts(partial.add(s * stretch), count) };
        sums.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
    }
    for (lanes, to) in sums.chunks_exact_mut(LANES).zip(to) {
        for half in [8, 4, 2, 1] {
            (0..half).for_each(|l| lanes[l] += lanes[l + half]);
        }
        *to = lanes[0];
    }
}
