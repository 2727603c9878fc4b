//! Scaled dot-product attention (Vaswani et al. 2017), the core of ONNX Attention.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    Rule, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, scale as times, to_dtype, to_shape};
use crate::pattern_attention;

/// `softmax(scale * q k' + mask) v`.
///
/// Inputs: `q[.., H, L, E]`, `k[.., G, S, E]`, `v[.., G, S, F]` with equal axes before the heads and `H` a multiple of
/// `G` (query head `h` looks at key head `h / (H / G)`), and optionally a mask that broadcasts to `[.., H, L, S]`: `bool`
/// (true takes part) or of the type of `q` (added to the scores). Output: `[.., H, L, F]`. Sums are taken in `float32` or
/// `float64`. A query that sees no key gives zeros.
#[derive(Clone, Debug, Attrs)]
pub struct ScaledDotProductAttention {
    /// Factor of the scores; none means `1 / sqrt(E)`.
    #[attr(default = None)]
    pub scale: Option<f64>,
    /// Whether query `i` sees keys up to `i + causal_offset` only.
    #[attr(default = false)]
    pub is_causal: bool,
    /// Keys that precede the first query.
    #[attr(default = Dim::Known(0))]
    pub causal_offset: Dim,
    /// Scores become `softcap * tanh(score / softcap)` before the mask, unless this is 0.
    #[attr(default = 0.0)]
    pub softcap: f64,
}

impl Default for ScaledDotProductAttention {
    fn default() -> Self {
        ScaledDotProductAttention { scale: None, is_causal: false, causal_offset: Dim::Known(0), softcap: 0.0 }
    }
}

/// `softmax(scale * q k' + mask) v`; without a scale it is `1 / sqrt(E)`. See [`ScaledDotProductAttention`].
pub fn scaled_dot_product_attention(
    b: &mut dyn Builder,
    q: &Var,
    k: &Var,
    v: &Var,
    mask: Option<&Var>,
    scale: Option<f64>,
    is_causal: bool,
) -> Result<Var> {
    attend(b, &ScaledDotProductAttention { scale, is_causal, ..Default::default() }, [q, k, v], mask)
}

/// Applies `op` to `[q, k, v]`.
pub fn attend(b: &mut dyn Builder, op: &ScaledDotProductAttention, qkv: [&Var; 3], mask: Option<&Var>) -> Result<Var> {
    let inputs: Vec<Var> = qkv.into_iter().chain(mask).cloned().collect();
    b.one(op, &inputs)
}

/// What the scores are added to or chosen by, and which of them count.
pub(crate) struct Written {
    /// Scores before the cap.
    pub raw: Var,
    /// After the cap.
    pub capped: Var,
    /// After mask and causal limit.
    pub biased: Var,
    /// Their softmax, zeros in rows without a key.
    pub weights: Var,
}

/// The positions 0, 1, ... `n - 1` as `int64`, along axis `axis` of `rank`.
pub(crate) fn positions(b: &mut dyn Builder, n: &Dim, axis: usize, rank: usize) -> Result<Var> {
    let Some(n) = n.known().and_then(|n| usize::try_from(n).ok()) else {
        return Err(Error::unsupported(format!("positions along an axis of {n} elements")));
    };
    let mut shape = vec![1; rank];
    shape[axis] = n;
    b.constant(HostTensor::from_i64(DType::I64, &shape, &(0..n as i64).collect::<Vec<_>>())?)
}

/// A size as a 0-d `int64`.
fn size(b: &mut dyn Builder, d: &Dim) -> Result<Var> {
    match d.known() {
        Some(n) => b.constant(HostTensor::scalar(n)),
        None => Err(Error::unsupported(format!("arithmetic with the size {d}"))),
    }
}

impl ScaledDotProductAttention {
    /// The factor for heads of `e` elements.
    pub fn factor(&self, e: usize) -> f64 {
        self.scale.unwrap_or_else(|| 1.0 / (e as f64).sqrt())
    }

    /// The scores of `q` and `k` (with equal heads) and what becomes of them, in the type of the computation.
    pub(crate) fn weights(&self, b: &mut dyn Builder, q: &Var, k: &Var, mask: Option<&Var>) -> Result<Written> {
        let (qf, kf) = (b.tensor_fact(q)?, b.tensor_fact(k)?);
        let wide = accumulator(qf.dtype);
        let (rank, steps, keys) = (qf.rank(), qf.shape[qf.rank() - 2].clone(), kf.shape[qf.rank() - 2].clone());
        let scale = match (self.scale, qf.shape[rank - 1].known()) {
            (Some(s), _) => s,
            (None, Some(e)) => 1.0 / (e as f64).sqrt(),
            _ => return Err(Error::unsupported("attention with heads of unknown size and no scale")),
        };
        let q = to_dtype(b, q, wide)?;
        let q = times(b, &q, scale)?;
        let k = to_dtype(b, k, wide)?;
        let k = swap_axes(b, &k, -1, -2)?;
        let raw = matmul(b, &q, &k)?;
        let mut s = raw.clone();
        if self.softcap != 0.0 {
            let t = times(b, &s, 1.0 / self.softcap)?;
            let t = tanh(b, &t)?;
            s = times(b, &t, self.softcap)?;
        }
        let capped = s.clone();
        let never = b.scalar(wide, f64::NEG_INFINITY)?;
        if let Some(mask) = mask {
            s = if b.tensor_fact(mask)?.dtype == DType::Bool {
                where_(b, mask, &s, &never)?
            } else {
                let mask = to_dtype(b, mask, wide)?;
                add(b, &s, &mask)?
            };
        }
        if self.is_causal {
            let (i, j) = (positions(b, &steps, 0, 2)?, positions(b, &keys, 1, 2)?);
            let offset = size(b, &self.causal_offset)?;
            let last = add(b, &i, &offset)?;
            let after = greater(b, &j, &last)?;
            s = where_(b, &after, &never, &s)?;
        }
        let biased = s.clone();
        let weights = if mask.is_some() && keys != Dim::Known(0) {
            let most = reduce_max(b, &s, &[-1], true)?;
            let none = equal(b, &most, &never)?;
            let zero = b.scalar(wide, 0.0)?;
            let s = where_(b, &none, &zero, &s)?;
            let p = softmax(b, &s, -1)?;
            where_(b, &none, &zero, &p)?
        } else {
            softmax(b, &s, -1)?
        };
        Ok(Written { raw, capped, biased, weights })
    }

    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let [q, k, v, mask @ ..] = inputs else { return Err(Error::internal("attention takes three inputs or more")) };
        let fact = b.tensor_fact(q)?;
        let (k, v) = (repeat_heads(b, k, &fact)?, repeat_heads(b, v, &fact)?);
        let p = self.weights(b, q, &k, mask.first())?.weights;
        let v = to_dtype(b, &v, accumulator(fact.dtype))?;
        let y = matmul(b, &p, &v)?;
        Ok(smallvec![to_dtype(b, &y, fact.dtype)?])
    }
}

/// `x` with every head repeated until it has as many as `like`.
pub(crate) fn repeat_heads(b: &mut dyn Builder, x: &Var, like: &TensorFact) -> Result<Var> {
    let fact = b.tensor_fact(x)?;
    let n = fact.rank();
    if n < 3 || fact.shape[n - 3] == like.shape[n - 3] {
        return Ok(x.clone());
    }
    let (own, all) = (&fact.shape[n - 3], &like.shape[n - 3]);
    let times = all.floor_div(own);
    let mut apart = fact.shape.to_vec();
    apart.insert(n - 2, Dim::Known(1));
    let x = to_shape(b, x, apart.clone())?;
    apart[n - 2] = times;
    let x = expand(b, &x, apart)?;
    let mut shape = fact.shape.to_vec();
    shape[n - 3] = all.clone();
    to_shape(b, &x, shape)
}

impl Op for ScaledDotProductAttention {
    fn arity(&self) -> Arity {
        Arity::between(3, 4)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        let (q, k, v) = (f[0], f[1], f[2]);
        common::check_dtype(q.dtype, Self::DTYPES)?;
        if k.dtype != q.dtype || v.dtype != q.dtype {
            return Err(Error::dtype(format!("queries, keys and values are {}, {} and {}", q.dtype, k.dtype, v.dtype))
                .with_expected("equal types")
                .with_help("cast some of them"));
        }
        let n = q.rank();
        let wrong = || {
            let shapes = [q, k, v].map(|t| format!("[{}]", Dim::join(&t.shape))).join(", ");
            Error::shape(format!("queries, keys and values have shapes {shapes}"))
                .with_expected("[.., H, L, E], [.., G, S, E] and [.., G, S, F] with H a multiple of G")
        };
        if n < 2 || k.rank() != n || v.rank() != n {
            return Err(wrong());
        }
        let agree = |a: &Dim, b: &Dim| common::same_dim(a, b).map_err(|_| wrong());
        let keys = agree(&k.shape[n - 2], &v.shape[n - 2])?;
        agree(&q.shape[n - 1], &k.shape[n - 1])?;
        let mut shape = q.shape.to_vec();
        for (i, d) in shape.iter_mut().enumerate().take(n - 2) {
            let own = agree(&k.shape[i], &v.shape[i])?;
            if i + 3 == n {
                let wide = |h: i64, g: i64| if g == 0 { h == 0 } else { h % g == 0 };
                if d.known().zip(own.known()).is_some_and(|(h, g)| !wide(h, g)) {
                    return Err(wrong());
                }
            } else {
                *d = agree(d, &own)?;
            }
        }
        if let Some(mask) = f.get(3) {
            if mask.dtype != DType::Bool && mask.dtype != q.dtype {
                return Err(
                    Error::dtype(format!("the mask is {}", mask.dtype)).with_expected(format!("bool or {}", q.dtype))
                );
            }
            let mut scores = shape.clone();
            scores[n - 1] = keys;
            let fits = |(a, d): (&Dim, &Dim)| *a == Dim::Known(1) || common::same_dim(a, d).is_ok();
            if mask.rank() > n || !mask.shape.iter().rev().zip(scores.iter().rev()).all(fits) {
                return Err(Error::shape(format!("the mask has shape [{}]", Dim::join(&mask.shape)))
                    .with_expected(format!("what broadcasts to the scores [{}]", Dim::join(&scores))));
            }
        }
        if self.softcap.is_nan() || self.softcap < 0.0 {
            return Err(Error::value(format!("softcap is {}", self.softcap)).with_expected("0 or more"));
        }
        shape[n - 1] = v.shape[n - 1].clone();
        Ok(common::one(TensorFact::new(q.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let n = t[0].shape().len();
        let (steps, e) = (t[0].shape()[n - 2], t[0].shape()[n - 1]);
        let (keys, f) = (t[1].shape()[n - 2], t[2].shape()[n - 1]);
        let (q, k, v) = (t[0].to_f64(), t[1].to_f64(), t[2].to_f64());
        let heads: usize = t[0].shape()[..n - 2].iter().product();
        let own: usize = t[1].shape()[..n - 2].iter().product();
        let group = heads.checked_div(own).unwrap_or(1);
        let mut scores = t[0].shape().to_vec();
        scores[n - 1] = keys;
        let mask = match t.get(3) {
            Some(m) => {
                let at = Layout::contiguous(m.shape()).broadcast_to(&scores)?;
                let values = m.to_f64();
                let bias = |i: usize| match m.dtype() {
                    DType::Bool if values[i] == 0.0 => f64::NEG_INFINITY,
                    DType::Bool => 0.0,
                    _ => values[i],
                };
                Some(at.indices().map(bias).collect::<Vec<f64>>())
            }
            None => None,
        };
        let offset = common::sizes(std::slice::from_ref(&self.causal_offset))?[0];
        let factor = self.factor(e);
        let mut result = Vec::with_capacity(heads * steps * f);
        for h in 0..heads {
            for i in 0..steps {
                let mut s = vec![f64::NEG_INFINITY; keys];
                for (j, s) in s.iter_mut().enumerate() {
                    if self.is_causal && j > i + offset {
                        continue;
                    }
                    let bias = mask.as_ref().map_or(0.0, |m| m[(h * steps + i) * keys + j]);
                    if bias == f64::NEG_INFINITY {
                        continue;
                    }
                    let (q, k) = (&q[(h * steps + i) * e..], &k[(h / group * keys + j) * e..]);
                    let mut x = factor * (0..e).map(|c| q[c] * k[c]).sum::<f64>();
                    if self.softcap != 0.0 {
                        x = self.softcap * (x / self.softcap).tanh();
                    }
                    *s = x + bias;
                }
                let most = s.iter().fold(f64::NEG_INFINITY, |m, &x| if x > m || x.is_nan() { x } else { m });
                let weight = |x: f64| if most == f64::NEG_INFINITY { 0.0 } else { (x - most).exp() };
                let total: f64 = s.iter().map(|&x| weight(x)).sum();
                for c in 0..f {
                    let row = |j: usize| v[(h / group * keys + j) * f + c];
                    let sum: f64 = s
                        .iter()
                        .enumerate()
                        .filter(|(_, x)| weight(**x) != 0.0)
                        .map(|(j, &x)| weight(x) * row(j))
                        .sum();
                    result.push(if most == f64::NEG_INFINITY { 0.0 } else { sum / total });
                }
            }
        }
        let mut shape = t[0].shape().to_vec();
        shape[n - 1] = f;
        common::out(HostTensor::from_f64(t[0].dtype(), &shape, &result)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let size = |d: &Dim| d.known().unwrap_or(64).max(0) as f64;
        let count = |f: &Fact| f.as_tensor().map_or(0.0, |t| t.shape.iter().map(size).product());
        let keys =
            inputs.get(1).and_then(|f| f.as_tensor().ok()).and_then(|t| t.shape.iter().rev().nth(1)).map_or(1.0, size);
        let flops = 2.0 * keys * (inputs.first().map_or(0.0, |f| count(f)) + outputs.iter().map(count).sum::<f64>());
        Cost {
            flops: if self.is_causal { flops / 2.0 } else { flops },
            bytes: inputs.iter().copied().chain(outputs).map(|f| count(f) * f.dtype().size() as f64).sum(),
        }
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let rank = inputs.first()?.as_tensor().ok()?.rank();
        let keys = inputs.get(1)?.as_tensor().ok()?.shape.iter().rev().nth(1);
        // The operator pads masks of fewer keys instead of broadcasting them.
        let mask = match inputs.get(3) {
            Some(m) => m.as_tensor().is_ok_and(|m| m.rank() >= 2 && m.shape.last() == keys),
            None => true,
        };
        if rank != 4 || !mask || self.causal_offset != Dim::Known(0) {
            return None;
        }
        let mut node = OnnxExport::new("Attention", 24)
            .attr("is_causal", OnnxAttr::Int(i64::from(self.is_causal)))
            .attr("softcap", OnnxAttr::Float(self.softcap as f32));
        if let Some(scale) = self.scale {
            node = node.attr("scale", OnnxAttr::Float(scale as f32));
        }
        Some(node)
    }
}

impl OpType for ScaledDotProductAttention {
    const NAME: &'static str = "scaled_dot_product_attention";
    const DOC: &'static str = "Attention: values weighted by the softmax of scaled products of queries and keys.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::No;
    const AUTOCAST: Autocast = Autocast::Low;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Attention", 23, crate::onnx_attention::import)]
    }

    fn rules() -> Vec<Rule> {
        let (name, run) = ("scaled_dot_product_attention", pattern_attention::recognise);
        vec![Rule { name, roots: &["matmul"], recognises: true, run }]
    }

    fn cases() -> Vec<Case> {
        cases()
    }
}

fn cases() -> Vec<Case> {
    type Sda = ScaledDotProductAttention;
    let qkv = |d: DType, lead: &[usize], own: &[usize], [l, s, e, f]: [usize; 4]| {
        let x = |lead: &[usize], tail: [usize; 2], seed: u64| {
            let shape: Vec<usize> = lead.iter().copied().chain(tail).collect();
            CaseInput::new(d, &shape).fill(Fill::Uniform(-1.5, 1.5, seed))
        };
        vec![x(lead, [l, e], 1), x(own, [s, e], 2), x(own, [s, f], 3)]
    };
    let bits = |shape: &[usize], seed: u64| CaseInput::new(DType::Bool, shape).fill(Fill::Uniform(0.0, 2.0, seed));
    let mut cases = Vec::new();
    for &d in DType::FLOATS {
        let smooth = |c: Case| if matches!(d, DType::F32 | DType::F64) { c.with_gradient() } else { c };
        let mut add = |name: &str, op: Sda, inputs: Vec<CaseInput>| {
            cases.push(smooth(Case::new(format!("{name}-{d}"), &op, inputs)));
        };
        let plain = Sda::default;
        let causal = || Sda { is_causal: true, ..plain() };
        let mask = |shape: &[usize]| CaseInput::new(d, shape).fill(Fill::Uniform(-1.0, 1.0, 4));
        let with = |mut inputs: Vec<CaseInput>, mask: CaseInput| {
            inputs.push(mask);
            inputs
        };
        add("plain", plain(), qkv(d, &[1, 2], &[1, 2], [3, 4, 5, 2]));
        add("matrices", plain(), qkv(d, &[], &[], [3, 4, 5, 2]));
        add("stacked", Sda { scale: Some(0.5), ..plain() }, qkv(d, &[3], &[3], [2, 3, 4, 4]));
        add("grouped", plain(), qkv(d, &[1, 4], &[1, 2], [3, 4, 2, 3]));
        add("causal", causal(), qkv(d, &[1, 2], &[1, 2], [4, 4, 3, 3]));
        add("causal-few-keys", causal(), qkv(d, &[1, 1], &[1, 1], [4, 2, 3, 3]));
        let later = Sda { causal_offset: Dim::Known(2), ..causal() };
        add("causal-offset", later, qkv(d, &[1, 1], &[1, 1], [2, 5, 3, 3]));
        add("softcap", Sda { softcap: 1.5, ..plain() }, qkv(d, &[1, 2], &[1, 2], [3, 4, 3, 2]));
        add("mask", plain(), with(qkv(d, &[2, 2], &[2, 2], [3, 4, 2, 3]), mask(&[2, 2, 3, 4])));
        add("mask-matrix", causal(), with(qkv(d, &[1, 2], &[1, 2], [3, 4, 2, 3]), mask(&[3, 4])));
        add("mask-keys", plain(), with(qkv(d, &[2, 4], &[2, 2], [2, 4, 2, 3]), bits(&[2, 1, 1, 4], 9)));
        add("mask-queries", plain(), with(qkv(d, &[1, 2], &[1, 2], [3, 4, 2, 3]), mask(&[2, 3, 1])));
        let some = bits(&[3, 4], 0).values(&[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        add("mask-row-of-none", plain(), with(qkv(d, &[1, 2], &[1, 2], [3, 4, 2, 3]), some));
        add("no-queries", plain(), qkv(d, &[1, 2], &[1, 2], [0, 4, 5, 2]));
        add("no-heads", plain(), qkv(d, &[0], &[0], [3, 4, 5, 2]));
        for (name, view) in crate::cases::VIEWS {
            let inputs = qkv(d, &[3], &[3], [2, 3, 4, 4]).into_iter().map(|x| x.view(view)).collect();
            add(name, plain(), inputs);
        }
    }
    let f32 = DType::F32;
    let endless = [0.0, f64::NEG_INFINITY, 0.5, -1.0, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    let mut infinite = qkv(f32, &[1, 2], &[1, 2], [2, 7, 4, 4]);
    infinite.push(CaseInput::new(f32, &[1, 7]).values(&endless));
    cases.push(Case::new("mask-infinite", &Sda::default(), infinite));
    let mut dead = qkv(f32, &[1, 2], &[1, 2], [2, 7, 4, 4]);
    dead.push(CaseInput::new(f32, &[7]).values(&[f64::NEG_INFINITY]));
    cases.push(Case::new("mask-all-infinite", &Sda::default(), dead));
    let mut nan = qkv(f32, &[1, 1], &[1, 1], [20, 9, 4, 4]);
    nan[0] = nan[0].clone().values(&[0.5, f64::NAN, 0.25, 1.0, 0.5, 0.5, 0.25, 1.0]);
    cases.push(Case::new("nan", &Sda::default(), nan));
    for (name, sizes, group) in [
        ("large", [150, 300, 40, 24], 1),
        ("large-square", [200, 200, 64, 64], 2),
        ("large-wide", [70, 130, 300, 72], 1),
        ("one-query", [1, 700, 64, 64], 2),
        ("few-queries", [5, 300, 20, 36], 1),
        ("one-key", [130, 1, 16, 16], 1),
    ] {
        for (kind, op) in [
            ("", Sda::default()),
            ("-causal", Sda { is_causal: true, ..Sda::default() }),
            ("-capped", Sda { softcap: 2.0, ..Sda::default() }),
        ] {
            let inputs = qkv(f32, &[1, 2 * group], &[1, 2], sizes);
            let masked = inputs.iter().cloned().chain([bits(&[2 * group, sizes[0], sizes[1]], 5)]).collect();
            let added = CaseInput::new(f32, &[sizes[0], sizes[1]]).view(View::Transposed);
            let added = inputs.iter().cloned().chain([added]).collect();
            cases.push(Case::new(format!("{name}{kind}"), &op, inputs));
            cases.push(Case::new(format!("{name}{kind}-masked"), &op, masked));
            cases.push(Case::new(format!("{name}{kind}-added"), &op, added));
        }
    }
    let late = Sda { is_causal: true, causal_offset: Dim::Known(150), ..Sda::default() };
    cases.push(Case::new("large-late", &late, qkv(f32, &[2], &[2], [100, 250, 32, 32])));
    for d in [DType::F16, DType::BF16, DType::F64] {
        cases.push(Case::new(format!("large-{d}"), &Sda::default(), qkv(d, &[1, 4], &[1, 2], [70, 150, 24, 24])));
    }
    let symbolic = Case::new("symbolic", &Sda::default(), qkv(f32, &[2, 2], &[2, 2], [3, 4, 5, 2])).with_gradient();
    let symbolic = (0..3).fold(symbolic, |c, i| c.symbol(i, 0, "batch"));
    cases.push(symbolic.symbol(0, 2, "steps").symbol(1, 2, "keys").symbol(2, 2, "keys"));
    let grouped =
        Case::new("symbolic-grouped", &Sda::default(), qkv(f32, &[2, 4], &[2, 2], [3, 3, 4, 4])).with_gradient();
    let grouped = (0..3).fold(grouped, |c, i| c.symbol(i, 2, "steps"));
    cases.push(grouped);
    cases
}
