//! Convolution of images whose channels lie side by side, in `f32`.

use std::sync::Arc;

use lampyr_backend::{Arg, ArgInfo, Launch, Packed};
use lampyr_base::pool::{ThreadPool, num_threads};
use lampyr_base::{DType, Error, Result};
use lampyr_kernels::conv::{After, Call, PackedConv, Plan, Shape, Tiles, pack as pack_weights, run_tiles};
use lampyr_ops::build::Conv;
use lampyr_ops::common::sizes;

use super::activated::Rows;
use super::contraction::{address, workspace as room};
use super::depthwise_last;
use super::operand::Shared;
use super::tail::{AtStore, Tail};
use crate::gemm::Epilogue;
use crate::simd::Tier;

/// Whether inputs of these types are convolved here.
pub(super) fn supports(inputs: &[ArgInfo]) -> bool {
    inputs.iter().all(|x| x.dtype == DType::F32)
}

/// Sizes of a convolution of `x` `[N, ..., C]` with `w` to `y` `[N, ..., M]`.
fn shape(op: &Conv, x: &[usize], w: &[usize], y: &[usize]) -> Result<Shape> {
    let rank = w.len() - 2;
    let lead = 3usize.checked_sub(rank).ok_or_else(|| Error::internal("more than three spatial axes"))?;
    let pads = sizes(&op.pads)?;
    let axes = |of: &dyn Fn(usize) -> usize, none: usize| {
        std::array::from_fn(|axis| if axis < lead { none } else { of(axis - lead) })
    };
    let groups = op.group.max(1) as usize;
    Ok(Shape {
        images: x[0],
        source: axes(&|i| x[1 + i], 1),
        positions: axes(&|i| y[1 + i], 1),
        taps: axes(&|i| w[2 + i], 1),
        strides: axes(&|i| op.strides[i] as usize, 1),
        dilations: axes(&|i| op.dilations[i] as usize, 1),
        pads: axes(&|i| pads[i], 0),
        groups,
        channels: w[1],
        outputs: w[0] / groups,
    })
}

/// Elements of the packed form of `w`.
fn packed_len(tier: Tier, shape: &Shape) -> usize {
    PackedConv::elements(tier, (shape.groups, shape.outputs), shape.inner()).unwrap_or(0).next_multiple_of(16)
}

/// Bytes of workspace.
pub(super) fn workspace(op: &Conv, inputs: &[ArgInfo], y: &[usize]) -> usize {
    if depthwise_last::suits(op, inputs[1].dtype, inputs[1].shape()) {
        return depthwise_last::workspace(inputs);
    }
    let Ok(shape) = shape(op, inputs[0].shape(), inputs[1].shape(), y) else { return 0 };
    let tier = Tier::current();
    let own = if inputs[1].packed { 0 } else { packed_len(tier, &shape) };
    let (plan, threads) = (Plan::new(tier, &shape), num_threads());
    let tiles = Tiles::new(tier, &shape).filter(|_| inputs[1].packed).map_or(0, |t| t.workspace(threads));
    (plan.workspace(threads) + own).max(tiles) * size_of::<f32>()
}

/// Constant weights as the kernels read them.
pub(super) fn pack(op: &Conv, w: &Arg) -> Option<Result<Packed>> {
    if depthwise_last::suits(op, w.dtype, w.shape()) {
        return Some(depthwise_last::pack(w));
    }
    let groups = op.group.max(1) as usize;
    let taps = w.shape()[2..].iter().product();
    let pack = || -> Result<Packed> {
        let outputs = w.shape()[0] / groups;
        // SAFETY: weights have no gaps, and an element for each output, channel and tap.
        let made = unsafe { PackedConv::new(Tier::current(), address(w)?, (groups, outputs), (w.shape()[1], taps)) }?;
        Ok(Packed { bytes: made.bytes(), data: Arc::new(made) })
    };
    (w.dtype == DType::F32).then(pack)
}

/// Runs it, with a scalar expression behind.
pub(super) fn run(op: &Conv, launch: &Launch, tail: Option<&Tail>) -> Result<()> {
    let (x, w, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
    if depthwise_last::suits(op, w.dtype, w.shape()) {
        return depthwise_last::run(op, launch, tail);
    }
    let shape = shape(op, x.shape(), w.shape(), out.shape())?;
    let tier = Tier::current();
    let plan = Plan::new(tier, &shape);
    let (mut scratch, mut length) = room::<f32>(launch)?;
    let too_small = || Error::internal("the workspace of a convolution is too small");
    let packed = launch.packed.get(1).and_then(Option::as_ref);
    let packed = packed.and_then(|p| p.data.downcast_ref::<PackedConv>()).filter(|p| p.tier() == tier);
    let weights = match packed {
        Some(p) => p.data(),
        None => {
            let own = packed_len(tier, &shape);
            length = length.checked_sub(own).ok_or_else(too_small)?;
            let to = scratch;
            scratch = scratch.wrapping_add(own);
            let (outputs, inner) = ((shape.groups, shape.outputs), (shape.channels, shape.window()));
            // SAFETY: weights have no gaps, and the workspace has room for their packed form.
            unsafe { pack_weights(tier, address(w)?, outputs, inner, to) };
            to.cast_const()
        }
    };
    if length < plan.workspace(1) {
        return Err(too_small());
    }
    let bias = match launch.inputs.get(2) {
        Some(b) => Some((address::<f32>(b)?.cast_const(), b.layout.strides[0])),
        None => None,
    };
    let at_store = tail.map(Tail::at_store).transpose()?.flatten();
    let later = tail.filter(|_| at_store.is_none());
    let sizes = (shape.images, shape.area(), shape.groups * shape.outputs, shape.inner());
    let block = later.map(|t| t.blockwise(sizes)).transpose()?.flatten();
    let channels = (shape.groups * shape.outputs) as isize;
    let y = address::<f32>(out)?;
    let rows = Rows { start: Shared(y.cast()), strides: [shape.area() as isize * channels, channels] };
    let behind = at_store.as_ref().and_then(|s| s.behind(rows));
    let block = block.as_ref().map(|b| b as &dyn Epilogue);
    let after = After {
        inner: at_store.as_ref().and_then(|s| s.inner),
        residual: at_store.as_ref().and_then(|s| s.residual),
        bounds: at_store.as_ref().and_then(AtStore::bounds),
        epilogue: behind.as_ref().map(|b| b as &dyn Epilogue).or(block),
    };
    let call = Call { x: address(x)?, weights, bias, out: y, after };
    let tiles = packed.and_then(|p| Some((Tiles::new(tier, &shape)?, p.tiled()?)));
    if let Some((tiles, weights)) = tiles.filter(|(t, _)| t.workspace(1) <= length) {
        let call = Call { weights: weights.data(), ..call };
        // SAFETY: as below.
        unsafe { run_tiles(&tiles, &call, &ThreadPool::global(), (scratch, length)) };
        return later.filter(|_| block.is_none()).map_or(Ok(()), Tail::whole);
    }
    // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
    unsafe { lampyr_kernels::conv::run(&plan, &call, &ThreadPool::global(), (scratch, length)) };
    later.filter(|_| block.is_none()).map_or(Ok(()), Tail::whole)
}
