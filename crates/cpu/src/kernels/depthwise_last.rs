use std::sync::Arc;

use lampyr_backend::{Arg, ArgInfo, Kernel, Launch, Packed};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::Op;
use lampyr_ops::build::Conv;
use lampyr_ops::common::sizes;

use super::contraction::{address, workspace};
use super::operand::Shared;
use super::tail::Tail;
use crate::channels_last::{Axis, Depthwise, depthwise, transpose_weights};
use crate::gemm::Epilogue;
use crate::simd::Tier;

/// Depthwise convolution of float32 images with the channels last, row by row of the result.
pub(super) struct DepthwiseLastKernel;

/// Multiply-adds of one chunk.
const GRAIN: usize = 128 * 1024;

fn of(op: &dyn Op) -> Option<&Conv> {
    op.as_any().downcast_ref::<Conv>().filter(|c| c.channels_last)
}

/// Whether `op` over an image `x` with weights `w` is of this kind.
pub(super) fn suits(op: &dyn Op, x: &ArgInfo, w: &ArgInfo) -> bool {
    let fixed = |d: &Dim| d.known().is_some_and(|n| n >= 0);
    of(op).is_some_and(|c| {
        c.pads.iter().all(fixed)
            && x.dtype == DType::F32
            && matches!(x.layout.rank(), 3 | 4)
            && c.group > 1
            && w.shape()[1] == 1
            && w.shape()[0] as i64 == c.group
    })
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

impl Kernel for DepthwiseLastKernel {
    fn name(&self) -> &'static str {
        "depthwise_last"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        suits(op, &inputs[0], &inputs[1])
    }

    fn workspace(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        let bias = inputs.get(2).filter(|b| b.layout.strides[0] != 1).map_or(0, |b| b.layout.len());
        let weights = if inputs[1].packed { 0 } else { inputs[1].layout.len() };
        (weights + bias) * size_of::<f32>()
    }

    fn pack(&self, op: &dyn Op, i: usize, input: &Arg) -> Option<Result<Packed>> {
        of(op).filter(|_| i == 1 && input.dtype == DType::F32 && input.layout.is_contiguous())?;
        let pack = || {
            let channels = input.shape()[0];
            let mut to = vec![0.0; input.layout.len()];
            let from = address::<f32>(input)?;
            // SAFETY: a contiguous operand.
            let from = unsafe { std::slice::from_raw_parts(from, to.len()) };
            transpose_weights(from, channels, &mut to);
            Ok(Packed { bytes: to.len() * size_of::<f32>(), data: Arc::new(to) })
        };
        Some(pack())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        run(launch, None)
    }
}

/// Runs it, with a scalar expression behind.
pub(super) fn run(launch: &Launch, tail: Option<&Tail>) -> Result<()> {
    let op: &Conv = launch.op()?;
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
    let (scratch, room) = workspace::<f32>(launch)?;
    let weights = match packed {
        Some(packed) => packed.as_ptr(),
        None => {
            if room < w.layout.len() {
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
        Some(b) if room < used + b.layout.len() => {
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
    let block = tail.map(|t| t.blockwise(matrix)).transpose()?.flatten();
    let convolve = depthwise(Tier::current());
    let image = rows.size * columns.size * channels;
    let line = columns.count * channels;
    let grain = (GRAIN / (line * rows.taps * columns.taps).max(1)).max(1);
    let share = |p: *const f32| Shared(p.cast_mut().cast());
    let (x, weights, bias) = (share(address::<f32>(x)?), share(weights), share(bias));
    let y = Shared(address::<f32>(out)?.cast());
    ThreadPool::global().parallel_ranges(to[0] * rows.count, grain, |range| {
        for i in range {
            let d = Depthwise {
                rows,
                columns,
                channels,
                from: x.at(0).cast::<f32>().wrapping_add(i / rows.count * image),
                weights: weights.at(0).cast(),
                bias: bias.at(0).cast(),
                to: y.at(0).cast::<f32>().wrapping_add(i * line),
                row: i % rows.count,
            };
            // SAFETY: operands have the shapes inferred and no gaps; each row of the result belongs to one chunk.
            unsafe { convolve(&d) };
            if let Some(block) = &block {
                block.apply(0, i * columns.count..(i + 1) * columns.count, 0..channels);
            }
        }
    });
    tail.filter(|_| block.is_none()).map_or(Ok(()), Tail::whole)
}
