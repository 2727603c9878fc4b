//! Convolution of single channels: too little reuse for a matrix product, so results are summed tap by tap in the cache.

use lampyr_base::pool::ThreadPool;

use super::image::Image;
use super::operand::Shared;
use crate::gemm::{Compute, Epilogue};
use crate::simd::{Job, Level, Tier, run};

/// Positions summed at a time; they stay in the first-level cache.
const BAND: usize = 1024;
/// Multiply-adds of one chunk.
const GRAIN: usize = 128 * 1024;

/// Convolution where every result channel sees one input channel.
pub(super) struct Depthwise<'a, E> {
    pub image: &'a Image<E>,
    /// Images times groups.
    pub batch: usize,
    pub groups: usize,
    /// Result channels of a group.
    pub rows: usize,
    /// A weight per result channel and tap.
    pub weights: *const E,
    /// A bias per result channel and its step.
    pub bias: Option<(*const E, isize)>,
    pub out: *mut E,
    pub epilogue: Option<&'a dyn Epilogue>,
}

struct Band<'a, E> {
    image: &'a Image<E>,
    plane: *const E,
    weights: *const E,
    bias: E,
    start: usize,
    to: &'a mut [E],
}

impl<E: Compute> Job for Band<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        self.to.fill(self.bias);
        let start = Image::<E>::unflatten(self.image.axes.map(|a| a.positions), self.start);
        let count = self.to.len();
        let (mut channel, mut tap, mut at) = (0, [0; 3], 0);
        while channel == 0 {
            // SAFETY: there is one weight per tap.
            let weight = unsafe { *self.weights.add(at) };
            self.image.runs(self.plane, tap, start, count, |offset, r| {
                let to = &mut self.to[offset + r.first..][..r.count];
                if r.step == 1 {
                    // SAFETY: the run lies inside the image.
                    let from = unsafe { std::slice::from_raw_parts(r.from, r.count) };
                    to.iter_mut().zip(from).for_each(|(y, &x)| *y = *y + weight * x);
                    return;
                }
                for (q, y) in to.iter_mut().enumerate() {
                    // SAFETY: as above.
                    *y = *y + weight * unsafe { *r.from.offset(q as isize * r.step) };
                }
            });
            self.image.next_tap(&mut channel, &mut tap);
            at += 1;
        }
    }
}

impl<E: Compute> Depthwise<'_, E> {
    /// # Safety
    /// All pointers are valid for the sizes given, and the result overlaps no operand.
    pub unsafe fn run(&self) {
        let (positions, taps) = (self.image.positions(), self.image.taps());
        let tier = Tier::current();
        let bands = positions.div_ceil(BAND);
        let grain = (GRAIN / (positions.min(BAND) * taps).max(1)).max(1);
        let (image, weights, out) = (self.image, Shared(self.weights.cast_mut().cast()), Shared(self.out.cast()));
        let bias = self.bias.map(|(p, step)| (Shared(p.cast_mut().cast()), step));
        let (groups, rows, epilogue) = (self.groups, self.rows, self.epilogue);
        ThreadPool::global().parallel_ranges(self.batch * rows * bands, grain, |range| {
            for i in range {
                let (plane, band) = (i / bands, i % bands);
                let (batch, row) = (plane / rows, plane % rows);
                let channel = batch % groups * rows + row;
                let (start, count) = (band * BAND, BAND.min(positions - band * BAND));
                // SAFETY: the caller's promise; each band belongs to one chunk.
                unsafe {
                    let to =
                        std::slice::from_raw_parts_mut(out.at(0).cast::<E>().add(plane * positions + start), count);
                    // The slice is written before it is read.
                    let bias = bias.map_or(E::ZERO, |(p, step)| *p.at(0).cast::<E>().offset(channel as isize * step));
                    run(
                        tier,
                        Band {
                            image,
                            plane: image.data.wrapping_offset(image.batch.offset(batch)),
                            weights: weights.at(0).cast::<E>().add(channel * taps),
                            bias,
                            start,
                            to,
                        },
                    );
                }
                if let Some(epilogue) = epilogue {
                    epilogue.apply(batch, row..row + 1, start..start + count);
                }
            }
        });
    }
}
