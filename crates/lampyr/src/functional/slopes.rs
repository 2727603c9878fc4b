//! Areas by the trapezoidal rule, and slopes by differences.

use lampyr_base::{DType, Error, Result};
use lampyr_runtime::Tensor;

use super::reduce::axis;
use super::scan::cumsum;
use super::support::shape_error;
use crate::names::{Entry, METHOD, TOP, give, name};

fn size(x: &Tensor, a: i64) -> i64 {
    x.shape().get(a as usize).copied().unwrap_or(0) as i64
}

/// Left and right neighbours along axis `a`.
fn pairs(x: &Tensor, a: i64) -> Result<(Tensor, Tensor)> {
    let n = size(x, a);
    Ok((x.slice(a, 0, n - 1, 1)?, x.slice(a, 1, n, 1)?))
}

fn checked(y: &Tensor, dim: i64, name: &str) -> Result<i64> {
    if y.dtype() == DType::Bool || y.rank() == 0 {
        return Err(
            shape_error(name, "truths and single numbers have no area", &[y]).with_expected("numbers along an axis")
        );
    }
    Ok(axis(y, dim)? as i64)
}

/// Widths between the points `x`, as they broadcast with what [`pairs`] gives of `y`.
fn widths(x: &Tensor, y: &Tensor, a: i64, name: &str) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(Error::dtype("the points are truths").with_op(name).with_expected("numbers"));
    }
    let lead = y.rank().saturating_sub(x.rank());
    let mut shape = vec![1; lead];
    shape.extend_from_slice(x.shape());
    if x.rank() == 1 {
        shape = vec![1; y.rank()];
        shape[a as usize] = x.len();
    }
    let x = super::shape::reshape_to(x, &shape)?;
    let (left, right) = pairs(&x, a)?;
    right.sub(&left)
}

/// The area under `y` along `dim`, with points `x` or at distance `dx` from one another.
pub fn trapezoid(y: &Tensor, x: Option<&Tensor>, dx: f64, dim: i64) -> Result<Tensor> {
    let a = checked(y, dim, "trapezoid")?;
    if size(y, a) == 0 {
        return y.sum(&[a], false);
    }
    match x {
        Some(x) => {
            let widths = widths(x, y, a, "trapezoid")?;
            let (left, right) = pairs(y, a)?;
            left.add(&right)?.mul(&widths)?.sum(&[a], false)?.div(2.0)
        }
        None => {
            let ends = y.select(a, 0)?.add(&y.select(a, -1)?)?;
            y.sum(&[a], false)?.sub(&ends.mul(0.5)?)?.mul(dx)
        }
    }
}

/// The areas under `y` up to each element along `dim`; see [`trapezoid`].
pub fn cumulative_trapezoid(y: &Tensor, x: Option<&Tensor>, dx: f64, dim: i64) -> Result<Tensor> {
    let a = checked(y, dim, "cumulative_trapezoid")?;
    let (left, right) = pairs(y, a)?;
    let sums = left.add(&right)?;
    match x {
        Some(x) => cumsum(&widths(x, y, a, "cumulative_trapezoid")?.mul(&sums)?.div(2.0)?, a, None),
        None => cumsum(&sums.mul(dx / 2.0)?, a, None),
    }
}

/// Distances between the points of an axis.
#[derive(Clone, Copy, Debug)]
pub enum Spacing<'a> {
    /// The same distance for all.
    Even(f64),
    /// Where the points are.
    Points(&'a Tensor),
}

/// The slope of `f` along axis `a`: central differences inside, one-sided ones of `order` 1 or 2 at both ends.
fn slope(f: &Tensor, a: i64, spacing: Spacing, order: i64) -> Result<Tensor> {
    let n = size(f, a);
    if n <= order {
        return Err(shape_error("gradient", format!("an axis of {n} elements"), &[f])
            .with_expected(format!("at least {}", order + 1)));
    }
    let at = |from: i64, to: i64| f.slice(a, from, to, 1);
    let one = |i: i64| at(i, i + 1);
    let (inner, first, last);
    match spacing {
        Spacing::Even(h) => {
            inner = at(2, n)?.sub(&at(0, n - 2)?)?.div(2.0 * h)?;
            if order == 1 {
                first = one(1)?.sub(&one(0)?)?.div(h)?;
                last = one(n - 1)?.sub(&one(n - 2)?)?.div(h)?;
            } else {
                let end = |i: [i64; 3], sign: f64| {
                    let sum = one(i[0])?.mul(-1.5)?.add(&one(i[1])?.mul(2.0)?)?.sub(&one(i[2])?.mul(0.5)?)?;
                    sum.div(sign * h)
                };
                first = end([0, 1, 2], 1.0)?;
                last = end([n - 1, n - 2, n - 3], -1.0)?;
            }
        }
        Spacing::Points(x) => {
            if x.rank() != 1 || x.len() as i64 != n {
                return Err(shape_error("gradient", "the points do not fit the axis", &[f, x])
                    .with_expected(format!("a vector of {n}")));
            }
            let mut column = vec![1; f.rank()];
            column[a as usize] = n as usize - 1;
            let d = super::shape::reshape_to(&widths(x, x, 0, "gradient")?, &column)?;
            let part = |from: i64, to: i64| d.slice(a, from, to, 1);
            // Derivative at the second of three points, by the parabola through them.
            let middle = |l: &Tensor, r: &Tensor, y: [&Tensor; 3]| {
                let both = l.add(r)?;
                let low = y[0].mul(&r.neg()?.div(&l.mul(&both)?)?)?;
                let mid = y[1].mul(&r.sub(l)?.div(&l.mul(r)?)?)?;
                low.add(&mid)?.add(&y[2].mul(&l.div(&r.mul(&both)?)?)?)
            };
            // Derivative at the first of three points, `u` and `v` apart.
            let edge = |u: &Tensor, v: &Tensor, y: [&Tensor; 3]| {
                let both = u.add(v)?;
                let near = y[0].mul(&u.add(&both)?.neg()?.div(&u.mul(&both)?)?)?;
                let mid = y[1].mul(&both.div(&u.mul(v)?)?)?;
                near.add(&mid)?.sub(&y[2].mul(&u.div(&v.mul(&both)?)?)?)
            };
            inner = if n > 2 {
                middle(&part(0, n - 2)?, &part(1, n - 1)?, [&at(0, n - 2)?, &at(1, n - 1)?, &at(2, n)?])?
            } else {
                at(0, 0)?.mul(1.0)?
            };
            if order == 1 {
                first = one(1)?.sub(&one(0)?)?.div(&part(0, 1)?)?;
                last = one(n - 1)?.sub(&one(n - 2)?)?.div(&part(n - 2, n - 1)?)?;
            } else {
                first = edge(&part(0, 1)?, &part(1, 2)?, [&one(0)?, &one(1)?, &one(2)?])?;
                let (u, v) = (part(n - 2, n - 1)?.neg()?, part(n - 3, n - 2)?.neg()?);
                last = edge(&u, &v, [&one(n - 1)?, &one(n - 2)?, &one(n - 3)?])?;
            }
        }
    }
    Tensor::concat(&[&first, &inner, &last], a)
}

/// Slopes along each of `dims` (all axes when empty), with one distance for each of them or one for all.
///
/// # Errors
/// When the numbers of axes and distances do not fit, or an axis has too few elements.
pub fn gradient(x: &Tensor, spacing: &[Spacing], dims: Option<&[i64]>, order: i64) -> Result<Vec<Tensor>> {
    if !(1..=2).contains(&order) {
        return Err(Error::value(format!("edge_order is {order}")).with_op("gradient").with_expected("1 or 2"));
    }
    let all: Vec<i64> = match dims {
        Some(dims) => dims.iter().map(|&d| axis(x, d).map(|a| a as i64)).collect::<Result<_>>()?,
        None => (0..x.rank() as i64).collect(),
    };
    if all.iter().enumerate().any(|(i, a)| all[..i].contains(a)) || x.dtype() == DType::Bool {
        return Err(Error::value(format!("axes {all:?} of {}", x.dtype()))
            .with_op("gradient")
            .with_expected("different axes of a tensor of numbers"));
    }
    let one_for_all = matches!(spacing, [Spacing::Even(_)]);
    if !one_for_all && spacing.len() != all.len() {
        return Err(Error::value(format!("{} distances for {} axes", spacing.len(), all.len()))
            .with_op("gradient")
            .with_expected("one per axis"));
    }
    all.iter().enumerate().map(|(i, &a)| slope(x, a, spacing[if one_for_all { 0 } else { i }], order)).collect()
}

const BOTH: u16 = TOP | METHOD;
const AREA: &str = "Area by the trapezoidal rule.";
const AREAS: &str = "Areas up to each element by the trapezoidal rule.";
const SLOPES: &str = "Slopes along axes, by differences.";

pub(super) const NAMES: &[Entry] = &[
    name("trapezoid(Tensor y, Tensor x, *, int dim=-1) -> Tensor", TOP, AREA, |a| {
        give(trapezoid(a.tensor(0)?, Some(a.tensor(1)?), 1.0, a.int(2)?))
    })
    .also(&["trapz"]),
    name("trapezoid(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor", TOP, AREA, |a| {
        give(trapezoid(a.tensor(0)?, None, a.scalar(1)?.to_f64(), a.int(2)?))
    })
    .also(&["trapz"]),
    name("cumulative_trapezoid(Tensor y, Tensor x, *, int dim=-1) -> Tensor", TOP, AREAS, |a| {
        give(cumulative_trapezoid(a.tensor(0)?, Some(a.tensor(1)?), 1.0, a.int(2)?))
    }),
    name("cumulative_trapezoid(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor", TOP, AREAS, |a| {
        give(cumulative_trapezoid(a.tensor(0)?, None, a.scalar(1)?.to_f64(), a.int(2)?))
    }),
    name(
        "gradient(Tensor input, *, Scalar? spacing=None, int[1]? dim=None, int edge_order=1) -> Tensor[]",
        BOTH,
        SLOPES,
        |a| {
            let h = a.scalar_or_none(1)?.map_or(1.0, |s| s.to_f64());
            give(gradient(a.tensor(0)?, &[Spacing::Even(h)], a.ints_or_none(2)?, a.int(3)?))
        },
    ),
    name(
        "gradient(Tensor input, *, float[] spacing, int[1]? dim=None, int edge_order=1) -> Tensor[]",
        BOTH,
        SLOPES,
        |a| {
            let all: Vec<_> = a.floats(1)?.iter().map(|&h| Spacing::Even(h)).collect();
            let axes = a.ints_or_none(2)?.map_or(a.tensor(0)?.rank(), <[i64]>::len);
            if axes != all.len() {
                return Err(
                    Error::value(format!("{} distances for {axes} axes", all.len())).with_expected("one per axis")
                );
            }
            give(gradient(a.tensor(0)?, &all, a.ints_or_none(2)?, a.int(3)?))
        },
    ),
    name(
        "gradient(Tensor input, *, Tensor[] spacing, int[1]? dim=None, int edge_order=1) -> Tensor[]",
        BOTH,
        SLOPES,
        |a| {
            let all: Vec<_> = a.tensors(1)?.iter().map(Spacing::Points).collect();
            give(gradient(a.tensor(0)?, &all, a.ints_or_none(2)?, a.int(3)?))
        },
    ),
];
