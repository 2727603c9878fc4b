//! Images in frames of zeros so wide that every tap of every position lies inside: panels of the columns that convolution
//! multiplies are then short copies without any test.

use lampyr_base::pool::ThreadPool;

use super::image::{Axis, Image};
use super::operand::Shared;
use crate::gemm::{Batch, Compute, Operand, Panel, Store};
use crate::simd::{Job, Level, Tier, run};

/// Elements copied at a time; copies may write and read that many too far.
const STEP: usize = 16;
/// Readable elements behind the last frame.
const SLACK: usize = 4 * STEP;
/// Most columns of a panel.
const WIDEST: usize = 64;

/// The size of frames, and where an image lies in them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Elements of the frame on each axis.
    sizes: [usize; 3],
    /// Element of the source that lies first in the frame.
    low: [isize; 3],
}

impl Frame {
    /// The smallest frame for all of these views of one image. `None` without positions or taps.
    pub fn new(views: &[[Axis; 3]]) -> Option<Frame> {
        let mut bounds: Option<[(isize, isize); 3]> = None;
        for view in views.iter().filter(|v| v.iter().all(|a| a.positions > 0 && a.taps > 0)) {
            let own = view.map(|a| {
                let (last, taps) = ((a.positions - 1) as isize * a.step, (a.taps - 1) as isize * a.tap_step);
                (a.shift + taps.min(0), a.shift + last + taps.max(0))
            });
            bounds = Some(match bounds {
                None => own,
                Some(b) => std::array::from_fn(|i| (b[i].0.min(own[i].0), b[i].1.max(own[i].1))),
            });
        }
        bounds.map(|b| Frame { sizes: b.map(|(low, high)| (high - low + 1) as usize), low: b.map(|(low, _)| low) })
    }

    fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Elements for this many frames.
    pub fn elements(&self, count: usize) -> usize {
        (self.len() * count + SLACK).next_multiple_of(STEP)
    }

    fn pitches(&self) -> [isize; 3] {
        [(self.sizes[1] * self.sizes[2]) as isize, self.sizes[2] as isize, 1]
    }

    /// Copies `images` times `channels` planes into frames.
    ///
    /// # Safety
    /// `to` is valid for [`Frame::elements`] of them; the image has as many planes, `step` elements from image to image.
    pub unsafe fn fill<E: Compute, S: Store<E>>(
        &self,
        image: &Image<S>,
        (images, step): (usize, isize),
        channels: usize,
        to: *mut E,
    ) {
        let (len, out, source) = (self.len(), Shared(to.cast()), Shared(image.data.cast_mut().cast()));
        let (axes, channel) = (image.axes, image.channel);
        let planes = images * channels;
        // SAFETY: the slack lies behind the frames.
        unsafe { std::ptr::write_bytes(to.add(len * planes), 0, SLACK) };
        ThreadPool::global().parallel_ranges(planes, (16 * 1024 / len.max(1)).max(1), |range| {
            for i in range {
                let offset = (i / channels) as isize * step + (i % channels) as isize * channel;
                let from = source.at(0).cast::<S>().wrapping_offset(offset).cast_const();
                let to = out.at(0).cast::<E>().wrapping_add(i * len);
                // SAFETY: the plane and its frame are valid; each frame belongs to one chunk.
                unsafe { self.fill_one(&axes, from, to) };
            }
        });
    }

    unsafe fn fill_one<E: Compute, S: Store<E>>(&self, axes: &[Axis; 3], plane: *const S, to: *mut E) {
        let [depth, height, width] = self.sizes;
        let inside = |a: usize, at: usize| {
            let s = at as isize + self.low[a];
            (s >= 0 && s < axes[a].source as isize).then_some(s)
        };
        let first = ((-self.low[2]).max(0) as usize).min(width);
        let end = (axes[2].source as isize - self.low[2]).clamp(first as isize, width as isize) as usize;
        let (start, step) = (first as isize + self.low[2], axes[2].source_step);
        for z in 0..depth {
            for y in 0..height {
                // SAFETY: `to` is valid for the frame, and rows of the source are read inside it only.
                unsafe {
                    let to = to.add((z * height + y) * width);
                    let (Some(sz), Some(sy)) = (inside(0, z), inside(1, y)) else {
                        std::ptr::write_bytes(to, 0, width);
                        continue;
                    };
                    std::ptr::write_bytes(to, 0, first);
                    let from =
                        plane.offset(sz * axes[0].source_step + sy * axes[1].source_step).wrapping_offset(start * step);
                    if S::SAME && step == 1 {
                        std::ptr::copy_nonoverlapping(from.cast::<E>(), to.add(first), end - first);
                    } else {
                        for q in 0..end - first {
                            *to.add(first + q) = (*from.offset(q as isize * step)).get();
                        }
                    }
                    std::ptr::write_bytes(to.add(end), 0, width - end);
                }
            }
        }
    }
}

/// Framed images as one view sees them.
#[derive(Clone, Debug)]
pub(super) struct Framed<E> {
    data: *const E,
    /// Where the matrices of a batch begin.
    batch: Batch,
    /// Elements of a frame.
    plane: usize,
    positions: [usize; 3],
    taps: [usize; 3],
    /// Elements from position to position and from tap to tap.
    steps: [isize; 3],
    tap_steps: [isize; 3],
}

// SAFETY: the pointer is only read while its workspace lives.
unsafe impl<E: Sync> Sync for Framed<E> {}

impl<E: Compute> Framed<E> {
    /// The view `axes` of frames at `data`; `batch` counts frames.
    pub fn new(frame: &Frame, axes: &[Axis; 3], data: *const E, (sizes, frames): (&[usize], &[usize])) -> Framed<E> {
        let pitch = frame.pitches();
        let base: isize = (0..3).map(|a| (axes[a].shift - frame.low[a]) * pitch[a]).sum();
        let steps: Vec<isize> = frames.iter().map(|f| (f * frame.len()) as isize).collect();
        Framed {
            data: data.wrapping_offset(base),
            batch: Batch::new(sizes, &steps),
            plane: frame.len(),
            positions: axes.map(|a| a.positions),
            taps: axes.map(|a| a.taps),
            steps: std::array::from_fn(|a| axes[a].step * pitch[a]),
            tap_steps: std::array::from_fn(|a| axes[a].tap_step * pitch[a]),
        }
    }

    /// The address that tap 0 sees from position 0 in matrix `batch`.
    pub fn matrix(&self, batch: usize) -> *const E {
        self.data.wrapping_offset(self.batch.offset(batch))
    }

    /// Elements of a frame.
    pub fn plane(&self) -> usize {
        self.plane
    }

    /// Elements from a row of positions to the next one.
    pub fn pitch(&self) -> usize {
        self.steps[1].unsigned_abs()
    }

    /// Number of taps.
    pub fn tap_count(&self) -> usize {
        self.taps.iter().product()
    }

    /// How far from each other tap 0 and tap `at` see.
    pub fn tap(&self, at: usize) -> isize {
        offset(index(self.taps, at), self.tap_steps)
    }
}

fn index(sizes: [usize; 3], at: usize) -> [usize; 3] {
    [at / (sizes[1] * sizes[2]), at / sizes[2] % sizes[1], at % sizes[2]]
}

fn offset(index: [usize; 3], steps: [isize; 3]) -> isize {
    (0..3).map(|a| index[a] as isize * steps[a]).sum()
}

/// Counts one up; false when it starts again.
#[inline(always)]
fn advance(index: &mut [usize; 3], sizes: [usize; 3], at: &mut isize, steps: [isize; 3]) -> bool {
    for a in (0..3).rev() {
        index[a] += 1;
        *at += steps[a];
        if index[a] < sizes[a] {
            return true;
        }
        *at -= steps[a] * sizes[a] as isize;
        index[a] = 0;
    }
    false
}

/// Part of a panel row that lies in one row of positions.
#[derive(Clone, Copy, Default)]
struct Segment {
    to: usize,
    from: isize,
    count: usize,
}

struct Columns<'a, E> {
    framed: &'a Framed<E>,
    panel: Panel,
    to: *mut E,
}

impl<E: Compute> Job for Columns<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let Columns { framed: f, panel: Panel { batch, k, depth, at, count, stride }, to } = self;
        let mut segments = [Segment::default(); WIDEST];
        let mut used = 0;
        let mut here = index(f.positions, at);
        let mut done = 0;
        while done < count {
            let length = (f.positions[2] - here[2]).min(count - done);
            segments[used] = Segment { to: done, from: offset(here, f.steps), count: length };
            used += 1;
            done += length;
            here[2] += length - 1;
            let mut unused = 0;
            advance(&mut here, f.positions, &mut unused, f.steps);
        }
        let segments = &segments[..used];
        let per_channel = f.tap_count();
        let mut channel = f.matrix(batch).wrapping_add(k / per_channel * f.plane);
        let mut tap = index(f.taps, k % per_channel);
        let mut shift = offset(tap, f.tap_steps);
        let step = f.steps[2];
        for p in 0..depth {
            // SAFETY: everything that a tap sees lies in its frame, and copies that go too far end in the slack behind the
            // frames or in later rows of the panel, which are written later; the last rows are copied exactly.
            unsafe {
                let (from, to) = (channel.offset(shift), to.add(p * stride));
                if step == 1 && (p + 1) * stride + STEP <= depth * stride {
                    for s in segments {
                        let (from, to) = (from.offset(s.from), to.add(s.to));
                        let mut q = 0;
                        while q < s.count {
                            to.add(q)
                                .cast::<[E; STEP]>()
                                .write_unaligned(from.add(q).cast::<[E; STEP]>().read_unaligned());
                            q += STEP;
                        }
                    }
                } else if step == 2 {
                    for s in segments {
                        let (from, to) = (from.offset(s.from), to.add(s.to));
                        (0..s.count).for_each(|q| *to.add(q) = *from.add(2 * q));
                    }
                } else {
                    for s in segments {
                        let (from, to) = (from.offset(s.from), to.add(s.to));
                        (0..s.count).for_each(|q| *to.add(q) = *from.offset(q as isize * step));
                    }
                }
                (count..stride).for_each(|j| *to.add(j) = E::ZERO);
            }
            if !advance(&mut tap, f.taps, &mut shift, f.tap_steps) {
                channel = channel.wrapping_add(f.plane);
            }
        }
    }
}

/// Columns are positions; the contraction runs over channels and taps.
impl<E: Compute> Operand<E> for Framed<E> {
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        run(Tier::current(), Columns { framed: self, panel, to });
    }
}

/// The same matrix with the roles exchanged, over all images: columns are channels and taps, the contraction runs over
/// images and positions.
pub(super) struct Patches<E> {
    pub framed: Framed<E>,
    /// Frames from one image to the next.
    pub next: usize,
}

struct Rows<'a, E> {
    patches: &'a Patches<E>,
    panel: Panel,
    to: *mut E,
}

impl<E: Compute> Job for Rows<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let Rows { patches, panel: Panel { batch, k, depth, at, count, stride }, to } = self;
        let f = &patches.framed;
        let per_channel = f.tap_count();
        let mut places = [0isize; WIDEST];
        for (i, place) in places.iter_mut().enumerate().take(count) {
            *place = ((at + i) / per_channel * f.plane) as isize + f.tap((at + i) % per_channel);
        }
        let positions: usize = f.positions.iter().product();
        let mut image = f.matrix(batch).wrapping_add(k / positions * patches.next * f.plane);
        let mut position = index(f.positions, k % positions);
        let mut shift = offset(position, f.steps);
        for p in 0..depth {
            // SAFETY: everything that a tap sees lies in its frame; the panel has `depth * stride` elements.
            unsafe {
                let (from, to) = (image.offset(shift), to.add(p * stride));
                places[..count].iter().enumerate().for_each(|(i, &place)| *to.add(i) = *from.offset(place));
                (count..stride).for_each(|i| *to.add(i) = E::ZERO);
            }
            if !advance(&mut position, f.positions, &mut shift, f.steps) {
                image = image.wrapping_add(patches.next * f.plane);
            }
        }
    }
}

impl<E: Compute> Operand<E> for Patches<E> {
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        run(Tier::current(), Rows { patches: self, panel, to });
    }
}
