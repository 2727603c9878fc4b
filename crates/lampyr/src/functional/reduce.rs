//! Reductions over axes.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::Op;
use lampyr_ops::build as op;
use lampyr_ops::common;
use lampyr_runtime::{Operand, Scalar, Tensor};

use super::operand::one;
use crate::names::{Call, Entry, METHOD, TOP, give, name};

/// The tensor as `dtype` where one is given.
pub(super) fn cast(x: &Tensor, dtype: Option<DType>) -> Result<Tensor> {
    dtype.map_or_else(|| Ok(x.clone()), |d| x.to_dtype(d))
}

/// The op on numbers; `bool` goes through `uint8`.
fn counted(op: &dyn Op, x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::Bool {
        return one(op, &[x]);
    }
    one(op, &[&x.to_dtype(DType::U8)?])?.to_dtype(DType::Bool)
}

/// The axes, counted from the front, each once.
///
/// # Errors
/// When an axis is out of range or there twice, or the tensor has more than 64.
fn axes(x: &Tensor, dims: &[i64]) -> Result<Vec<usize>> {
    if x.rank() > 64 {
        return Err(Error::shape(format!("a reduction of a tensor of {} axes", x.rank())).with_expected("at most 64"));
    }
    let mut found = Vec::with_capacity(dims.len());
    for &dim in dims {
        let axis = axis(x, dim)?;
        if found.contains(&axis) {
            return Err(Error::value(format!("axis {axis} is given twice")).with_expected("every axis once"));
        }
        found.push(axis);
    }
    Ok(found)
}

/// One axis, counted from the front; a tensor without axes is taken as a vector of one element.
pub(super) fn axis(x: &Tensor, dim: i64) -> Result<usize> {
    common::axis(dim, x.rank().max(1)).map_err(|_| {
        let n = x.rank().max(1) as i64;
        Error::index(format!("axis {dim} is out of range")).with_expected(format!("{} to {}", -n, n - 1))
    })
}

/// The axes as ops take them: a tensor without axes has none.
pub(super) fn reduced(x: &Tensor, dims: &[i64]) -> Result<Vec<i64>> {
    let axes = axes(x, dims)?;
    Ok(if x.rank() == 0 { Vec::new() } else { axes.into_iter().map(|a| a as i64).collect() })
}

/// Sum over `dims` (all when empty). Integers and bool are summed in `int64`.
pub fn sum(x: &Tensor, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    cast(x, dtype)?.sum(&reduced(x, dims)?, keepdim)?.to_dtype(dtype.unwrap_or(if x.dtype().is_float() {
        x.dtype()
    } else {
        DType::I64
    }))
}

/// Mean over `dims` (all when empty).
///
/// # Errors
/// When the tensor is of no float type.
pub fn mean(x: &Tensor, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    cast(x, dtype)?.mean(&reduced(x, dims)?, keepdim)
}

/// Largest (or smallest) elements over `dims` (all when empty).
///
/// # Errors
/// When there are no elements.
fn extreme(x: &Tensor, dims: &[i64], keepdim: bool, largest: bool) -> Result<Tensor> {
    let axes = reduced(x, dims)?;
    let empty = if axes.is_empty() { x.is_empty() } else { axes.iter().any(|&a| x.shape()[a as usize] == 0) };
    if empty {
        return Err(Error::index("the largest and smallest of no elements are not defined").with_inputs([format!(
            "{}{:?}",
            x.dtype(),
            x.shape()
        )]));
    }
    match largest {
        true => counted(&op::ReduceMax { axes, keepdims: keepdim }, x),
        false => counted(&op::ReduceMin { axes, keepdims: keepdim }, x),
    }
}

/// Largest elements over `dims` (all when empty).
pub fn amax(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    extreme(x, dims, keepdim, true)
}

/// Smallest elements over `dims` (all when empty).
pub fn amin(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    extreme(x, dims, keepdim, false)
}

/// Position of the largest (or smallest) element along `dim`, of all elements when none is given.
pub fn argmax(x: &Tensor, dim: Option<i64>, keepdim: bool, largest: bool) -> Result<Tensor> {
    if let Some(dim) = dim {
        axis(x, dim)?;
    }
    if x.is_empty() && dim.is_none_or(|d| axis(x, d).is_ok_and(|a| x.shape()[a] == 0)) {
        return Err(Error::index("the position of the largest of no elements is not defined").with_inputs([format!(
            "{}{:?}",
            x.dtype(),
            x.shape()
        )]));
    }
    if x.rank() == 0 {
        return super::full(&[], Scalar::Int(0), DType::I64, x.device());
    }
    let (flat, at) = match dim {
        None => (x.reshape(&[-1])?, 0),
        Some(dim) => (x.clone(), dim),
    };
    let flat = if flat.dtype() == DType::Bool { flat.to_dtype(DType::U8)? } else { flat };
    let (axis, keep) = (Some(at), keepdim && dim.is_some());
    let made = match largest {
        true => one(&op::Argmax { axis, keepdims: keep, select_last_index: false }, &[&flat.detach()])?,
        false => one(&op::Argmin { axis, keepdims: keep, select_last_index: false }, &[&flat.detach()])?,
    };
    if keepdim && dim.is_none() { made.reshape(&vec![1; x.rank()]) } else { Ok(made) }
}

/// Largest (or smallest) elements along `dim` and their positions.
pub fn extreme_along(x: &Tensor, dim: i64, keepdim: bool, largest: bool) -> Result<(Tensor, Tensor)> {
    let at = argmax(x, Some(dim), true, largest)?;
    if x.rank() == 0 {
        return Ok((x.duplicate()?, at));
    }
    let values = super::gather(x, dim, &at)?;
    if keepdim { Ok((values, at)) } else { Ok((super::squeeze(&values, Some(dim))?, super::squeeze(&at, Some(dim))?)) }
}

/// # Errors
/// When the `out` at a position is of another type than the input.
pub(super) fn same_out(a: &Call, at: usize) -> Result<()> {
    let (x, out) = (a.tensor(0)?, a.tensor_or_none(at)?);
    match out.filter(|o| o.dtype() != x.dtype()) {
        Some(o) => Err(Error::dtype(format!("`out` is {}", o.dtype())).with_expected(x.dtype().to_string())),
        None => Ok(()),
    }
}

fn dims<'a>(a: &'a Call, at: usize) -> Result<&'a [i64]> {
    Ok(a.ints_or_none(at)?.unwrap_or_default())
}

const BOTH: u16 = TOP | METHOD;

pub(super) const NAMES: &[Entry] = &[
    name(
        "sum(Tensor input, int[1]? dim=None, bool keepdim=False, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH,
        "Sum over axes; over all when none is given. Integers give int64.",
        |a| give(sum(a.tensor(0)?, dims(a, 1)?, a.bool(2)?, a.dtype_or_none(3)?)),
    )
    .cost(1.0),
    name(
        "mean(Tensor input, int[1]? dim=None, bool keepdim=False, *, dtype? dtype=None, Tensor? out=None) -> Tensor",
        BOTH,
        "Mean over axes; over all when none is given.",
        |a| give(mean(a.tensor(0)?, dims(a, 1)?, a.bool(2)?, a.dtype_or_none(3)?)),
    )
    .cost(1.0),
    name(
        "amax(Tensor input, int[1] dim=[], bool keepdim=False, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Largest elements over axes; over all when none is given. Equal ones share the gradient.",
        |a| give(same_out(a, 3).and_then(|()| amax(a.tensor(0)?, a.ints(1)?, a.bool(2)?))),
    )
    .cost(1.0),
    name(
        "amin(Tensor input, int[1] dim=[], bool keepdim=False, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Smallest elements over axes; over all when none is given. Equal ones share the gradient.",
        |a| give(same_out(a, 3).and_then(|()| amin(a.tensor(0)?, a.ints(1)?, a.bool(2)?))),
    )
    .cost(1.0),
    name("max(Tensor input, *, Tensor? out=None) -> Tensor", BOTH, "The largest element.", |a| {
        give(amax(a.tensor(0)?, &[], false))
    })
    .cost(1.0),
    name(
        "max(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Of two tensors: the larger elements.",
        |a| give(super::maximum(Operand::Tensor(a.tensor(0)?), Operand::Tensor(a.tensor(1)?))),
    )
    .cost(1.0),
    name(
        "max(Tensor input, int dim, bool keepdim=False, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        BOTH,
        "Along an axis: the largest elements and their positions.",
        |a| give(extreme_along(a.tensor(0)?, a.int(1)?, a.bool(2)?, true)),
    )
    .cost(2.0),
    name("min(Tensor input, *, Tensor? out=None) -> Tensor", BOTH, "The smallest element.", |a| {
        give(amin(a.tensor(0)?, &[], false))
    })
    .cost(1.0),
    name(
        "min(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Of two tensors: the smaller elements.",
        |a| give(super::minimum(Operand::Tensor(a.tensor(0)?), Operand::Tensor(a.tensor(1)?))),
    )
    .cost(1.0),
    name(
        "min(Tensor input, int dim, bool keepdim=False, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        BOTH,
        "Along an axis: the smallest elements and their positions.",
        |a| give(extreme_along(a.tensor(0)?, a.int(1)?, a.bool(2)?, false)),
    )
    .cost(2.0),
    name(
        "argmax(Tensor input, int? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Position of the largest element, of all or along an axis; of the first where several are.",
        |a| give(argmax(a.tensor(0)?, a.int_or_none(1)?, a.bool(2)?, true)),
    )
    .cost(2.0),
    name(
        "argmin(Tensor input, int? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
        BOTH,
        "Position of the smallest element, of all or along an axis; of the first where several are.",
        |a| give(argmax(a.tensor(0)?, a.int_or_none(1)?, a.bool(2)?, false)),
    )
    .cost(2.0),
];
