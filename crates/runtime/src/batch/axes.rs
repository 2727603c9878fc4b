//! Ops along axes named by attributes: with more axes in front, the numbers move.

use lampyr_base::{Dim, Result};
use lampyr_ir::AttrValue;
use lampyr_ops::common;

use super::run::{Call, each, reshaped};
use crate::eager::Outputs;
use crate::tensor::Tensor;

/// Reductions by class, and other ops that fold the axes of their attribute `axes` (all when it is empty).
pub(super) fn reduction(call: &Call) -> Result<Option<Outputs>> {
    let depth = call.depth();
    if let Some(AttrValue::Dims(shape)) = call.attr("shape") {
        return sum_to_shape(call, &shape);
    }
    let Some(AttrValue::Ints(axes)) = call.attr("axes") else { return Ok(None) };
    let (rank, mut x) = (call.rank(0), call.whole(0)?);
    let axes = match (axes.is_empty(), rank) {
        // Without axes there is nothing to fold; an axis of one element stands for that.
        (_, 0) => {
            x = reshaped(&x, &[x.shape(), &[1]].concat())?;
            vec![depth as i64]
        }
        (true, _) => (0..rank).map(|a| (a + depth) as i64).collect(),
        (false, _) => moved(&axes, rank, depth)?,
    };
    let keep = rank > 0 && matches!(call.attr("keepdims"), Some(AttrValue::Bool(true)));
    let op = call.with(&[("axes", AttrValue::Ints(axes)), ("keepdims", AttrValue::Bool(keep))]);
    op.map(|op| call.run(&*op, &[x])).transpose()
}

fn sum_to_shape(call: &Call, shape: &[Dim]) -> Result<Option<Outputs>> {
    let rank = call.rank(0);
    let sizes = call.sizes();
    let Some(pad) = rank.checked_sub(shape.len()) else { return Ok(None) };
    let lead = sizes.iter().map(|&n| Dim::from(n));
    let target: Vec<Dim> = lead.chain((0..pad).map(|_| Dim::Known(1))).chain(shape.iter().cloned()).collect();
    let Some(op) = call.with(&[("shape", AttrValue::Dims(target))]) else { return Ok(None) };
    let want = [&sizes[..], &common::sizes(shape)?].concat();
    each(call.run(&*op, &[call.whole(0)?])?, |t| reshaped(t, &want))
}

fn moved(axes: &[i64], rank: usize, depth: usize) -> Result<Vec<i64>> {
    axes.iter().map(|a| Ok((common::axis(*a, rank)? + depth) as i64)).collect()
}

/// What the other inputs of an op along one axis are.
enum Others {
    /// As the first: with the same axes.
    Alike,
    /// The same for all elements, without axes in front.
    Shared,
}

/// Ops with an attribute `axis` that counts along their first input.
fn along(name: &str) -> Option<Others> {
    Some(match name {
        "softmax" | "log_softmax" | "hardmax" | "normalize" | "cumsum" | "cumprod" | "topk" | "split" | "argmax"
        | "argmin" | "concat" | "gather_elements" | "scatter_elements" => Others::Alike,
        "layer_norm" | "rms_norm" => Others::Shared,
        _ => return None,
    })
}

/// Other ops whose axes move with those in front.
pub(super) fn rule(call: &Call) -> Result<Option<Outputs>> {
    let (depth, name) = (call.depth(), call.op.name());
    if let Some(others) = along(name) {
        return one_axis(call, others);
    }
    let front = |n: i64| (0..depth).map(move |_| Dim::Known(n));
    match name {
        "logsumexp" | "reduce_l1" | "reduce_l2" | "reduce_log_sum" | "reduce_sum_square" | "var" => reduction(call),
        "trilu" | "det" => call.run(call.op, &call.all()?).map(Some),
        "numel" | "shape_of" | "eye_like" => shared(call),
        "set_slice" => {
            let Some(AttrValue::Ints(axes)) = call.attr("axes") else { return Ok(None) };
            let rank = call.rank(0);
            let value = call.input(1)?.physical(call.lead, rank, false);
            let op = call.with(&[("axes", AttrValue::Ints(moved(&axes, rank, depth)?))]);
            op.map(|op| call.run(&*op, &[call.whole(0)?, value])).transpose()
        }
        "pad" if !call.batched(1) => {
            let (Some(AttrValue::Dims(begins)), Some(AttrValue::Dims(ends))) = (call.attr("begins"), call.attr("ends"))
            else {
                return Ok(None);
            };
            let wide = |dims: Vec<Dim>| AttrValue::Dims(front(0).chain(dims).collect());
            let Some(op) = call.with(&[("begins", wide(begins)), ("ends", wide(ends))]) else { return Ok(None) };
            call.run(&*op, &with_rest(call)?).map(Some)
        }
        "tile" => {
            let Some(AttrValue::Dims(repeats)) = call.attr("repeats") else { return Ok(None) };
            let repeats = AttrValue::Dims(front(1).chain(repeats).collect());
            call.with(&[("repeats", repeats)]).map(|op| call.run(&*op, &call.all()?)).transpose()
        }
        "scatter_add_elements" => {
            let (Some(AttrValue::Int(axis)), Some(AttrValue::Dims(shape))) = (call.attr("axis"), call.attr("shape"))
            else {
                return Ok(None);
            };
            let axis = common::axis(axis, shape.len())? + depth;
            let shape = call.sizes().iter().map(|&n| Dim::from(n)).chain(shape).collect();
            let op = call.with(&[("axis", AttrValue::Int(axis as i64)), ("shape", AttrValue::Dims(shape))]);
            op.map(|op| call.run(&*op, &call.all()?)).transpose()
        }
        "gather_nd" | "scatter_nd" => {
            let Some(AttrValue::Int(dims)) = call.attr("batch_dims") else { return Ok(None) };
            let op = call.with(&[("batch_dims", AttrValue::Int(dims + depth as i64))]);
            op.map(|op| call.run(&*op, &call.all()?)).transpose()
        }
        _ => Ok(None),
    }
}

/// The first input with axes for all levels, the others as they are.
fn with_rest(call: &Call) -> Result<Vec<Tensor>> {
    let rest = call.inputs.iter().skip(1).map(|t| (*t).clone());
    Ok(std::iter::once(call.whole(0)?).chain(rest).collect())
}

fn one_axis(call: &Call, others: Others) -> Result<Option<Outputs>> {
    let rank = call.rank(0);
    let Some(AttrValue::Int(axis)) = call.attr("axis") else { return Ok(None) };
    if rank == 0 {
        return Ok(None);
    }
    let axis = common::axis(axis, rank)? + call.depth();
    let inputs = match others {
        Others::Alike => call.all()?,
        Others::Shared if (1..call.inputs.len()).any(|i| call.batched(i)) => return Ok(None),
        Others::Shared => with_rest(call)?,
    };
    call.with(&[("axis", AttrValue::Int(axis as i64))]).map(|op| call.run(&*op, &inputs)).transpose()
}

/// Ops that read sizes only: the result is the same for all elements.
fn shared(call: &Call) -> Result<Option<Outputs>> {
    let x = call.input(0)?;
    let one = Tensor::over(x.storage().clone(), x.layout().clone(), x.dtype());
    let rest = call.inputs.iter().skip(1).map(|t| (*t).clone());
    let made = call.run(call.op, &std::iter::once(one).chain(rest).collect::<Vec<_>>())?;
    each(made, |t| {
        let wide = [&call.sizes()[..], t.shape()].concat();
        Ok(Tensor::over(t.storage().clone(), t.layout().broadcast_to(&wide)?, t.dtype()))
    })
}
