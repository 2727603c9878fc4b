//! How convolution and pooling see an image: positions of windows and taps in a window on every axis.

use lampyr_base::{Error, Layout, Result};

use crate::gemm::{Batch, Compute, Operand, Panel, Store, Strided};

/// How positions and taps of one spatial axis meet elements of an image: position `p` and tap `t` see element
/// `p * step + t * tap_step + shift`, where that is inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub source: usize,
    pub source_step: isize,
    pub positions: usize,
    pub taps: usize,
    pub step: isize,
    pub tap_step: isize,
    pub shift: isize,
}

impl Axis {
    /// An axis of size 1.
    pub const ONE: Axis = Axis { source: 1, source_step: 0, positions: 1, taps: 1, step: 1, tap_step: 1, shift: 0 };

    /// The element that a position and a tap see.
    #[inline(always)]
    pub fn at(&self, position: usize, tap: usize) -> Option<isize> {
        let at = position as isize * self.step + tap as isize * self.tap_step + self.shift;
        (at >= 0 && at < self.source as isize).then_some(at)
    }
}

/// Elements of one row of positions that one tap sees: `count` of them from position `first` on, in memory `step` apart
/// from `from` on.
pub(super) struct Run<S> {
    pub first: usize,
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

/// Positions of the adjoint that have one remainder by the strides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remainder {
    pub axes: [Axis; 3],
    /// First position, and how far apart they lie.
    pub first: [usize; 3],
    pub every: [usize; 3],
    /// First tap, and how far apart they lie.
    pub tap: [usize; 3],
    pub taps: [usize; 3],
}

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
        })
    }

    /// Views for its adjoint, from the gradient `g` of the result to `input` positions: one for every remainder of the
    /// positions by the strides, since each sees taps of its own.
    pub fn adjoint(&self, g: &Layout, kernel: &[usize], input: &[usize]) -> Result<Vec<Remainder>> {
        let mut all = vec![Remainder { axes: [Axis::ONE; 3], first: [0; 3], every: [1; 3], tap: [0; 3], taps: [1; 3] }];
        let rank = g.rank() - 2;
        let lead = 3usize.checked_sub(rank).ok_or_else(|| Error::internal("more than three spatial axes"))?;
        for i in 0..rank {
            let (stride, dilation) = (self.strides[i] as usize, self.dilations[i] as usize);
            // Taps that one position sees lie this far apart.
            let period = (1..=stride).find(|p| p * dilation % stride == 0).unwrap_or(1);
            let base = std::mem::take(&mut all);
            for (view, first) in base.iter().flat_map(|v| (0..stride.min(input[i])).map(move |f| (v, f))) {
                let reach = |tap: usize| (first + self.pads[i]) as isize - (tap * dilation) as isize;
                let tap = (0..period.min(kernel[i])).find(|&tap| reach(tap) % stride as isize == 0);
                let mut view = *view;
                view.axes[lead + i] = Axis {
                    source: g.shape[i + 2],
                    source_step: g.strides[i + 2],
                    positions: (input[i] - first).div_ceil(stride),
                    taps: tap.map_or(0, |tap| (kernel[i] - tap).div_ceil(period)),
                    step: 1,
                    tap_step: -((period * dilation / stride) as isize),
                    shift: tap.map_or(0, |tap| reach(tap) / stride as isize),
                };
                (view.first[lead + i], view.every[lead + i]) = (first, stride);
                (view.tap[lead + i], view.taps[lead + i]) = (tap.unwrap_or(0), period);
                all.push(view);
            }
        }
        Ok(all)
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

    /// Elements of a row that the windows of one row of positions see, padding included.
    pub fn reach(&self) -> usize {
        let axis = &self.axes[2];
        axis.positions.saturating_sub(1) * axis.step as usize + axis.taps.saturating_sub(1) * axis.tap_step as usize + 1
    }

    /// The matrix of positions by channels when every position sees one element through one tap.
    pub fn as_strided(&self) -> Option<Strided<S>> {
        let whole = |a: &Axis| a.taps == 1 && a.step == 1 && a.shift == 0 && a.positions == a.source;
        if !self.axes.iter().all(whole) {
            return None;
        }
        let shape = self.axes.map(|a| a.source);
        let strides = self.axes.map(|a| a.source_step);
        let layout = Layout { shape: shape.into_iter().collect(), strides: strides.into_iter().collect(), offset: 0 };
        let flat = layout.reshape(&[self.positions()])?;
        Some(Strided { data: self.data, outer: flat.strides[0], inner: self.channel, batch: self.batch.clone() })
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
                // First position that sees an element at or behind 0.
                let first = if begin < 0 { (-begin + width.step - 1) / width.step } else { 0 };
                let at = begin + first * width.step;
                let inside = (width.source as isize - at + width.step - 1) / width.step;
                let number = (length as isize - first).min(inside);
                if number > 0 {
                    let offset = sz * depth.source_step + sy * height.source_step + at * width.source_step;
                    let run = Run {
                        first: first as usize,
                        count: number as usize,
                        from: plane.wrapping_offset(offset),
                        step: width.step * width.source_step,
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

/// Columns are positions, the contraction runs over channels and taps; what lies outside is zero.
impl<E: Compute, S: Store<E>> Operand<E> for Image<S> {
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        let Panel { batch, k, depth, at, count, stride } = panel;
        let [_, height, width] = self.axes.map(|a| a.positions);
        let start = [at / (height * width), at / width % height, at % width];
        let (taps, [_, rows, columns]) = (self.taps(), self.axes.map(|a| a.taps));
        let (mut channel, first) = (k / taps, k % taps);
        let mut tap = [first / (rows * columns), first / columns % rows, first % columns];
        let image = self.data.wrapping_offset(self.batch.offset(batch));
        for p in 0..depth {
            let to = to.wrapping_add(p * stride);
            // SAFETY: the panel has `depth * stride` elements, and runs lie inside the image.
            unsafe {
                std::ptr::write_bytes(to, 0, stride);
                let plane = image.wrapping_offset(channel as isize * self.channel);
                self.runs(plane, tap, start, count, |offset, run| {
                    let to = to.add(offset + run.first);
                    if S::SAME && run.step == 1 {
                        std::ptr::copy_nonoverlapping(run.from.cast::<E>(), to, run.count);
                    } else {
                        (0..run.count).for_each(|q| *to.add(q) = (*run.from.offset(q as isize * run.step)).get());
                    }
                });
            }
            self.next_tap(&mut channel, &mut tap);
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
