//! Functions on the representation of numbers: neighbours, exponents, common divisors.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Scalar, Tensor};

use super::operand::{one, promoted};
use super::special::choose;
use super::{abs, eq, gt, isfinite, lt, ne};
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

/// The integer type as wide as a float type.
fn bits_of(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::I64,
        DType::F32 => DType::I32,
        _ => DType::I16,
    }
}

fn as_bits(x: &Tensor) -> Result<Tensor> {
    one(&op::BitCast { to: bits_of(x.dtype()) }, &[&x.detach()])
}

/// The next number after `x` towards `y`.
///
/// # Errors
/// When the types have no fractions.
pub fn nextafter(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (x, y) = promoted(x.into(), y.into())?;
    if !x.dtype().is_float() {
        return Err(Error::dtype(format!("{} has no fractions", x.dtype())).with_expected("a float type"));
    }
    let kind = bits_of(x.dtype());
    let up = gt((&y).into(), (&x).into())?;
    let outward = eq((&gt((&x).into(), 0i64.into())?).into(), (&up).into())?;
    let step = outward.to_dtype(kind)?.mul(2i64)?.sub(1i64)?;
    let moved = one(&op::BitCast { to: x.dtype() }, &[&as_bits(&x)?.add(&step)?])?;
    // The smallest number has the bits 1; its sign is that of the direction.
    let least = Tensor::scalar(Scalar::Int(1), kind, x.device())?;
    let least = one(&op::BitCast { to: x.dtype() }, &[&least])?;
    let least = choose(&up, &least, &least.neg()?)?;
    let moved = choose(&eq((&x).into(), 0i64.into())?, &least, &moved)?;
    let moved = choose(&eq((&x).into(), (&y).into())?, &y, &moved)?;
    let none = one(&op::LogicalOr, &[&one(&op::IsNan, &[&x])?, &one(&op::IsNan, &[&y])?])?;
    let made = choose(&none, &x.add(&y)?, &moved)?;
    if !(x.requires_grad() && lampyr_runtime::is_grad_enabled()) {
        return Ok(made);
    }
    // The neighbour moves as the number does, except where there is no step.
    let moves = one(&op::LogicalAnd, &[&isfinite(&x)?, &ne((&x.detach()).into(), (&y.detach()).into())?])?;
    let zero = Tensor::scalar(Scalar::Float(0.0), x.dtype(), x.device())?;
    made.detach().add(&choose(&moves, &x.sub(&x.detach())?, &zero)?)
}

fn whole(x: Operand, y: Operand, what: &str) -> Result<(Tensor, Tensor)> {
    let (x, y) = promoted(x, y)?;
    if x.dtype().is_float() || x.dtype() == DType::Bool {
        return Err(Error::dtype(format!("{what} of {} tensors", x.dtype())).with_expected("an integer type"));
    }
    Ok((x, y))
}

/// Greatest common divisor, never negative (Euclid).
///
/// # Errors
/// When the types are no integers.
pub fn gcd(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = whole(x, y, "gcd")?;
    let zero = x.mul(&y)?.mul(0i64)?;
    let (mut a, mut b) = (abs(&x.add(&zero)?)?, abs(&y.add(&zero)?)?);
    // Two 64-bit numbers take at most 93 steps.
    for _ in 0..93 {
        let done = eq((&b).into(), 0i64.into())?;
        if done.to_host()?.to_i64().iter().all(|&d| d != 0) {
            break;
        }
        let divisor = choose(&done, &zero.add(1i64)?, &b)?;
        let rest = one(&op::Fmod, &[&a, &divisor])?;
        (a, b) = (choose(&done, &a, &b)?, choose(&done, &zero, &rest)?);
    }
    abs(&a)
}

/// Least common multiple, never negative.
///
/// # Errors
/// When the types are no integers.
pub fn lcm(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = whole(x, y, "lcm")?;
    let divisor = gcd((&x).into(), (&y).into())?;
    let none = eq((&divisor).into(), 0i64.into())?;
    let divisor = choose(&none, &divisor.add(1i64)?, &divisor)?;
    abs(&one(&op::Div, &[&x.add(&divisor.mul(0i64)?)?, &divisor])?.mul(&y)?)
}

/// 2 to the power of whole numbers from -1022 to 1023, exactly.
fn power_of_two(exponent: &Tensor) -> Result<Tensor> {
    let places = Tensor::scalar(Scalar::Int(52), DType::I64, exponent.device())?;
    let bits = one(&op::BitwiseLeftShift, &[&exponent.to_dtype(DType::I64)?.add(1023i64)?, &places])?;
    one(&op::BitCast { to: DType::F64 }, &[&bits])
}

/// Fractions from one half to one (with sign) and exponents, so that `x = fraction * 2^exponent`.
///
/// # Errors
/// When the type has no fractions.
pub fn frexp(x: &Tensor) -> Result<(Tensor, Tensor)> {
    if !x.dtype().is_float() {
        return Err(Error::dtype(format!("frexp of a {} tensor", x.dtype())).with_expected("a float type"));
    }
    let exact = x.detach().to_dtype(DType::F64)?;
    let usable = one(&op::LogicalAnd, &[&isfinite(&exact)?, &ne((&exact).into(), 0.0.into())?])?;
    let small = lt((&abs(&exact)?).into(), f64::MIN_POSITIVE.into())?.to_dtype(DType::I64)?;
    let shift = small.mul(54i64)?;
    let bits = as_bits(&exact.mul(&power_of_two(&shift)?)?)?;
    let scalar = |v: i64| Tensor::scalar(Scalar::Int(v), DType::I64, x.device());
    let field = one(&op::BitwiseAnd, &[&one(&op::BitwiseRightShift, &[&bits, &scalar(52)?])?, &scalar(0x7ff)?])?;
    let exponent = choose(&usable, &field.sub(1022i64)?.sub(&shift)?, &field.mul(0i64)?)?;
    let half = one(&op::BitwiseRightShift, &[&exponent, &scalar(1)?])?;
    let (down, rest) = (power_of_two(&half.neg()?)?, power_of_two(&half.sub(&exponent)?)?);
    let fraction = x.to_dtype(DType::F64)?.mul(&down)?.mul(&rest)?.to_dtype(x.dtype())?;
    Ok((fraction, exponent.to_dtype(DType::I32)?))
}

const ALL: u16 = TOP | METHOD | INPLACE;

pub(super) const NAMES: &[Entry] = &[
    name(
        "nextafter(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor",
        ALL,
        "The next numbers towards others.",
        |a| give(nextafter(a.tensor(0)?, a.tensor(1)?)),
    ),
    name("gcd(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor", ALL, "Greatest common divisors.", |a| {
        give(gcd(a.operand(0)?, a.operand(1)?))
    }),
    name("lcm(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor", ALL, "Least common multiples.", |a| {
        give(lcm(a.operand(0)?, a.operand(1)?))
    }),
    name(
        "frexp(Tensor input, *, Tensor[]? out=None) -> (Tensor mantissa, Tensor exponent)",
        TOP | METHOD,
        "Fractions from one half to one, and exponents of two.",
        |a| give(frexp(a.tensor(0)?)),
    ),
];
