//! Quantiles, medians, covariance.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Scalar, Tensor};

use super::operand::one;
use super::special::{choose, number_or};
use super::support::{described, with_axis};
use super::{abs, eq, gather, gt, movedim, mul, ne, sort, squeeze, unsqueeze};
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

/// How a quantile between two elements is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Linear,
    Lower,
    Higher,
    Midpoint,
    Nearest,
}

fn between(text: &str) -> Result<Between> {
    Ok(match text {
        "linear" => Between::Linear,
        "lower" => Between::Lower,
        "higher" => Between::Higher,
        "midpoint" => Between::Midpoint,
        "nearest" => Between::Nearest,
        other => {
            return Err(Error::value(format!("the interpolation {other:?}"))
                .with_expected("linear, lower, higher, midpoint or nearest"));
        }
    })
}

fn count(there: &Tensor) -> Result<Tensor> {
    one(&op::ReduceSum { axes: vec![-1], keepdims: true }, &[&there.to_dtype(DType::I64)?])
}

fn whole(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::I64)
}

/// Quantiles along `dim` (of all elements when none is given); with `skip` of those that are not NaN, else NaN where
/// one is. The axes of `q` come first in the result.
///
/// # Errors
/// When the types are no equal float types, a quantile is not from 0 to 1, or there are no elements.
pub fn quantile(
    x: &Tensor,
    q: Operand,
    dim: Option<i64>,
    keepdim: bool,
    interpolation: &str,
    skip: bool,
) -> Result<Tensor> {
    let between = between(interpolation)?;
    if !matches!(x.dtype(), DType::F32 | DType::F64) {
        return Err(Error::dtype(format!("quantiles of {}", described(x))).with_expected("float32 or float64"));
    }
    let q = match q {
        Operand::Tensor(t) if t.dtype() == x.dtype() && t.rank() <= 1 => t.clone(),
        Operand::Tensor(t) => {
            return Err(Error::dtype(format!("quantiles at {}", described(t)))
                .with_expected(format!("a number, or a vector of {}", x.dtype())));
        }
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?,
    };
    if q.peek()?.to_f64().iter().any(|v| !(0.0..=1.0).contains(v)) {
        return Err(Error::value("a quantile is not from 0 to 1"));
    }
    if x.is_empty() {
        return Err(Error::shape(format!("quantiles of no elements: {}", described(x))));
    }
    let rows = match dim {
        Some(d) => movedim(&with_axis(x)?, &[d], &[-1])?,
        None => x.reshape(&[-1])?,
    };
    let size = rows.shape().last().copied().unwrap_or(1);
    let (sorted, _) = sort(&rows, -1, false)?;
    let there = eq((&rows.detach()).into(), (&rows.detach()).into())?;
    let there = count(&there)?;
    let last = there.to_dtype(x.dtype())?.sub(1i64)?;
    let last = one(&op::Maximum, &[&last, &last.mul(0i64)?])?;
    let points = q.reshape(&[-1])?;
    let mut rank = last.mul(&points)?;
    match between {
        Between::Lower => rank = one(&op::Floor, &[&rank])?,
        Between::Higher => rank = one(&op::Ceil, &[&rank])?,
        Between::Nearest => rank = one(&op::Round, &[&rank])?,
        Between::Linear | Between::Midpoint => {}
    }
    let low = one(&op::Floor, &[&rank.detach()])?;
    let mut value = gather(&sorted, -1, &whole(&low)?)?;
    if matches!(between, Between::Linear | Between::Midpoint) {
        let high = gather(&sorted, -1, &whole(&one(&op::Ceil, &[&rank.detach()])?)?)?;
        let part = rank.sub(&low)?;
        let part = if between == Between::Midpoint { part.detach().mul(0i64)?.add(0.5)? } else { part };
        value = value.add(&high.sub(&value)?.mul(&part)?)?;
    }
    if !skip {
        let gaps = ne((&there).into(), (size as i64).into())?;
        value = number_or(&gaps, f64::NAN, &value)?;
    }
    let value = if q.rank() == 0 { squeeze(&value, Some(-1))? } else { movedim(&value, &[-1], &[0])? };
    if !keepdim {
        return if x.rank() == 0 && dim.is_some() { value.reshape(&shape_of(&q)) } else { Ok(value) };
    }
    let mut shape = shape_of(&q);
    shape.extend((0..x.rank()).map(|axis| {
        let folded = dim.is_none_or(|d| if d < 0 { d + x.rank() as i64 == axis as i64 } else { d == axis as i64 });
        if folded { 1 } else { x.shape()[axis] as i64 }
    }));
    value.reshape(&shape)
}

fn shape_of(x: &Tensor) -> Vec<i64> {
    x.shape().iter().map(|&d| d as i64).collect()
}

/// The lower median of the elements that are not NaN along `dim`, and its position.
pub fn nanmedian_along(x: &Tensor, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
    let wide = with_axis(x)?;
    let (_, places) = sort(&wide.detach(), dim, false)?;
    let there = eq((&wide.detach()).into(), (&wide.detach()).into())?.to_dtype(DType::I64)?;
    let there = one(&op::ReduceSum { axes: vec![dim], keepdims: true }, &[&there])?;
    let middle = there.sub(1i64)?;
    let middle = one(&op::Maximum, &[&middle, &middle.mul(0i64)?])?.div_trunc(2i64)?;
    let at = gather(&places, dim, &middle)?;
    let value = gather(&wide, dim, &at)?;
    match (x.rank(), keepdim) {
        (0, _) => Ok((value.reshape(&[])?, at.reshape(&[])?)),
        (_, true) => Ok((value, at)),
        _ => Ok((squeeze(&value, Some(dim))?, squeeze(&at, Some(dim))?)),
    }
}

/// Covariance of the rows of `x`; of a vector its variance.
///
/// # Errors
/// When `x` has more than two axes, or weights are of the wrong kind.
pub fn cov(x: &Tensor, correction: i64, counts: Option<&Tensor>, weights: Option<&Tensor>) -> Result<Tensor> {
    if x.rank() > 2 || x.dtype() == DType::Bool {
        return Err(Error::shape(format!("the covariance of {}", described(x)))
            .with_expected("a vector or a matrix of numbers"));
    }
    let n = x.shape().last().copied().unwrap_or(1) as i64;
    let rows = if x.rank() == 2 { x.clone() } else { x.reshape(&[1, -1])? };
    for (w, fractions) in [(counts, false), (weights, true)] {
        let Some(w) = w else { continue };
        if w.peek()?.to_f64().iter().any(|v| *v < 0.0) {
            return Err(Error::value("a weight is negative").with_expected("weights from 0 on"));
        }
        if w.rank() > 1 || w.len() as i64 != n || w.dtype().is_float() != fractions || w.dtype() == DType::Bool {
            return Err(Error::shape(format!("weights {}", described(w)))
                .with_expected(format!("a vector of {n}, whole numbers as fweights, floats as aweights")));
        }
    }
    let w = match (counts, weights) {
        (Some(f), Some(a)) => Some(f.mul(a)?),
        (f, a) => f.or(a).cloned(),
    };
    let total = match &w {
        Some(w) => w.sum(&[], false)?,
        None => Tensor::scalar(Scalar::Int(n), DType::I64, x.device())?,
    };
    let weighted = |t: &Tensor| w.as_ref().map_or_else(|| Ok(t.clone()), |w| t.mul(w));
    let mean = weighted(&rows)?.sum(&[1], true)?.div(&total)?;
    let taken = match (&w, weights) {
        (Some(w), Some(a)) if correction != 0 => w.mul(a)?.sum(&[], false)?.mul(correction)?.div(&total)?,
        _ => Tensor::scalar(Scalar::Int(correction), DType::I64, x.device())?,
    };
    let norm = total.sub(&taken)?;
    let norm = one(&op::Maximum, &[&norm, &norm.mul(0i64)?])?;
    let off = rows.sub(&mean)?;
    let product = super::matmul(&off, &weighted(&off)?.to_dtype(off.dtype())?.transpose(0, 1)?)?;
    let all = product.div(&norm)?;
    if rows.shape()[0] == 1 { all.reshape(&[]) } else { Ok(all) }
}

/// Logarithms of the determinants of matrices `[.., n, n]`, NaN where they are negative, by elimination with row
/// exchanges; recorded, so that derivatives exist.
///
/// # Errors
/// When the matrices are not square or of no float type.
pub fn logdet(x: &Tensor) -> Result<Tensor> {
    let (rows, batch) = match x.shape() {
        [batch @ .., m, n] if m == n => (*n, batch.to_vec()),
        _ => {
            return Err(Error::shape(format!("logdet of {}", described(x))).with_expected("square matrices [.., n, n]"));
        }
    };
    if !(x.requires_grad() && lampyr_runtime::is_grad_enabled()) {
        return one(&op::Det, &[x])?.log();
    }
    super::support::floats(x, "logdet")?;
    let count: usize = batch.iter().product();
    let mut rest = super::shape::reshape_to(x, &[count, rows, rows])?;
    let mut signs = vec![1.0; count];
    let mut sum = Tensor::full(&[count], 0.0, x.dtype(), x.device())?;
    for n in (1..=rows).rev() {
        let column = rest.detach().slice(2, 0, 1, 1)?.contiguous()?.to_host()?.to_f64();
        let mut order = Vec::with_capacity(count * n);
        for (sign, column) in signs.iter_mut().zip(column.chunks(n)) {
            let best = (1..n).fold(0, |b, i| if column[i].abs() > column[b].abs() { i } else { b });
            *sign *= if best == 0 { 1.0 } else { -1.0 } * column[best].signum();
            order.extend((0..n).map(|i| {
                if i == 0 {
                    best as i64
                } else if i == best {
                    0
                } else {
                    i as i64
                }
            }));
        }
        let order = super::support::ints(&order, &[count, n, 1], x.device())?.expand(&[count, n, n])?;
        let sorted = gather(&rest, 1, &order)?;
        let (top, below) = (sorted.slice(1, 0, 1, 1)?, sorted.slice(1, 1, n as i64, 1)?);
        let pivot = top.slice(2, 0, 1, 1)?;
        sum = sum.add(&abs(&pivot)?.log()?.reshape(&[-1])?)?;
        let factors = below.slice(2, 0, 1, 1)?.div(&pivot)?;
        rest = below.sub(&factors.mul(&top)?)?.slice(2, 1, n as i64, 1)?;
    }
    let signs: Vec<f64> = signs.iter().map(|s| s.ln()).collect();
    let signs = Tensor::from_host(&lampyr_ir::HostTensor::from_f64(x.dtype(), &[count], &signs)?, x.device())?;
    super::shape::reshape_to(&sum.add(&signs)?, &batch)
}

/// Correlation of the rows of `x`.
///
/// # Errors
/// As for [`cov`].
pub fn corrcoef(x: &Tensor) -> Result<Tensor> {
    let c = cov(x, 1, None, None)?;
    if c.rank() == 0 {
        return c.div(&c);
    }
    let deviation = super::diagonal(&c, 0, 0, 1)?.sqrt()?;
    let scaled = c.div(&unsqueeze(&deviation, 1)?)?.div(&unsqueeze(&deviation, 0)?)?;
    let beyond = gt((&abs(&scaled.detach())?).into(), 1.0.into())?;
    let edge = one(&op::Sign, &[&scaled.detach()])?;
    choose(&beyond, &edge, &scaled)
}

const BOTH: u16 = TOP | METHOD;

macro_rules! quantiles {
    ($name:literal, $skip:literal, $doc:literal) => {
        name(
            concat!(
                $name,
                "(Tensor input, Operand q, int? dim=None, bool keepdim=False, *, str interpolation='linear', Tensor? out=None)",
                " -> Tensor"
            ),
            BOTH,
            $doc,
            |a| give(quantile(a.tensor(0)?, a.operand(1)?, a.int_or_none(2)?, a.bool(3)?, a.str(4)?, $skip)),
        )
        .cost(50.0)
    };
}

pub(super) const NAMES: &[Entry] = &[
    quantiles!("quantile", false, "Quantiles of all elements or along an axis."),
    quantiles!("nanquantile", true, "Quantiles of the elements that are not NaN."),
    name(
        "cov(Tensor input, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None) -> Tensor",
        BOTH,
        "Covariance of the rows.",
        |a| give(cov(a.tensor(0)?, a.int(1)?, a.tensor_or_none(2)?, a.tensor_or_none(3)?)),
    ),
    name("corrcoef(Tensor input) -> Tensor", BOTH, "Correlation of the rows.", |a| give(corrcoef(a.tensor(0)?))),
    name("logdet(Tensor input) -> Tensor", BOTH, "Logarithm of the determinants of matrices.", |a| {
        give(logdet(a.tensor(0)?))
    }),
    name("deg2rad(Tensor input, *, Tensor? out=None) -> Tensor", BOTH | INPLACE, "Degrees as radians.", |a| {
        give(mul(a.operand(0)?, (std::f64::consts::PI / 180.0).into()))
    }),
    name("rad2deg(Tensor input, *, Tensor? out=None) -> Tensor", BOTH | INPLACE, "Radians as degrees.", |a| {
        give(mul(a.operand(0)?, (180.0 / std::f64::consts::PI).into()))
    }),
];
