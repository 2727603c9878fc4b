//! Batch normalisation with constant statistics behind a contraction with constant weights becomes part of the weights;
//! elsewhere it becomes one product and one sum, which fuse with their neighbours.

use lampyr_base::{DType, Result};
use lampyr_ir::{Builder, Graph, HostTensor, Node, NodeId, Patch, ValueId, Var, Wires};
use lampyr_ops::build::{BatchNorm, Conv, Gemm, Matmul, add, mul};

use super::Context;

/// Folds every such normalisation.
pub fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    if !context.options.inference {
        return Ok(0);
    }
    let mut count = 0;
    let mut patch = Patch::new("batch norms into weights");
    {
        let wires = Wires::new(graph);
        for id in graph.order()? {
            let Ok(node) = graph.node(id) else { continue };
            if node.op.downcast::<BatchNorm>().is_some_and(|op| !op.training) && fold(&wires, node, &mut patch)? {
                count += 1;
            }
        }
    }
    if count > 0 {
        graph.apply(patch)?;
    }
    Ok(count)
}

/// Factor and shift per channel.
fn affine(graph: &Graph, norm: &Node) -> Option<(Vec<f64>, Vec<f64>)> {
    let op = norm.op.downcast::<BatchNorm>()?;
    let vector = |i: usize| graph.constant(*norm.inputs.get(i)?).map(HostTensor::to_f64);
    let (scale, bias, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    let factor: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + op.epsilon).sqrt()).collect();
    let shift = factor.iter().zip(&mean).zip(&bias).map(|((f, m), b)| b - m * f).collect();
    Some((factor, shift))
}

/// `weights` with every element multiplied by the factor of its channel.
fn scaled(weights: &HostTensor, axis: usize, factor: &[f64]) -> Result<Option<HostTensor>> {
    let shape = weights.shape();
    if shape.get(axis) != Some(&factor.len()) {
        return Ok(None);
    }
    let inner: usize = shape[axis + 1..].iter().product();
    if let (DType::F32, true) = (weights.dtype(), inner > 0) {
        let number = |b: &[u8]| b.try_into().map_or(0.0, f32::from_le_bytes);
        let rows = weights.bytes().chunks_exact(4 * inner).zip(factor.iter().cycle());
        return HostTensor::build(DType::F32, shape, |to| {
            for ((from, f), to) in rows.zip(to.chunks_exact_mut(4 * inner)) {
                for (from, to) in from.chunks_exact(4).zip(to.chunks_exact_mut(4)) {
                    to.copy_from_slice(&((f64::from(number(from)) * f) as f32).to_le_bytes());
                }
            }
        })
        .map(Some);
    }
    let mut values = weights.to_f64();
    for (i, x) in values.iter_mut().enumerate() {
        *x *= factor[i / inner.max(1) % factor.len()];
    }
    HostTensor::from_f64(weights.dtype(), shape, &values).map(Some)
}

fn vector(dtype: DType, values: &[f64]) -> Result<HostTensor> {
    HostTensor::from_f64(dtype, &[values.len()], values)
}

fn fold(wires: &Wires, norm: &Node, patch: &mut Patch) -> Result<bool> {
    let (Some(x), Some(y)) = (norm.inputs.first().copied(), norm.outputs.first().copied()) else { return Ok(false) };
    if norm.outputs[1..].iter().any(|v| !wires.readers(*v).is_empty() || wires.is_kept(*v)) {
        return Ok(false);
    }
    let Some((factor, shift)) = affine(wires.graph(), norm) else { return Ok(false) };
    if let Some((main, _)) = wires.made_by(x).filter(|_| wires.read_once(x))
        && rewrite(wires.graph(), main, y, &factor, &shift, patch)?
    {
        return Ok(true);
    }
    written_out(wires.graph(), norm, &factor, &shift, patch)
}

/// `x * factor + shift`.
fn written_out(graph: &Graph, norm: &Node, factor: &[f64], shift: &[f64], patch: &mut Patch) -> Result<bool> {
    let (Some(x), Some(y)) = (norm.inputs.first().copied(), norm.outputs.first().copied()) else { return Ok(false) };
    let (dtype, Some(rank)) = (graph.fact(x).dtype(), rank(graph, x)) else { return Ok(false) };
    if !matches!(dtype, DType::F32 | DType::F64) || graph.fact(y).dtype() != dtype || rank < 2 {
        return Ok(false);
    }
    let mut shape = vec![1; rank - 1];
    shape[0] = factor.len();
    patch.scope(&norm.name);
    let x = patch.tap(graph, x)?;
    let factor = patch.constant(HostTensor::from_f64(dtype, &shape, factor)?)?;
    let shift = patch.constant(HostTensor::from_f64(dtype, &shape, shift)?)?;
    let scaled = mul(patch, &x, &factor)?;
    let made = add(patch, &scaled, &shift)?;
    patch.replace(y, &made)?;
    Ok(true)
}

fn rewrite(graph: &Graph, main: NodeId, y: ValueId, factor: &[f64], shift: &[f64], patch: &mut Patch) -> Result<bool> {
    let node = graph.node(main)?;
    let (Some(input), Some(weights)) = (node.inputs.first(), node.inputs.get(1).and_then(|w| graph.constant(*w)))
    else {
        return Ok(false);
    };
    let dtype = weights.dtype();
    if !dtype.is_float() || graph.fact(y).dtype() != dtype {
        return Ok(false);
    }
    let bias = match node.inputs.get(2) {
        None => vec![0.0; factor.len()],
        Some(v) => match graph.constant(*v) {
            Some(t) if t.len() == factor.len() && t.shape().last() == Some(&factor.len()) => t.to_f64(),
            _ => return Ok(false),
        },
    };
    let joined =
        |beta: f64| -> Vec<f64> { bias.iter().zip(factor).zip(shift).map(|((b, f), s)| beta * b * f + s).collect() };
    let (op, axis, bias): (lampyr_ir::OpRef, usize, Vec<f64>) =
        if node.op.downcast::<Conv>().is_some_and(|c| !c.channels_last) {
            (node.op.clone(), 0, joined(1.0))
        } else if let Some(gemm) = node.op.downcast::<Gemm>() {
            let axis = if gemm.trans_b { 0 } else { 1 };
            let op = Gemm { beta: 1.0, ..gemm.clone() };
            (lampyr_ir::OpRef::new(op), axis, joined(gemm.beta))
        } else if node.op.downcast::<Matmul>().is_some() && weights.shape().len() == 2 && rank(graph, *input) == Some(2)
        {
            let op = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
            (lampyr_ir::OpRef::new(op), 1, joined(1.0))
        } else {
            return Ok(false);
        };
    let Some(weights) = scaled(weights, axis, factor)? else { return Ok(false) };
    patch.scope(&node.name);
    let args: [Var; 3] = [patch.tap(graph, *input)?, patch.constant(weights)?, patch.constant(vector(dtype, &bias)?)?];
    let made = (patch as &mut dyn Builder).one(&*op, &args)?;
    patch.replace(y, &made)?;
    Ok(true)
}

fn rank(graph: &Graph, v: ValueId) -> Option<usize> {
    graph.fact(v).as_tensor().ok().map(|t| t.rank())
}
