//! ONNX Attention (opset 23 and later) written around scaled dot-product attention.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::onnx::{OnnxNode, optional, required};
use lampyr_ir::{Builder, HostTensor, Var, Vars};
use smallvec::smallvec;

use crate::attention::scaled_dot_product_attention::{ScaledDotProductAttention, attend, positions, repeat_heads};
use crate::build::*;
use crate::gradient::{accumulator, full, to_dtype};

/// `[batch, steps, heads * size]` as `[batch, heads, steps, size]`.
fn split_heads(b: &mut dyn Builder, x: &Var, heads: i64) -> Result<Var> {
    let fact = b.tensor_fact(x)?;
    let [batch, steps, hidden] = fact.shape.as_slice() else {
        return Err(Error::shape(format!("got rank {}", fact.rank())).with_expected("rank 3, as the queries"));
    };
    if heads <= 0 || hidden.known().is_some_and(|d| d % heads != 0) {
        return Err(Error::value(format!("{heads} heads for {hidden} elements")).with_expected("a divisor"));
    }
    let heads = Dim::Known(heads);
    let size = hidden.floor_div(&heads);
    let apart = reshape(b, x, vec![batch.clone(), steps.clone(), heads, size])?;
    transpose(b, &apart, &[0, 2, 1, 3])
}

/// The inverse of `split_heads`.
fn join_heads(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    let x = transpose(b, x, &[0, 2, 1, 3])?;
    let fact = b.tensor_fact(&x)?;
    let [batch, steps, heads, size] = fact.shape.as_slice() else { return Err(Error::internal("four axes")) };
    reshape(b, &x, vec![batch.clone(), steps.clone(), heads.mul(size)])
}

/// `mask` with keys that nobody sees appended up to `keys`.
fn pad_mask(b: &mut dyn Builder, mask: &Var, keys: &Dim) -> Result<Var> {
    let fact = b.tensor_fact(mask)?;
    let Some(own) = fact.shape.last() else { return Ok(mask.clone()) };
    let missing = keys.sub(own);
    if missing.known().is_none_or(|n| n <= 0) {
        return Ok(mask.clone());
    }
    let mut shape = fact.shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = missing;
    }
    let fill = if fact.dtype == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
    let rest = full(b, fact.dtype, &shape, fill)?;
    concat(b, &[mask.clone(), rest], -1)
}

/// `mask` where `allowed` is true; elsewhere keys are not seen.
fn restrict(b: &mut dyn Builder, mask: Option<Var>, allowed: Var) -> Result<Var> {
    let Some(mask) = mask else { return Ok(allowed) };
    let dtype = b.tensor_fact(&mask)?.dtype;
    let never = if dtype == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
    let never = b.scalar(dtype, never)?;
    where_(b, &allowed, &mask, &never)
}

fn integer(b: &mut dyn Builder, value: i64) -> Result<Var> {
    b.constant(HostTensor::scalar(value))
}

/// Translates an Attention node.
pub(crate) fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (mut q, mut k, mut v) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
    let flat = b.tensor_fact(&q)?.rank() == 3;
    if flat {
        let (heads, own) = (node.int("q_num_heads", 0)?, node.int("kv_num_heads", 0)?);
        (q, k, v) = (split_heads(b, &q, heads)?, split_heads(b, &k, own)?, split_heads(b, &v, own)?);
    }
    let mut offset = Dim::Known(0);
    if let (Some(past_k), Some(past_v)) = (optional(inputs, 4), optional(inputs, 5)) {
        let past = b.tensor_fact(&past_k)?;
        offset = past.shape.get(2).cloned().ok_or_else(|| Error::shape("past_key of rank below 3"))?;
        k = concat(b, &[past_k, k], 2)?;
        v = concat(b, &[past_v, v], 2)?;
    }
    let (qf, kf) = (b.tensor_fact(&q)?, b.tensor_fact(&k)?);
    let ([batch, _, steps, _], [_, _, keys, _]) = (qf.shape.as_slice(), kf.shape.as_slice()) else {
        return Err(Error::shape(format!("got rank {}", qf.rank())).with_expected("rank 3 or 4"));
    };
    let mut mask = optional(inputs, 3).map(|m| pad_mask(b, &m, keys)).transpose()?;
    let mut causal = node.int("is_causal", 0)? != 0;
    let (left, right) = (node.int("left_window_size", -1)?, node.int("right_window_size", -1)?);
    let filled = optional(inputs, 6);
    if filled.is_some() || left >= 0 || right >= 0 {
        let j = positions(b, keys, 1, 2)?;
        let i = positions(b, steps, 0, 2)?;
        let before = match &filled {
            Some(n) => {
                let n = cast(b, n, DType::I64)?;
                let n = reshape(b, &n, vec![batch.clone(), Dim::Known(1), Dim::Known(1), Dim::Known(1)])?;
                let seen = less(b, &j, &n)?;
                mask = Some(restrict(b, mask, seen)?);
                let steps = positions_end(b, steps)?;
                sub(b, &n, &steps)?
            }
            None => positions_end(b, &offset)?,
        };
        let at = add(b, &i, &before)?;
        let distance = sub(b, &at, &j)?;
        let mut limit = |b: &mut dyn Builder, far: Var, near: Var| -> Result<()> {
            let outside = greater(b, &far, &near)?;
            let inside = not(b, &outside)?;
            mask = Some(restrict(b, mask.take(), inside)?);
            Ok(())
        };
        if left >= 0 {
            let bound = integer(b, left)?;
            limit(b, distance.clone(), bound)?;
        }
        if right >= 0 {
            let bound = integer(b, right.saturating_neg())?;
            limit(b, bound, distance.clone())?;
        }
        if causal && filled.is_some() {
            let zero = integer(b, 0)?;
            limit(b, zero, distance)?;
            causal = false;
        }
    }
    let scale = node.attr("scale").is_some().then(|| node.float("scale", 0.0)).transpose()?;
    let softcap = node.float("softcap", 0.0)?;
    let op = ScaledDotProductAttention { scale, is_causal: causal, causal_offset: offset, softcap };
    let mut y = attend(b, &op, [&q, &k, &v], mask.as_ref())?;
    if flat {
        y = join_heads(b, &y)?;
    }
    let mut outputs: Vars = smallvec![y];
    if node.output_count() > 1 {
        outputs.extend([k.clone(), v]);
    }
    if node.has_output(3) {
        let all = repeat_heads(b, &k, &qf)?;
        let written = op.weights(b, &q, &all, mask.as_ref())?;
        let picked = match node.int("qk_matmul_output_mode", 0)? {
            0 => written.raw,
            1 => written.capped,
            2 => written.biased,
            3 => written.weights,
            mode => return Err(Error::value(format!("qk_matmul_output_mode is {mode}")).with_expected("0 to 3")),
        };
        let dtype = if qf.dtype == accumulator(qf.dtype) { qf.dtype } else { b.tensor_fact(&outputs[0])?.dtype };
        outputs.push(to_dtype(b, &picked, dtype)?);
    }
    outputs.truncate(node.output_count().max(1));
    Ok(outputs)
}

/// A size as a 0-d `int64`.
fn positions_end(b: &mut dyn Builder, n: &Dim) -> Result<Var> {
    match n.known() {
        Some(n) => integer(b, n),
        None => Err(Error::unsupported(format!("a window over {n} positions"))),
    }
}
