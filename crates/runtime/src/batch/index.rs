//! Rows picked from tensors and added to them, where indices, tensors or both differ between elements.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::{AttrValue, HostTensor, Op};
use lampyr_ops::build::{Add, Gather, IndexAdd, Less, Where};
use lampyr_ops::common;

use super::contraction::dims;
use super::run::{Call, each, permuted, reshaped};
use crate::eager::{Outputs, compute};
use crate::tensor::Tensor;

pub(super) fn rule(call: &Call) -> Result<Option<Outputs>> {
    match call.op.name() {
        "gather" => gather(call),
        "index_add" => index_add(call),
        _ => Ok(None),
    }
}

fn one(op: &dyn Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut made = compute(op, inputs, &|_| true)?;
    made.pop().flatten().ok_or_else(|| lampyr_base::Error::internal("an op made no output").with_op(op.name()))
}

/// The indices into `n` rows of each element as indices into the rows of all elements, one behind another.
fn global(call: &Call, indices: &Tensor, n: usize) -> Result<Tensor> {
    let (depth, count) = (call.depth(), call.count());
    let scalar = |v: i64| Tensor::from_host(&HostTensor::from_i64(indices.dtype(), &[], &[v])?, indices.device());
    let wrapped = one(&Add, &[indices, &scalar(n as i64)?])?;
    let negative = one(&Less, &[indices, &scalar(0)?])?;
    let at = one(&Where, &[&negative, &wrapped, indices])?;
    let starts: Vec<i64> = (0..count).map(|b| (b * n) as i64).collect();
    let shape: Vec<usize> = call.sizes().iter().copied().chain((depth..at.rank()).map(|_| 1)).collect();
    let starts = Tensor::from_host(&HostTensor::from_i64(at.dtype(), &shape, &starts)?, at.device())?;
    one(&Add, &[&at, &starts])
}

/// Axis `from` of `t` brought to place `to`.
fn brought(t: &Tensor, from: usize, to: usize) -> Tensor {
    let mut order: Vec<usize> = (0..t.rank()).filter(|a| *a != from).collect();
    order.insert(to, from);
    permuted(t, &order)
}

fn is_index(t: &Tensor) -> bool {
    matches!(t.dtype(), DType::I32 | DType::I64)
}

fn gather(call: &Call) -> Result<Option<Outputs>> {
    let Some(AttrValue::Int(axis)) = call.attr("axis") else { return Ok(None) };
    let (depth, rank, picks) = (call.depth(), call.rank(0), call.rank(1));
    let axis = common::axis(axis, rank)?;
    if !call.batched(1) {
        return call.run(&Gather { axis: (axis + depth) as i64 }, &[call.whole(0)?, call.input(1)?.clone()]).map(Some);
    }
    // Indices of all elements pick at once; their axes then move to the front.
    let to_front = |t: &Tensor| {
        let order: Vec<usize> = (axis..axis + depth).chain(0..axis).chain(axis + depth..t.rank()).collect();
        Ok(permuted(t, &order))
    };
    if !call.batched(0) {
        let made = call.run(&Gather { axis: axis as i64 }, &[call.input(0)?.clone(), call.whole(1)?])?;
        return each(made, to_front);
    }
    if !is_index(call.input(1)?) || call.count() == 0 {
        return Ok(None);
    }
    let x = brought(&call.whole(0)?, depth + axis, depth);
    let own = x.shape()[depth..].to_vec();
    let long = reshaped(&x, &[&[call.count() * own[0]], &own[1..]].concat())?;
    let at = global(call, &call.whole(1)?, own[0])?;
    let made = call.run(&Gather { axis: 0 }, &[long, at])?;
    // [lead.., picks.., before.., after..] to [lead.., before.., picks.., after..]
    each(made, |t| {
        let (p, b) = (depth + picks, depth + picks + axis);
        let order: Vec<usize> = (0..depth).chain(p..b).chain(depth..p).chain(b..t.rank()).collect();
        Ok(permuted(t, &order))
    })
}

fn index_add(call: &Call) -> Result<Option<Outputs>> {
    let (Some(AttrValue::Int(axis)), Some(AttrValue::Dims(shape))) = (call.attr("axis"), call.attr("shape")) else {
        return Ok(None);
    };
    let (depth, sizes, picks) = (call.depth(), call.sizes(), call.rank(0));
    let own = common::sizes(&shape)?;
    let axis = common::axis(axis, own.len())?;
    if !call.batched(0) {
        let shape = sizes.iter().map(|&n| Dim::from(n)).chain(shape).collect();
        let op = IndexAdd { axis: (axis + depth) as i64, shape };
        return call.run(&op, &[call.input(0)?.clone(), call.whole(1)?]).map(Some);
    }
    if !is_index(call.input(0)?) || call.count() == 0 {
        return Ok(None);
    }
    // [lead.., before.., picks.., after..] to [lead.., picks.., before.., after..]
    let values = call.whole(1)?;
    let (b, p) = (depth + axis, depth + axis + picks);
    let order: Vec<usize> = (0..depth).chain(b..p).chain(depth..b).chain(p..values.rank()).collect();
    let values = permuted(&values, &order);
    let at = global(call, &call.whole(0)?, own[axis])?;
    let rest = [&own[..axis], &own[axis + 1..]].concat();
    let AttrValue::Dims(long) = dims(&[&[call.count() * own[axis]], &rest[..]].concat()) else { return Ok(None) };
    let made = call.run(&IndexAdd { axis: 0, shape: long }, &[at, values])?;
    each(made, |t| {
        let wide = reshaped(t, &[&sizes[..], &[own[axis]], &rest].concat())?;
        Ok(brought(&wide, depth, depth + axis))
    })
}
