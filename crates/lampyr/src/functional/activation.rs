//! Activations.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_ops::common::axis;
use lampyr_runtime::{Scalar, Tensor, is_grad_enabled};

use super::operand::one;
use super::support::{constant, floats, joined, shape_error};
use super::unary::relu;
use crate::names::{Entry, FUNCTIONAL, FUNCTIONAL_INPLACE, METHOD, TOP, TOP_INPLACE, give, name};

fn number(value: Scalar, like: &Tensor) -> Result<Tensor> {
    Tensor::scalar(value, like.dtype(), like.device())
}

fn differentiated(x: &Tensor) -> bool {
    is_grad_enabled() && x.requires_grad()
}

/// `x` between `low` and `high`; outside and on the borders without gradient.
pub fn hardtanh(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    if low > high {
        return Err(Error::value(format!("min_val {low} is above max_val {high}")).with_op("hardtanh"));
    }
    if x.dtype() == DType::Bool {
        return Err(Error::dtype("hardtanh of bool").with_op("hardtanh").with_expected("numbers"));
    }
    if !differentiated(x) {
        return one(&op::Clip { min: Some(low), max: Some(high) }, &[x]);
    }
    let (low, high) = (constant(low, x)?, constant(high, x)?);
    let below = one(&op::LessEqual, &[x, &low])?;
    let above = one(&op::GreaterEqual, &[x, &high])?;
    let upper = one(&op::Where, &[&above, &high, x])?;
    one(&op::Where, &[&below, &low, &upper])
}

/// `min(max(x, 0), 6)`
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    hardtanh(x, 0.0, 6.0)
}

/// `x` above `threshold`, else `value`.
pub fn threshold(x: &Tensor, threshold: Scalar, value: Scalar) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(Error::dtype("threshold of bool").with_op("threshold").with_expected("numbers"));
    }
    let below = one(&op::LessEqual, &[x, &number(threshold, x)?])?;
    one(&op::Where, &[&below, &number(value, x)?, x])
}

/// In training, negative elements times random slopes between `lower` and `upper`; else times their mean.
pub fn rrelu(x: &Tensor, lower: f64, upper: f64, training: bool) -> Result<Tensor> {
    floats(x, "rrelu")?;
    if lower.is_nan() || upper.is_nan() || lower > upper {
        return Err(Error::value(format!("slopes between {lower} and {upper}")).with_op("rrelu"));
    }
    if !training {
        return one(&op::LeakyRelu { alpha: (lower + upper) / 2.0 }, &[x]);
    }
    let slope = crate::random::rand(x.shape(), x.dtype(), crate::random::default_generator())?
        .mul(upper - lower)?
        .add(lower)?;
    let positive = one(&op::GreaterEqual, &[x, &constant(0.0, x)?])?;
    one(&op::Where, &[&positive, x, &x.mul(&slope)?])
}

/// `scale * (x` above 0, else `alpha * (exp(input_scale * x) - 1))`.
pub fn elu(x: &Tensor, alpha: f64, scale: f64, input_scale: f64) -> Result<Tensor> {
    floats(x, "elu")?;
    if scale == 1.0 && input_scale == 1.0 {
        return one(&op::Elu { alpha }, &[x]);
    }
    let negative = one(&op::Expm1, &[&x.mul(input_scale)?])?.mul(alpha)?;
    let positive = one(&op::Greater, &[x, &constant(0.0, x)?])?;
    one(&op::Where, &[&positive, x, &negative])?.mul(scale)
}

/// `x` outside `[-lambda, lambda]`, else 0.
pub fn hardshrink(x: &Tensor, lambda: f64) -> Result<Tensor> {
    floats(x, "hardshrink")?;
    let inside = one(&op::LessEqual, &[&one(&op::Abs, &[&x.detach()])?, &constant(lambda, x)?])?;
    one(&op::Where, &[&inside, &constant(0.0, x)?, x])
}

/// `x` moved by `lambda` towards 0, and 0 between.
pub fn softshrink(x: &Tensor, lambda: f64) -> Result<Tensor> {
    floats(x, "softshrink")?;
    if lambda.is_nan() || lambda < 0.0 {
        return Err(Error::value(format!("lambd is {lambda}")).with_op("softshrink").with_expected("0 or more"));
    }
    x.sub(&one(&op::Clip { min: Some(-lambda), max: Some(lambda) }, &[x])?)
}

/// `x - tanh(x)`
pub fn tanhshrink(x: &Tensor) -> Result<Tensor> {
    x.sub(&x.tanh()?)
}

/// `log(1 + exp(beta * x)) / beta`, and `x` where `beta * x` is above `threshold`.
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Result<Tensor> {
    floats(x, "softplus")?;
    if beta == 1.0 && threshold >= 20.0 {
        return one(&op::Softplus, &[x]);
    }
    let scaled = x.mul(beta)?;
    let soft = one(&op::Softplus, &[&scaled])?.div(beta)?;
    let far = one(&op::Greater, &[&scaled, &constant(threshold, x)?])?;
    one(&op::Where, &[&far, x, &soft])
}

/// `x / (1 + |x|)`
pub fn softsign(x: &Tensor) -> Result<Tensor> {
    let x = if x.dtype().is_float() { x.clone() } else { x.to_dtype(DType::F32)? };
    one(&op::Softsign, &[&x])
}

/// A float op that promotes nothing.
pub(crate) fn strict(op: &dyn lampyr_ir::Op, x: &Tensor) -> Result<Tensor> {
    floats(x, op.name())?;
    one(op, &[x])
}

/// `x` where it is positive, else times `weight`: one number, or one per channel (axis 1).
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    floats(x, "prelu")?;
    let channels = if x.rank() > 1 { x.shape()[1] } else { 1 };
    if weight.rank() > 1 || (weight.len() != 1 && weight.len() != channels) {
        return Err(shape_error("prelu", format!("{} weights for {channels} channels", weight.len()), &[x, weight])
            .with_expected("one weight, or one per channel"));
    }
    let mut shape = vec![1; x.rank()];
    if let (true, Some(c)) = (weight.len() > 1, shape.get_mut(1)) {
        *c = weight.len();
    }
    one(&op::Prelu, &[x, &super::shape::reshape_to(weight, &shape)?])
}

/// The first half along axis `dim` times the sigmoid of the second.
pub fn glu(x: &Tensor, dim: i64) -> Result<Tensor> {
    floats(x, "glu")?;
    if x.rank() == 0 {
        return Err(shape_error("glu", "glu() of a tensor without axes", &[x]));
    }
    let a = axis(dim, x.rank())?;
    let n = x.shape()[a] as i64;
    if n % 2 != 0 {
        return Err(shape_error("glu", format!("axis {a} has {n} elements"), &[x]).with_expected("an even size"));
    }
    let (first, second) = (x.slice(a as i64, 0, n / 2, 1)?, x.slice(a as i64, n / 2, n, 1)?);
    first.mul(&one(&op::Sigmoid, &[&second])?)
}

/// The axis that PyTorch takes for softmax where none is given.
pub(crate) fn softmax_axis(dim: Option<i64>, rank: usize) -> i64 {
    dim.unwrap_or(if matches!(rank, 0 | 1 | 3) { 0 } else { 1 })
}

fn softmax_like(x: &Tensor, dim: i64, dtype: Option<DType>, log: bool) -> Result<Tensor> {
    let name = if log { "log_softmax" } else { "softmax" };
    let x = match dtype {
        Some(d) => x.to_dtype(d)?,
        None => x.clone(),
    };
    floats(&x, name)?;
    let wide = super::support::with_axis(&x)?;
    axis(dim, wide.rank())?;
    let y = if log { wide.log_softmax(dim)? } else { wide.softmax(dim)? };
    super::support::shaped_like(y, &x)
}

/// Exponentials along axis `dim` that add up to one, in `dtype`.
pub fn softmax(x: &Tensor, dim: i64, dtype: Option<DType>) -> Result<Tensor> {
    softmax_like(x, dim, dtype, false)
}

/// Logarithm of [`softmax`].
pub fn log_softmax(x: &Tensor, dim: i64, dtype: Option<DType>) -> Result<Tensor> {
    softmax_like(x, dim, dtype, true)
}

/// Softmax of `-x`.
pub fn softmin(x: &Tensor, dim: i64, dtype: Option<DType>) -> Result<Tensor> {
    softmax(&x.neg()?, dim, dtype)
}

/// A sample of the Gumbel-softmax distribution along axis `dim`; when `hard`, one-hot with the gradient of the soft one.
pub fn gumbel_softmax(logits: &Tensor, tau: f64, hard: bool, dim: i64) -> Result<Tensor> {
    floats(logits, "gumbel_softmax")?;
    let tiny = if matches!(logits.dtype(), DType::F16) { 1e-7 } else { 1e-30 };
    let uniform = crate::random::rand(logits.shape(), logits.dtype(), crate::random::default_generator())?;
    let uniform = one(&op::Clip { min: Some(tiny), max: None }, &[&uniform])?;
    // A sum of 0 comes from a number rounded up to 1.
    let exponential = one(&op::Clip { min: Some(tiny), max: None }, &[&uniform.log()?.neg()?])?;
    let soft = softmax(&logits.sub(&exponential.log()?)?.div(tau)?, dim, None)?;
    if !hard {
        return Ok(soft);
    }
    let a = axis(dim, soft.rank().max(1))?;
    let wide = super::support::with_axis(&soft)?;
    let at = one(&op::Argmax { axis: Some(a as i64), keepdims: true, select_last_index: false }, &[&wide.detach()])?;
    let zeros = super::support::zeros(wide.shape(), &soft)?;
    let hot = super::place::scatter(&zeros, a as i64, &at, 1i64.into(), "")?;
    let hot = super::support::shaped_like(hot, &soft)?;
    hot.sub(&soft.detach())?.add(&soft)
}

/// `x` to the power of `exponent`, in their common type.
pub(crate) fn power(x: &Tensor, exponent: f64) -> Result<Tensor> {
    joined(&op::Pow, x, exponent)
}

/// `alpha * (exp(x / alpha) - 1)` of negative elements.
pub fn celu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    if alpha == 0.0 {
        return Err(Error::value("alpha is 0").with_op("celu").with_expected("another number"));
    }
    strict(&op::Celu { alpha }, x)
}

/// Scaled exponential linear unit (Klambauer et al. 2017).
pub fn selu(x: &Tensor) -> Result<Tensor> {
    const ALPHA: f64 = 1.673_263_242_354_377_2;
    const GAMMA: f64 = 1.050_700_987_355_480_5;
    strict(&op::Selu { alpha: ALPHA, gamma: GAMMA }, x)
}

/// Gaussian error linear unit; `approximate` is `none` or `tanh`.
pub fn gelu(x: &Tensor, approximate: &str) -> Result<Tensor> {
    if !["none", "tanh"].contains(&approximate) {
        return Err(Error::value(format!("approximate is `{approximate}`"))
            .with_op("gelu")
            .with_expected("none or tanh"));
    }
    strict(&op::Gelu { approximate: approximate.to_string() }, x)
}

fn float(op: &dyn lampyr_ir::Op, x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() { one(op, &[x]) } else { one(op, &[&x.to_dtype(DType::F32)?]) }
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name("relu(Tensor input, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`max(input, 0)`", |a| give(relu(a.tensor(0)?))).cost(8.0),
    name("relu6(Tensor input, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`min(max(input, 0), 6)`", |a| give(relu6(a.tensor(0)?))).cost(8.0),
    name("relu6(Tensor input) -> Tensor", TOP | METHOD, "`min(max(input, 0), 6)`", |a| give(relu6(a.tensor(0)?))).cost(8.0),
    name("leaky_relu(Tensor input, float negative_slope=0.01, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "Negative elements times a slope.", |a| give(strict(&op::LeakyRelu { alpha: a.float(1)? }, a.tensor(0)?))).cost(8.0),
    name("rrelu(Tensor input, float lower=0.125, float upper=0.3333333333333333, bool training=False, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "Negative elements times random slopes.", |a| give(rrelu(a.tensor(0)?, a.float(1)?, a.float(2)?, a.bool(3)?))).cost(8.0),
    name("elu(Tensor input, float alpha=1.0, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`alpha * (exp(input) - 1)` of negative elements.", |a| give(elu(a.tensor(0)?, a.float(1)?, 1.0, 1.0))).cost(8.0),
    name("selu(Tensor input, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "Scaled exponential linear unit.", |a| give(selu(a.tensor(0)?))).cost(8.0),
    name("selu(Tensor input) -> Tensor", TOP | METHOD | TOP_INPLACE, "Scaled exponential linear unit.", |a| give(selu(a.tensor(0)?))).cost(8.0),
    name("celu(Tensor input, float alpha=1.0, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`alpha * (exp(input / alpha) - 1)` of negative elements.", |a| give(celu(a.tensor(0)?, a.float(1)?))).cost(8.0),
    name("fused_linear_relu(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor", FUNCTIONAL, "`relu(linear(input, weight, bias))`", |a| {
        give(relu(&super::linear(a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?)?))
    })
    .cost(64.0),
    name("fused_linear_gelu(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor", FUNCTIONAL, "`gelu(linear(input, weight, bias))`", |a| {
        give(gelu(&super::linear(a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?)?, "none"))
    })
    .cost(64.0),
    name("gelu(Tensor input, *, str approximate='none', Tensor? out=None) -> Tensor", TOP | METHOD | FUNCTIONAL, "Gaussian error linear unit.", |a| {
        give(gelu(a.tensor(0)?, a.str(1)?))
    })
    .cost(16.0),
    name("silu(Tensor input, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`input * sigmoid(input)`", |a| give(strict(&op::Silu, a.tensor(0)?))).cost(8.0),
    name("silu(Tensor input) -> Tensor", TOP | METHOD, "`input * sigmoid(input)`", |a| give(strict(&op::Silu, a.tensor(0)?))).cost(8.0),
    name("mish(Tensor input, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`input * tanh(softplus(input))`", |a| give(strict(&op::Mish, a.tensor(0)?))).cost(8.0),
    name("mish(Tensor input) -> Tensor", TOP | METHOD, "`input * tanh(softplus(input))`", |a| give(strict(&op::Mish, a.tensor(0)?))).cost(8.0),
    name("hardtanh(Tensor input, float min_val=-1.0, float max_val=1.0, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "Bounded from below and above.", |a| give(hardtanh(a.tensor(0)?, a.float(1)?, a.float(2)?))).cost(8.0),
    name("hardswish(Tensor input, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`input * min(max(input + 3, 0), 6) / 6`", |a| give(strict(&op::HardSwish, a.tensor(0)?))).cost(8.0),
    name("hard_swish(Tensor input) -> Tensor", TOP | METHOD, "`input * min(max(input + 3, 0), 6) / 6`", |a| give(strict(&op::HardSwish, a.tensor(0)?))).cost(8.0),
    name("hardsigmoid(Tensor input, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`min(max(input + 3, 0), 6) / 6`", |a| give(strict(&op::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, a.tensor(0)?))).cost(8.0),
    name("hard_sigmoid(Tensor input) -> Tensor", TOP | METHOD, "`min(max(input + 3, 0), 6) / 6`", |a| give(strict(&op::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, a.tensor(0)?))).cost(8.0),
    name("hardshrink(Tensor input, float lambd=0.5, *, Tensor? out=None) -> Tensor", TOP | METHOD | FUNCTIONAL, "0 for small elements.", |a| give(hardshrink(a.tensor(0)?, a.float(1)?))).cost(8.0),
    name("softshrink(Tensor input, float lambd=0.5, *, Tensor? out=None) -> Tensor", FUNCTIONAL, "Moved towards 0.", |a| give(softshrink(a.tensor(0)?, a.float(1)?))).cost(8.0),
    name("tanhshrink(Tensor input) -> Tensor", FUNCTIONAL, "`input - tanh(input)`", |a| give(tanhshrink(a.tensor(0)?))).cost(8.0),
    name("softplus(Tensor input, float beta=1.0, float threshold=20.0, *, Tensor? out=None) -> Tensor", TOP | METHOD | FUNCTIONAL, "`log(1 + exp(beta * input)) / beta`", |a| give(softplus(a.tensor(0)?, a.float(1)?, a.float(2)?))).cost(8.0),
    name("softsign(Tensor input) -> Tensor", FUNCTIONAL, "`input / (1 + |input|)`", |a| give(softsign(a.tensor(0)?))).cost(8.0),
    name("sigmoid(Tensor input) -> Tensor", FUNCTIONAL, "Logistic function.", |a| give(float(&op::Sigmoid, a.tensor(0)?))).cost(8.0),
    name("tanh(Tensor input) -> Tensor", FUNCTIONAL, "Hyperbolic tangent.", |a| give(a.tensor(0)?.tanh())).cost(8.0),
    name("logsigmoid(Tensor input, *, Tensor? out=None) -> Tensor", FUNCTIONAL, "Logarithm of the logistic function.", |a| give(strict(&op::LogSigmoid, a.tensor(0)?))).cost(8.0),
    name("threshold(Tensor input, Scalar threshold, Scalar value, bool inplace=False) -> Tensor", FUNCTIONAL | FUNCTIONAL_INPLACE, "`value` for elements up to `threshold`.", |a| give(threshold(a.tensor(0)?, a.scalar(1)?, a.scalar(2)?))).cost(8.0),
    name("prelu(Tensor input, Tensor weight) -> Tensor", TOP | METHOD | FUNCTIONAL, "Negative elements times learned slopes.", |a| give(prelu(a.tensor(0)?, a.tensor(1)?))).cost(8.0),
    name("glu(Tensor input, int dim=-1) -> Tensor", FUNCTIONAL, "The first half times the sigmoid of the second.", |a| give(glu(a.tensor(0)?, a.int(1)?))).cost(8.0),
    name("softmax(Tensor input, int dim, dtype? dtype=None, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Exponentials along an axis that add up to one.", |a| {
        give(softmax(a.tensor(0)?, a.int(1)?, a.dtype_or_none(2)?))
    })
    .cost(16.0),
    name("log_softmax(Tensor input, int dim, dtype? dtype=None, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Logarithm of softmax.", |a| {
        give(log_softmax(a.tensor(0)?, a.int(1)?, a.dtype_or_none(2)?))
    })
    .cost(16.0),
    name("softmax(Tensor input, int? dim=None, int _stacklevel=3, dtype? dtype=None) -> Tensor", FUNCTIONAL, "Exponentials along an axis that add up to one.", |a| {
        let x = a.tensor(0)?;
        give(softmax(x, softmax_axis(a.int_or_none(1)?, x.rank()), a.dtype_or_none(3)?))
    })
    .cost(16.0),
    name("softmax(Tensor input, int? dim=None, dtype? dtype=None) -> Tensor", FUNCTIONAL, "Exponentials along an axis that add up to one.", |a| {
        let x = a.tensor(0)?;
        give(softmax(x, softmax_axis(a.int_or_none(1)?, x.rank()), a.dtype_or_none(2)?))
    })
    .cost(16.0),
    name("log_softmax(Tensor input, int? dim=None, int _stacklevel=3, dtype? dtype=None) -> Tensor", FUNCTIONAL, "Logarithm of softmax.", |a| {
        let x = a.tensor(0)?;
        give(log_softmax(x, softmax_axis(a.int_or_none(1)?, x.rank()), a.dtype_or_none(3)?))
    })
    .cost(16.0),
    name("log_softmax(Tensor input, int? dim=None, dtype? dtype=None) -> Tensor", FUNCTIONAL, "Logarithm of softmax.", |a| {
        let x = a.tensor(0)?;
        give(log_softmax(x, softmax_axis(a.int_or_none(1)?, x.rank()), a.dtype_or_none(2)?))
    })
    .cost(16.0),
    name("softmin(Tensor input, int? dim=None, int _stacklevel=3, dtype? dtype=None) -> Tensor", FUNCTIONAL, "Softmax of `-input`.", |a| {
        let x = a.tensor(0)?;
        give(softmin(x, softmax_axis(a.int_or_none(1)?, x.rank()), a.dtype_or_none(3)?))
    })
    .cost(16.0),
    name("softmin(Tensor input, int? dim=None, dtype? dtype=None) -> Tensor", FUNCTIONAL, "Softmax of `-input`.", |a| {
        let x = a.tensor(0)?;
        give(softmin(x, softmax_axis(a.int_or_none(1)?, x.rank()), a.dtype_or_none(2)?))
    })
    .cost(16.0),
    name(
        "gumbel_softmax(Tensor logits, float tau=1.0, bool hard=False, float eps=1e-10, int dim=-1) -> Tensor",
        FUNCTIONAL,
        "A sample of the Gumbel-softmax distribution.",
        |a| give(gumbel_softmax(a.tensor(0)?, a.float(1)?, a.bool(2)?, a.int(4)?)),
    )
    .cost(32.0),
];
