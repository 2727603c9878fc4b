//! Taps of a convolution that see nothing but padding, as under wide dilations, are cut off its weights.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::{Builder, Graph, HostTensor, Node, Patch, Var};
use lampyr_ops::build::Conv;

use super::Context;

/// Cuts the weights of every such convolution.
pub fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    if !context.options.inference {
        return Ok(0);
    }
    let mut count = 0;
    let mut patch = Patch::new("taps in padding");
    for id in graph.order()? {
        let Ok(node) = graph.node(id) else { continue };
        if cut(graph, node, &mut patch)?.is_some() {
            count += 1;
        }
    }
    if count > 0 {
        graph.apply(patch)?;
    }
    Ok(count)
}

/// The taps of an axis that see an element from some position, for sizes that leave any.
fn seen(input: i64, taps: i64, step: i64, dilation: i64, (before, behind): (i64, i64)) -> Option<(i64, i64)> {
    let extent = dilation.checked_mul(taps - 1)?.checked_add(1)?;
    let positions = (input.checked_add(before)?.checked_add(behind)?.checked_sub(extent)?) / step + 1;
    let meets = |tap: i64| {
        let first = tap * dilation - before;
        // The first position that sees an element at or behind 0.
        let at = if first < 0 { (-first + step - 1) / step } else { 0 };
        at < positions && at * step + first < input
    };
    let first = (0..taps).find(|&t| meets(t))?;
    let last = (0..taps).rev().find(|&t| meets(t))?;
    (positions > 0).then_some((first, last + 1))
}

fn cut(graph: &Graph, node: &Node, patch: &mut Patch) -> Result<Option<()>> {
    let (Some(op), [x, w, ..], [y]) = (node.op.downcast::<Conv>(), node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return Ok(None);
    };
    let Some(weights) = graph.constant(*w).filter(|w| matches!(w.dtype(), DType::F32 | DType::F64)) else {
        return Ok(None);
    };
    let rank = op.strides.len();
    let (Ok(image), kernel) = (graph.fact(*x).as_tensor(), weights.shape().to_vec()) else { return Ok(None) };
    if op.channels_last || image.rank() != rank + 2 || kernel.len() != rank + 2 || op.dilations.iter().all(|&d| d == 1)
    {
        return Ok(None);
    }
    let mut pads = op.pads.clone();
    let mut kept = Vec::with_capacity(rank);
    for a in 0..rank {
        let (taps, dilation) = (kernel[a + 2] as i64, op.dilations[a]);
        let (Some(size), Some(before), Some(behind)) =
            (image.shape[a + 2].known(), pads[a].known(), pads[rank + a].known())
        else {
            return Ok(None);
        };
        let Some((first, end)) = seen(size, taps, op.strides[a], dilation, (before, behind)) else { return Ok(None) };
        let (front, back) = (before - first * dilation, behind - (taps - end) * dilation);
        // Padding that is then too short would have to be negative.
        if front < 0 || back < 0 {
            return Ok(None);
        }
        (pads[a], pads[rank + a]) = (Dim::Known(front), Dim::Known(back));
        kept.push(first as usize..end as usize);
    }
    if kept.iter().zip(&kernel[2..]).all(|(k, n)| k.len() == *n) {
        return Ok(None);
    }
    let planes: usize = kernel[..2].iter().product();
    let plane: usize = kernel[2..].iter().product();
    let size = weights.dtype().size();
    let mut places = vec![0];
    for (axis, kept) in kept.iter().enumerate() {
        let taps = kernel[axis + 2];
        places = (places.iter()).flat_map(|p| kept.clone().map(move |t| p * taps + t)).collect();
    }
    let shape: Vec<usize> = kernel[..2].iter().copied().chain(kept.iter().map(|k| k.len())).collect();
    let from = weights.bytes();
    let part = HostTensor::build(weights.dtype(), &shape, |to| {
        let taps = (0..planes).flat_map(|p| places.iter().map(move |t| (p * plane + t) * size));
        for (at, to) in taps.zip(to.chunks_exact_mut(size)) {
            if let Some(x) = from.get(at..at + size) {
                to.copy_from_slice(x);
            }
        }
    })?;
    patch.scope(&node.name);
    let mut args: Vec<Var> = vec![patch.tap(graph, *x)?, patch.constant(part)?];
    for bias in &node.inputs[2..] {
        args.push(patch.tap(graph, *bias)?);
    }
    let op = Conv { pads, ..op.clone() };
    let made = (patch as &mut dyn Builder).one(&op, &args)?;
    patch.replace(*y, &made)?;
    Ok(Some(()))
}
