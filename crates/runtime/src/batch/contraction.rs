//! Sums of products: more batch axes of a matrix product, more images or more groups of a convolution.

use lampyr_base::{Dim, Result};
use lampyr_ir::{AttrValue, Op};
use lampyr_ops::build::{Add, Conv, ConvInputGrad, ConvWeightGrad, Einsum, Gemm, Matmul};

use super::run::{Call, each, permuted, reshaped};
use crate::eager::{Outputs, compute};
use crate::tensor::Tensor;

pub(super) fn rule(call: &Call) -> Result<Option<Outputs>> {
    let any = call.op.as_any();
    if any.is::<Matmul>() {
        return matmul(call).map(Some);
    }
    if any.is::<Gemm>() {
        return gemm(call);
    }
    if any.is::<Conv>() || any.is::<ConvInputGrad>() || any.is::<ConvWeightGrad>() {
        return convolution(call);
    }
    Ok(None)
}

fn matmul(call: &Call) -> Result<Outputs> {
    let (x, y) = (call.input(0)?, call.input(1)?);
    let (row, column) = (x.rank() == 1, y.rank() == 1);
    // Vectors become matrices, so that the axes in front are batch axes on both sides.
    let rank = x.rank().max(y.rank()).max(2);
    let side = |t: &Tensor, vector: bool, at_end: bool| -> Result<Tensor> {
        if !t.is_batched() && !vector {
            return Ok(t.clone());
        }
        if !vector {
            return Ok(t.physical(call.lead, rank, false));
        }
        let flat = t.physical(call.lead, 1, false);
        let lead = &flat.shape()[..call.depth()];
        let n = t.shape()[0];
        let ones = vec![1; rank - 2];
        let matrix = if at_end { [n, 1] } else { [1, n] };
        reshaped(&flat, &[lead, &ones, &matrix].concat())
    };
    let made = call.run(call.op, &[side(x, row, false)?, side(y, column, true)?])?;
    if !row && !column {
        return Ok(made);
    }
    let squeezed = |t: &Tensor| {
        let mut shape = t.shape().to_vec();
        let last = shape.len() - 1;
        if column {
            shape.remove(last);
        }
        if row {
            shape.remove(last - 1);
        }
        reshaped(t, &shape)
    };
    made.iter().map(|t| t.as_ref().map(squeezed).transpose()).collect()
}

/// One long matrix where only rows differ between elements.
fn gemm(call: &Call) -> Result<Option<Outputs>> {
    let rows = call.attr("trans_a") == Some(AttrValue::Bool(false));
    if !rows || !call.batched(0) || call.batched(1) || call.batched(2) || call.rank(2) > 1 {
        return Ok(None);
    }
    let (a, own) = (call.whole(0)?, call.input(0)?.shape().to_vec());
    let long = reshaped(&a, &[call.count() * own[0], own[1]])?;
    let rest = call.inputs.iter().skip(1).map(|t| (*t).clone());
    let made = call.run(call.op, &std::iter::once(long).chain(rest).collect::<Vec<_>>())?;
    each(made, |t| reshaped(t, &[&call.sizes()[..], &[own[0], t.shape()[1]]].concat()))
}

/// Letters of the equation that stand for the axes in front.
pub(super) fn einsum(call: &Call) -> Result<Option<Outputs>> {
    let Some(op) = call.op.as_any().downcast_ref::<Einsum>() else { return Ok(None) };
    let equation = op.equation.replace(' ', "");
    let Some((left, right)) = equation.split_once("->") else { return Ok(None) };
    let free = ('a'..='z').chain('A'..='Z').filter(|c| !equation.contains(*c));
    let front: String = free.take(call.depth()).collect();
    let terms: Vec<&str> = left.split(',').collect();
    if front.len() != call.depth() || terms.len() != call.inputs.len() {
        return Ok(None);
    }
    let mut inputs = Vec::with_capacity(terms.len());
    let mut new = Vec::with_capacity(terms.len());
    for (i, term) in terms.iter().enumerate() {
        inputs.push(if call.batched(i) { call.whole(i)? } else { call.input(i)?.clone() });
        new.push(if call.batched(i) { format!("{front}{term}") } else { (*term).to_string() });
    }
    call.run(&Einsum { equation: format!("{}->{front}{right}", new.join(",")) }, &inputs).map(Some)
}

/// `[lead.., N, C, ..]` as `[N, lead.. * C, ..]`.
fn into_channels(t: &Tensor, depth: usize, count: usize) -> Result<Tensor> {
    let rank = t.rank();
    let order: Vec<usize> = std::iter::once(depth).chain(0..depth).chain(depth + 1..rank).collect();
    let own = &t.shape()[depth..];
    let shape: Vec<usize> = [&[own[0], count * own[1]], &own[2..]].concat();
    reshaped(&permuted(t, &order), &shape)
}

/// `[lead.., M, ..]` as `[lead.. * M, ..]`.
fn into_first(t: &Tensor, depth: usize, count: usize) -> Result<Tensor> {
    let own = &t.shape()[depth..];
    reshaped(t, &[&[count * own[0]], &own[1..]].concat())
}

/// `[N, lead.. * C, ..]` as `[lead.., N, C, ..]`.
fn out_of_channels(t: &Tensor, sizes: &[usize], count: usize) -> Result<Tensor> {
    let own = t.shape();
    let wide = reshaped(t, &[&[own[0]], sizes, &[own[1] / count.max(1)], &own[2..]].concat())?;
    let order: Vec<usize> = (1..=sizes.len()).chain(std::iter::once(0)).chain(sizes.len() + 1..wide.rank()).collect();
    Ok(permuted(&wide, &order))
}

/// Elements are images of one batch where the other operand is shared, and groups of channels where it is not.
fn convolution(call: &Call) -> Result<Option<Outputs>> {
    let (depth, count, sizes) = (call.depth(), call.count(), call.sizes());
    let weights = call.op.as_any().is::<ConvWeightGrad>();
    if count == 0 || call.rank(0) < 3 || call.rank(1) < 3 {
        return Ok(None);
    }
    let Some(AttrValue::Int(group)) = call.attr("group") else { return Ok(None) };
    let bias = call.inputs.get(2).copied();
    let made = if !call.batched(1) && !weights {
        // The bias of a batch of elements is added behind.
        let x = into_first(&call.whole(0)?, depth, count)?;
        let shared = bias.filter(|b| !b.is_batched());
        let inputs: Vec<Tensor> = [x, call.input(1)?.clone()].into_iter().chain(shared.cloned()).collect();
        let n = call.input(0)?.shape()[0];
        let made = call.run(call.op, &inputs)?;
        each(made, |t| reshaped(t, &[&sizes[..], &[n], &t.shape()[1..]].concat()))?
    } else {
        let Some(op) = call.with(&[("group", AttrValue::Int(group * count as i64))]) else { return Ok(None) };
        let x = into_channels(&call.whole(0)?, depth, count)?;
        if weights {
            let g = into_channels(&call.whole(1)?, depth, count)?;
            let made = call.run(&*op, &[x, g])?;
            each(made, |t| reshaped(t, &[&sizes[..], &[t.shape()[0] / count], &t.shape()[1..]].concat()))?
        } else {
            let w = into_first(&call.whole(1)?, depth, count)?;
            let made = call.run(&*op, &[x, w])?;
            each(made, |t| out_of_channels(t, &sizes, count))?
        }
    };
    let late = bias.filter(|b| b.is_batched() || call.batched(1));
    match (made, late) {
        (Some(made), Some(bias)) => each(made, |t| {
            let flat = bias.physical(call.lead, 1, true);
            let spatial = vec![1; t.rank() - depth - 2];
            let wide = reshaped(&flat, &[&sizes[..], &[1, bias.shape()[0]], &spatial].concat())?;
            let mut sum = compute(&Add as &dyn Op, &[t, &wide], &|_| true)?;
            sum.pop().flatten().ok_or_else(|| lampyr_base::Error::internal("a sum has one output"))
        }),
        (made, _) => Ok(made),
    }
}

/// Sizes as an attribute.
pub(super) fn dims(sizes: &[usize]) -> AttrValue {
    AttrValue::Dims(sizes.iter().map(|&n| Dim::from(n)).collect())
}
