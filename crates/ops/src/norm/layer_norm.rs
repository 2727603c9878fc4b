//! Layer normalisation (Ba, Kiros and Hinton 2016).

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, dtype_from_onnx, optional, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    Rule, Saved, Saves, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, divide_by_count, expand_to, scale as times, to_dtype, to_shape};
use crate::pattern_norms;

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, with mean and biased variance over the axes from `axis` on.
///
/// Inputs: `x`, optionally `scale` and then `bias`, both of the sizes of the normalised axes and the type of `x`.
/// Outputs: `y` and, hidden, the mean and `1 / sqrt(variance + epsilon)` with ones for the normalised axes, in `float32`
/// or `float64`.
#[derive(Clone, Debug, Attrs)]
pub struct LayerNorm {
    /// First normalised axis; negative ones count from the end.
    #[attr(default = -1)]
    pub axis: i64,
    /// Added to the variance.
    #[attr(default = 1e-5)]
    pub epsilon: f64,
}

/// Layer normalisation of `x` over the axes from `axis` on; `scale` and `bias` broadcast to `x`.
pub fn layer_norm(
    b: &mut dyn Builder,
    x: &Var,
    scale: Option<&Var>,
    bias: Option<&Var>,
    axis: i64,
    epsilon: f64,
) -> Result<Var> {
    Ok(layer_norm_all(b, x, scale, bias, axis, epsilon)?.swap_remove(0))
}

fn layer_norm_all(
    b: &mut dyn Builder,
    x: &Var,
    scale: Option<&Var>,
    bias: Option<&Var>,
    axis: i64,
    epsilon: f64,
) -> Result<Vars> {
    let op = LayerNorm { axis, epsilon };
    let fact = b.tensor_fact(x)?;
    let inside = normalised(&fact, axis)?;
    let scale_in = scale.map(|v| along(b, v, &fact, &inside)).transpose()?.flatten();
    let bias_in = bias.map(|v| along(b, v, &fact, &inside)).transpose()?.flatten();
    let mut inputs = vec![x.clone()];
    let (mut scale, mut bias) = (scale, bias);
    if let Some(v) = scale_in {
        inputs.push(v);
        scale = None;
    }
    if let (Some(v), None) = (bias_in, scale)
        && inputs.len() == 2
    {
        inputs.push(v);
        bias = None;
    }
    let mut outputs = b.apply(&op, &inputs)?;
    if let Some(v) = scale {
        outputs[0] = mul(b, &outputs[0], v)?;
    }
    if let Some(v) = bias {
        outputs[0] = add(b, &outputs[0], v)?;
    }
    Ok(outputs)
}

/// The sizes of the axes of `x` from `axis` on.
pub(crate) fn normalised(x: &TensorFact, axis: i64) -> Result<Vec<Dim>> {
    Ok(x.shape[common::axis(axis, x.rank())?..].to_vec())
}

/// `v` in the shape `inside` of the normalised axes, when it can be broadcast to it and has the type of `x`.
pub(crate) fn along(b: &mut dyn Builder, v: &Var, x: &TensorFact, inside: &[Dim]) -> Result<Option<Var>> {
    let fact = b.tensor_fact(v)?;
    if fact.dtype != x.dtype {
        return Ok(None);
    }
    let extra = fact.rank().saturating_sub(inside.len());
    if fact.shape[..extra].iter().any(|d| *d != Dim::Known(1)) {
        return Ok(None);
    }
    let own = &fact.shape[extra..];
    let skip = inside.len() - own.len();
    if skip == 0
        && own.iter().zip(inside).all(|(a, d)| common::same_dim(a, d).is_ok() && (*a != Dim::Known(1) || a == d))
    {
        return to_shape(b, v, own.to_vec()).map(Some);
    }
    if !own.iter().zip(&inside[skip..]).all(|(a, d)| *a == Dim::Known(1) || a == d) {
        return Ok(None);
    }
    let flat = to_shape(b, v, own.to_vec())?;
    expand(b, &flat, inside.to_vec()).map(Some)
}

/// The facts of a normalisation of rows: checks `vectors` against the normalised axes of `inputs[0]`.
pub(crate) fn infer_rows(inputs: &[&Fact], axis: i64, names: &[&str]) -> Result<Facts> {
    let f = common::tensors(inputs)?;
    let x = f[0];
    common::check_dtype(x.dtype, DType::FLOATS)?;
    let first = common::axis(axis, x.rank())?;
    let inside = &x.shape[first..];
    for (v, name) in f[1..].iter().zip(names) {
        if v.dtype != x.dtype {
            return Err(Error::dtype(format!("{name} is {}, x is {}", v.dtype, x.dtype))
                .with_expected("equal types")
                .with_help("cast one of them"));
        }
        let fits = v.rank() == inside.len() && v.shape.iter().zip(inside).all(|(a, d)| common::same_dim(a, d).is_ok());
        if !fits {
            return Err(Error::shape(format!("{name} has shape [{}]", Dim::join(&v.shape)))
                .with_expected(format!("[{}], the normalised axes", Dim::join(inside))));
        }
    }
    let outside = x.shape[..first].iter().cloned().chain(std::iter::repeat_n(Dim::Known(1), inside.len()));
    let statistic = Fact::tensor(accumulator(x.dtype), outside);
    let y = Fact::Tensor(TensorFact::new(x.dtype, x.shape.iter().cloned()));
    Ok(std::iter::once(y).chain(std::iter::repeat_n(statistic, names.len())).collect())
}

/// The axes from `axis` on.
pub(crate) fn row_axes(axis: i64, rank: usize) -> Result<Vec<i64>> {
    Ok((common::axis(axis, rank)? as i64..rank as i64).collect())
}

/// The gradient of a vector of the normalised axes: `g` summed over the axes before them.
pub(crate) fn sum_outside(b: &mut dyn Builder, g: &Var, first: usize, like: &TensorFact) -> Result<Var> {
    let axes: Vec<i64> = (0..first as i64).collect();
    let sum = if axes.is_empty() { g.clone() } else { reduce_sum(b, g, &axes, false)? };
    to_dtype(b, &sum, like.dtype)
}

/// `1 / sqrt(x + epsilon)`
pub(crate) fn inverse_root(b: &mut dyn Builder, x: &Var, epsilon: f64) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let epsilon = b.scalar(dtype, epsilon)?;
    let sum = add(b, x, &epsilon)?;
    let root = sqrt(b, &sum)?;
    let one = b.scalar(dtype, 1.0)?;
    div(b, &one, &root)
}

/// `sum + part`, or `part` alone.
pub(crate) fn plus(b: &mut dyn Builder, sum: Option<Var>, part: Var) -> Result<Var> {
    match sum {
        Some(sum) => add(b, &sum, &part),
        None => Ok(part),
    }
}

impl LayerNorm {
    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let Some(x) = inputs.first() else { return Err(Error::internal("no input")) };
        let fact = b.tensor_fact(x)?;
        let wide = accumulator(fact.dtype);
        let axes = row_axes(self.axis, fact.rank())?;
        let x = to_dtype(b, x, wide)?;
        let mean = reduce_mean(b, &x, &axes, true)?;
        let centred = sub(b, &x, &mean)?;
        let square = mul(b, &centred, &centred)?;
        let variance = reduce_mean(b, &square, &axes, true)?;
        let inverse = inverse_root(b, &variance, self.epsilon)?;
        let mut y = mul(b, &centred, &inverse)?;
        if let Some(v) = inputs.get(1) {
            let v = to_dtype(b, v, wide)?;
            y = mul(b, &y, &v)?;
        }
        if let Some(v) = inputs.get(2) {
            let v = to_dtype(b, v, wide)?;
            y = add(b, &y, &v)?;
        }
        Ok(smallvec![to_dtype(b, &y, fact.dtype)?, mean, inverse])
    }
}

impl Op for LayerNorm {
    fn arity(&self) -> Arity {
        Arity::between(1, 3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        infer_rows(inputs, self.axis, &["scale", "bias"])
    }

    fn visible_outputs(&self) -> Option<usize> {
        Some(1)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let x = t[0].to_f64();
        let first = common::axis(self.axis, t[0].shape().len())?;
        let n: usize = t[0].shape()[first..].iter().product();
        let scale = t.get(1).map(|v| v.to_f64());
        let bias = t.get(2).map(|v| v.to_f64());
        let (mut y, mut means, mut inverses) = (Vec::new(), Vec::new(), Vec::new());
        let rows: usize = t[0].shape()[..first].iter().product();
        for r in 0..rows {
            let row = &x[r * n..(r + 1) * n];
            let mean = row.iter().sum::<f64>() / n as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
            let inverse = 1.0 / (variance + self.epsilon).sqrt();
            for (i, v) in row.iter().enumerate() {
                let z = (v - mean) * inverse * scale.as_ref().map_or(1.0, |s| s[i]);
                y.push(z + bias.as_ref().map_or(0.0, |s| s[i]));
            }
            means.push(mean);
            inverses.push(inverse);
        }
        let mut outer = t[0].shape().to_vec();
        outer[first..].fill(1);
        let wide = accumulator(t[0].dtype());
        Ok(vec![
            HostTensor::from_f64(t[0].dtype(), t[0].shape(), &y)?.into(),
            HostTensor::from_f64(wide, &outer, &means)?.into(),
            HostTensor::from_f64(wide, &outer, &inverses)?.into(),
        ])
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b11, outputs: 0b110 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let fact = s.input_fact(0)?;
        let wide = accumulator(fact.dtype);
        let first = common::axis(self.axis, fact.rank())?;
        let axes = row_axes(self.axis, fact.rank())?;
        let inside = fact.shape[first..].to_vec();
        let (mean, inverse) = (s.output(1)?, s.output(2)?);
        let x = to_dtype(b, s.input(0)?, wide)?;
        let centred = sub(b, &x, mean)?;
        let normal = mul(b, &centred, inverse)?;
        let mut result = vec![None; needs.len()];
        let mut total: Option<Var> = None;
        if let Some(g) = &grads[0] {
            let g = to_dtype(b, g, wide)?;
            if needs.get(1) == Some(&true) {
                let product = mul(b, &g, &normal)?;
                result[1] = Some(sum_outside(b, &product, first, s.input_fact(1)?)?);
            }
            if needs.get(2) == Some(&true) {
                result[2] = Some(sum_outside(b, &g, first, s.input_fact(2)?)?);
            }
            let g = match needs.len() > 1 {
                true => {
                    let scale = to_dtype(b, s.input(1)?, wide)?;
                    mul(b, &g, &scale)?
                }
                false => g,
            };
            let average = reduce_mean(b, &g, &axes, true)?;
            let product = mul(b, &g, &normal)?;
            let share = reduce_mean(b, &product, &axes, true)?;
            let along = mul(b, &normal, &share)?;
            let rest = sub(b, &g, &average)?;
            let rest = sub(b, &rest, &along)?;
            total = Some(mul(b, &rest, inverse)?);
        }
        if let Some(g) = &grads[1] {
            let part = divide_by_count(b, g, &inside)?;
            let part = expand_to(b, &part, &TensorFact::new(wide, fact.shape.iter().cloned()))?;
            total = Some(plus(b, total, part)?);
        }
        if let Some(g) = &grads[2] {
            // d inverse / dx = -inverse^2 normal / n
            let square = mul(b, inverse, inverse)?;
            let part = mul(b, g, &square)?;
            let part = divide_by_count(b, &part, &inside)?;
            let part = times(b, &part, -1.0)?;
            let part = mul(b, &normal, &part)?;
            total = Some(plus(b, total, part)?);
        }
        if let (Some(total), true) = (total, needs[0]) {
            result[0] = Some(to_dtype(b, &total, fact.dtype)?);
        }
        Ok(result)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        row_cost(inputs, outputs, 8.0)
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        // The operator has no form without a scale.
        (inputs.len() > 1).then(|| {
            OnnxExport::new("LayerNormalization", 17)
                .attr("axis", OnnxAttr::Int(self.axis))
                .attr("epsilon", OnnxAttr::Float(self.epsilon as f32))
        })
    }
}

/// `flops` per element and every byte once.
pub(crate) fn row_cost(inputs: &[&Fact], outputs: &[Fact], flops: f64) -> Cost {
    let size = |f: &Fact| match f {
        Fact::Tensor(t) => t.shape.iter().map(|d| d.known().unwrap_or(64).max(0) as f64).product::<f64>(),
        _ => 0.0,
    };
    Cost {
        flops: flops * inputs.first().map_or(0.0, |f| size(f)),
        bytes: inputs.iter().copied().chain(outputs).map(|f| size(f) * f.dtype().size() as f64).sum(),
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, scale, bias) = (required(inputs, 0)?, required(inputs, 1)?, optional(inputs, 2));
    let (axis, epsilon) = (node.int("axis", -1)?, node.float("epsilon", 1e-5)?);
    let mut outputs = layer_norm_all(b, &x, Some(&scale), bias.as_ref(), axis, epsilon)?;
    let stash = dtype_from_onnx(i32::try_from(node.int("stash_type", 1)?).unwrap_or(0)).filter(|d| d.is_float());
    let Some(stash) = stash else { return Err(Error::unsupported("a stash_type that is no float type")) };
    for y in &mut outputs[1..] {
        *y = to_dtype(b, y, stash)?;
    }
    outputs.truncate(node.output_count().max(1));
    Ok(outputs)
}

/// Types, ranks, axes, layouts and sizes for a normalisation of rows made by `make(axis)` with up to `vectors` vectors.
pub(crate) fn row_cases<T: Op + Clone>(make: impl Fn(i64) -> T, vectors: usize) -> Vec<Case> {
    let inputs = |d: DType, shape: &[usize], first: usize, count: usize| {
        let vector = |k: usize| CaseInput::new(d, &shape[first..]).fill(Fill::Uniform(-1.5, 1.5, k as u64));
        let x = CaseInput::new(d, shape).fill(Fill::Distinct(-2.0, 2.0, 5));
        std::iter::once(x).chain((0..count).map(vector)).collect::<Vec<_>>()
    };
    let mut cases = Vec::new();
    for &d in DType::FLOATS {
        let mut add = |name: &str, axis: i64, inputs: Vec<CaseInput>| {
            let case = Case::new(format!("{name}-{d}"), &make(axis), inputs);
            cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
        };
        for count in 0..=vectors {
            add(&format!("last-{count}"), -1, inputs(d, &[2, 3, 5], 2, count));
        }
        add("two-axes", -2, inputs(d, &[2, 3, 4], 1, vectors));
        add("all-axes", 0, inputs(d, &[3, 4], 0, vectors));
        add("no-rows", -1, inputs(d, &[0, 3], 1, vectors));
        for (name, view) in crate::cases::VIEWS {
            let mut inputs = inputs(d, &[3, 5], 1, vectors);
            inputs[0].view = view;
            add(name, -1, inputs);
        }
        let mut special = inputs(d, &[4, 12], 1, vectors);
        special[0] = CaseInput::new(d, &[4, 12]).values(&[f64::NAN, 1.0, 2.0, f64::INFINITY, 1.0, 2.0, 3.0, 1.0]);
        cases.push(Case::new(format!("special-{d}"), &make(-1), special));
    }
    cases.push(Case::new("large", &make(-1), inputs(DType::F32, &[61, 997], 1, vectors)).tolerance(2e-5, 1e-5));
    cases.push(Case::new("long", &make(-1), inputs(DType::F32, &[2, 40_009], 1, vectors)).tolerance(2e-5, 1e-5));
    let symbolic = Case::new("symbolic", &make(-1), inputs(DType::F32, &[3, 4], 1, vectors));
    cases.push(symbolic.symbol(0, 0, "n").with_gradient());
    let symbolic = Case::new("symbolic-row", &make(-1), inputs(DType::F32, &[3, 4], 1, 0));
    cases.push(symbolic.symbol(0, 0, "n").symbol(0, 1, "m").with_gradient());
    cases
}

impl OpType for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const DOC: &'static str = "Normalisation over the last axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        // Exporters write the operator under opsets before 17 too; its meaning has not changed.
        vec![OnnxMapping::new("LayerNormalization", 1, import)]
    }

    fn rules() -> Vec<Rule> {
        vec![Rule { name: "layer_norm", roots: &["add", "mul", "div"], recognises: true, run: pattern_norms::layer }]
    }

    fn cases() -> Vec<Case> {
        row_cases(|axis| LayerNorm { axis, epsilon: 1e-3 }, 2)
    }
}
