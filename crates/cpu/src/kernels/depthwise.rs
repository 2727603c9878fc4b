//! Convolution of single channels: too little reuse for a matrix product, so a stretch of results stays in registers
//! while all taps are added.

use lampyr_base::pool::ThreadPool;

use super::frames::Framed;
use super::operand::Shared;
use crate::gemm::{Compute, Epilogue, Store};
use crate::simd::{Job, Level, Tier, run};

/// Results in registers.
const LANES: usize = 16;
/// Most taps.
pub(super) const MOST_TAPS: usize = 128;
/// Steps up to which lanes behind the end of a row stay inside the slack behind the frames.
pub(super) const MOST_STEP: isize = 3;
/// Multiply-adds of one chunk.
const GRAIN: usize = 256 * 1024;

/// Convolution where every result channel sees one input channel.
pub(super) struct Depthwise<'a, E, S> {
    pub framed: &'a Framed<E>,
    /// Images times groups.
    pub batch: usize,
    pub groups: usize,
    /// Result channels of a group.
    pub rows: usize,
    /// A weight per result channel and tap.
    pub weights: *const S,
    /// A bias per result channel and its step.
    pub bias: Option<(*const S, isize)>,
    pub out: *mut S,
    pub epilogue: Option<&'a dyn Epilogue>,
}

/// One plane of the result.
struct Plane<'a, E, S> {
    framed: &'a Framed<E>,
    from: *const E,
    weights: &'a [E],
    taps: &'a [isize],
    bias: E,
    to: *mut S,
}

impl<E: Compute, S: Store<E>> Plane<'_, E, S> {
    #[inline(always)]
    fn rows<L: Level>(self, step: usize) {
        let (sizes, steps) = self.framed.grid();
        for i in 0..sizes[0] * sizes[1] {
            let (z, y) = ((i / sizes[1]) as isize, (i % sizes[1]) as isize);
            let from = self.from.wrapping_offset(z * steps[0] + y * steps[1]);
            let to = self.to.wrapping_add(i * sizes[2]);
            let mut x = 0;
            while x < sizes[2] {
                let mut sums = [self.bias; LANES];
                for (&weight, &tap) in self.weights.iter().zip(self.taps) {
                    let from = from.wrapping_offset(tap).wrapping_add(x * step);
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: taps see inside their frames; lanes behind the row end in the slack.
                        let value = unsafe { *from.add(lane * step) };
                        *sum = if L::FMA { weight.mul_add(value, *sum) } else { *sum + weight * value };
                    }
                }
                for (lane, &sum) in sums.iter().enumerate().take(sizes[2] - x) {
                    // SAFETY: `x + lane` lies in the row.
                    unsafe { to.add(x + lane).write(S::put(sum)) };
                }
                x += LANES;
            }
        }
    }
}

impl<E: Compute, S: Store<E>> Job for Plane<'_, E, S> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        // Constants, so that loads become vectors.
        match self.framed.grid().1[2] {
            1 => self.rows::<L>(1),
            2 => self.rows::<L>(2),
            step => self.rows::<L>(step as usize),
        }
    }
}

impl<E: Compute, S: Store<E>> Depthwise<'_, E, S> {
    /// # Safety
    /// All pointers are valid for the sizes given, the result overlaps no operand, and taps and steps are at most
    /// [`MOST_TAPS`] and [`MOST_STEP`].
    pub unsafe fn run(&self) {
        let framed = self.framed;
        let count = framed.tap_count().min(MOST_TAPS);
        let positions: usize = framed.grid().0.iter().product();
        let mut taps = [0; MOST_TAPS];
        taps.iter_mut().enumerate().take(count).for_each(|(i, tap)| *tap = framed.tap(i));
        let taps = &taps[..count];
        let tier = Tier::current();
        let (weights, out) = (Shared(self.weights.cast_mut().cast()), Shared(self.out.cast()));
        let bias = self.bias.map(|(p, step)| (Shared(p.cast_mut().cast()), step));
        let (groups, rows, epilogue) = (self.groups, self.rows, self.epilogue);
        let grain = (GRAIN / (positions * count).max(1)).max(1);
        ThreadPool::global().parallel_ranges(self.batch * rows, grain, |range| {
            let mut own = [E::ZERO; MOST_TAPS];
            for i in range {
                let (batch, row) = (i / rows, i % rows);
                let channel = batch % groups * rows + row;
                // SAFETY: the caller's promise; each plane belongs to one chunk.
                let (bias, to) = unsafe {
                    let weights = weights.at(0).cast::<S>().add(channel * count);
                    own.iter_mut().enumerate().take(count).for_each(|(t, w)| *w = (*weights.add(t)).get());
                    let bias = bias.map(|(p, step)| (*p.at(0).cast::<S>().offset(channel as isize * step)).get());
                    (bias.unwrap_or(E::ZERO), out.at(0).cast::<S>().add(i * positions))
                };
                let from = framed.matrix(batch);
                run(tier, Plane { framed, from, weights: &own[..count], taps, bias, to });
                if let Some(epilogue) = epilogue {
                    epilogue.apply(batch, row..row + 1, 0..positions);
                }
            }
        });
    }
}
