//! Special functions, composed of other ops so that every derivative exists. They are computed in `float64`.

use std::f64::consts::PI;

use lampyr_base::{DType, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Scalar, Tensor};

use super::operand::one;
use super::{abs, cos, eq, exp, gt, isinf, log, lt, sin};
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

/// The function on `float64`, the result in the type of `x` (`float32` for types without fractions).
fn wide(x: &Tensor, f: fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let to = if x.dtype().is_float() { x.dtype() } else { DType::F32 };
    f(&x.to_dtype(DType::F64)?)?.to_dtype(to)
}

/// `yes` where the condition holds, else `no`.
pub(super) fn choose(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor> {
    one(&op::Where, &[condition, yes, no])
}

/// `yes` where the condition holds, else a number.
pub(super) fn or_number(condition: &Tensor, yes: &Tensor, no: f64) -> Result<Tensor> {
    choose(condition, yes, &Tensor::scalar(Scalar::Float(no), yes.dtype(), yes.device())?)
}

/// A number where the condition holds, else `no`.
pub(super) fn number_or(condition: &Tensor, yes: f64, no: &Tensor) -> Result<Tensor> {
    choose(condition, &Tensor::scalar(Scalar::Float(yes), no.dtype(), no.device())?, no)
}

/// A polynomial by Horner's rule, the highest coefficient first.
fn polynomial(x: &Tensor, coefficients: &[f64]) -> Result<Tensor> {
    let mut sum = x.mul(0.0)?;
    for &c in coefficients {
        sum = sum.mul(x)?.add(c)?;
    }
    Ok(sum)
}

/// What is left of `x` when the nearest whole number is taken away.
fn off_whole(x: &Tensor) -> Result<Tensor> {
    x.sub(&one(&op::Round, &[x])?)
}

/// The first factor of Lanczos' approximation of the gamma function with g = 7 (Godfrey 2001).
pub(super) const LANCZOS_FIRST: f64 = 0.999_999_999_999_809_9;
/// The others.
pub(super) const LANCZOS: [f64; 8] = [
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// Lanczos approximation with g = 7 (Godfrey 2001), reflected below one half.
fn lgamma64(x: &Tensor) -> Result<Tensor> {
    let low = lt(x.into(), 0.5.into())?;
    let z = choose(&low, &x.neg()?, &x.sub(1.0)?)?;
    let mut sum = z.mul(0.0)?.add(LANCZOS_FIRST)?;
    for (k, &c) in (1..).zip(&LANCZOS) {
        sum = sum.add(&one(&op::Reciprocal, &[&z.add(f64::from(k))?])?.mul(c)?)?;
    }
    let w = z.add(7.5)?;
    let upper = z.add(0.5)?.mul(&log(&w)?)?.sub(&w)?.add(&log(&sum)?)?.add(0.5 * (2.0 * PI).ln())?;
    // sin(pi x) from the fraction alone keeps its precision far from zero.
    let sine = or_number(&low, &abs(&sin(&off_whole(x)?.mul(PI)?)?)?, 1.0)?;
    let lower = log(&sine)?.neg()?.add(PI.ln())?.sub(&upper)?;
    number_or(&isinf(x)?, f64::INFINITY, &choose(&low, &lower, &upper)?)
}

/// Recurrence up to 8 and the asymptotic series (Abramowitz and Stegun 6.3.18), reflected below one half.
fn digamma64(x: &Tensor) -> Result<Tensor> {
    const SERIES: [f64; 8] =
        [-1.0 / 12.0, 691.0 / 32760.0, -1.0 / 132.0, 1.0 / 240.0, -1.0 / 252.0, 1.0 / 120.0, -1.0 / 12.0, 0.0];
    let low = lt(x.into(), 0.5.into())?;
    let z = choose(&low, &x.neg()?.add(1.0)?, x)?;
    let mut sum = z.mul(0.0)?;
    for k in 0..8 {
        sum = sum.sub(&one(&op::Reciprocal, &[&z.add(f64::from(k))?])?)?;
    }
    let y = z.add(8.0)?;
    let inverse = one(&op::Reciprocal, &[&y])?;
    let series = polynomial(&inverse.mul(&inverse)?, &SERIES)?;
    let upper = sum.add(&log(&y)?)?.sub(&inverse.mul(0.5)?)?.add(&series)?;
    let fraction = off_whole(x)?;
    let whole = eq((&fraction).into(), 0.0.into())?;
    let usable = one(&op::LogicalAnd, &[&low, &one(&op::Not, &[&whole])?])?;
    let angle = or_number(&usable, &fraction.mul(PI)?, 0.5 * PI)?;
    let lower = upper.sub(&cos(&angle)?.div(&sin(&angle)?)?.mul(PI)?)?;
    let value = choose(&low, &lower, &upper)?;
    let value = number_or(&one(&op::LogicalAnd, &[&low, &whole])?, f64::NAN, &value)?;
    let value = choose(&eq(x.into(), 0.0.into())?, &one(&op::Reciprocal, &[x])?.neg()?, &value)?;
    number_or(&eq(x.into(), f64::INFINITY.into())?, f64::INFINITY, &value)
}

/// `1 - erf(x)`, by a continued fraction (Abramowitz and Stegun 7.1.14) from 2 on, where the difference cancels.
fn erfc64(x: &Tensor) -> Result<Tensor> {
    let plain = x.erf()?.neg()?.add(1.0)?;
    let fixed = x.detach();
    let far = gt((&fixed).into(), 2.0.into())?;
    let z = or_number(&far, &fixed, 2.0)?;
    let mut tail = z.clone();
    for k in (1..=60).rev() {
        tail = z.add(&one(&op::Reciprocal, &[&tail])?.mul(0.5 * f64::from(k))?)?;
    }
    let value = exp(&z.mul(&z)?.neg()?)?.div(&tail.mul(PI.sqrt())?)?;
    // The derivatives are those of the error function.
    choose(&far, &value.add(&plain.sub(&plain.detach())?)?, &plain)
}

/// A closed approximation (Winitzki 2008), then Newton steps; the last two are recorded, so that derivatives exist.
fn erfinv64(x: &Tensor) -> Result<Tensor> {
    const A: f64 = 0.147;
    let inside = lt((&abs(x)?).into(), 1.0.into())?;
    let inner = or_number(&inside, x, 0.0)?;
    let fixed = inner.detach();
    let l = log(&fixed.mul(&fixed)?.neg()?.add(1.0)?)?.mul(0.5)?;
    let t = l.add(2.0 / (PI * A))?;
    let root = t.mul(&t)?.sub(&l.mul(2.0 / A)?)?.sqrt()?.sub(&t)?;
    let mut y = one(&op::Maximum, &[&root, &root.mul(0.0)?])?.sqrt()?.mul(&one(&op::Sign, &[&fixed])?)?;
    let step = |y: &Tensor, x: &Tensor| -> Result<Tensor> {
        let off = y.erf()?.sub(x)?.mul(&exp(&y.mul(y)?)?)?.mul(0.5 * PI.sqrt())?;
        y.sub(&off)
    };
    for _ in 0..4 {
        y = step(&y, &fixed)?;
    }
    for _ in 0..2 {
        y = step(&y, &inner)?;
    }
    let edge = eq((&abs(x)?).into(), 1.0.into())?;
    // What is not chosen must not spoil the gradient of what is.
    let outside = number_or(&inside, 1.0, x)?.mul(f64::NAN)?;
    let y = choose(&inside, &y, &outside)?;
    choose(&edge, &number_or(&inside, 1.0, x)?.mul(f64::INFINITY)?, &y)
}

/// Power series up to 15, the asymptotic series beyond (Abramowitz and Stegun 9.6.12 and 9.7.1).
fn i0_64(x: &Tensor) -> Result<Tensor> {
    let size = abs(x)?;
    let far = gt((&size).into(), 15.0.into())?;
    let near = number_or(&far, 1.0, x)?;
    let z = near.mul(&near)?.mul(0.25)?;
    let mut low = z.mul(0.0)?.add(1.0)?;
    for k in (1..=50).rev() {
        low = low.mul(&z)?.mul(1.0 / f64::from(k * k))?.add(1.0)?;
    }
    let y = or_number(&far, &size, 15.0)?;
    let inverse = one(&op::Reciprocal, &[&y.mul(8.0)?])?;
    let mut high = y.mul(0.0)?.add(1.0)?;
    for k in (1..=24).rev() {
        let odd = f64::from(2 * k - 1);
        high = high.mul(&inverse)?.mul(odd * odd / f64::from(k))?.add(1.0)?;
    }
    let high = high.mul(&exp(&y)?)?.div(&y.mul(2.0 * PI)?.sqrt()?)?;
    choose(&far, &high, &low)
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $body:ident, $text:literal, $cost:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(x: &Tensor) -> Result<Tensor> {
                wide(x, $body)
            }
        )*

        pub(super) const NAMES: &[Entry] = &[$(
            name(
                concat!(stringify!($name), "(Tensor input, *, Tensor? out=None) -> Tensor"),
                TOP | METHOD | INPLACE,
                $text,
                |a| give($name(a.tensor(0)?)),
            )
            .cost($cost),
        )*];
    };
}

functions! {
    /// The logarithm of the absolute value of the gamma function.
    lgamma = lgamma64, "Logarithm of the absolute value of the gamma function.", 80.0;
    /// The derivative of [`lgamma`].
    digamma = digamma64, "Derivative of the logarithm of the gamma function.", 80.0;
    /// `1 - erf(x)`, exact where it is small.
    erfc = erfc64, "Complementary error function.", 200.0;
    /// The inverse of the error function.
    erfinv = erfinv64, "Inverse of the error function.", 200.0;
    /// The modified Bessel function of the first kind of order 0.
    i0 = i0_64, "Modified Bessel function of the first kind of order 0.", 200.0;
}
