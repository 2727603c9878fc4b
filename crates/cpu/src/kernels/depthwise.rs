//! Convolution of single channels: too little reuse for a matrix product. A channel is laid out in planes that stay in
//! cache, and stretches of results stay in registers while all taps are added; or it is read by rows where it lies.

use std::ops::Range;

use lampyr_base::pool::ThreadPool;

use super::operand::Shared;
use super::planes::Planes;
use crate::gemm::{Channel, Compute, Epilogue, Slots, Store, TAPS_ROUND, Taps, rows_suit};
use crate::simd::Tier;

/// Most taps.
pub(super) const MOST_TAPS: usize = 128;
/// Most result channels of a group.
pub(super) const MOST_ROWS: usize = 4;
/// Multiply-adds of one chunk.
const GRAIN: usize = 128 * 1024;

/// Convolution where every result channel sees one input channel.
pub(super) struct Depthwise<'a, E, S> {
    pub planes: &'a Planes,
    pub images: usize,
    pub groups: usize,
    /// Result channels of a group.
    pub rows: usize,
    pub x: *const S,
    /// Elements from image to image and from channel to channel.
    pub steps: (isize, isize),
    /// A weight per result channel and tap.
    pub weights: *const S,
    /// A bias per result channel and its step.
    pub bias: Option<(*const S, isize)>,
    pub out: *mut S,
    pub epilogue: Option<&'a dyn Epilogue>,
    pub workspace: (*mut E, usize),
}

/// Elements of workspace that one thread needs.
pub(super) fn scratch(planes: &Planes) -> usize {
    planes.elements(1) + places(planes)
}

fn places(planes: &Planes) -> usize {
    planes.places().next_multiple_of(TAPS_ROUND)
}

impl<E: Compute, S: Store<E>> Depthwise<'_, E, S> {
    /// # Safety
    /// All pointers are valid for the sizes given, the result overlaps no operand, the workspace has room for
    /// [`scratch`], and taps are at most [`MOST_TAPS`].
    pub unsafe fn run(&self) {
        let planes = self.planes;
        let count = planes.tap_count().min(MOST_TAPS);
        let positions = planes.positions_before(usize::MAX);
        let mut offsets = [0; MOST_TAPS];
        offsets.iter_mut().enumerate().take(count).for_each(|(t, at)| *at = planes.tap(t));
        let offsets = &offsets[..count];
        let taps = E::taps(Tier::current());
        let share = |p: *const S| Shared(p.cast_mut().cast());
        let (x, weights, out) = (share(self.x), share(self.weights), Shared(self.out.cast()));
        let bias = self.bias.map(|(p, step)| (share(p), step));
        let (groups, rows, steps, epilogue) = (self.groups, self.rows, self.steps, self.epilogue);
        let (area, room, size) = (Shared(self.workspace.0.cast()), self.workspace.1, scratch(planes));
        let by_rows = E::channel(Tier::current()).filter(|_| S::SAME).and_then(|f| {
            let channel = planes.channel::<E>()?;
            rows_suit(&channel).then_some((f, Layer(channel)))
        });
        let slots = Slots::new(room / size.max(1));
        let grain = (GRAIN / (positions * count * rows).max(1)).max(1);
        let finish = |range: Range<usize>| {
            let Some(epilogue) = epilogue else { return };
            let mut at = range.start;
            while at < range.end {
                let (image, first) = (at / groups, at % groups);
                let many = (groups - first).min(range.end - at);
                epilogue.apply(image, first * rows..(first + many) * rows, 0..positions);
                at += many;
            }
        };
        ThreadPool::global().parallel_ranges(self.images * groups, grain, |range| {
            if let Some((convolve, layer)) = &by_rows {
                for channel in range.start * rows..range.end * rows {
                    let (image, group) = (channel / rows / groups, channel / rows % groups);
                    let own = group * rows + channel % rows;
                    // SAFETY: the caller's promise; each plane of the result belongs to one chunk.
                    unsafe {
                        let bias = bias.map(|(p, step)| (*p.at(0).cast::<S>().offset(own as isize * step)).get());
                        convolve(&Channel {
                            from: x.at(0).cast::<E>().offset(image as isize * steps.0 + group as isize * steps.1),
                            weights: weights.at(0).cast::<E>().add(own * count),
                            bias: bias.unwrap_or(E::ZERO),
                            to: out.at(0).cast::<E>().add(channel * positions),
                            ..layer.get()
                        });
                    }
                }
                return finish(range);
            }
            let slot = slots.take();
            let own = area.at(0).cast::<E>().wrapping_add(slot.index() * size);
            let sums = own.wrapping_add(planes.elements(1));
            let mut converted = [E::ZERO; MOST_TAPS];
            // SAFETY: the slot's scratch belongs to this chunk.
            unsafe { std::ptr::write_bytes(own.add(planes.len()), 0, planes.slack()) };
            for i in range.clone() {
                let (image, group) = (i / groups, i % groups);
                // SAFETY: the caller's promise; each plane of the result belongs to one chunk.
                unsafe {
                    let from = x.at(0).cast::<S>().offset(image as isize * steps.0 + group as isize * steps.1);
                    planes.fill_one::<E, S>(from, own, i == range.start);
                    for channel in group * rows..(group + 1) * rows {
                        let weights = weights.at(0).cast::<S>().add(channel * count);
                        let weights = if S::SAME {
                            weights.cast::<E>().cast_const()
                        } else {
                            converted
                                .iter_mut()
                                .enumerate()
                                .take(count)
                                .for_each(|(t, w)| *w = (*weights.add(t)).get());
                            converted.as_ptr()
                        };
                        let bias = match bias {
                            Some((p, step)) => (*p.at(0).cast::<S>().offset(channel as isize * step)).get(),
                            None => E::ZERO,
                        };
                        let (len, offsets) = (planes.places(), offsets.as_ptr());
                        taps(&Taps { from: own, offsets, weights, count, bias, to: sums, len });
                        let to = out.at(0).cast::<S>().add((image * groups * rows + channel) * positions);
                        planes.compact(0, std::slice::from_raw_parts(sums, len), to);
                    }
                }
            }
            finish(range);
        });
    }
}

/// What all channels have in common; its pointers are not used.
struct Layer<E>(Channel<E>);

// SAFETY: nothing is read through its pointers.
unsafe impl<E: Sync> Sync for Layer<E> {}

impl<E: Copy> Layer<E> {
    fn get(&self) -> Channel<E> {
        self.0
    }
}
