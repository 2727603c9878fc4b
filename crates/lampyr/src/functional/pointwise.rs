//! Functions made of others, element by element.

use std::f64::consts::{FRAC_PI_2, PI};

use lampyr_base::{DType, Device, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Scalar, Tensor};

use super::binary::one_tensor;
use super::operand::{as_tensor, binary, common, one, promoted, promoted_float};
use super::support::once;
use super::{add, div, ge, logical_or, lt, mul, sub, where_};
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

fn number(x: f64) -> Operand<'static> {
    Operand::Scalar(Scalar::Float(x))
}

fn float(x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() { Ok(x.clone()) } else { x.to_dtype(DType::F32) }
}

/// Whether elements have a minus sign; that of NaN does not count.
pub fn signbit(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return super::full(x.shape(), Scalar::Bool(false), DType::Bool, x.device());
    }
    let below = x.less(0i64)?;
    if !x.dtype().is_float() {
        return Ok(below);
    }
    // The reciprocal of minus zero is minus infinity.
    one(&op::LogicalOr, &[&below, &one(&op::Reciprocal, &[&x.detach()])?.less(0i64)?])
}

/// `x` with the sign of `y`.
pub fn copysign(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted_float(x, y)?;
    let size = super::abs(&x)?;
    where_(&signbit(&y)?, (&size.neg()?).into(), (&size).into())
}

/// Angle of the point `(x, y)`, in radians from minus to plus pi.
pub fn atan2(y: Operand, x: Operand) -> Result<Tensor> {
    let (y, x) = promoted_float(y, x)?;
    let steep = super::abs(&y)?.greater(&super::abs(&x)?)?;
    let (over, under) = (where_(&steep, (&x).into(), (&y).into())?, where_(&steep, (&y).into(), (&x).into())?);
    let infinite = one(&op::LogicalAnd, &[&super::isinf(&over)?, &super::isinf(&under)?])?;
    let degenerate = one(&op::LogicalOr, &[&infinite, &under.equal(0i64)?])?;
    let signs = super::sign(&over)?.mul(&super::sign(&under)?)?;
    let over = where_(&infinite, (&signs).into(), (&over).into())?;
    let under = where_(&degenerate, number(1.0), (&under).into())?;
    let angle = super::atan(&over.div(&under)?)?;
    let y = y.detach();
    let quarter = copysign(number(FRAC_PI_2), (&y).into())?.to_dtype(angle.dtype())?;
    let half = copysign(number(PI), (&y).into())?.to_dtype(angle.dtype())?;
    let turned = where_(&signbit(&x)?, (&angle.add(&half)?).into(), (&angle).into())?;
    where_(&steep, (&quarter.sub(&angle)?).into(), (&turned).into())
}

/// `sqrt(x * x + y * y)`
pub fn hypot(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted(x, y)?;
    super::sqrt(&x.mul(&x)?.add(&y.mul(&y)?)?)
}

/// `log(exp(x) + exp(y))`
pub fn logaddexp(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted_float(x, y)?;
    once(&[&x, &y], |t| logaddexp_of(t[0], t[1]))
}

fn logaddexp_of(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let largest = super::maximum(x.into(), y.into())?;
    let same = one(&op::LogicalAnd, &[&x.equal(y)?, &super::isinf(x)?])?;
    let distance = where_(&same, number(0.0), (&x.sub(y)?).into())?;
    let more = super::log1p(&super::exp(&super::abs(&distance)?.neg()?)?)?;
    let made = where_(&same, (&largest).into(), (&largest.add(&more)?).into())?;
    if !((x.requires_grad() || y.requires_grad()) && lampyr_runtime::is_grad_enabled()) {
        return Ok(made);
    }
    // This form has every derivative also where both are equal, and moves by nothing.
    let top = where_(&super::isfinite(&largest)?, (&largest.detach()).into(), number(0.0))?.to_dtype(x.dtype())?;
    let smooth = super::log(&super::exp(&x.sub(&top)?)?.add(&super::exp(&y.sub(&top)?)?)?)?;
    let moved = smooth.sub(&smooth.detach())?;
    made.detach().add(&where_(&super::isfinite(&smooth.detach())?, (&moved).into(), number(0.0))?.to_dtype(x.dtype())?)
}

/// `log2(2 ** x + 2 ** y)`
pub fn logaddexp2(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted_float(x, y)?;
    once(&[&x, &y], |t| {
        let largest = super::maximum(t[0].into(), t[1].into())?;
        let same = one(&op::LogicalAnd, &[&t[0].equal(t[1])?, &super::isinf(t[0])?])?;
        let distance = where_(&same, number(0.0), (&t[0].sub(t[1])?).into())?;
        let more = super::log1p(&super::exp2(&super::abs(&distance)?.neg()?)?)?.mul(std::f64::consts::LOG2_E)?;
        where_(&same, (&largest).into(), (&largest.add(&more)?).into())
    })
}

/// `x * log(y)`, zero where `x` is.
pub fn xlogy(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted_float(x, y)?;
    let plain = one(&op::LogicalAnd, &[&super::isfinite(&y)?, &y.greater(0i64)?])?;
    let kept = one(&op::LogicalOr, &[&plain, &super::isnan(&y)?])?;
    let skip = one(&op::LogicalAnd, &[&x.equal(0i64)?, &super::logical_not(&kept)?])?;
    x.mul(&super::log(&where_(&skip, number(1.0), (&y).into())?)?)
}

/// The larger (or smaller) elements; of a number and NaN the number.
fn chosen(x: Operand, y: Operand, largest: bool) -> Result<Tensor> {
    let (x, y) = promoted(x, y)?;
    let pick = if largest { super::maximum } else { super::minimum };
    let both = pick((&x).into(), (&y).into())?;
    if !x.dtype().is_float() {
        return Ok(both);
    }
    let right = where_(&super::isnan(&y)?, (&x).into(), (&both).into())?;
    where_(&super::isnan(&x)?, (&y).into(), (&right).into())
}

/// The larger elements; of a number and NaN the number.
pub fn fmax(x: Operand, y: Operand) -> Result<Tensor> {
    chosen(x, y, true)
}

/// The smaller elements; of a number and NaN the number.
pub fn fmin(x: Operand, y: Operand) -> Result<Tensor> {
    chosen(x, y, false)
}

/// 0 below zero, 1 above, `values` at zero.
pub fn heaviside(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    if x.dtype() != values.dtype() {
        return Err(Error::dtype(format!("heaviside of {} and {}", x.dtype(), values.dtype()))
            .with_expected("two tensors of one type"));
    }
    where_(&x.equal(0i64)?, values.into(), (&x.greater(0i64)?.to_dtype(x.dtype())?).into())
}

/// `x ** y` in `float64`.
pub fn float_power(x: Operand, y: Operand) -> Result<Tensor> {
    let wide = |x: Operand| match x {
        Operand::Tensor(t) => t.to_dtype(DType::F64),
        Operand::Scalar(s) => Tensor::scalar(s, DType::F64, Device::CPU),
    };
    match y {
        Operand::Scalar(p) => super::pow((&wide(x)?).into(), Operand::Scalar(Scalar::Float(p.to_f64()))),
        _ => super::pow((&wide(x)?).into(), (&wide(y)?).into()),
    }
}

/// `start + weight * (end - start)`
pub fn lerp(start: &Tensor, end: &Tensor, weight: Operand) -> Result<Tensor> {
    match weight {
        Operand::Scalar(_) => once(&[start, end], |t| lerped(t[0], t[1], weight)),
        Operand::Tensor(w) => once(&[start, end, w], |t| lerped(t[0], t[1], Operand::Tensor(t[2]))),
    }
}

fn lerped(start: &Tensor, end: &Tensor, weight: Operand) -> Result<Tensor> {
    let way = end.sub(start)?;
    let near = |w: Operand| start.add(&mul((&way).into(), w)?);
    let far = |w: Operand| end.sub(&mul((&way).into(), (&sub(number(1.0), w)?).into())?);
    match weight {
        Operand::Scalar(w) if w.to_f64().abs() < 0.5 => near(weight),
        Operand::Scalar(w) => end.sub(&mul((&way).into(), number(1.0 - w.to_f64()))?),
        Operand::Tensor(w) => {
            where_(&super::abs(w)?.less(0.5)?, (&near(weight)?).into(), (&far(weight)?).into())?.to_dtype(start.dtype())
        }
    }
}

/// `input + value * tensor1 * tensor2`
pub fn addcmul(input: &Tensor, tensor1: &Tensor, tensor2: &Tensor, value: Scalar) -> Result<Tensor> {
    once(&[input, tensor1, tensor2], |t| added(t[0], t[1].mul(t[2])?, value))
}

/// `input + value * tensor1 / tensor2`
pub fn addcdiv(input: &Tensor, tensor1: &Tensor, tensor2: &Tensor, value: Scalar) -> Result<Tensor> {
    if !tensor1.dtype().is_float() && !tensor2.dtype().is_float() {
        return Err(Error::dtype("addcdiv of two integer tensors is not defined").with_help("convert one to float"));
    }
    once(&[input, tensor1, tensor2], |t| added(t[0], t[1].div(t[2])?, value))
}

fn added(input: &Tensor, more: Tensor, value: Scalar) -> Result<Tensor> {
    if value == Scalar::Int(1) {
        return input.add(&more);
    }
    input.add(&mul((&more).into(), Operand::Scalar(value))?)
}

/// Whether elements are equal to within `atol + rtol * |y|`.
pub fn isclose(x: &Tensor, y: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
    if x.dtype() != y.dtype() {
        return Err(Error::dtype(format!("isclose of {} and {}", x.dtype(), y.dtype()))
            .with_expected("two tensors of one type"));
    }
    if rtol < 0.0 || atol < 0.0 {
        return Err(Error::value(format!("rtol {rtol} and atol {atol}")).with_expected("tolerances from zero on"));
    }
    let mut close = binary(&op::Equal, x.into(), y.into())?;
    if equal_nan && x.dtype().is_float() {
        let nan = one(&op::LogicalAnd, &[&super::isnan(x)?, &super::isnan(y)?])?;
        close = one(&op::LogicalOr, &[&close, &nan])?;
    }
    let numbers = |t: &Tensor| if t.dtype() == DType::Bool { t.to_dtype(DType::F32) } else { Ok(t.clone()) };
    let (x, y) = (numbers(x)?, numbers(y)?);
    let allowed = add(number(atol), (&super::abs(&mul((&y).into(), number(rtol))?)?).into())?;
    let error = float(&super::abs(&x.sub(&y)?)?)?;
    let near = one(&op::LogicalAnd, &[&super::isfinite(&error)?, &super::le((&error).into(), (&allowed).into())?])?;
    logical_or((&close).into(), (&near).into())
}

/// Whether all elements are equal and the shapes, too.
pub fn equal(x: &Tensor, y: &Tensor) -> Result<bool> {
    if x.shape() != y.shape() {
        return Ok(false);
    }
    every(&binary(&op::Equal, x.into(), y.into())?)
}

fn every(x: &Tensor) -> Result<bool> {
    Ok(super::all(x, &[], false)?.item()? != 0.0)
}

/// `sin(pi x) / (pi x)`, 1 at zero.
pub fn sinc(x: &Tensor) -> Result<Tensor> {
    once(&[&float(x)?], |t| {
        let zero = t[0].equal(0i64)?;
        let safe = where_(&zero, number(1.0), t[0].into())?.mul(PI)?;
        where_(&zero, number(1.0), (&div((&super::sin(&safe)?).into(), (&safe).into())?).into())
    })
}

/// `log(x / (1 - x))`, with `x` brought between `eps` and `1 - eps` where given.
pub fn logit(x: &Tensor, eps: Option<f64>) -> Result<Tensor> {
    once(&[&float(x)?], |t| {
        let x = match eps {
            // Bounds that cross: what lies below the lower one is brought there first.
            Some(eps) => {
                let low = t[0].less(eps)?;
                let inner = where_(&t[0].greater(1.0 - eps)?, number(1.0 - eps), t[0].into())?;
                where_(&low, number(eps), (&inner).into())?
            }
            None => t[0].clone(),
        };
        super::log(&x.div(&sub(number(1.0), (&x).into())?)?)
    })
}

/// Rounded to whole numbers, or to `decimals` digits; the even one of two.
pub fn round(x: &Tensor, decimals: i64) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return x.duplicate();
    }
    if decimals == 0 {
        return one(&op::Round, &[x]);
    }
    let scale = 10f64.powi(decimals.unsigned_abs().min(308) as i32);
    if decimals > 0 {
        return one(&op::Round, &[&x.mul(scale)?])?.div(scale);
    }
    one(&op::Round, &[&x.div(scale)?])?.mul(scale)
}

/// Angle of real numbers: 0, pi below zero, NaN for NaN.
pub fn angle(x: &Tensor) -> Result<Tensor> {
    let x = float(x)?;
    let half = where_(&lt((&x).into(), number(0.0))?, number(PI), number(0.0))?.to_dtype(x.dtype())?;
    where_(&super::isnan(&x)?, (&x).into(), (&half).into())
}

/// `x * 2 ** y`
pub fn ldexp(x: Operand, y: Operand) -> Result<Tensor> {
    let to = common(&[x, y]);
    let to = if to.is_float() { to } else { lampyr_runtime::default_dtype() };
    // The power may be out of the range of the type where the product is not.
    let (x, y) = (as_tensor(x, DType::F64, Device::CPU)?, as_tensor(y, DType::F64, Device::CPU)?);
    x.mul(&super::exp2(&y)?)?.to_dtype(to)
}

/// Elements brought between two bounds, numbers or tensors; NaN stays.
pub fn clamp(x: &Tensor, min: Option<Operand>, max: Option<Operand>) -> Result<Tensor> {
    let operands: Vec<Operand> = [Some(Operand::Tensor(x)), min, max].into_iter().flatten().collect();
    if operands.len() == 1 {
        return Err(Error::value("clamp without bounds").with_expected("min, max or both"));
    }
    let x = x.to_dtype(common(&operands))?;
    let scalar = |o: Option<Operand>| match o {
        None => Some(None),
        Some(Operand::Scalar(s)) => Some(Some(s.to_f64())),
        Some(Operand::Tensor(_)) => None,
    };
    if let (Some(min), Some(max)) = (scalar(min), scalar(max)) {
        if min.is_some_and(f64::is_nan) || max.is_some_and(f64::is_nan) {
            return super::full_like(&x, f64::NAN);
        }
        return one(&op::Clip { min, max }, &[&x]);
    }
    let mut made = x;
    for (bound, lower) in [(min, true), (max, false)] {
        let Some(bound) = bound else { continue };
        let kept = if lower { ge((&made).into(), bound)? } else { super::le((&made).into(), bound)? };
        let kept = one(&op::LogicalOr, &[&kept, &super::isnan(&made)?])?;
        made = where_(&kept, (&made).into(), bound)?;
    }
    Ok(made)
}

/// NaN and infinities replaced by numbers: zero and the ends of the type when not given.
pub fn nan_to_num(x: &Tensor, nan: Option<f64>, posinf: Option<f64>, neginf: Option<f64>) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return x.duplicate();
    }
    let end = match x.dtype() {
        DType::F16 => 65504.0,
        DType::BF16 => 3.389_531_389_251_535_5e38,
        DType::F32 => f64::from(f32::MAX),
        _ => f64::MAX,
    };
    let value = |v: f64| Tensor::full(&[], v, x.dtype(), x.device());
    let mut made = where_(&super::isnan(x)?, (&value(nan.unwrap_or(0.0))?).into(), x.into())?;
    made = where_(&super::isposinf(x)?, (&value(posinf.unwrap_or(end))?).into(), (&made).into())?;
    where_(&super::isneginf(x)?, (&value(neginf.unwrap_or(-end))?).into(), (&made).into())
}

const ALL: u16 = TOP | METHOD | INPLACE;
const BOTH: u16 = TOP | METHOD;

macro_rules! two {
    ($name:literal, $first:literal, $second:literal, $spaces:expr, $doc:literal, $f:expr) => {
        name(
            concat!($name, "(", $first, " input, ", $second, " other, *, Tensor? out=None) -> Tensor"),
            $spaces,
            $doc,
            |a| give($f(a.operand(0)?, a.operand(1)?)),
        )
        .cost(12.0)
    };
}

macro_rules! same {
    ($name:literal, $spaces:expr, $doc:literal) => {
        same!($name, "", $spaces, $doc)
    };
    ($name:literal, $rest:literal, $spaces:expr, $doc:literal) => {
        name(concat!($name, "(Tensor input", $rest, ") -> Tensor"), $spaces, $doc, |a| give(Ok(a.tensor(0)?.clone())))
    };
}

pub(super) const NAMES: &[Entry] = &[
    two!(
        "atan2",
        "Tensor",
        "Tensor",
        ALL,
        "Angle of the point `(other, input)`, in radians from minus to plus pi.",
        atan2
    )
    .also(&["arctan2"]),
    two!("hypot", "Tensor", "Tensor", ALL, "`sqrt(input ** 2 + other ** 2)`", hypot),
    two!("logaddexp", "Tensor", "Tensor", BOTH, "`log(exp(input) + exp(other))`", logaddexp),
    two!("logaddexp2", "Tensor", "Tensor", BOTH, "`log2(2 ** input + 2 ** other)`", logaddexp2),
    two!("copysign", "Tensor", "Operand", ALL, "The size of `input` with the sign of `other`.", copysign),
    two!("xlogy", "Operand", "Operand", ALL, "`input * log(other)`, zero where `input` is.", |x, y| {
        one_tensor(x, y, xlogy)
    }),
    two!("fmax", "Tensor", "Tensor", BOTH, "The larger elements; of a number and NaN the number.", fmax),
    two!("fmin", "Tensor", "Tensor", BOTH, "The smaller elements; of a number and NaN the number.", fmin),
    two!("ldexp", "Tensor", "Tensor", ALL, "`input * 2 ** other`", ldexp),
    name(
        "float_power(Operand input, Operand exponent, *, Tensor? out=None) -> Tensor",
        BOTH,
        "`input ** exponent` in float64.",
        |a| give(one_tensor(a.operand(0)?, a.operand(1)?, float_power)),
    ),
    name("float_power(Tensor input, Operand exponent) -> Tensor", INPLACE, "`input ** exponent` in float64.", |a| {
        match a.tensor(0)?.dtype() {
            DType::F64 => give(float_power(a.operand(0)?, a.operand(1)?)),
            other => Err(Error::dtype(format!("a float64 result for a {other} tensor")).with_expected("float64")),
        }
    }),
    name(
        "heaviside(Tensor input, Tensor values, *, Tensor? out=None) -> Tensor",
        ALL,
        "0 below zero, 1 above, `values` at zero.",
        |a| give(heaviside(a.tensor(0)?, a.tensor(1)?)),
    ),
    name(
        "lerp(Tensor input, Tensor end, Operand weight, *, Tensor? out=None) -> Tensor",
        ALL,
        "`input + weight * (end - input)`",
        |a| give(lerp(a.tensor(0)?, a.tensor(1)?, a.operand(2)?)),
    ),
    name(
        "addcmul(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1, Tensor? out=None) -> Tensor",
        ALL,
        "`input + value * tensor1 * tensor2`",
        |a| give(addcmul(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?)),
    ),
    name(
        "addcdiv(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1, Tensor? out=None) -> Tensor",
        ALL,
        "`input + value * tensor1 / tensor2`",
        |a| give(addcdiv(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?)),
    ),
    name(
        "isclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> Tensor",
        BOTH,
        "Whether elements are equal to within `atol + rtol * |other|`.",
        |a| give(isclose(a.tensor(0)?, a.tensor(1)?, a.float(2)?, a.float(3)?, a.bool(4)?)),
    ),
    name(
        "allclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> bool",
        BOTH,
        "Whether all elements are equal to within `atol + rtol * |other|`.",
        |a| give(every(&isclose(a.tensor(0)?, a.tensor(1)?, a.float(2)?, a.float(3)?, a.bool(4)?)?)),
    ),
    name("equal(Tensor input, Tensor other) -> bool", TOP, "Whether the shapes and all elements are equal.", |a| {
        give(equal(a.tensor(0)?, a.tensor(1)?))
    }),
    name("signbit(Tensor input, *, Tensor? out=None) -> Tensor", BOTH, "Whether elements have a minus sign.", |a| {
        give(signbit(a.tensor(0)?))
    }),
    name("sinc(Tensor input, *, Tensor? out=None) -> Tensor", ALL, "`sin(pi input) / (pi input)`, 1 at zero.", |a| {
        give(sinc(a.tensor(0)?))
    }),
    name(
        "logit(Tensor input, float? eps=None, *, Tensor? out=None) -> Tensor",
        ALL,
        "`log(input / (1 - input))`, with `input` brought between `eps` and `1 - eps` where given.",
        |a| give(logit(a.tensor(0)?, a.float_or_none(1)?)),
    ),
    name(
        "round(Tensor input, *, int decimals=0, Tensor? out=None) -> Tensor",
        ALL,
        "The nearest whole numbers, or numbers of so many digits; the even one of two.",
        |a| give(round(a.tensor(0)?, a.int(1)?)),
    ),
    name(
        "angle(Tensor input, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Angles of numbers: pi below zero, else 0.",
        |a| give(angle(a.tensor(0)?)),
    ),
    name(
        "clamp(Tensor input, Operand? min=None, Operand? max=None, *, Tensor? out=None) -> Tensor",
        ALL,
        "Elements brought between two bounds, numbers or tensors; NaN stays.",
        |a| give(clamp(a.tensor(0)?, a.operand_or_none(1)?, a.operand_or_none(2)?)),
    )
    .also(&["clip"])
    .cost(1.0),
    name(
        "clamp_min(Tensor input, Operand min, *, Tensor? out=None) -> Tensor",
        ALL,
        "Elements, at least `min`.",
        |a| give(clamp(a.tensor(0)?, Some(a.operand(1)?), None)),
    ),
    name("clamp_max(Tensor input, Operand max, *, Tensor? out=None) -> Tensor", ALL, "Elements, at most `max`.", |a| {
        give(clamp(a.tensor(0)?, None, Some(a.operand(1)?)))
    }),
    name(
        "nan_to_num(Tensor input, float? nan=None, float? posinf=None, float? neginf=None, *, Tensor? out=None) -> Tensor",
        ALL,
        "NaN and infinities replaced by numbers: zero and the ends of the type when not given.",
        |a| give(nan_to_num(a.tensor(0)?, a.float_or_none(1)?, a.float_or_none(2)?, a.float_or_none(3)?)),
    ),
    name("isreal(Tensor input) -> Tensor", BOTH, "Whether elements are real: all are.", |a| {
        let x = a.tensor(0)?;
        give(super::full(x.shape(), Scalar::Bool(true), DType::Bool, x.device()))
    }),
    name("is_nonzero(Tensor input) -> bool", BOTH, "Whether the only element is not zero.", |a| {
        let x = a.tensor(0)?;
        if x.len() != 1 {
            return Err(Error::shape(format!("is_nonzero of {} elements", x.len())).with_expected("one element"));
        }
        give(Ok(x.item()? != 0.0))
    }),
    name("is_same_size(Tensor input, Tensor other) -> bool", TOP, "Whether the shapes are equal.", |a| {
        give(Ok(a.tensor(0)?.shape() == a.tensor(1)?.shape()))
    }),
    name("is_conj(Tensor input) -> bool", TOP, "Whether the tensor waits for its conjugation: none does.", |_| {
        give(Ok(false))
    }),
    name("is_neg(Tensor input) -> bool", TOP, "Whether the tensor waits for its negation: none does.", |_| {
        give(Ok(false))
    }),
    name("cube(Tensor input) -> Tensor", INPLACE, "`input ** 3`", |a| give(super::pow(a.operand(0)?, 3i64.into()))),
    name("detach(Tensor input) -> Tensor", TOP, "The same memory without history.", |a| {
        give(Ok(a.tensor(0)?.detach()))
    }),
    name("contiguous(Tensor input) -> Tensor", TOP, "The tensor, or a row-major copy of it.", |a| {
        give(a.tensor(0)?.contiguous())
    }),
    same!("real", TOP, "The real part: the tensor itself."),
    same!("conj", BOTH, "The conjugate: of real numbers the tensor itself."),
    same!("conj_physical", ", *, Tensor? out=None", ALL, "The conjugate: of real numbers the tensor itself."),
    same!("resolve_conj", BOTH, "The tensor with conjugation carried out: the tensor itself."),
    same!("resolve_neg", BOTH, "The tensor with negation carried out: the tensor itself."),
];
