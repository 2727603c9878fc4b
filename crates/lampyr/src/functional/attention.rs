//! Attention.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::dropping::dropout_checked;
use super::operand::one;
use super::products::linear;
use super::shape::{reshape_to, unsqueeze};
use super::support::{constant, floats, shape_error, zeros};
use crate::names::{Call, Entry, FUNCTIONAL, Output, give, name};

/// What [`attention`] takes besides queries, keys and values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attention<'a> {
    /// `bool` (true takes part) or numbers added to the scores.
    pub mask: Option<&'a Tensor>,
    /// Probability of dropping a weight.
    pub dropout: f64,
    /// Whether queries see no later keys.
    pub causal: bool,
    /// Factor of the scores; `1 / sqrt(E)` when not given.
    pub scale: Option<f64>,
    /// Whether several heads of queries share one of keys.
    pub grouped: bool,
}

/// `softmax(scale * q k' + mask) v` of queries `[.., L, E]`, keys `[.., S, E]` and values `[.., S, F]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
    let Attention { mask, dropout, causal, scale, grouped } = options;
    let name = "scaled_dot_product_attention";
    floats(q, name)?;
    if mask.is_some() && causal {
        return Err(Error::graph("a mask and is_causal do not go together").with_op(name));
    }
    if q.rank() < 2 || k.rank() < 2 || v.rank() < 2 {
        return Err(shape_error(name, "a tensor has less than 2 axes", &[q, k, v]));
    }
    if let Some(m) = mask.filter(|m| m.dtype() != DType::Bool && m.dtype() != q.dtype()) {
        return Err(Error::dtype(format!("the mask is {}", m.dtype()))
            .with_op(name)
            .with_expected(format!("bool or {}", q.dtype())));
    }
    if matches!(q.dtype(), DType::F16 | DType::BF16) && k.dtype() == q.dtype() && v.dtype() == q.dtype() {
        // Scores are not rounded before the softmax.
        let wide = |t: &Tensor| t.to_dtype(DType::F32);
        let mask = mask.map(|m| if m.dtype() == DType::Bool { Ok(m.clone()) } else { wide(m) }).transpose()?;
        let options = Attention { mask: mask.as_ref(), ..options };
        return attention(&wide(q)?, &wide(k)?, &wide(v)?, options)?.to_dtype(q.dtype());
    }
    let heads = |t: &Tensor| t.rank().checked_sub(3).and_then(|a| t.shape().get(a).copied());
    let batch = |t: &Tensor| t.shape()[..t.rank().saturating_sub(3)].to_vec();
    let aligned = q.rank() == k.rank() && k.rank() == v.rank() && batch(q) == batch(k) && batch(k) == batch(v);
    let plain = aligned && (heads(q) == heads(k) || grouped) && heads(k) == heads(v);
    let fits = |m: &Tensor| m.rank() <= q.rank();
    if plain && dropout == 0.0 && mask.is_none_or(fits) {
        let op = op::ScaledDotProductAttention { scale, is_causal: causal, causal_offset: Dim::Known(0), softcap: 0.0 };
        let inputs: Vec<&Tensor> = [q, k, v].into_iter().chain(mask).collect();
        return one(&op, &inputs);
    }
    let shared = |t: &Tensor| -> Result<Tensor> {
        match (grouped, heads(q), heads(t)) {
            (true, Some(h), Some(g)) if g > 0 && h != g && h % g == 0 => {
                let times = super::support::ints(&[(h / g) as i64], &[], t.device())?;
                super::rearrange::repeat_interleave(t, &times, Some(-3), None)
            }
            _ => Ok(t.clone()),
        }
    };
    weigh(q, &shared(k)?, &shared(v)?, mask, dropout, causal, scale).map(|(y, _)| y)
}

/// The result and the weights, written out.
fn weigh(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    dropout: f64,
    causal: bool,
    scale: Option<f64>,
) -> Result<(Tensor, Tensor)> {
    let size = q.shape().last().copied().unwrap_or(1).max(1) as f64;
    let mut scores = one(&op::Matmul, &[&q.mul(scale.unwrap_or(1.0 / size.sqrt()))?, &k.transpose(-2, -1)?])?;
    let low = constant(f64::NEG_INFINITY, &scores)?;
    let seen = match mask {
        Some(m) if m.dtype() == DType::Bool => Some(m.clone()),
        Some(m) => {
            scores = scores.add(m)?;
            None
        }
        None if causal => {
            let (rows, columns) = (q.shape()[q.rank() - 2], k.shape()[k.rank() - 2]);
            let ones = Tensor::full(&[rows, columns], 1.0, DType::U8, q.device())?;
            Some(super::rearrange::triangle(&ones, 0, false)?.to_dtype(DType::Bool)?)
        }
        None => None,
    };
    if let Some(seen) = seen {
        scores = one(&op::Where, &[&seen, &scores, &low])?;
    }
    let weights = scores.softmax(-1)?;
    let dropped = dropout_checked(&weights, dropout, dropout > 0.0)?;
    Ok((one(&op::Matmul, &[&dropped, v])?, weights))
}

/// Weights and options of [`multi_head_attention`].
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// Number of heads.
    pub heads: i64,
    /// `[3 E, E]`, or three weights in `apart`.
    pub in_weight: Option<&'a Tensor>,
    /// Weights of queries, keys and values, each for its own size.
    pub apart: [Option<&'a Tensor>; 3],
    /// `[3 E]`
    pub in_bias: Option<&'a Tensor>,
    /// One more key and value for every sequence.
    pub extra: [Option<&'a Tensor>; 2],
    /// Whether zeros are one more key and value.
    pub zero: bool,
    /// Probability of dropping a weight.
    pub dropout: f64,
    /// `[E, E]`
    pub out_weight: &'a Tensor,
    /// `[E]`
    pub out_bias: Option<&'a Tensor>,
    /// Whether weights are dropped.
    pub training: bool,
    /// Keys that take no part, `[N, S]`.
    pub key_mask: Option<&'a Tensor>,
    /// Whether weights are a result.
    pub need_weights: bool,
    /// `[L, S]` or `[N heads, L, S]`: `bool` (true takes no part) or numbers added to the scores.
    pub mask: Option<&'a Tensor>,
    /// Whether weights are means over heads.
    pub average: bool,
    /// Whether queries see no later keys.
    pub causal: bool,
}

/// A mask as numbers added to scores.
fn added(mask: &Tensor, like: &Tensor) -> Result<Tensor> {
    if mask.dtype() != DType::Bool {
        return mask.to_dtype(like.dtype());
    }
    one(&op::Where, &[mask, &constant(f64::NEG_INFINITY, like)?, &constant(0.0, like)?])
}

/// Attention of several heads with projections: queries `[L, N, E]`, keys `[S, N, ..]`, values `[S, N, ..]`, or without
/// `N`. The result and, where asked for, the weights `[N, L, S]` (`[N, heads, L, S]` when not averaged).
pub fn multi_head_attention(q: &Tensor, k: &Tensor, v: &Tensor, options: &Heads) -> Result<(Tensor, Option<Tensor>)> {
    let name = "multi_head_attention_forward";
    let single = q.rank() == 2;
    if !matches!(q.rank(), 2 | 3) || k.rank() != q.rank() || v.rank() != q.rank() {
        return Err(shape_error(name, "queries, keys and values need 2 or 3 axes", &[q, k, v]));
    }
    let packed = q.same(k) && k.same(v);
    let lift = |t: &Tensor| if single { unsqueeze(t, 1) } else { Ok(t.clone()) };
    let (q, k, v) = (lift(q)?, lift(k)?, lift(v)?);
    let (length, batch, size) = (q.shape()[0], q.shape()[1], q.shape()[2]);
    let heads = match usize::try_from(options.heads) {
        Ok(h) if h > 0 && size % h == 0 => h,
        _ => return Err(Error::value(format!("{size} features for {} heads", options.heads)).with_op(name)),
    };
    let each = size / heads;
    let bias =
        |i: usize| options.in_bias.map(|b| b.slice(0, (i * size) as i64, ((i + 1) * size) as i64, 1)).transpose();
    let weight = |i: usize| match (options.in_weight, options.apart[i]) {
        (_, Some(w)) => Ok(w.clone()),
        (Some(w), None) => w.slice(0, (i * size) as i64, ((i + 1) * size) as i64, 1),
        _ => Err(Error::value("the weight of a projection is missing").with_op(name)),
    };
    let project = |t: &Tensor, i: usize| linear(t, &weight(i)?, bias(i)?.as_ref());
    let (query, mut key, mut value) = match options.in_weight.filter(|_| packed) {
        Some(w) => {
            let all = linear(&q, w, options.in_bias)?;
            let part = |i: usize| all.slice(-1, (i * size) as i64, ((i + 1) * size) as i64, 1);
            (part(0)?, part(1)?, part(2)?)
        }
        None => (project(&q, 0)?, project(&k, 1)?, project(&v, 2)?),
    };
    if let [Some(a), Some(b)] = options.extra {
        let row = |t: &Tensor| t.expand(&[1, batch, size]);
        key = Tensor::concat(&[&key, &row(a)?], 0)?;
        value = Tensor::concat(&[&value, &row(b)?], 0)?;
    }
    if options.zero {
        let row = zeros(&[1, batch, size], &key)?;
        key = Tensor::concat(&[&key, &row], 0)?;
        value = Tensor::concat(&[&value, &row], 0)?;
    }
    let (source, grown) = (key.shape()[0], key.shape()[0] - k.shape()[0]);
    let split = |t: &Tensor, n: usize| reshape_to(t, &[n, batch, heads, each])?.permute(&[1, 2, 0, 3]);
    let (query, key, value) = (split(&query, length)?, split(&key, source)?, split(&value, source)?);
    let mut mask: Option<Tensor> = None;
    let widened = |m: Tensor| -> Result<Tensor> {
        let pads = [0, grown as i64];
        if grown == 0 { Ok(m) } else { super::padding::pad(&m, &pads, "constant", None) }
    };
    if let Some(m) = options.mask {
        let m = widened(added(m, &query)?)?;
        let m = if m.rank() == 3 { reshape_to(&m, &[batch, heads, length, source])? } else { m };
        mask = Some(m);
    }
    if let Some(m) = options.key_mask {
        let m = widened(added(m, &query)?)?;
        let m = reshape_to(&m, &[batch, 1, 1, source])?;
        mask = Some(mask.map_or(Ok(m.clone()), |other| other.add(&m))?);
    }
    let causal = options.causal && mask.is_none() && !options.need_weights;
    let dropout = if options.training { options.dropout } else { 0.0 };
    let (y, weights) = if options.need_weights {
        let (y, weights) = weigh(&query, &key, &value, mask.as_ref(), dropout, causal, None)?;
        (y, Some(weights))
    } else {
        let more = Attention { mask: mask.as_ref(), dropout, causal, scale: None, grouped: false };
        (attention(&query, &key, &value, more)?, None)
    };
    let rows = reshape_to(&y.permute(&[2, 0, 1, 3])?, &[length * batch, size])?;
    let y = reshape_to(
        &linear(&rows, options.out_weight, options.out_bias)?,
        &[length, batch, options.out_weight.shape()[0]],
    )?;
    let weights = match weights {
        Some(w) if options.average => Some(w.mean(&[1], false)?),
        other => other,
    };
    if !single {
        return Ok((y, weights));
    }
    let without = |t: Tensor, axis: usize| {
        let mut s = t.shape().to_vec();
        s.remove(axis);
        reshape_to(&t, &s)
    };
    Ok((without(y, 1)?, weights.map(|w| without(w, 0)).transpose()?))
}

/// Row `p` holds `sin(p / base^(2 i / dim))` and `cos` of the same in turns.
fn sinusoids(length: i64, dim: i64, base: f64) -> Result<Tensor> {
    if dim % 2 != 0 {
        return Err(
            Error::value(format!("dim is {dim}")).with_expected("an even number, or a multiple of 4 for two axes")
        );
    }
    let shape = super::support::sizes(&[length, dim])?;
    let (rows, columns) = (shape[0], shape[1]);
    let angle = |p: usize, k: usize| p as f64 / base.powf((k / 2 * 2) as f64 / dim.max(1) as f64);
    let wave = |i: usize| {
        let x = angle(i / columns, i % columns);
        if i.is_multiple_of(2) { x.sin() as f32 } else { x.cos() as f32 }
    };
    Tensor::from_slice(&(0..rows * columns).map(wave).collect::<Vec<f32>>(), &shape)
}

fn many_heads(a: &Call) -> Result<Output> {
    let own = a.bool(17)?;
    let heads = Heads {
        heads: a.int(4)?,
        in_weight: a.tensor_or_none(5)?.filter(|_| !own),
        apart: if own { [a.tensor_or_none(18)?, a.tensor_or_none(19)?, a.tensor_or_none(20)?] } else { [None; 3] },
        in_bias: a.tensor_or_none(6)?,
        extra: [a.tensor_or_none(7)?, a.tensor_or_none(8)?],
        zero: a.bool(9)?,
        dropout: a.float(10)?,
        out_weight: a.tensor(11)?,
        out_bias: a.tensor_or_none(12)?,
        training: a.bool(13)?,
        key_mask: a.tensor_or_none(14)?,
        need_weights: a.bool(15)?,
        mask: a.tensor_or_none(16)?,
        average: a.bool(23)?,
        causal: a.bool(24)?,
    };
    let (y, weights) = multi_head_attention(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, &heads)?;
    Ok(Output::OptionalTensors(vec![Some(y), weights]))
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
        FUNCTIONAL,
        "`softmax(scale * query key' + mask) value`",
        |a| {
            let options = Attention {
                mask: a.tensor_or_none(3)?,
                dropout: a.float(4)?,
                causal: a.bool(5)?,
                scale: a.float_or_none(6)?,
                grouped: a.bool(7)?,
            };
            give(attention(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, options))
        },
    )
    .cost(64.0),
    name(
        "apply_rotary_emb(Tensor input, Tensor cos, Tensor sin, bool interleaved=False) -> Tensor",
        FUNCTIONAL,
        "Pairs of elements of the last axis turned by angles.",
        |a| give(one(&op::RotaryEmbedding { interleaved: a.bool(3)? }, &[a.tensor(0)?, a.tensor(1)?, a.tensor(2)?])),
    ),
    name(
        "sinusoidal_embedding(int length, int dim, float base=10000.0) -> Tensor",
        FUNCTIONAL,
        "Sines and cosines of positions, `[length, dim]` (Vaswani et al. 2017).",
        |a| give(sinusoids(a.int(0)?, a.int(1)?, a.float(2)?)),
    ),
    name(
        "sinusoidal_embedding_2d(int height, int width, int dim, float base=10000.0) -> Tensor",
        FUNCTIONAL,
        "Sines and cosines of rows, then of columns, `[height, width, dim]`.",
        |a| {
            let (height, width, half) = (a.int(0)?, a.int(1)?, a.int(2)? / 2);
            let (rows, columns) = (sinusoids(height, half, a.float(3)?)?, sinusoids(width, half, a.float(3)?)?);
            let shape = super::support::sizes(&[height, width, half])?;
            let both = [unsqueeze(&rows, 1)?.expand(&shape)?, unsqueeze(&columns, 0)?.expand(&shape)?];
            give(super::cat(&both, -1))
        },
    ),
    name(
        "multi_head_attention_forward(Tensor query, Tensor key, Tensor value, int embed_dim_to_check, int num_heads, Tensor? in_proj_weight, Tensor? in_proj_bias, Tensor? bias_k, Tensor? bias_v, bool add_zero_attn, float dropout_p, Tensor out_proj_weight, Tensor? out_proj_bias, bool training=True, Tensor? key_padding_mask=None, bool need_weights=True, Tensor? attn_mask=None, bool use_separate_proj_weight=False, Tensor? q_proj_weight=None, Tensor? k_proj_weight=None, Tensor? v_proj_weight=None, Tensor? static_k=None, Tensor? static_v=None, bool average_attn_weights=True, bool is_causal=False) -> (Tensor, Tensor)",
        FUNCTIONAL,
        "Attention of several heads with projections, and its weights.",
        many_heads,
    )
    .cost(64.0),
];
