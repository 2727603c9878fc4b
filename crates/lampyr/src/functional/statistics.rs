//! Products, truths, variances and counts over axes.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Scalar, Tensor};

use super::operand::one;
use super::reduce::{cast, reduced};
use crate::names::{Call, Entry, METHOD, TOP, give, name};

/// Product over `dims` (all when empty). Integers and bool are multiplied in `int64`.
pub fn prod(x: &Tensor, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let to = dtype.unwrap_or(if x.dtype().is_float() { x.dtype() } else { DType::I64 });
    // Truths have no product of their own.
    let within = if to == DType::Bool { DType::I64 } else { to };
    let x = cast(x, Some(within))?;
    one(&op::ReduceProd { axes: reduced(&x, dims)?, keepdims: keepdim }, &[&x])?.to_dtype(to)
}

/// Whether all elements over `dims` (all when empty) are not zero; of `uint8` as `uint8`, else as `bool`.
pub fn all(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    let truth = x.detach().to_dtype(DType::Bool)?.to_dtype(DType::U8)?;
    let made = one(&op::ReduceProd { axes: reduced(x, dims)?, keepdims: keepdim }, &[&truth])?;
    if x.dtype() == DType::U8 { Ok(made) } else { made.to_dtype(DType::Bool) }
}

/// Whether any element over `dims` (all when empty) is not zero; of `uint8` as `uint8`, else as `bool`.
pub fn any(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    let made = super::logical_not(&all(&super::logical_not(&x.detach())?, dims, keepdim)?)?;
    if x.dtype() == DType::U8 { made.to_dtype(DType::U8) } else { Ok(made) }
}

/// Variance over `dims` (all when empty), with `correction` taken off the number of elements.
///
/// # Errors
/// When the tensor is of no float type.
pub fn var(x: &Tensor, dims: &[i64], correction: f64, keepdim: bool) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(Error::dtype(format!("the variance of a {} tensor is not defined", x.dtype()))
            .with_help("convert it to a float type first"));
    }
    let axes = reduced(x, dims)?;
    if correction.fract() == 0.0 {
        return one(&op::Variance { axes, correction: correction as i64, keepdims: keepdim }, &[x]);
    }
    let count: usize = if axes.is_empty() { x.len() } else { axes.iter().map(|&a| x.shape()[a as usize]).product() };
    let plain = one(&op::Variance { axes, correction: 0, keepdims: keepdim }, &[x])?;
    plain.mul(count as f64 / (count as f64 - correction).max(0.0))
}

/// Square root of the variance.
pub fn std(x: &Tensor, dims: &[i64], correction: f64, keepdim: bool) -> Result<Tensor> {
    super::sqrt(&var(x, dims, correction, keepdim)?)
}

/// Logarithm of the sum of exponentials over `dims`.
pub fn logsumexp(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    let x = if x.dtype().is_float() { x.clone() } else { x.to_dtype(DType::F32)? };
    one(&op::Logsumexp { axes: reduced(&x, dims)?, keepdims: keepdim }, &[&x])
}

/// How many elements over `dims` (all when empty) are not zero.
pub fn count_nonzero(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    super::sum(&x.detach().to_dtype(DType::Bool)?, dims, false, None)
}

/// Sum over `dims` (all when empty), NaN counting as zero.
pub fn nansum(x: &Tensor, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let zero = Tensor::full(&[], 0.0, x.dtype(), x.device())?;
    super::sum(&super::where_(&super::isnan(x)?, (&zero).into(), x.into())?, dims, keepdim, dtype)
}

/// Mean over `dims` (all when empty) of the elements that are not NaN.
pub fn nanmean(x: &Tensor, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    if !dtype.unwrap_or(x.dtype()).is_float() {
        return Err(Error::dtype(format!("the mean of a {} tensor is not defined", x.dtype()))
            .with_help("convert it to a float type first"));
    }
    let total = nansum(x, dims, keepdim, dtype)?;
    let count = super::sum(&super::logical_not(&super::isnan(x)?)?, dims, keepdim, None)?;
    total.div(&count.to_dtype(total.dtype())?)
}

/// What is taken off the number of elements: 1 unless given.
fn correction(given: Option<Scalar>) -> f64 {
    given.map_or(1.0, Scalar::to_f64)
}

fn dims<'a>(a: &'a Call, at: usize) -> Result<&'a [i64]> {
    Ok(a.ints_or_none(at)?.unwrap_or_default())
}

fn unbiased(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

type Moment = fn(&Tensor, &[i64], f64, bool) -> Result<Tensor>;

fn with_mean(x: &Tensor, dims: &[i64], off: f64, keepdim: bool, f: Moment) -> Result<(Tensor, Tensor)> {
    Ok((f(x, dims, off, keepdim)?, super::mean(x, dims, keepdim, None)?))
}

const BOTH: u16 = TOP | METHOD;

macro_rules! moments {
    ($name:literal, $doc:literal, $f:expr) => {
        [
            name(
                concat!(
                    $name,
                    "(Tensor input, int[1]? dim=None, *, Scalar? correction=1, bool keepdim=False, Tensor? out=None) -> Tensor"
                ),
                BOTH,
                $doc,
                |a| give($f(a.tensor(0)?, dims(a, 1)?, correction(a.scalar_or_none(2)?), a.bool(3)?)),
            ),
            name(
                concat!(
                    $name,
                    "(Tensor input, int[1]? dim, bool unbiased=True, bool keepdim=False, *, Tensor? out=None) -> Tensor"
                ),
                BOTH,
                $doc,
                |a| give($f(a.tensor(0)?, dims(a, 1)?, unbiased(a.bool(2)?), a.bool(3)?)),
            ),
            name(concat!($name, "(Tensor input, bool unbiased) -> Tensor"), BOTH, $doc, |a| {
                give($f(a.tensor(0)?, &[], unbiased(a.bool(1)?), false))
            }),
        ]
    };
}

macro_rules! moments_with_mean {
    ($name:literal, $fields:literal, $doc:literal, $f:expr) => {
        [
            name(
                concat!(
                    $name,
                    "(Tensor input, int[1]? dim=None, *, Scalar? correction=1, bool keepdim=False, Tensor[]? out=None) -> ",
                    $fields
                ),
                TOP,
                $doc,
                |a| give(with_mean(a.tensor(0)?, dims(a, 1)?, correction(a.scalar_or_none(2)?), a.bool(3)?, $f)),
            ),
            name(
                concat!($name, "(Tensor input, int[1]? dim, bool unbiased=True, bool keepdim=False) -> ", $fields),
                TOP,
                $doc,
                |a| give(with_mean(a.tensor(0)?, dims(a, 1)?, unbiased(a.bool(2)?), a.bool(3)?, $f)),
            ),
            name(concat!($name, "(Tensor input, bool unbiased) -> ", $fields), TOP, $doc, |a| {
                give(with_mean(a.tensor(0)?, &[], unbiased(a.bool(1)?), false, $f))
            }),
        ]
    };
}

pub(super) const VAR: &[Entry] = &moments!("var", "Variance over axes; over all when none is given.", var);
pub(super) const STD: &[Entry] = &moments!("std", "Standard deviation over axes; over all when none is given.", std);
pub(super) const VAR_MEAN: &[Entry] =
    &moments_with_mean!("var_mean", "(Tensor, Tensor)", "Variance and mean over axes.", var);
pub(super) const STD_MEAN: &[Entry] =
    &moments_with_mean!("std_mean", "(Tensor, Tensor)", "Standard deviation and mean over axes.", std);

pub(super) const NAMES: &[Entry] = &[
    name(
        "prod(Tensor input, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH,
        "Product of all elements. Integers give int64.",
        |a| give(prod(a.tensor(0)?, &[], false, a.dtype_or_none(1)?)),
    ),
    name(
        "prod(Tensor input, int dim, bool keepdim=False, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH,
        "Product along an axis.",
        |a| give(prod(a.tensor(0)?, &[a.int(1)?], a.bool(2)?, a.dtype_or_none(3)?)),
    ),
    name(
        "all(Tensor input, int[1]? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Whether all elements are not zero, of all or over axes.",
        |a| give(all(a.tensor(0)?, dims(a, 1)?, a.bool(2)?)),
    ),
    name(
        "any(Tensor input, int[1]? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Whether any element is not zero, of all or over axes.",
        |a| give(any(a.tensor(0)?, dims(a, 1)?, a.bool(2)?)),
    ),
    name(
        "logsumexp(Tensor input, int[1] dim, bool keepdim=False, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Logarithm of the sum of exponentials over axes.",
        |a| give(logsumexp(a.tensor(0)?, a.ints(1)?, a.bool(2)?)),
    )
    .cost(12.0),
    name(
        "count_nonzero(Tensor input, int[1]? dim=None) -> Tensor",
        BOTH,
        "How many elements are not zero, of all or over axes.",
        |a| give(count_nonzero(a.tensor(0)?, dims(a, 1)?)),
    ),
    name(
        "nansum(Tensor input, int[1]? dim=None, bool keepdim=False, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH,
        "Sum over axes, NaN counting as zero.",
        |a| give(nansum(a.tensor(0)?, dims(a, 1)?, a.bool(2)?, a.dtype_or_none(3)?)),
    ),
    name(
        "nanmean(Tensor input, int[1]? dim=None, bool keepdim=False, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH,
        "Mean over axes of the elements that are not NaN.",
        |a| give(nanmean(a.tensor(0)?, dims(a, 1)?, a.bool(2)?, a.dtype_or_none(3)?)),
    ),
    name(
        "aminmax(Tensor input, *, int? dim=None, bool keepdim=False, Tensor[]? out=None) -> (Tensor min, Tensor max)",
        BOTH,
        "The smallest and the largest elements, of all or along an axis.",
        |a| {
            let dims: Vec<i64> = a.int_or_none(1)?.into_iter().collect();
            let (x, keep) = (a.tensor(0)?, a.bool(2)?);
            if let Some([low, high]) = a.tensors_or_none(3)? {
                if low.dtype() != x.dtype() || high.dtype() != x.dtype() {
                    return Err(Error::dtype(format!("`out` is {} and {}", low.dtype(), high.dtype()))
                        .with_expected(x.dtype().to_string()));
                }
                if !low.is_empty() && low.host_ptr().is_some() && low.host_ptr() == high.host_ptr() {
                    return Err(Error::value("the tensors of `out` share their memory").with_expected("two tensors"));
                }
            }
            give(Ok((super::amin(x, &dims, keep)?, super::amax(x, &dims, keep)?)))
        },
    ),
];
