//! Running sums, products and extremes along an axis, and differences.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Scalar, Tensor};

use super::operand::one;
use super::reduce::{axis, cast};
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

fn wide(x: &Tensor, dtype: Option<DType>) -> Result<Tensor> {
    cast(x, Some(dtype.unwrap_or(if x.dtype().is_float() { x.dtype() } else { DType::I64 })))
}

/// The function on a tensor with axes; a number counts as a vector of one.
fn along(x: &Tensor, dim: i64, f: impl FnOnce(&Tensor, i64) -> Result<Tensor>) -> Result<Tensor> {
    let at = axis(x, dim)? as i64;
    if x.rank() > 0 { f(x, at) } else { f(&x.reshape(&[1])?, 0)?.reshape(&[]) }
}

/// Running sums along `dim`. Integers and bool are summed in `int64`.
pub fn cumsum(x: &Tensor, dim: i64, dtype: Option<DType>) -> Result<Tensor> {
    along(&wide(x, dtype)?, dim, |x, axis| one(&op::Cumsum { axis, exclusive: false, reverse: false }, &[x]))
}

/// Running products along `dim`. Integers and bool are multiplied in `int64`.
pub fn cumprod(x: &Tensor, dim: i64, dtype: Option<DType>) -> Result<Tensor> {
    along(&wide(x, dtype)?, dim, |x, axis| one(&op::Cumprod { axis, exclusive: false, reverse: false }, &[x]))
}

/// Logarithms of the running sums of exponentials along `dim`.
///
/// # Errors
/// When the tensor is of no float type.
pub fn logcumsumexp(x: &Tensor, dim: i64) -> Result<Tensor> {
    super::support::floats(x, "logcumsumexp")?;
    let sums = |x: &Tensor, a: i64| {
        let n = x.shape().get(a as usize).copied().unwrap_or(1) as i64;
        let (mut made, mut step) = (x.clone(), 1);
        while step < n {
            let (before, now) = (made.slice(a, 0, n - step, 1)?, made.slice(a, step, n, 1)?);
            let sum = super::logaddexp((&now).into(), (&before).into())?;
            made = Tensor::concat(&[&made.slice(a, 0, step, 1)?, &sum], a)?;
            step *= 2;
        }
        if made.same(x) { x.duplicate() } else { Ok(made) }
    };
    along(x, dim, |x, a| super::support::once(&[x], |t| sums(t[0], a)))
}

/// Positions of the largest (or smallest) elements so far along `axis`; of the last where several are.
fn leaders(x: &Tensor, axis: i64, largest: bool) -> Result<Tensor> {
    let n = x.shape().get(axis as usize).copied().unwrap_or(1) as i64;
    let mut column = vec![1i64; x.rank()];
    if let Some(size) = column.get_mut(axis as usize) {
        *size = n;
    }
    let count = super::arange(Scalar::Int(0), Scalar::Int(n), Scalar::Int(1), DType::I64)?;
    let mut at = count.reshape(&column)?.expand(x.shape())?.contiguous()?;
    let mut best = x.detach();
    let mut step = 1;
    while step < n {
        let (before, now) = (best.slice(axis, 0, n - step, 1)?, best.slice(axis, step, n, 1)?);
        let compare = if largest { super::ge } else { super::le };
        let kept = compare((&now).into(), (&before).into())?;
        let kept = one(&op::LogicalOr, &[&kept, &super::isnan(&now)?])?;
        let (old, new) = (at.slice(axis, 0, n - step, 1)?, at.slice(axis, step, n, 1)?);
        let moved = super::where_(&kept, (&new).into(), (&old).into())?;
        let taken = super::where_(&kept, (&now).into(), (&before).into())?;
        at = Tensor::concat(&[&at.slice(axis, 0, step, 1)?, &moved], axis)?;
        best = Tensor::concat(&[&best.slice(axis, 0, step, 1)?, &taken], axis)?;
        step *= 2;
    }
    Ok(at)
}

/// The largest (or smallest) elements so far along `dim`, and their positions.
pub fn running_extreme(x: &Tensor, dim: i64, largest: bool) -> Result<(Tensor, Tensor)> {
    let at = axis(x, dim)? as i64;
    if x.rank() == 0 {
        return Ok((x.duplicate()?, super::full(&[], Scalar::Int(0), DType::I64, x.device())?));
    }
    let found = leaders(x, at, largest)?;
    Ok((super::gather(x, at, &found)?, found))
}

/// Differences of neighbours along `dim`, taken `n` times, with tensors put before and behind.
///
/// # Errors
/// When the tensor has no axes or `n` is negative.
pub fn diff(x: &Tensor, n: i64, dim: i64, prepend: Option<&Tensor>, append: Option<&Tensor>) -> Result<Tensor> {
    if x.rank() == 0 || n < 0 {
        return Err(Error::value(format!("diff of a tensor with {} axes, {n} times", x.rank()))
            .with_expected("at least one axis and n >= 0"));
    }
    let at = axis(x, dim)? as i64;
    if n == 0 {
        return x.duplicate();
    }
    let parts: Vec<&Tensor> = prepend.into_iter().chain([x]).chain(append).collect();
    let mut made = if parts.len() > 1 { Tensor::concat(&parts, at)? } else { x.clone() };
    let size = |t: &Tensor| t.shape().get(at as usize).copied().unwrap_or(0) as i64;
    for _ in 0..n.min(size(&made)) {
        let length = size(&made);
        let (from, to) = (made.slice(at, 0, (length - 1).max(0), 1)?, made.slice(at, 1, length, 1)?);
        made = if made.dtype() == DType::Bool {
            super::logical_xor((&to).into(), (&from).into())?
        } else {
            to.sub(&from)?
        };
    }
    Ok(made)
}

const BOTH: u16 = TOP | METHOD;

pub(super) const NAMES: &[Entry] = &[
    name(
        "cumsum(Tensor input, int dim, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH | INPLACE,
        "Running sums along an axis. Integers give int64.",
        |a| give(cumsum(a.tensor(0)?, a.int(1)?, a.dtype_or_none(2)?)),
    ),
    name(
        "cumprod(Tensor input, int dim, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH | INPLACE,
        "Running products along an axis. Integers give int64.",
        |a| give(cumprod(a.tensor(0)?, a.int(1)?, a.dtype_or_none(2)?)),
    ),
    name(
        "logcumsumexp(Tensor input, int dim, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Logarithms of the running sums of exponentials along an axis.",
        |a| give(logcumsumexp(a.tensor(0)?, a.int(1)?)),
    )
    .cost(60.0),
    name(
        "cummax(Tensor input, int dim, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        BOTH,
        "The largest elements so far along an axis, and their positions.",
        |a| give(running_extreme(a.tensor(0)?, a.int(1)?, true)),
    )
    .cost(30.0),
    name(
        "cummin(Tensor input, int dim, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        BOTH,
        "The smallest elements so far along an axis, and their positions.",
        |a| give(running_extreme(a.tensor(0)?, a.int(1)?, false)),
    )
    .cost(30.0),
    name(
        "diff(Tensor input, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Differences of neighbours along an axis.",
        |a| give(diff(a.tensor(0)?, a.int(1)?, a.int(2)?, a.tensor_or_none(3)?, a.tensor_or_none(4)?)),
    ),
];
