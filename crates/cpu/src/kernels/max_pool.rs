use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{Dim, Result, dispatch};
use lampyr_ir::Op;
use lampyr_ops::build::MaxPool;
use lampyr_ops::common::sizes;

use super::contraction::address;
use super::image::{Axis, Image, Window};
use super::number::Number;
use super::operand::Shared;
use crate::gemm::Batch;
use crate::simd::{Job, Level, Tier, run};

/// Tap by tap over whole planes: the results seen so far stay in cache.
pub(super) struct MaxPoolKernel;

fn of(op: &dyn Op) -> Option<&MaxPool> {
    op.as_any().downcast_ref()
}

impl Kernel for MaxPoolKernel {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let fixed = |d: &Dim| d.known().is_some_and(|n| n >= 0);
        of(op).is_some_and(|op| !op.channels_last && op.pads.iter().all(fixed))
            && (3..=5).contains(&inputs[0].layout.rank())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let op: &MaxPool = launch.op()?;
        let x = &launch.inputs[0];
        let Some(first) = launch.outputs.iter().flatten().next() else { return Ok(()) };
        let shape = first.shape();
        let kernel: Vec<Dim> = op.kernel.iter().map(|&k| Dim::Known(k)).collect();
        let (kernel, pads) = (sizes(&kernel)?, sizes(&op.pads)?);
        let window = Window { strides: &op.strides, pads: &pads, dilations: &op.dilations };
        let axes = window.forward(x.layout, &kernel, &shape[2..])?;
        let planes: usize = shape[..2].iter().product();
        let plane: usize = x.shape()[2..].iter().product();
        let values = launch.outputs.first().and_then(Option::as_ref);
        let indices = launch.outputs.get(1).and_then(Option::as_ref);
        let indices = indices.map(address::<i64>).transpose()?.map(|p| Shared(p.cast()));
        let pool = ThreadPool::global();
        let tier = Tier::current();
        dispatch!(x.dtype, T => {
            let image = Image { data: address::<T>(x)?.cast_const(), batch: Batch::default(), channel: 0, axes };
            let positions = image.positions();
            let reach = image.reach();
            let grain = (32 * 1024 / (positions * image.taps()).max(1)).max(1);
            let values = values.map(address::<T>).transpose()?.map(|p| Shared(p.cast()));
            pool.parallel_ranges(planes, grain, |range| {
                for i in range {
                    let source = image.data.wrapping_add(i * plane);
                    let values = values.map(|p| p.at(0).cast::<T>().wrapping_add(i * positions));
                    let indices = indices.map(|p| p.at(0).cast::<i64>().wrapping_add(i * positions));
                    match (values, indices) {
                        (values, Some(indices)) if plane <= i32::MAX as usize => {
                            let place = std::marker::PhantomData::<i32>;
                            run(tier, Windows { image: &image, source, values, indices, place });
                        }
                        (values, Some(indices)) => {
                            let place = std::marker::PhantomData::<i64>;
                            run(tier, Windows { image: &image, source, values, indices, place });
                        }
                        (Some(to), None) if reach <= REACH => run(tier, Rows { image: &image, source, to, reach }),
                        // SAFETY: operands have the shapes inferred; each plane of the results belongs to one chunk.
                        (Some(to), None) => unsafe { pool_plane(tier, &image, source, to) },
                        (None, None) => {}
                    }
                }
            });
        });
        Ok(())
    }
}

/// Most elements of a row that all windows of one row see.
const REACH: usize = 2048;

/// A plane of values without indices: for each row of results the rows it sees are merged first, then the windows.
struct Rows<'a, T> {
    image: &'a Image<T>,
    source: *const T,
    to: *mut T,
    reach: usize,
}

#[inline(always)]
fn larger<T: Number>(best: T, x: T) -> T {
    if x.above(best) || x.is_nan() { x } else { best }
}

impl<T: Number> Rows<'_, T> {
    #[inline(always)]
    fn windows(&self, row: &[T], to: &mut [T], step: usize) {
        let axis = &self.image.axes[2];
        for tap in 0..axis.taps {
            let from = row.as_ptr().wrapping_add(tap * axis.tap_step as usize);
            // SAFETY: the row ends with the last tap of the last window.
            let seen = (0..to.len()).map(|i| unsafe { *from.add(i * step) });
            if tap == 0 {
                to.iter_mut().zip(seen).for_each(|(to, x)| *to = x);
            } else {
                to.iter_mut().zip(seen).for_each(|(to, x)| *to = larger(*to, x));
            }
        }
    }
}

impl<T: Number> Job for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let [depth, height, width] = &self.image.axes;
        let mut row = [T::LOWEST; REACH];
        let row = &mut row[..self.reach.min(REACH)];
        let first = (-width.shift).max(0) as usize;
        let end = (width.source as isize - width.shift).clamp(first as isize, row.len().max(first) as isize) as usize;
        let first = first.min(end);
        for i in 0..depth.positions * height.positions {
            let (z, y) = (i / height.positions, i % height.positions);
            row.fill(T::LOWEST);
            for tap in 0..depth.taps * height.taps {
                let (Some(sz), Some(sy)) = (depth.at(z, tap / height.taps), height.at(y, tap % height.taps)) else {
                    continue;
                };
                let offset = sz * depth.source_step + sy * height.source_step + first as isize + width.shift;
                // SAFETY: elements `first..end` of the row lie inside the image, whose rows have no gaps.
                let from = unsafe { std::slice::from_raw_parts(self.source.wrapping_offset(offset), end - first) };
                row[first..end].iter_mut().zip(from).for_each(|(best, &x)| *best = larger(*best, x));
            }
            // SAFETY: the plane of the result has a row for every `i`.
            let to =
                unsafe { std::slice::from_raw_parts_mut(self.to.wrapping_add(i * width.positions), width.positions) };
            match width.step {
                1 => self.windows(row, to, 1),
                2 => self.windows(row, to, 2),
                step => self.windows(row, to, step as usize),
            }
        }
    }
}

/// One stretch of one tap.
struct Stretch<T> {
    from: *const T,
    step: isize,
    count: usize,
    best: *mut T,
}

impl<T: Number> Job for Stretch<T> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        // SAFETY: the run lies inside the image and the results inside their plane.
        unsafe {
            let best = std::slice::from_raw_parts_mut(self.best, self.count);
            if self.step == 1 {
                let from = std::slice::from_raw_parts(self.from, self.count);
                best.iter_mut().zip(from).for_each(|(b, &x)| *b = if x.above(*b) || x.is_nan() { x } else { *b });
                return;
            }
            for (q, b) in best.iter_mut().enumerate() {
                let x = *self.from.offset(q as isize * self.step);
                *b = if x.above(*b) || x.is_nan() { x } else { *b };
            }
        }
    }
}

/// Results of one row that are made at once.
const CHUNK: usize = 64;

/// Where a largest element was seen.
trait Place: Copy + Send + Sync + 'static {
    const NONE: Self;
    fn of(at: isize) -> Self;
    fn is_none(self) -> bool;
    fn index(self) -> i64;
}

macro_rules! places {
    ($($t:ty)*) => { $(
        impl Place for $t {
            const NONE: $t = -1;
            #[inline(always)]
            fn of(at: isize) -> $t {
                at as $t
            }
            #[inline(always)]
            fn is_none(self) -> bool {
                self < 0
            }
            #[inline(always)]
            fn index(self) -> i64 {
                self.max(0) as i64
            }
        }
    )* };
}
places! { i32 i64 }

/// A plane of indices, and of values where they are wanted: tap by tap over a stretch of a row of results, without
/// branches on elements.
struct Windows<'a, T, P> {
    image: &'a Image<T>,
    source: *const T,
    values: Option<*mut T>,
    indices: *mut i64,
    place: std::marker::PhantomData<P>,
}

/// The results that see tap `tap` of an axis, among `count` from `from` on.
#[inline(always)]
fn seen(axis: &Axis, tap: usize, from: usize, count: usize) -> std::ops::Range<usize> {
    let (shift, step) = (tap as isize * axis.tap_step + axis.shift, axis.step.max(1));
    let up = |n: isize| if n <= 0 { 0 } else { ((n - 1) / step + 1) as usize };
    let end = up(axis.source as isize - shift).clamp(from, from + count);
    up(-shift).clamp(from, end)..end
}

impl<T: Number, P: Place> Windows<'_, T, P> {
    /// # Safety
    /// Element `at + i * step` of the plane exists for every `i`.
    #[inline(always)]
    unsafe fn merge(&self, at: isize, step: isize, best: &mut [T], index: &mut [P]) {
        let from = self.source.wrapping_offset(at);
        for (i, (best, index)) in best.iter_mut().zip(index).enumerate() {
            // SAFETY: the caller's promise.
            let v = unsafe { *from.offset(i as isize * step) };
            let beats = index.is_none() | v.above(*best) | (v.is_nan() & !best.is_nan());
            *best = if beats { v } else { *best };
            *index = if beats { P::of(at + i as isize * step) } else { *index };
        }
    }
}

impl<T: Number, P: Place> Job for Windows<'_, T, P> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let [depth, height, width] = &self.image.axes;
        let chunks = width.positions.div_ceil(CHUNK);
        for i in 0..depth.positions * height.positions * chunks {
            let (row, x) = (i / chunks, i % chunks * CHUNK);
            let (z, y) = (row / height.positions, row % height.positions);
            let count = CHUNK.min(width.positions - x);
            let (mut best, mut index) = ([T::LOWEST; CHUNK], [P::NONE; CHUNK]);
            for tap in 0..depth.taps * height.taps {
                let (Some(sz), Some(sy)) = (depth.at(z, tap / height.taps), height.at(y, tap % height.taps)) else {
                    continue;
                };
                let line = sz * depth.source_step + sy * height.source_step;
                for t in 0..width.taps {
                    let range = seen(width, t, x, count);
                    let at = line + range.start as isize * width.step + t as isize * width.tap_step + width.shift;
                    let here = range.start - x..range.end - x;
                    let (best, index) = (&mut best[here.clone()], &mut index[here]);
                    // SAFETY: these results see elements inside the plane, whose rows have no gaps.
                    unsafe {
                        match width.step {
                            1 => self.merge(at, 1, best, index),
                            2 => self.merge(at, 2, best, index),
                            step => self.merge(at, step, best, index),
                        }
                    }
                }
            }
            let at = row * width.positions + x;
            // SAFETY: results have one element per position.
            unsafe {
                if let Some(values) = self.values {
                    std::ptr::copy_nonoverlapping(best.as_ptr(), values.add(at), count);
                }
                let to = std::slice::from_raw_parts_mut(self.indices.add(at), count);
                to.iter_mut().zip(index).for_each(|(to, index)| *to = index.index());
            }
        }
    }
}

/// # Safety
/// `source` is a plane of the image; the result has one element per position.
unsafe fn pool_plane<T: Number>(tier: Tier, image: &Image<T>, source: *const T, values: *mut T) {
    let positions = image.positions();
    // SAFETY: the caller's promise.
    unsafe {
        (0..positions).for_each(|i| values.add(i).write(T::LOWEST));
        let (mut channel, mut tap) = (0, [0; 3]);
        while channel == 0 {
            image.runs(source, tap, [0; 3], positions, |offset, r| {
                let best = values.add(offset + r.first);
                run(tier, Stretch { from: r.from, step: r.step, count: r.count, best });
            });
            image.next_tap(&mut channel, &mut tap);
        }
    }
}
