//! Depthwise convolution of float32 images with the channels last, row by row of the result.

use std::sync::Arc;

use lampyr_backend::{Arg, ArgInfo, Launch, Packed};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ops::build::Conv;
use lampyr_ops::common::sizes;

use super::activated::Rows;
use super::contraction::{address, workspace as room};
use super::operand::Shared;
use super::tail::{AtStore, Tail};
use crate::channels_last::{Axis, Depthwise, depthwise, transpose_weights};
use crate::gemm::Epilogue;
use crate::simd::Tier;

/// Multiply-adds of one chunk.
const GRAIN: usize = 128 * 1024;

/// Whether `op`, which has the channels last, is of this kind with such weights: every result channel sees one input
/// channel, and every input channel goes into one.
pub(super) fn suits(op: &Conv, dtype: DType, w: &[usize]) -> bool {
    let depthwise = op.group > 1 && w.get(1) == Some(&1) && w.first().is_some_and(|&n| n as i64 == op.group);
    depthwise && dtype == DType::F32 && matches!(w.len(), 3 | 4)
}

/// Both spatial axes of a window over `input` elements; a line is an image of one row.
pub(super) fn axes(
    (strides, dilations, pads): (&[i64], &[i64], &[Dim]),
    kernel: &[usize],
    input: &[usize],
    output: &[usize],
) -> Result<[Axis; 2]> {
    let pads = sizes(pads)?;
    let mut axes = [Axis { size: 1, count: 1, taps: 1, step: 1, dilation: 1, before: 0 }; 2];
    let rank = kernel.len();
    for i in 0..rank.min(2) {
        axes[2 - rank.min(2) + i] = Axis {
            size: input[i],
            count: output[i],
            taps: kernel[i],
            step: strides[i].max(1) as usize,
            dilation: dilations[i].max(1) as usize,
            before: pads[i],
        };
    }
    Ok(axes)
}

/// Bytes of workspace.
pub(super) fn workspace(inputs: &[ArgInfo]) -> usize {
    let bias = inputs.get(2).filter(|b| b.layout.strides[0] != 1).map_or(0, |b| b.layout.len());
    let weights = if inputs[1].packed { 0 } else { inputs[1].layout.len() };
    (weights + bias) * size_of::<f32>()
}

/// Constant weights as they are read.
pub(super) fn pack(w: &Arg) -> Result<Packed> {
    let mut to = vec![0.0; w.layout.len()];
    let from = address::<f32>(w)?;
    // SAFETY: weights have no gaps.
    let from = unsafe { std::slice::from_raw_parts(from, to.len()) };
    transpose_weights(from, w.shape()[0], &mut to);
    Ok(Packed { bytes: to.len() * size_of::<f32>(), data: Arc::new(to) })
}

/// Runs it, with a scalar expression behind.
pub(super) fn run(op: &Conv, launch: &Launch, tail: Option<&Tail>) -> Result<()> {
    let (x, w, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
    if out.layout.is_empty() {
        return Ok(());
    }
    let (from, to) = (x.shape(), out.shape());
    let rank = from.len();
    let spatial = 1..rank - 1;
    let window = (&op.strides[..], &op.dilations[..], &op.pads[..]);
    let [rows, columns] = axes(window, &w.shape()[2..], &from[spatial.clone()], &to[spatial])?;
    let channels = to[rank - 1];
    let packed = launch.packed.get(1).and_then(Option::as_ref).and_then(|p| p.data.downcast_ref::<Vec<f32>>());
    let (scratch, length) = room::<f32>(launch)?;
    let weights = match packed {
        Some(packed) => packed.as_ptr(),
        None => {
            if length < w.layout.len() {
                return Err(Error::internal("the workspace of a convolution is too small"));
            }
            let plain = address::<f32>(w)?;
            // SAFETY: a contiguous operand, and a workspace of as many elements.
            unsafe {
                let plain = std::slice::from_raw_parts(plain, w.layout.len());
                transpose_weights(plain, channels, std::slice::from_raw_parts_mut(scratch, plain.len()));
            }
            scratch.cast_const()
        }
    };
    let used = if packed.is_some() { 0 } else { w.layout.len() };
    let bias = match launch.inputs.get(2) {
        None => std::ptr::null(),
        Some(b) if b.layout.strides[0] == 1 => address::<f32>(b)?.cast_const(),
        Some(b) if length < used + b.layout.len() => {
            return Err(Error::internal("the workspace of a convolution is too small"));
        }
        Some(b) => {
            let (from, to) = (address::<f32>(b)?, scratch.wrapping_add(used));
            // SAFETY: the bias has an element per channel, and the workspace room for as many.
            (0..channels as isize).for_each(|c| unsafe { *to.offset(c) = *from.offset(c * b.layout.strides[0]) });
            to.cast_const()
        }
    };
    let matrix = (1, to[0] * rows.count * columns.count, channels, rows.taps * columns.taps);
    // A sum with a residual is left to blocks.
    let at_store = tail.map(Tail::at_store).transpose()?.flatten().filter(|s| s.residual.is_none());
    let later = tail.filter(|_| at_store.is_none());
    let block = later.map(|t| t.blockwise(matrix)).transpose()?.flatten();
    let y = Shared(address::<f32>(out)?.cast());
    let lines = Rows { start: y, strides: [0, channels as isize] };
    let behind = at_store.as_ref().and_then(|s| s.behind(lines));
    let bounds = at_store.as_ref().and_then(AtStore::bounds);
    let behind = behind.as_ref().map(|b| b as &dyn Epilogue).or(block.as_ref().map(|b| b as &dyn Epilogue));
    let convolve = depthwise(Tier::current());
    let image = rows.size * columns.size * channels;
    let line = columns.count * channels;
    let grain = (GRAIN / (line * rows.taps * columns.taps).max(1)).max(1);
    let share = |p: *const f32| Shared(p.cast_mut().cast());
    let (x, weights, bias) = (share(address::<f32>(x)?), share(weights), share(bias));
    ThreadPool::global().parallel_ranges(to[0] * rows.count, grain, |range| {
        for i in range {
            let d = Depthwise {
                rows,
                columns,
                channels,
                from: x.at(0).cast::<f32>().wrapping_add(i / rows.count * image),
                weights: weights.at(0).cast(),
                bias: bias.at(0).cast(),
                bounds,
                to: y.at(0).cast::<f32>().wrapping_add(i * line),
                row: i % rows.count,
            };
            // SAFETY: operands have the shapes inferred and no gaps; each row of the result belongs to one chunk.
            unsafe { convolve(&d) };
            if let Some(behind) = behind {
                behind.apply(0, i * columns.count..(i + 1) * columns.count, 0..channels);
            }
        }
    });
    later.filter(|_| block.is_none()).map_or(Ok(()), Tail::whole)
}
