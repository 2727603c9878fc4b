//! Images seen as matrices: the columns that convolution multiplies with its weights, made panel by panel instead of
//! being written out.

use lampyr_base::{Error, Layout, Result};

use crate::gemm::{Batch, Compute, Operand, Panel, Store, Strided};

/// How positions and taps of one spatial axis meet elements of an image: position `p` and tap `t` see element
/// `(p * step + t * tap_step + shift) / up`, where that is whole and inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub source: usize,
    pub source_step: isize,
    pub positions: usize,
    pub taps: usize,
    pub step: isize,
    pub tap_step: isize,
    pub shift: isize,
    pub up: isize,
}

impl Axis {
    const ONE: Axis = Axis { source: 1, source_step: 0, positions: 1, taps: 1, step: 1, tap_step: 1, shift: 0, up: 1 };

    /// The element that a position and a tap see.
    fn at(&self, position: usize, tap: usize) -> Option<isize> {
        let at = position as isize * self.step + tap as isize * self.tap_step + self.shift;
        (at >= 0 && at % self.up == 0 && at / self.up < self.source as isize).then(|| at / self.up)
    }
}

/// Elements of one row of positions that one tap sees: `count` of them, `every` positions apart from position `first`
/// on, in memory `step` apart from `from` on.
pub(super) struct Run<S> {
    pub first: usize,
    pub every: usize,
    pub count: usize,
    pub from: *const S,
    pub step: isize,
}

/// Images `[batch, channels, ...]` with up to three spatial axes.
#[derive(Clone, Debug)]
pub(super) struct Image<S> {
    pub data: *const S,
    pub batch: Batch,
    pub channel: isize,
    pub axes: [Axis; 3],
}

// SAFETY: the pointer is only read while its operand lives.
unsafe impl<S: Sync> Sync for Image<S> {}

/// Strides, begins of padding and dilations of a convolution.
pub(super) struct Window<'a> {
    pub strides: &'a [i64],
    pub pads: &'a [usize],
    pub dilations: &'a [i64],
}

impl Window<'_> {
    /// Spatial axes for convolution of `x` to `output` positions with `kernel` taps.
    pub fn forward(&self, x: &Layout, kernel: &[usize], output: &[usize]) -> Result<[Axis; 3]> {
        self.axes(x.rank() - 2, |i| Axis {
            source: x.shape[i + 2],
            source_step: x.strides[i + 2],
            positions: output[i],
            taps: kernel[i],
            step: self.strides[i] as isize,
            tap_step: self.dilations[i] as isize,
            shift: -(self.pads[i] as isize),
            up: 1,
        })
    }

    /// Spatial axes for its adjoint: from the gradient `g` of the result to `input` positions.
    pub fn adjoint(&self, g: &Layout, kernel: &[usize], input: &[usize]) -> Result<[Axis; 3]> {
        self.axes(g.rank() - 2, |i| Axis {
            source: g.shape[i + 2],
            source_step: g.strides[i + 2],
            positions: input[i],
            taps: kernel[i],
            step: 1,
            tap_step: -(self.dilations[i] as isize),
            shift: self.pads[i] as isize,
            up: self.strides[i] as isize,
        })
    }

    fn axes(&self, rank: usize, axis: impl Fn(usize) -> Axis) -> Result<[Axis; 3]> {
        let mut axes = [Axis::ONE; 3];
        let lead = 3usize.checked_sub(rank).ok_or_else(|| Error::internal("more than three spatial axes"))?;
        (0..rank).for_each(|i| axes[lead + i] = axis(i));
        Ok(axes)
    }
}

impl<S: Copy> Image<S> {
    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.axes.iter().map(|a| a.positions).product()
    }

    /// Number of taps in one channel.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|a| a.taps).product()
    }

    /// The matrix of positions by channels when every position sees one element through one tap.
    pub fn as_strided(&self) -> Option<Strided<S>> {
        let whole = |a: &Axis| a.taps == 1 && a.step == 1 && a.up == 1 && a.shift == 0 && a.positions == a.source;
        if !self.axes.iter().all(whole) {
            return None;
        }
        let shape = self.axes.map(|a| a.source);
        let strides = self.axes.map(|a| a.source_step);
        let layout = Layout { shape: shape.into_iter().collect(), strides: strides.into_iter().collect(), offset: 0 };
        let flat = layout.reshape(&[self.positions()])?;
        Some(Strided { data: self.data, outer: flat.strides[0], inner: self.channel, batch: self.batch.clone() })
    }

    /// The index of element `at` of a box.
    pub fn unflatten(sizes: [usize; 3], at: usize) -> [usize; 3] {
        let inner = sizes[1] * sizes[2];
        [at / inner, at / sizes[2] % sizes[1], at % sizes[2]]
    }

    /// Calls `visit(offset, run)` for each stretch of the `count` positions from `start` on that lies in one row, with
    /// the number of positions before it.
    #[inline(always)]
    pub fn runs(
        &self,
        plane: *const S,
        tap: [usize; 3],
        start: [usize; 3],
        count: usize,
        mut visit: impl FnMut(usize, Run<S>),
    ) {
        let [depth, height, width] = &self.axes;
        let [mut z, mut y, mut x] = start;
        let mut done = 0;
        let from = tap[2] as isize * width.tap_step + width.shift;
        while done < count {
            let length = (width.positions - x).min(count - done);
            if let (Some(sz), Some(sy)) = (depth.at(z, tap[0]), height.at(y, tap[1])) {
                let begin = from + x as isize * width.step;
                // First position that sees an element at or behind 0, and at a whole place.
                let mut first = if begin < 0 { (-begin + width.step - 1) / width.step } else { 0 };
                let rest = (begin + first * width.step) % width.up;
                if rest != 0 {
                    first += width.up - rest;
                }
                let at = (begin + first * width.step) / width.up;
                let (every, step) = if width.up == 1 { (1, width.step) } else { (width.up, 1) };
                let room = (length as isize - first + every - 1) / every;
                let inside = (width.source as isize - at + step - 1) / step;
                let number = room.min(inside);
                if first < length as isize && number > 0 {
                    let offset = sz * depth.source_step + sy * height.source_step + at * width.source_step;
                    let run = Run {
                        first: first as usize,
                        every: every as usize,
                        count: number as usize,
                        from: plane.wrapping_offset(offset),
                        step: step * width.source_step,
                    };
                    visit(done, run);
                }
            }
            done += length;
            (x, y) = (0, y + 1);
            if y == height.positions {
                (y, z) = (0, z + 1);
            }
        }
    }

    fn tap(&self, at: usize) -> (usize, [usize; 3]) {
        let taps = self.taps();
        (at / taps, Self::unflatten(self.axes.map(|a| a.taps), at % taps))
    }

    /// The tap behind `tap`, of the next channel after the last one.
    pub fn next_tap(&self, channel: &mut usize, tap: &mut [usize; 3]) {
        for i in (0..3).rev() {
            tap[i] += 1;
            if tap[i] < self.axes[i].taps {
                return;
            }
            tap[i] = 0;
        }
        *channel += 1;
    }
}

/// Columns are positions; the contraction runs over channels and taps.
impl<E: Compute, S: Store<E>> Operand<E> for Image<S> {
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        let Panel { batch, k, depth, at, count, stride } = panel;
        let image = self.data.wrapping_offset(self.batch.offset(batch));
        let start = Self::unflatten(self.axes.map(|a| a.positions), at);
        let (mut channel, mut tap) = self.tap(k);
        for p in 0..depth {
            let to = to.wrapping_add(p * stride);
            // SAFETY: `to` is valid for `depth * stride` elements; runs lie inside the image, as `Axis::at` checks, and
            // inside the `count` positions.
            unsafe {
                std::ptr::write_bytes(to, 0, stride);
                let plane = image.wrapping_offset(channel as isize * self.channel);
                self.runs(plane, tap, start, count, |offset, run| {
                    let to = to.add(offset + run.first);
                    if S::SAME && run.every == 1 && run.step == 1 {
                        std::ptr::copy_nonoverlapping(run.from.cast::<E>(), to, run.count);
                        return;
                    }
                    for q in 0..run.count {
                        *to.add(q * run.every) = (*run.from.offset(q as isize * run.step)).get();
                    }
                });
            }
            self.next_tap(&mut channel, &mut tap);
        }
    }
}

/// The same matrix with the roles exchanged, over all images: columns are channels and taps, the contraction runs over
/// images and positions. Matrix `batch` shows the channels of a group.
pub(super) struct Patches<S> {
    pub image: Image<S>,
    /// Elements from one image to the next.
    pub next: isize,
}

impl<E: Compute, S: Store<E>> Operand<E> for Patches<S> {
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        let Panel { batch, k, depth, at, count, stride } = panel;
        let positions = self.image.positions();
        let first = self.image.data.wrapping_offset(self.image.batch.offset(batch));
        // SAFETY: `to` is valid for `depth * stride` elements; runs lie inside the image and the positions asked for.
        unsafe {
            std::ptr::write_bytes(to, 0, depth * stride);
            let (mut channel, mut tap) = self.image.tap(at);
            for i in 0..count {
                let mut done = 0;
                while done < depth {
                    let (image, position) = ((k + done) / positions, (k + done) % positions);
                    let length = (positions - position).min(depth - done);
                    let offset = image as isize * self.next + channel as isize * self.image.channel;
                    let start = Image::<S>::unflatten(self.image.axes.map(|a| a.positions), position);
                    self.image.runs(first.wrapping_offset(offset), tap, start, length, |offset, run| {
                        let to = to.add((done + offset + run.first) * stride + i);
                        for q in 0..run.count {
                            *to.add(q * run.every * stride) = (*run.from.offset(q as isize * run.step)).get();
                        }
                    });
                    done += length;
                }
                self.image.next_tap(&mut channel, &mut tap);
            }
        }
    }
}

/// A matrix whose contraction axis is two axes in memory.
pub(super) struct Folded<S> {
    pub matrix: Strided<S>,
    /// Length of the inner of both axes; `matrix.inner` is its step.
    pub length: usize,
    /// Step of the outer of both axes.
    pub next: isize,
}

impl<E: Compute, S: Store<E>> Operand<E> for Folded<S> {
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        let mut done = 0;
        while done < panel.depth {
            let (fold, k) = ((panel.k + done) / self.length, (panel.k + done) % self.length);
            let depth = (self.length - k).min(panel.depth - done);
            let mut matrix = self.matrix.clone();
            matrix.data = matrix.data.wrapping_offset(fold as isize * self.next);
            // SAFETY: the piece lies inside one fold, and `to` is valid for all of them.
            unsafe { matrix.pack(Panel { k, depth, ..panel }, to.add(done * panel.stride)) };
            done += depth;
        }
    }
}
