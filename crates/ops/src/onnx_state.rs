//! ONNX operators of opset 27 that carry a state from call to call: LinearAttention and CausalConvWithState.

use std::sync::Arc;

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::onnx::{OnnxNode, optional, required};
use lampyr_ir::{Builder, Fact, GraphBuilder, HostTensor, TensorFact, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::gradient::{full, to_dtype};
use crate::shape::slice::narrow;

/// `x` of shape `[batch, channels, length]` convolved channel by channel with what came before it.
pub(crate) fn causal_conv(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, weight) = (required(inputs, 0)?, required(inputs, 1)?);
    let (fact, taps) = (b.tensor_fact(&x)?, b.tensor_fact(&weight)?);
    let ([batch, channels, _], [_, _, k]) = (fact.shape.as_slice(), taps.shape.as_slice()) else {
        return Err(Error::shape(format!("input {fact} and weight {taps}")).with_expected("tensors of rank 3"));
    };
    let group = channels.known().ok_or_else(|| Error::unsupported("a convolution of an unknown number of channels"))?;
    let before = k.sub(&Dim::Known(1));
    let past = match optional(inputs, 3) {
        Some(past) => past,
        None => full(b, fact.dtype, &[batch.clone(), channels.clone(), before.clone()], 0.0)?,
    };
    let whole = concat(b, &[past, x], 2)?;
    let op = Conv { strides: vec![1], pads: vec![Dim::Known(0); 2], dilations: vec![1], group, channels_last: false };
    let mut y = conv(b, &op, &whole, &weight, optional(inputs, 2).as_ref())?;
    match node.text("activation", "none")?.as_str() {
        "none" => {}
        "silu" | "swish" => {
            let wide = to_dtype(b, &y, DType::F32)?;
            let minus = neg(b, &wide)?;
            let minus = exp(b, &minus)?;
            let one = b.scalar(DType::F32, 1.0)?;
            let below = add(b, &minus, &one)?;
            let quotient = div(b, &wide, &below)?;
            y = to_dtype(b, &quotient, fact.dtype)?;
        }
        other => return Err(Error::value(format!("activation is `{other}`")).with_expected("none, silu or swish")),
    }
    let n = b.tensor_fact(&whole)?.shape[2].clone();
    let state = narrow(b, &whole, 2, n.sub(&before), n)?;
    Ok(smallvec![y, state])
}

/// `x` of shape `[batch, length, heads * size]` in float32 as `[batch, heads.., length, size]`.
fn heads(b: &mut dyn Builder, x: &Var, counts: &[i64]) -> Result<Var> {
    let fact = rank_3(b, x)?;
    let all: i64 = counts.iter().product();
    let mut shape = vec![fact.shape[0].clone(), fact.shape[1].clone()];
    shape.extend(counts.iter().map(|&n| Dim::Known(n)));
    shape.push(fact.shape[2].floor_div(&Dim::Known(all)));
    let y = reshape(b, x, shape)?;
    let n = counts.len() as i64;
    let perm: Vec<i64> = [0].into_iter().chain(2..2 + n).chain([1, 2 + n]).collect();
    let y = transpose(b, &y, &perm)?;
    to_dtype(b, &y, DType::F32)
}

fn rank_3(b: &mut dyn Builder, x: &Var) -> Result<TensorFact> {
    let fact = b.tensor_fact(x)?;
    match fact.rank() {
        3 => Ok(fact),
        _ => Err(Error::shape(format!("got {fact}")).with_expected("a tensor of rank 3")),
    }
}

/// The recurrence `S = exp(decay) S + k v'`, `o = scale q S`, where `v` may be `beta (v - k S)`, one step after another.
pub(crate) fn linear_attention(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (query, key, value) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
    let rule = node.text("update_rule", "gated_delta")?;
    let (gated, delta) = match rule.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(Error::value(format!("update_rule is `{other}`"))),
    };
    let (outer, inner) = (node.int("q_num_heads", 0)?, node.int("kv_num_heads", 0)?);
    if inner <= 0 || outer <= 0 || outer % inner != 0 {
        return Err(Error::value(format!("{outer} heads of queries and {inner} of keys")));
    }
    let (fact, values) = (rank_3(b, &query)?, rank_3(b, &value)?);
    let size = fact.shape[2].floor_div(&Dim::Known(outer));
    let width = values.shape[2].floor_div(&Dim::Known(inner));
    let mut given =
        vec![heads(b, &query, &[inner, outer / inner])?, heads(b, &key, &[inner])?, heads(b, &value, &[inner])?];
    if gated {
        let decay = optional(inputs, 4).ok_or_else(|| Error::format(format!("update_rule {rule} needs a decay")))?;
        given.push(heads(b, &decay, &[inner])?);
    }
    if delta {
        let beta = optional(inputs, 5).ok_or_else(|| Error::format(format!("update_rule {rule} needs a beta")))?;
        let one = rank_3(b, &beta)?.shape[2] == Dim::Known(1);
        given.push(heads(b, &beta, &[if one { 1 } else { inner }])?);
    }
    let (kept, first) = match optional(inputs, 3) {
        Some(past) => (b.tensor_fact(&past)?.dtype, to_dtype(b, &past, DType::F32)?),
        None => {
            let shape = [fact.shape[0].clone(), Dim::Known(inner), size.clone(), width];
            (fact.dtype, full(b, DType::F32, &shape, 0.0)?)
        }
    };
    let scale = match (node.float("scale", 0.0)?, size.known()) {
        (0.0, Some(n)) => 1.0 / (n.max(1) as f64).sqrt(),
        (0.0, None) => return Err(Error::unsupported("a scale of heads of unknown size")),
        (scale, _) => scale,
    };

    let mut g = GraphBuilder::new("step");
    let i = g.input("step", Fact::fixed(DType::I64, &[]));
    let go = g.input("go", Fact::fixed(DType::Bool, &[]));
    let mut state = g.input("state", b.fact(&first)?);
    let mut now = Vec::new();
    for (k, x) in given.iter().enumerate() {
        let whole = g.input(&format!("input{k}"), b.fact(x)?);
        let axis = if k == 0 { 3 } else { 2 };
        now.push(gather(&mut g, &whole, &i, axis)?);
    }
    let mut now = now.into_iter();
    let mut next = || now.next().ok_or_else(|| Error::internal("an input of the step is missing"));
    let (q, k, v) = (next()?, next()?, next()?);
    if gated {
        let rate = next()?;
        let rate = exp(&mut g, &rate)?;
        let rate = unsqueeze(&mut g, &rate, &[-1])?;
        state = mul(&mut g, &state, &rate)?;
    }
    let mut v = unsqueeze(&mut g, &v, &[2])?;
    if delta {
        let row = unsqueeze(&mut g, &k, &[2])?;
        let found = matmul(&mut g, &row, &state)?;
        let beta = next()?;
        let beta = unsqueeze(&mut g, &beta, &[2])?;
        let rest = sub(&mut g, &v, &found)?;
        v = mul(&mut g, &beta, &rest)?;
    }
    let column = unsqueeze(&mut g, &k, &[-1])?;
    let change = mul(&mut g, &column, &v)?;
    state = add(&mut g, &state, &change)?;
    let factor = (&mut g as &mut dyn Builder).scalar(DType::F32, scale)?;
    let q = mul(&mut g, &q, &factor)?;
    let out = matmul(&mut g, &q, &state)?;
    g.output("", &go)?;
    g.output("", &state)?;
    g.output("", &out)?;
    let sizes = shape_of(b, &query)?;
    let one = b.constant(HostTensor::scalar(1i64))?;
    let trip = gather(b, &sizes, &one, 0)?;
    let made = loop_(b, Arc::new(g.finish()), Some(&trip), None, &[first], &given)?;
    let [state, rows] = made.as_slice() else { return Err(Error::internal("a loop lost its results")) };
    let rows = transpose(b, rows, &[1, 0, 2, 3, 4])?;
    let whole = values.shape[2].mul(&Dim::Known(outer / inner));
    let y = reshape(b, &rows, vec![fact.shape[0].clone(), fact.shape[1].clone(), whole])?;
    Ok(smallvec![to_dtype(b, &y, fact.dtype)?, to_dtype(b, state, kept)?])
}
