//! Derivatives of the gamma function's logarithm, and incomplete gamma functions.

use std::f64::consts::PI;

use lampyr_base::{DType, Error, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::build as op;
use lampyr_runtime::{Tensor, is_grad_enabled};

use super::operand::{one, promoted};
use super::special::{LANCZOS, LANCZOS_FIRST, digamma, lgamma, number_or};
use super::support::described;
use super::{eq, exp, log};
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

/// The type that a function of `x` is given in.
fn result_of(x: &Tensor) -> DType {
    if x.dtype().is_float() { x.dtype() } else { lampyr_runtime::default_dtype() }
}

/// The Hurwitz zeta function by Euler and Maclaurin (Abramowitz and Stegun 23.2.9), of `s` above 1. Infinite at zero
/// and negative whole numbers.
fn zeta(s: f64, x: &Tensor) -> Result<Tensor> {
    // B_2k / (2k)!
    const TERMS: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 720.0,
        1.0 / 30_240.0,
        -1.0 / 1_209_600.0,
        1.0 / 47_900_160.0,
        -691.0 / 1_307_674_368_000.0,
        1.0 / 74_724_249_600.0,
        -3_617.0 / 10_670_622_842_880_000.0,
    ];
    const MOST: f64 = 512.0;
    let least = x.detach().contiguous()?.to_host()?.to_f64().into_iter().filter(|v| v.is_finite()).fold(0.0, f64::min);
    let count = (12.0 - least).ceil().min(MOST) as i64;
    let power = |y: &Tensor, p: f64| super::pow(y.into(), p.into());
    let mut sum = x.mul(0.0)?;
    for k in 0..count {
        sum = sum.add(&power(&x.add(k as f64)?, -s)?)?;
    }
    let y = x.add(count as f64)?;
    sum = sum.add(&power(&y, 1.0 - s)?.div(s - 1.0)?)?.add(&power(&y, -s)?.mul(0.5)?)?;
    let mut rising = s;
    for (k, term) in TERMS.iter().enumerate() {
        let k = k as f64;
        sum = sum.add(&power(&y, -s - 2.0 * k - 1.0)?.mul(term * rising)?)?;
        rising *= (s + 2.0 * k + 1.0) * (s + 2.0 * k + 2.0);
    }
    let fixed = x.detach();
    let whole = eq((&fixed).into(), (&super::floor(&fixed)?).into())?;
    let pole = one(&op::LogicalAnd, &[&whole, &super::le((&fixed).into(), 0.0.into())?])?;
    number_or(&pole, f64::INFINITY, &sum)
}

/// The derivative of order `n` of [`digamma`], computed in `float64`.
///
/// # Errors
/// When `n` is negative.
pub fn polygamma(n: i64, x: &Tensor) -> Result<Tensor> {
    if !(0..=170).contains(&n) {
        return Err(Error::value(format!("polygamma of order {n}")).with_op("polygamma").with_expected("0 to 170"));
    }
    if n == 0 {
        return digamma(x);
    }
    let factor = (1..=n).fold(1.0, |f, k| f * k as f64) * if n % 2 == 1 { 1.0 } else { -1.0 };
    let wide = x.to_dtype(DType::F64)?;
    let wide = number_or(&eq((&wide.detach()).into(), f64::INFINITY.into())?, f64::MAX, &wide)?;
    zeta(n as f64 + 1.0, &wide)?.mul(factor)?.to_dtype(result_of(x))
}

/// The logarithm of the multivariate gamma function of dimension `p`.
///
/// # Errors
/// When `p` is below 1, or an element is not above `(p - 1) / 2`.
pub fn mvlgamma(x: &Tensor, p: i64) -> Result<Tensor> {
    if !(1..=1 << 12).contains(&p) {
        return Err(Error::value(format!("dimension {p}")).with_op("mvlgamma").with_expected("1 or more"));
    }
    let to = result_of(x);
    let wide = x.to_dtype(DType::F64)?;
    let mut sum = wide.mul(0.0)?.add((p * (p - 1)) as f64 / 4.0 * PI.ln())?;
    for i in 0..p {
        sum = sum.add(&lgamma(&wide.sub(i as f64 / 2.0)?)?)?;
    }
    sum.to_dtype(to)
}

/// Lanczos approximation with g = 7 (Godfrey 2001), for `a` above 0.
fn log_gamma(a: f64) -> f64 {
    let z = a - 1.0;
    let sum = (1..).zip(LANCZOS).fold(LANCZOS_FIRST, |s, (k, c)| s + c / (z + f64::from(k)));
    let w = z + 7.5;
    (z + 0.5) * w.ln() - w + (sum * (2.0 * PI).sqrt()).ln()
}

/// The regularised lower (or `upper`) incomplete gamma function: a power series below `a + 1`, a continued fraction
/// from there on (Press et al., "Numerical recipes", 6.2).
fn incomplete(a: f64, x: f64, upper: bool) -> f64 {
    const STEPS: usize = 2_000;
    if a.is_nan() || x.is_nan() || a < 0.0 || x < 0.0 || (a == 0.0 && x == 0.0) || (a.is_infinite() && x.is_infinite())
    {
        return f64::NAN;
    }
    let of_lower = |v: f64| if upper { 1.0 - v } else { v };
    if a == 0.0 || x.is_infinite() {
        return of_lower(1.0);
    }
    if x == 0.0 || a.is_infinite() {
        return of_lower(0.0);
    }
    let scale = (a * x.ln() - x - log_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for k in 1..STEPS {
            term *= x / (a + k as f64);
            sum += term;
            if term.abs() < sum.abs() * f64::EPSILON {
                break;
            }
        }
        return of_lower(sum * scale);
    }
    let tiny = f64::MIN_POSITIVE / f64::EPSILON;
    let (mut b, mut c) = (x + 1.0 - a, 1.0 / tiny);
    let mut d = 1.0 / b;
    let mut h = d;
    for k in 1..STEPS {
        let n = -(k as f64) * (k as f64 - a);
        b += 2.0;
        d = 1.0 / (n * d + b).abs().max(tiny).copysign(n * d + b);
        c = b + n / c;
        c = c.abs().max(tiny).copysign(c);
        h *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    if upper { h * scale } else { 1.0 - h * scale }
}

/// The regularised lower (or `upper`) incomplete gamma function of `a` and `x`, from zero on. It has derivatives by
/// `x` alone.
///
/// # Errors
/// When the types have no fractions, or `a` requires a gradient.
pub fn igamma(a: &Tensor, x: &Tensor, upper: bool) -> Result<Tensor> {
    let name = if upper { "igammac" } else { "igamma" };
    let (a, x) = promoted(a.into(), x.into())?;
    if !x.dtype().is_float() {
        return Err(Error::dtype(format!("{name} of {}", described(&x))).with_op(name).with_expected("a float type"));
    }
    let recorded = is_grad_enabled();
    if recorded && a.requires_grad() {
        return Err(Error::autograd(format!("{name} has no derivative by its first argument"))
            .with_op(name)
            .with_help("detach() it"));
    }
    let shape = lampyr_base::broadcast_shapes(a.shape(), x.shape())?;
    let host = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.detach().expand(&shape)?.contiguous()?.to_host()?.to_f64()) };
    let (all, points) = (host(&a)?, host(&x)?);
    let values: Vec<f64> = all.iter().zip(&points).map(|(&a, &x)| incomplete(a, x, upper)).collect();
    let made = Tensor::from_host(&HostTensor::from_f64(x.dtype(), &shape, &values)?, x.device())?;
    if !(recorded && x.requires_grad()) {
        return Ok(made);
    }
    // x^(a - 1) e^-x / gamma(a), by which x moves the result.
    let slope = exp(&a.sub(1.0)?.mul(&log(&x)?)?.sub(&x)?.sub(&lgamma(&a)?)?)?;
    let slope = if upper { slope.neg()? } else { slope };
    // A slope that is infinite would spoil the value, which moves by nothing.
    let usable = super::isfinite(&slope.detach())?;
    let slope = number_or(&one(&op::Not, &[&usable])?, 0.0, &slope)?;
    made.add(&slope.mul(&x.sub(&x.detach())?)?)
}

const ALL: u16 = TOP | METHOD | INPLACE;

pub(super) const NAMES: &[Entry] = &[
    name(
        "polygamma(int n, Tensor input, *, Tensor? out=None) -> Tensor",
        ALL,
        "Derivatives of the logarithm of the gamma function.",
        |a| give(polygamma(a.int(0)?, a.tensor(1)?)),
    )
    .cost(400.0),
    name(
        "mvlgamma(Tensor input, int p, *, Tensor? out=None) -> Tensor",
        ALL,
        "Logarithm of the multivariate gamma function.",
        |a| give(mvlgamma(a.tensor(0)?, a.int(1)?)),
    )
    .cost(400.0),
    name(
        "igamma(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor",
        ALL,
        "Lower incomplete gamma function, regularised.",
        |a| give(igamma(a.tensor(0)?, a.tensor(1)?, false)),
    )
    .cost(400.0),
    name(
        "igammac(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor",
        ALL,
        "Upper incomplete gamma function, regularised.",
        |a| give(igamma(a.tensor(0)?, a.tensor(1)?, true)),
    )
    .cost(400.0),
];
