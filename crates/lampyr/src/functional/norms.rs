//! Norms as functions of their own.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::distance::norm_over;
use super::operand::one;
use super::reduce::{axis, cast, reduced};
use super::support::{constant, floats, once, promoted, shape_error};
use crate::names::{Call, Entry, INPLACE, METHOD, Output, TOP, give, name};

/// The `p` norm over `dims` (all axes when empty), of `x` as `dtype` where one is given.
///
/// # Errors
/// When the tensor is of no float type.
pub fn norm(x: &Tensor, p: f64, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let x = cast(x, dtype)?;
    once(&[&x], |t| norm_over(t[0], p, &reduced(t[0], dims)?, keepdim))
}

/// The `p` norm of `x - y`.
pub fn dist(x: &Tensor, y: &Tensor, p: f64) -> Result<Tensor> {
    let both = promoted(&[x, y])?;
    let all: Vec<&Tensor> = both.iter().collect();
    once(&all, |t| match t {
        [x, y] => norm_over(&x.sub(*y)?, p, &[], false),
        _ => Err(Error::internal("two operands")),
    })
}

/// `x` with the slices along axis `dim` whose `p` norm is above `most` scaled down to it.
///
/// # Errors
/// When the tensor has less than two axes, `p` is not positive or `most` is negative.
pub fn renorm(x: &Tensor, p: f64, dim: i64, most: f64) -> Result<Tensor> {
    const EPSILON: f64 = 1e-7;
    floats(x, "renorm")?;
    if x.rank() < 2 {
        return Err(shape_error("renorm", format!("a tensor of {} axes", x.rank()), &[x]).with_expected("at least 2"));
    }
    if p <= 0.0 || p.is_nan() || most < 0.0 || most.is_nan() {
        return Err(Error::value(format!("p {p} and maxnorm {most}"))
            .with_op("renorm")
            .with_expected("p above zero, maxnorm from zero on"));
    }
    let kept = axis(x, dim)?;
    let dims: Vec<i64> = (0..x.rank()).filter(|a| *a != kept).map(|a| a as i64).collect();
    once(&[x], |t| {
        let norm = norm_over(t[0], p, &dims, true)?;
        let factor = constant(most, &norm)?.div(&norm.add(EPSILON)?)?;
        let factor = one(&op::Where, &[&norm.greater(most)?, &factor, &constant(1.0, &norm)?])?;
        t[0].mul(&factor)
    })
}

fn named(a: &Call, p: f64) -> Result<Output> {
    let dims = a.ints_or_none(2)?.unwrap_or_default();
    give(norm(a.tensor(0)?, p, dims, a.bool(3)?, a.dtype_or_none(5)?))
}

fn worded(a: &Call) -> Result<Output> {
    match a.str(1)? {
        "fro" => named(a, 2.0),
        "nuc" => Err(Error::unsupported("the nuclear norm").with_help("it needs singular values, which are not there")),
        other => Err(Error::value(format!("p is {other:?}")).with_expected("a number or \"fro\"")),
    }
}

const ALL: u16 = TOP | METHOD | INPLACE;

pub(super) const NAMES: &[Entry] = &[
    name(
        "norm(Tensor input, str p='fro', int[1]? dim=None, bool keepdim=False, Tensor? out=None, dtype? dtype=None) -> Tensor",
        TOP,
        "Norm of all elements or along axes.",
        worded,
    ),
    name(
        "norm(Tensor input, Scalar? p, int[1]? dim=None, bool keepdim=False, Tensor? out=None, dtype? dtype=None) -> Tensor",
        TOP,
        "Norm of all elements or along axes.",
        |a| named(a, a.scalar_or_none(1)?.map_or(2.0, |p| p.to_f64())),
    ),
    name(
        "norm(Tensor input, str p='fro', int[1]? dim=None, bool keepdim=False, dtype? dtype=None) -> Tensor",
        METHOD,
        "Norm of all elements or along axes.",
        |a| match a.str(1)? {
            "fro" => {
                let dims = a.ints_or_none(2)?.unwrap_or_default();
                give(norm(a.tensor(0)?, 2.0, dims, a.bool(3)?, a.dtype_or_none(4)?))
            }
            _ => worded(a),
        },
    ),
    name(
        "norm(Tensor input, Scalar? p, int[1]? dim=None, bool keepdim=False, dtype? dtype=None) -> Tensor",
        METHOD,
        "Norm of all elements or along axes.",
        |a| {
            let (p, dims) = (a.scalar_or_none(1)?.map_or(2.0, |p| p.to_f64()), a.ints_or_none(2)?.unwrap_or_default());
            give(norm(a.tensor(0)?, p, dims, a.bool(3)?, a.dtype_or_none(4)?))
        },
    ),
    name("dist(Tensor input, Tensor other, Scalar p=2) -> Tensor", TOP | METHOD, "Norm of a difference.", |a| {
        give(dist(a.tensor(0)?, a.tensor(1)?, a.scalar(2)?.to_f64()))
    }),
    name(
        "renorm(Tensor input, Scalar p, int dim, Scalar maxnorm, *, Tensor? out=None) -> Tensor",
        ALL,
        "Slices along an axis scaled down to a norm.",
        |a| give(renorm(a.tensor(0)?, a.scalar(1)?.to_f64(), a.int(2)?, a.scalar(3)?.to_f64())),
    ),
];
