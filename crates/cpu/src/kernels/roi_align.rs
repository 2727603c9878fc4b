//! Pooling of regions, and its adjoint.

use std::ops::{Div, Range, Sub};

use lampyr_backend::{Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Result};
use lampyr_ir::Op;
use lampyr_ops::build::{RoiAlign, RoiAlignGrad};
use lampyr_ops::common;

use super::contraction::{address, floats, workspace};
use super::operand::Shared;
use crate::gemm::{Compute, Store};

/// For every sample, the elements it is made of and their shares.
type Taps<E> = Vec<Vec<(usize, E)>>;

/// Means or maxima, region by region.
pub(super) struct RoiAlignKernel;
/// Spreading means, channel by channel.
pub(super) struct RoiAlignGradKernel;

/// Channels done by one chunk.
const CHANNELS: usize = 16;

/// Samples of one axis, bin by bin: the elements around each, and the part of the second.
struct Samples<E> {
    bins: Vec<Range<usize>>,
    samples: Vec<(usize, usize, E)>,
    /// Whether samples of a bin lie outside.
    missing: Vec<bool>,
    grid: usize,
}

impl<E: Compute + Sub<Output = E>> Samples<E> {
    fn new() -> Samples<E> {
        Samples { bins: Vec::new(), samples: Vec::new(), missing: Vec::new(), grid: 0 }
    }

    /// For a region that starts at `start`, with `count` bins of size `bin`, over `n` elements.
    fn fill(&mut self, (start, bin, grid): (f64, f64, usize), count: usize, n: usize, convert: impl Fn(f64) -> E) {
        self.bins.clear();
        self.samples.clear();
        self.missing.clear();
        self.grid = grid;
        for b in 0..count {
            let first = self.samples.len();
            let step = bin / grid as f64;
            let begin = start + b as f64 * bin;
            // Samples that may be inside; huge regions have many that are not.
            let near = |at: f64| ((at - begin) / step - 0.5).clamp(0.0, grid as f64);
            let (low, high) =
                if step > 0.0 { (near(-1.0).floor(), near(n as f64).ceil() + 1.0) } else { (0.0, f64::MAX) };
            let range = low as usize..(high as usize).min(grid).min(low as usize + (1 << 22));
            for i in range {
                let at = begin + (i as f64 + 0.5) * bin / grid as f64;
                if !(-1.0..=n as f64).contains(&at) || n == 0 {
                    continue;
                }
                let at = at.max(0.0);
                let from = (at as usize).min(n - 1);
                let part = if from == n - 1 { 0.0 } else { at - from as f64 };
                self.samples.push((from, (from + 1).min(n - 1), convert(part)));
            }
            self.bins.push(first..self.samples.len());
            self.missing.push(self.samples.len() - first < grid);
        }
    }

    /// Elements of a bin with the sums of their weights.
    fn merged(&self, bin: usize, into: &mut Vec<(usize, E)>) {
        into.clear();
        let mut add = |at: usize, weight: E| {
            let last = into.len().saturating_sub(2);
            match into[last..].iter_mut().find(|(i, _)| *i == at) {
                Some((_, sum)) => *sum = *sum + weight,
                None => into.push((at, weight)),
            }
        };
        for &(low, high, part) in &self.samples[self.bins[bin].clone()] {
            add(low, E::ONE - part);
            add(high, part);
        }
    }
}

/// Shapes and operands that both kernels share.
struct Regions<'a> {
    op: &'a RoiAlign,
    dtype: DType,
    rois: Vec<f64>,
    images: Vec<usize>,
    height: usize,
    width: usize,
}

impl<'a> Regions<'a> {
    fn new(op: &'a RoiAlign, rois: &Arg, indices: &Arg, maps: &[usize]) -> Result<Regions<'a>> {
        let count = indices.layout.len();
        let corners = floats!(rois.dtype, E, S => {
            let from = address::<S>(rois)?;
            #[allow(clippy::useless_conversion, reason = "a conversion only for some of the types")]
            // SAFETY: four coordinates per region.
            let corner = |i: usize| f64::from(<S as Store<E>>::get(unsafe { *from.add(i) }));
            (0..4 * count).map(corner).collect()
        }, _ => return Err(Error::internal("integer regions")));
        let image = |i: usize| -> Result<usize> {
            // SAFETY: one index per region.
            let index = unsafe {
                match indices.dtype {
                    DType::I64 => *address::<i64>(indices)?.add(i),
                    _ => i64::from(*address::<i32>(indices)?.add(i)),
                }
            };
            common::element(index, maps[0])
        };
        let images = (0..count).map(image).collect::<Result<_>>()?;
        Ok(Regions { op, dtype: rois.dtype, rois: corners, images, height: maps[2], width: maps[3] })
    }

    fn bins(&self) -> (usize, usize) {
        (self.op.output_height as usize, self.op.output_width as usize)
    }

    /// Samples of region `r`.
    fn samples<E: Compute + Sub<Output = E>>(
        &self,
        r: usize,
        rows: &mut Samples<E>,
        columns: &mut Samples<E>,
        convert: impl Fn(f64) -> E,
    ) {
        let (height, width) = self.bins();
        let roi = &self.rois[4 * r..4 * r + 4];
        rows.fill(self.op.region(roi[1], roi[3], height, self.dtype), height, self.height, &convert);
        columns.fill(self.op.region(roi[0], roi[2], width, self.dtype), width, self.width, &convert);
    }
}

impl Kernel for RoiAlignKernel {
    fn name(&self) -> &'static str {
        "roi_align"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs[0].dtype.is_float() && matches!(inputs[2].dtype, DType::I32 | DType::I64)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, out) = (&launch.inputs[0], launch.output(0)?);
        let op: &RoiAlign = launch.op()?;
        let regions = Regions::new(op, &launch.inputs[1], &launch.inputs[2], x.shape())?;
        let channels = x.shape()[1];
        let (bins, plane) = (regions.bins(), regions.height * regions.width);
        let blocks = channels.div_ceil(CHANNELS);
        let mean = op.mode == "avg";
        floats!(x.dtype, E, S => {
            let (from, to) = (Shared(address(x)?), Shared(address(out)?));
            ThreadPool::global().parallel_ranges(regions.images.len() * blocks, 1, |range| {
                let (mut rows, mut columns) = (Samples::<E>::new(), Samples::<E>::new());
                let (mut down, mut along): (Taps<E>, Taps<E>) =
                    (vec![Vec::new(); bins.0], vec![Vec::new(); bins.1]);
                for unit in range {
                    let (r, first) = (unit / blocks, unit % blocks * CHANNELS);
                    regions.samples(r, &mut rows, &mut columns, |v| v as E);
                    if mean {
                        down.iter_mut().enumerate().for_each(|(i, to)| rows.merged(i, to));
                        along.iter_mut().enumerate().for_each(|(i, to)| columns.merged(i, to));
                    }
                    let count = (rows.grid * columns.grid) as E;
                    for c in first..channels.min(first + CHANNELS) {
                        // SAFETY: operands have the shapes inferred; each region and channel belongs to one chunk.
                        unsafe {
                            let from = from.at(0).cast::<S>().add((regions.images[r] * channels + c) * plane);
                            let image = std::slice::from_raw_parts(from.cast_const(), plane);
                            let to = to.at(0).cast::<S>().add((r * channels + c) * bins.0 * bins.1);
                            let to = std::slice::from_raw_parts_mut(to, bins.0 * bins.1);
                            if mean {
                                average(image, regions.width, &down, &along, count, to);
                            } else {
                                largest(image, regions.width, &rows, &columns, to);
                            }
                        }
                    }
                }
            });
        }, _ => {});
        Ok(())
    }
}

fn average<E: Compute + Div<Output = E>, S: Store<E>>(
    image: &[S],
    width: usize,
    down: &[Vec<(usize, E)>],
    along: &[Vec<(usize, E)>],
    count: E,
    to: &mut [S],
) {
    for (rows, to) in down.iter().zip(to.chunks_mut(along.len())) {
        for (columns, to) in along.iter().zip(to) {
            let mut sum = E::ZERO;
            for &(y, v) in rows {
                let line = &image[y * width..(y + 1) * width];
                let mut part = E::ZERO;
                columns.iter().for_each(|&(x, u)| part = part + u * line[x].get());
                sum = sum + v * part;
            }
            *to = S::put(if rows.is_empty() || columns.is_empty() { E::ZERO } else { sum / count });
        }
    }
}

fn largest<E: Compute + PartialOrd + Sub<Output = E>, S: Store<E>>(
    image: &[S],
    width: usize,
    rows: &Samples<E>,
    columns: &Samples<E>,
    to: &mut [S],
) {
    for (i, to) in to.iter_mut().enumerate() {
        let (row, column) = (i / columns.bins.len(), i % columns.bins.len());
        let missing = rows.missing[row] || columns.missing[column];
        let mut best = (missing && rows.grid * columns.grid > 0).then_some(E::ZERO);
        for &(top, bottom, v) in &rows.samples[rows.bins[row].clone()] {
            for &(left, right, u) in &columns.samples[columns.bins[column].clone()] {
                let corners = [
                    (top, left, (E::ONE - v) * (E::ONE - u)),
                    (top, right, (E::ONE - v) * u),
                    (bottom, left, v * (E::ONE - u)),
                    (bottom, right, v * u),
                ];
                for (y, x, weight) in corners {
                    let value = weight * image[y * width + x].get();
                    if best.is_none_or(|b| value > b) {
                        best = Some(value);
                    }
                }
            }
        }
        *to = S::put(best.unwrap_or(E::ZERO));
    }
}

fn of(op: &dyn Op) -> Option<&RoiAlignGrad> {
    op.as_any().downcast_ref()
}

impl Kernel for RoiAlignGradKernel {
    fn name(&self) -> &'static str {
        "roi_align_grad"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        of(op).is_some_and(|op| op.forward().is_ok()) && inputs[0].dtype.is_float()
    }

    fn workspace(&self, _op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        if inputs[0].dtype.size() == 2 { outputs[0].layout.len() * size_of::<f32>() } else { 0 }
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (g, out) = (&launch.inputs[0], launch.output(0)?);
        let op = launch.op::<RoiAlignGrad>()?.forward()?;
        let regions = Regions::new(op, &launch.inputs[1], &launch.inputs[2], out.shape())?;
        let (images, channels) = (out.shape()[0], out.shape()[1]);
        let (bins, plane) = (regions.bins(), regions.height * regions.width);
        floats!(g.dtype, E, S => {
            let (from, to) = (Shared(address(g)?), Shared(address(out)?));
            let same = <S as Store<E>>::SAME;
            let sums = if same { to } else { Shared(workspace::<E>(launch)?.0.cast()) };
            ThreadPool::global().parallel_ranges(channels, CHANNELS, |range| {
                let (mut rows, mut columns) = (Samples::<E>::new(), Samples::<E>::new());
                let (mut down, mut along) = (vec![Vec::new(); bins.0], vec![Vec::new(); bins.1]);
                let each = |n: usize, c: usize| {
                    // SAFETY: each plane belongs to the chunk of its channel.
                    unsafe {
                        let sums = sums.at(0).cast::<E>().add((n * channels + c) * plane);
                        std::slice::from_raw_parts_mut(sums, plane)
                    }
                };
                range.clone().for_each(|c| (0..images).for_each(|n| each(n, c).fill(0.0)));
                for (r, &image) in regions.images.iter().enumerate() {
                    regions.samples(r, &mut rows, &mut columns, |v| v as E);
                    down.iter_mut().enumerate().for_each(|(i, to)| rows.merged(i, to));
                    along.iter_mut().enumerate().for_each(|(i, to)| columns.merged(i, to));
                    let count = (rows.grid * columns.grid) as E;
                    for c in range.clone() {
                        let plane = each(image, c);
                        for bin in 0..bins.0 * bins.1 {
                            // SAFETY: one gradient per region, channel and bin.
                            let part = unsafe { *from.at(0).cast::<S>().add((r * channels + c) * bins.0 * bins.1 + bin) };
                            let part: E = <S as Store<E>>::get(part) / count;
                            for &(y, v) in &down[bin / bins.1] {
                                let line = &mut plane[y * regions.width..(y + 1) * regions.width];
                                along[bin % bins.1].iter().for_each(|&(x, u)| line[x] += v * u * part);
                            }
                        }
                    }
                }
                if !same {
                    for (n, c) in range.flat_map(|c| (0..images).map(move |n| (n, c))) {
                        for (i, &sum) in each(n, c).iter().enumerate() {
                            // SAFETY: as above.
                            unsafe { to.at(0).cast::<S>().add((n * channels + c) * plane + i).write(S::put(sum)) };
                        }
                    }
                }
            });
        }, _ => {});
        Ok(())
    }
}
