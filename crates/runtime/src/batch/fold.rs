//! Ops on batches `[N, ..]` that treat every row alike: elements become rows.

use lampyr_base::{Dim, Result};
use lampyr_ir::{AttrValue, OpRef};

use super::level::draw_shape;
use super::run::{Call, each, reshaped};
use crate::eager::{Outputs, compute};
use crate::tensor::Tensor;

/// How many inputs have rows; the others are shared by all rows.
fn rows(call: &Call) -> Option<usize> {
    Some(match call.op.name() {
        "avg_pool"
        | "lp_pool"
        | "max_pool"
        | "global_average_pool"
        | "col2im"
        | "group_norm"
        | "local_response_norm"
        | "depth_to_space"
        | "space_to_depth"
        | "resample_grad" => 1,
        "resize" => match call.attr("axes") {
            Some(AttrValue::Ints(axes)) if !axes.is_empty() && axes.iter().all(|a| *a > 0) => 1,
            _ => return None,
        },
        "batch_norm" if call.attr("training") == Some(AttrValue::Bool(false)) => 1,
        "max_unpool" | "grid_sample" => 2,
        _ => return None,
    })
}

pub(super) fn rule(call: &Call) -> Result<Option<Outputs>> {
    if call.op.name() == "dropout" {
        return dropout(call);
    }
    let Some(first) = rows(call) else { return Ok(None) };
    if (first..call.inputs.len()).any(|i| call.batched(i)) || call.rank(0) == 0 {
        return Ok(None);
    }
    let n = call.input(0)?.shape()[0];
    let inputs = (0..call.inputs.len())
        .map(|i| {
            if i >= first {
                return call.input(i).cloned();
            }
            let own = call.input(i)?.shape();
            reshaped(&call.whole(i)?, &[&[call.count() * own[0]], &own[1..]].concat())
        })
        .collect::<Result<Vec<_>>>()?;
    let Some(op) = sized(call) else { return Ok(None) };
    let made = call.run(&*op, &inputs)?;
    let fits = made.iter().flatten().all(|t| t.shape().first() == Some(&(call.count() * n)));
    if !fits {
        return Ok(None);
    }
    each(made, |t| reshaped(t, &[&call.sizes()[..], &[n], &t.shape()[1..]].concat()))
}

/// The op for all rows: one that names the sizes of its result names their number, too.
fn sized(call: &Call) -> Option<OpRef> {
    if call.op.name() != "resample_grad" {
        return Some(call.op.to_ref());
    }
    let Some(AttrValue::Dims(mut input)) = call.attr("input") else { return None };
    let rows = input.first_mut()?;
    *rows = rows.mul(&Dim::from(call.count()));
    call.with(&[("input", AttrValue::Dims(input))])
}

/// Elements are dropped by their place among all, or by one mask for all elements of the levels that share numbers.
fn dropout(call: &Call) -> Result<Option<Outputs>> {
    if call.batched(1) {
        return Ok(None);
    }
    let key = call.input(1)?;
    let different = draw_shape();
    let (x, own) = (call.whole(0)?, call.input(0)?.shape());
    if call.lead.iter().all(|l| different.contains(l)) {
        return call.run(call.op, &[x, key.clone()]).map(Some);
    }
    let own_sizes = call.lead.iter().map(|l| if different.contains(l) { l.1 } else { 1 });
    let shape: Vec<usize> = own_sizes.chain(own.iter().copied()).collect();
    let ones = Tensor::full(&shape, 1.0, x.dtype(), x.device())?;
    let mask = compute(call.op, &[&ones, key], &|_| true)?;
    let wide = [&call.sizes()[..], own].concat();
    let (Some(Some(factor)), Some(Some(kept))) = (mask.first(), mask.get(1)) else { return Ok(None) };
    let mut made = compute(&lampyr_ops::build::Mul, &[&x, factor], &|_| true)?;
    made.push(Some(Tensor::over(kept.storage().clone(), kept.layout().broadcast_to(&wide)?, kept.dtype())));
    Ok(Some(made))
}
