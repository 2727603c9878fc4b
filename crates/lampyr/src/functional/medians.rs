//! Medians and most frequent elements.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::Numbers;
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::operand::one;
use super::ranks::nanmedian_along;
use super::special::choose;
use super::support::{described, ints, with_axis};
use super::{gather, isnan, sort, squeeze};
use crate::names::{Entry, METHOD, TOP, give, name};

fn lowered(x: &Tensor, like: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    match (like.rank(), keepdim) {
        (0, _) => x.reshape(&[]),
        (_, true) => Ok(x.clone()),
        _ => squeeze(x, Some(dim)),
    }
}

/// The axis, counted from the front, of a tensor with at least one.
///
/// # Errors
/// When the axis has no elements.
fn filled(wide: &Tensor, dim: i64, what: &str) -> Result<i64> {
    let a = super::reduce::axis(wide, dim)?;
    if wide.shape()[a] == 0 {
        return Err(Error::index(format!("the {what} of no elements: {}", described(wide)))
            .with_expected("at least one element on the axis"));
    }
    Ok(a as i64)
}

/// The lower median along `dim` and its position; NaN where one is.
///
/// # Errors
/// When the axis has no elements.
pub fn median_along(x: &Tensor, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
    let wide = with_axis(x)?;
    let a = filled(&wide, dim, "median")?;
    let n = wide.shape()[a as usize] as i64;
    let (_, places) = sort(&wide.detach(), a, false)?;
    let mut at = places.slice(a, (n - 1) / 2, (n - 1) / 2 + 1, 1)?.contiguous()?;
    if x.dtype().is_float() {
        let missing = isnan(&wide.detach())?.to_dtype(DType::U8)?;
        let first = one(&op::Argmax { axis: Some(a), keepdims: true, select_last_index: false }, &[&missing])?;
        let any = missing.amax(&[a], true)?.to_dtype(DType::Bool)?;
        at = choose(&any, &first, &at)?;
    }
    let value = gather(&wide, a, &at)?;
    Ok((lowered(&value, x, a, keepdim)?, lowered(&at, x, a, keepdim)?))
}

/// The lower median of all elements, NaN where one is or where there are none.
pub fn median(x: &Tensor) -> Result<Tensor> {
    if x.is_empty() && x.dtype().is_float() {
        return Tensor::full(&[], f64::NAN, x.dtype(), x.device());
    }
    Ok(median_along(&x.reshape(&[-1])?, 0, false)?.0)
}

fn less(numbers: &Numbers, i: usize, j: usize) -> std::cmp::Ordering {
    match numbers {
        Numbers::F(v) => v[i].partial_cmp(&v[j]).unwrap_or_else(|| v[i].is_nan().cmp(&v[j].is_nan())),
        Numbers::I(v) => v[i].cmp(&v[j]),
        Numbers::U(v) => v[i].cmp(&v[j]),
    }
}

/// The most frequent element along `dim`, the smallest of several, and the last position where it is.
///
/// # Errors
/// When the axis has no elements.
pub fn mode(x: &Tensor, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
    let wide = with_axis(x)?;
    let a = filled(&wide, dim, "mode")?;
    let n = wide.shape()[a as usize];
    let mut shape = wide.shape().to_vec();
    shape[a as usize] = 1;
    let inner: usize = shape[a as usize + 1..].iter().product();
    let outer: usize = shape[..a as usize].iter().product();
    let numbers = wide.detach().contiguous()?.to_host()?.numbers();
    let mut found = Vec::with_capacity(outer * inner);
    for row in 0..outer * inner {
        let flat = |i: usize| (row / inner.max(1) * n + i) * inner + row % inner.max(1);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&i, &j| less(&numbers, flat(i), flat(j)));
        let (mut best, mut most, mut count) = (0, 0, 0);
        for (k, &i) in order.iter().enumerate() {
            count += 1;
            let last = order.get(k + 1).is_none_or(|&j| less(&numbers, flat(i), flat(j)).is_ne());
            if last && count > most {
                (best, most) = (i, count);
            }
            count = if last { 0 } else { count };
        }
        found.push(best as i64);
    }
    let at = ints(&found, &shape, x.device())?;
    let value = gather(&wide, a, &at)?;
    Ok((lowered(&value, x, a, keepdim)?, lowered(&at, x, a, keepdim)?))
}

const BOTH: u16 = TOP | METHOD;

pub(super) const NAMES: &[Entry] = &[
    name("median(Tensor input) -> Tensor", BOTH, "The lower median; NaN where an element is.", |a| {
        give(median(a.tensor(0)?))
    })
    .cost(50.0),
    name(
        "median(Tensor input, int dim, bool keepdim=False, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        BOTH,
        "Along an axis: the lower medians and their positions.",
        |a| give(median_along(a.tensor(0)?, a.int(1)?, a.bool(2)?)),
    )
    .cost(50.0),
    name("nanmedian(Tensor input) -> Tensor", BOTH, "The lower median of the elements that are not NaN.", |a| {
        let x = a.tensor(0)?;
        if x.is_empty() {
            return give(median(x));
        }
        give(x.reshape(&[-1]).and_then(|x| nanmedian_along(&x, 0, false)).map(|(value, _)| value))
    })
    .cost(50.0),
    name(
        "nanmedian(Tensor input, int dim, bool keepdim=False, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        BOTH,
        "Along an axis: the lower medians of the elements that are not NaN, and their positions.",
        |a| {
            filled(&with_axis(a.tensor(0)?)?, a.int(1)?, "median")?;
            give(nanmedian_along(a.tensor(0)?, a.int(1)?, a.bool(2)?))
        },
    )
    .cost(50.0),
    name(
        "mode(Tensor input, int dim=-1, bool keepdim=False, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        BOTH,
        "Along an axis: the most frequent elements, of several the smallest, and their positions.",
        |a| give(mode(a.tensor(0)?, a.int(1)?, a.bool(2)?)),
    )
    .cost(50.0),
];
