//! Images in planes of zeros, cut into phases by the strides: what a tap of a convolution sees is then one contiguous
//! stretch of memory for all positions, at an offset of its own. Nothing is copied per tap.
//!
//! Position `(z, y, x)` lies at `(z * rows + y) * pitch + x`. Places between the positions of two rows are computed too and
//! dropped; padding at the end of a row is the padding at the begin of the next one where that is enough.

use lampyr_base::SmallVec;
use lampyr_base::pool::ThreadPool;

use super::image::Axis;
use super::operand::Shared;
use crate::gemm::{Channel, Compute, Store, copy_short as copy};
use crate::simd::{Job, Level, Tier, run};

/// Readable elements behind the last plane.
const SLACK: usize = 128;
/// Elements filled by one chunk of a parallel loop.
const GRAIN: usize = 32 * 1024;

/// Sizes of the planes of one convolution.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    axes: [Axis; 3],
    /// Remainders of tap places by the strides, per axis.
    phases: [SmallVec<[usize; 4]>; 3],
    /// Layers and rows of a phase.
    depth: usize,
    rows: usize,
    pitch: usize,
    /// Per column phase: first place that sees an element, how many do, and where the first of these lies in its row.
    spans: SmallVec<[(usize, usize, isize); 4]>,
}

impl Planes {
    /// The planes for positions and taps that both run forward; `None` without positions or taps.
    pub fn new(axes: &[Axis; 3]) -> Option<Planes> {
        if axes.iter().any(|a| a.positions == 0 || a.taps == 0 || a.step < 1 || a.tap_step < 1) {
            return None;
        }
        let mut phases: [SmallVec<[usize; 4]>; 3] = Default::default();
        let mut lengths = [0; 3];
        for ((axis, phases), length) in axes.iter().zip(&mut phases).zip(&mut lengths) {
            let (step, tap_step) = (axis.step as usize, axis.tap_step as usize);
            for t in 0..axis.taps {
                let rest = t * tap_step % step;
                if !phases.contains(&rest) {
                    phases.push(rest);
                }
            }
            *length = axis.positions + (axis.taps - 1) * tap_step / step;
        }
        let x = &axes[2];
        let mut pitch = x.positions;
        for &phase in &phases[2] {
            let (zeros, end) = inside(x, phase, lengths[2]);
            pitch = pitch.max(end).max(lengths[2] - zeros.min(lengths[2]));
        }
        let spans = (phases[2].iter())
            .map(|&phase| {
                let (first, end) = inside(x, phase, pitch);
                (first, end - first, (first as isize * x.step + phase as isize + x.shift) * x.source_step)
            })
            .collect();
        Some(Planes { axes: *axes, phases, depth: lengths[0], rows: lengths[1], pitch, spans })
    }

    #[inline(always)]
    fn positions(&self) -> [usize; 3] {
        let [z, y, x] = &self.axes;
        [z.positions, y.positions, x.positions]
    }

    fn phase_len(&self) -> usize {
        self.depth * self.rows * self.pitch
    }

    /// One channel without its operands, when it has one layer and contiguous rows.
    pub fn channel<E: Compute>(&self) -> Option<Channel<E>> {
        let [z, y, x] = &self.axes;
        let flat = z.source == 1 && z.positions == 1 && z.taps == 1 && z.shift == 0;
        (flat && x.source_step == 1).then_some(Channel {
            from: std::ptr::null(),
            row: y.source_step,
            source: (y.source, x.source),
            weights: std::ptr::null(),
            taps: (y.taps, x.taps),
            step: (y.step, x.step),
            tap_step: (y.tap_step, x.tap_step),
            shift: (y.shift, x.shift),
            bias: E::ZERO,
            to: std::ptr::null_mut(),
            positions: (y.positions, x.positions),
        })
    }

    /// Elements of the planes of one channel.
    pub fn len(&self) -> usize {
        self.phases.iter().map(|p| p.len()).product::<usize>() * self.phase_len()
    }

    /// Elements for the planes of `count` channels.
    pub fn elements(&self, count: usize) -> usize {
        (self.len() * count + SLACK).next_multiple_of(16)
    }

    /// Places from the first position to the last one.
    pub fn places(&self) -> usize {
        let [z, y, x] = self.positions();
        ((z - 1) * self.rows + y - 1) * self.pitch + x
    }

    /// Number of taps in one channel.
    pub fn tap_count(&self) -> usize {
        self.axes.iter().map(|a| a.taps).product()
    }

    /// Where tap `t` sees position 0.
    pub fn tap(&self, t: usize) -> isize {
        let [_, height, width] = self.axes.map(|a| a.taps);
        let at = [t / (height * width), t / width % height, t % width];
        let (mut phase, mut place) = (0, 0);
        for (i, axis) in self.axes.iter().enumerate() {
            let (step, seen) = (axis.step as usize, at[i] * axis.tap_step as usize);
            let own = self.phases[i].iter().position(|&p| p == seen % step).unwrap_or(0);
            phase = phase * self.phases[i].len() + own;
            place = place * [self.depth, self.rows, self.pitch][i] + seen / step;
        }
        (phase * self.phase_len() + place) as isize
    }

    /// Number of positions that lie at places before `place`.
    pub fn positions_before(&self, place: usize) -> usize {
        let [depth, height, width] = self.positions();
        let (row, x) = (place / self.pitch, place % self.pitch);
        let (z, y) = (row / self.rows, row % self.rows);
        let before = (z * height + y.min(height)) * width + if y < height { x.min(width) } else { 0 };
        before.min(depth * height * width)
    }

    /// Copies what lies at places `first..first + values.len()` to the positions from `to` on, the first position of the
    /// whole result.
    ///
    /// # Safety
    /// `to` is valid for all positions.
    pub unsafe fn compact<E: Compute, S: Store<E>>(&self, first: usize, values: &[E], to: *mut S) {
        let [_, height, width] = self.positions();
        let (row, mut x) = (first / self.pitch, first % self.pitch);
        let (mut z, mut y) = (row / self.rows, row % self.rows);
        let mut at = 0;
        while at < values.len() {
            let left = (self.pitch - x).min(values.len() - at);
            if x < width && y < height {
                let count = left.min(width - x);
                let values = &values[at..at + count];
                // SAFETY: `(z, y, x)` and the `count - 1` behind it are positions.
                unsafe {
                    let to = to.add((z * height + y) * width + x);
                    if S::SAME {
                        copy(values.as_ptr(), to.cast::<E>(), count);
                    } else {
                        values.iter().enumerate().for_each(|(i, &v)| to.add(i).write(S::put(v)));
                    }
                }
            }
            (at, x, y) = (at + left, 0, y + 1);
            if y == self.rows {
                (z, y) = (z + 1, 0);
            }
        }
    }

    /// Writes the planes of `images` times `channels` channels; images lie `steps.0` and channels `steps.1` elements apart.
    ///
    /// # Safety
    /// `to` is valid for [`Planes::elements`] of them, and `from` for all elements of the images.
    pub unsafe fn fill<E: Compute, S: Store<E>>(
        &self,
        from: *const S,
        (images, channels): (usize, usize),
        steps: (isize, isize),
        to: *mut E,
    ) {
        let (len, source, out, tier) = (self.len(), Shared(from.cast_mut().cast()), Shared(to.cast()), Tier::current());
        let count = images * channels;
        // SAFETY: the slack lies behind the planes.
        unsafe { std::ptr::write_bytes(to.add(len * count), 0, SLACK) };
        let bands = self.bands();
        let grain = (GRAIN * bands / len.max(1)).max(1);
        ThreadPool::global().parallel_ranges(count * bands, grain, |range| {
            for i in range {
                let (i, band) = (i / bands, i % bands);
                let offset = (i / channels) as isize * steps.0 + (i % channels) as isize * steps.1;
                let from = source.at(0).cast::<S>().wrapping_offset(offset).cast_const();
                let to = out.at(0).cast::<E>().wrapping_add(i * len);
                run(tier, Band { planes: self, from, to, band, zeros: true });
            }
        });
    }

    /// Writes the planes of one channel on this thread. `zeros`: whether padding is written too.
    ///
    /// # Safety
    /// `to` is valid for [`Planes::len`] elements, and `from` for all elements of the channel.
    pub unsafe fn fill_one<E: Compute, S: Store<E>>(&self, from: *const S, to: *mut E, zeros: bool) {
        let tier = Tier::current();
        (0..self.bands()).for_each(|band| run(tier, Band { planes: self, from, to, band, zeros }));
    }

    /// Elements behind the planes that [`Planes::fill`] sets to zero.
    pub fn slack(&self) -> usize {
        SLACK
    }

    /// Stretches of planes that are filled one at a time.
    fn bands(&self) -> usize {
        self.phases[0].len() * self.depth * self.phases[1].len()
    }
}

/// The first place of a phase that sees an element, and the place behind the last one.
fn inside(axis: &Axis, phase: usize, length: usize) -> (usize, usize) {
    let begin = phase as isize + axis.shift;
    let zeros = if begin < 0 { (-begin + axis.step - 1) / axis.step } else { 0 };
    let end = (axis.source as isize - begin + axis.step - 1).max(0) / axis.step;
    let zeros = (zeros as usize).min(length);
    (zeros, (end as usize).clamp(zeros, length))
}

/// All rows of one layer in one row phase, in all column phases.
struct Band<'a, E, S> {
    planes: &'a Planes,
    from: *const S,
    to: *mut E,
    band: usize,
    zeros: bool,
}

impl<E: Compute, S: Store<E>> Job for Band<'_, E, S> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        let Band { planes: p, from, to, band, zeros } = self;
        let [az, ay, ax] = &p.axes;
        let (rows, columns) = (p.phases[1].len(), p.phases[2].len());
        let (z, phase_y) = (band / rows, band % rows);
        let (phase_z, layer) = (z / p.depth, z % p.depth);
        let at = |axis: &Axis, phase: usize, place: usize| {
            let at = place as isize * axis.step + phase as isize + axis.shift;
            (at >= 0 && at < axis.source as isize).then_some(at)
        };
        let sz = at(az, p.phases[0][phase_z], layer);
        for y in 0..p.rows {
            let sy = at(ay, p.phases[1][phase_y], y);
            for (phase_x, &(first, count, begin)) in p.spans.iter().enumerate() {
                let plane = (phase_z * rows + phase_y) * columns + phase_x;
                // SAFETY: the row lies inside the planes, and only elements inside the image are read.
                unsafe {
                    let to = to.add(plane * p.phase_len() + (layer * p.rows + y) * p.pitch);
                    let (Some(sz), Some(sy)) = (sz, sy) else {
                        if zeros {
                            std::ptr::write_bytes(to, 0, p.pitch);
                        }
                        continue;
                    };
                    let from = from.offset(sz * az.source_step + sy * ay.source_step).wrapping_offset(begin);
                    let (to, step) = (to.add(first), ax.step * ax.source_step);
                    if zeros {
                        std::ptr::write_bytes(to.sub(first), 0, first);
                        std::ptr::write_bytes(to.add(count), 0, p.pitch - first - count);
                    }
                    if step == 1 && S::SAME {
                        copy(from.cast::<E>(), to, count);
                    } else if step == 1 {
                        (0..count).for_each(|q| *to.add(q) = (*from.add(q)).get());
                    } else if step == 2 {
                        (0..count).for_each(|q| *to.add(q) = (*from.add(2 * q)).get());
                    } else {
                        (0..count).for_each(|q| *to.add(q) = (*from.offset(q as isize * step)).get());
                    }
                }
            }
        }
    }
}
