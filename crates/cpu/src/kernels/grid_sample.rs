//! Images sampled at points of a grid.

use std::ops::{Div, Sub};

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::Result;
use lampyr_base::pool::ThreadPool;
use lampyr_ir::Op;
use lampyr_ops::build::{GridSample, Interpolation, Padding};

use super::contraction::{address, floats};
use super::operand::Shared;
use crate::gemm::{Compute, Store};

/// Elements and weights for a few points at a time, then channel by channel.
pub(super) struct GridSampleKernel;

/// Points done at a time.
const POINTS: usize = 16;
/// The most elements that one point sees: four on each of three axes.
const MOST: usize = 64;

/// What sampling does in floats.
trait Place: Compute + PartialOrd + Sub<Output = Self> + Div<Output = Self> + std::ops::Rem<Output = Self> {
    const HALF: Self;
    fn of(n: usize) -> Self;
    fn floor(self) -> Self;
    fn round_even(self) -> Self;
    fn distance(self) -> Self;
    /// The index, for numbers from 0 on.
    fn index(self) -> usize;
    /// Between 0 and `last`; NaN is 0.
    fn clamped(self, last: Self) -> Self;
}

macro_rules! place {
    ($($t:ident)*) => { $(
        impl Place for $t {
            const HALF: $t = 0.5;
            #[inline(always)]
            fn of(n: usize) -> $t {
                n as $t
            }
            #[inline(always)]
            fn floor(self) -> $t {
                $t::floor(self)
            }
            #[inline(always)]
            fn round_even(self) -> $t {
                self.round_ties_even()
            }
            #[inline(always)]
            fn distance(self) -> $t {
                self.abs()
            }
            #[inline(always)]
            fn index(self) -> usize {
                self as usize
            }
            #[inline(always)]
            fn clamped(self, last: $t) -> $t {
                self.max(0.0).min(last)
            }
        }
    )* };
}
place! { f32 f64 }

/// One axis of the image.
struct Axis<E> {
    n: usize,
    size: E,
    last: E,
    mode: Interpolation,
    padding: Padding,
    align: bool,
}

impl<E: Place> Axis<E> {
    #[inline]
    fn place(&self, at: E) -> E {
        match self.padding {
            Padding::Zeros => at,
            Padding::Border => at.clamped(self.last),
            Padding::Reflection => {
                let (low, span) = if self.align { (E::ZERO, self.last) } else { (E::ZERO - E::HALF, self.size) };
                if span == E::ZERO {
                    return E::ZERO;
                }
                let double = span + span;
                let far = (at - low).distance() % double;
                let near = if far > span { double - far } else { far };
                (near + low).clamped(self.last)
            }
        }
    }

    /// Elements and weights for a coordinate, and how many; elements beyond the borders are left out.
    #[inline]
    fn taps(&self, at: E, to: &mut [(usize, E); 4]) -> usize {
        let up = at + E::ONE;
        let at = match self.align {
            true => up * E::HALF * self.last,
            false => (up * self.size - E::ONE) * E::HALF,
        };
        let mut count = 0;
        let mut push = |index: E, weight: E| {
            if index >= E::ZERO && index <= self.last {
                to[count] = (index.index(), weight);
                count += 1;
            }
        };
        match self.mode {
            Interpolation::Nearest => push(self.place(at).round_even(), E::ONE),
            Interpolation::Linear => {
                let at = self.place(at);
                let low = at.floor();
                let t = at - low;
                push(low, E::ONE - t);
                push(low + E::ONE, t);
            }
            Interpolation::Cubic => {
                let low = at.floor();
                let t = at - low;
                let s = E::ONE - t;
                let (two, three) = (E::ONE + E::ONE, E::ONE + E::ONE + E::ONE);
                let a = E::ZERO - three / (two + two);
                let outer = |t: E| ((t - two) * t + E::ONE) * t * a;
                let inner = |t: E| ((a + two) * t - (a + three)) * t * t + E::ONE;
                let weights = [outer(t), inner(t), inner(s), outer(s)];
                let mut index = low - E::ONE;
                for weight in weights {
                    push(self.place(index), weight);
                    index = index + E::ONE;
                }
            }
        }
        count
    }
}

impl Kernel for GridSampleKernel {
    fn name(&self) -> &'static str {
        "grid_sample"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs[0].dtype.is_float() && (3..=5).contains(&inputs[0].layout.rank())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, grid, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        let op: &GridSample = launch.op()?;
        let (mode, padding) = op.kinds()?;
        let sizes = &x.shape()[2..];
        let (images, channels) = (x.shape()[0], x.shape()[1]);
        let points: usize = grid.shape()[1..=sizes.len()].iter().product();
        let plane: usize = sizes.iter().product();
        if out.layout.is_empty() || plane == 0 {
            return Ok(());
        }
        let blocks = points.div_ceil(POINTS);
        floats!(x.dtype, E, S => {
            let axes: Vec<Axis<E>> = (sizes.iter())
                .map(|&n| Axis { n, size: E::of(n), last: E::of(n - 1), mode, padding, align: op.align_corners })
                .collect();
            let (from, to, grid) = (Shared(address(x)?), Shared(address(out)?), Shared(address(grid)?));
            let grain = (16 * 1024 / (POINTS * (channels + 8) * 4)).max(1);
            ThreadPool::global().parallel_ranges(images * blocks, grain, |range| {
                let mut taps = [(0usize, 0.0); POINTS * MOST];
                let mut ends = [0usize; POINTS];
                for unit in range {
                    let (image, first) = (unit / blocks, unit % blocks * POINTS);
                    let count = POINTS.min(points - first);
                    let mut used = 0;
                    for (p, end) in ends.iter_mut().enumerate().take(count) {
                        // SAFETY: one coordinate per point and axis.
                        let at = unsafe { grid.at(0).cast::<S>().add((image * points + first + p) * axes.len()) };
                        let to: &mut [(usize, E); MOST] = match taps[used..].first_chunk_mut() {
                            Some(to) => to,
                            None => continue,
                        };
                        // SAFETY: as above.
                        used += gather(&axes, |i| unsafe { *at.add(i) }.get(), to);
                        *end = used;
                    }
                    for c in 0..channels {
                        // SAFETY: taps lie inside the plane; points of the result belong to one chunk.
                        unsafe {
                            let from = from.at(0).cast::<S>().add((image * channels + c) * plane).cast_const();
                            let to = to.at(0).cast::<S>().add((image * channels + c) * points + first);
                            let mut start = 0;
                            for (p, &end) in ends.iter().enumerate().take(count) {
                                let mut sum: E = 0.0;
                                for &(i, w) in &taps[start..end] {
                                    sum += w * <S as Store<E>>::get(*from.add(i));
                                }
                                to.add(p).write(S::put(sum));
                                start = end;
                            }
                        }
                    }
                }
            });
        }, _ => {});
        Ok(())
    }
}

/// Elements and weights of one point over all axes; gives how many there are.
#[inline]
fn gather<E: Place>(axes: &[Axis<E>], coordinate: impl Fn(usize) -> E, to: &mut [(usize, E); MOST]) -> usize {
    to[0] = (0, E::ONE);
    let mut count = 1;
    for (k, axis) in axes.iter().enumerate() {
        let mut own = [(0, E::ZERO); 4];
        let number = axis.taps(coordinate(axes.len() - 1 - k), &mut own);
        // From the last on, so that what is still needed is not overwritten.
        for t in (0..count).rev() {
            let (index, weight) = to[t];
            for (j, &(i, w)) in own[..number].iter().enumerate() {
                to[t * number + j] = (index * axis.n + i, weight * w);
            }
        }
        count *= number;
    }
    count
}
