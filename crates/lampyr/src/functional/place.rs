//! Elements placed at positions.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_ops::common::axis;
use lampyr_runtime::{Operand, Tensor};

use super::index::Index;
use super::operand::{common, one};
use super::shape::reshape_to;
use super::support::{constant, described, index_tensor, ints, shape_error, shaped_like, with_axis};
use crate::names::{Entry, INPLACE, METHOD, TOP, TOP_INPLACE, give, name};

fn same_dtype(x: &Tensor, values: &Tensor, name: &str) -> Result<()> {
    if x.dtype() == values.dtype() {
        return Ok(());
    }
    Err(Error::dtype(format!("values of {} for a tensor of {}", values.dtype(), x.dtype()))
        .with_op(name)
        .with_inputs([described(x), described(values)])
        .with_expected("equal types"))
}

/// What `word` of PyTorch (`add`, `multiply`, `sum`, `prod`, `amax`, `amin`) is called by the op.
///
/// # Errors
/// For other words.
fn reduction(word: &str, name: &str) -> Result<&'static str> {
    Ok(match word {
        "" => "none",
        "add" | "sum" => "add",
        "multiply" | "prod" => "mul",
        "amax" => "max",
        "amin" => "min",
        _ => {
            return Err(Error::value(format!("reduce is `{word}`"))
                .with_op(name)
                .with_expected("add, multiply, sum, prod, mean, amax or amin"));
        }
    })
}

/// The part of `values` that `at` covers.
fn covered(values: &Tensor, at: &Tensor, name: &str) -> Result<Tensor> {
    let fits = values.rank() == at.rank() && values.shape().iter().zip(at.shape()).all(|(v, i)| i <= v);
    if !fits {
        return Err(shape_error(
            name,
            format!("an index {:?} for values {:?}", at.shape(), values.shape()),
            &[at, values],
        )
        .with_expected("as many axes, and no size above that of the values"));
    }
    let mut part = values.clone();
    for (a, (&i, &v)) in at.shape().iter().zip(values.shape()).enumerate() {
        if i < v {
            part = part.slice(a as i64, 0, i as i64, 1)?;
        }
    }
    Ok(part)
}

/// `x` with the elements of `values` at `at` along axis `dim`; `reduce` is empty, or as in PyTorch.
pub fn scatter(x: &Tensor, dim: i64, at: &Tensor, values: Operand, reduce: &str) -> Result<Tensor> {
    let name = if reduce.is_empty() { "scatter" } else { "scatter_reduce" };
    axis(dim, x.rank().max(1))?;
    if at.is_empty() {
        return x.duplicate();
    }
    index_tensor(at, name)?;
    let (wide, at) = (with_axis(x)?, with_axis(at)?);
    let values = match values {
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?.expand(at.shape())?,
        Operand::Tensor(t) => {
            same_dtype(x, t, name)?;
            covered(&with_axis(t)?, &at, name)?
        }
    };
    let op = op::ScatterElements { axis: dim, reduction: reduction(reduce, name)?.to_string() };
    if x.dtype() == DType::Bool && op.reduction != "none" {
        let made = one(&op, &[&wide.to_dtype(DType::U8)?, &at, &values.to_dtype(DType::U8)?])?;
        return shaped_like(made.to_dtype(DType::Bool)?, x);
    }
    shaped_like(one(&op, &[&wide, &at, &values])?, x)
}

/// `x` combined with the elements of `values` at `at` along axis `dim`: their `sum`, `prod`, `mean`, `amax` or `amin`;
/// the elements of `x` count only when `include_self`.
pub fn scatter_reduce(
    x: &Tensor,
    dim: i64,
    at: &Tensor,
    values: &Tensor,
    reduce: &str,
    include_self: bool,
) -> Result<Tensor> {
    if !["sum", "prod", "mean", "amax", "amin"].contains(&reduce) {
        return Err(Error::value(format!("reduce is `{reduce}`"))
            .with_op("scatter_reduce")
            .with_expected("sum, prod, mean, amax or amin"));
    }
    let base = if include_self {
        x.clone()
    } else {
        let start = match reduce {
            "prod" => 1.0,
            "amax" => f64::NEG_INFINITY,
            "amin" => f64::INFINITY,
            _ => 0.0,
        };
        let start = match (reduce, x.dtype().is_float()) {
            ("amax" | "amin", false) => extreme(x, reduce == "amin")?,
            _ => constant(start, x)?,
        };
        scatter(x, dim, at, Operand::Tensor(&start.expand(with_axis(at)?.shape())?), "")?
    };
    if reduce == "prod" && values.dtype().is_float() && values.requires_grad() && lampyr_runtime::is_grad_enabled() {
        return products(&base, dim, at, values);
    }
    if reduce != "mean" {
        return scatter(&base, dim, at, Operand::Tensor(values), reduce);
    }
    let sum = scatter(&base, dim, at, Operand::Tensor(values), "sum")?;
    let ones = constant(1.0, x)?;
    let own = if include_self {
        ones.expand(x.shape())?
    } else {
        scatter(&ones.expand(x.shape())?, dim, at, 0i64.into(), "")?
    };
    let count = scatter(&own, dim, at, Operand::Tensor(&ones.expand(with_axis(at)?.shape())?), "sum")?;
    let count = one(&op::Maximum, &[&count, &ones])?;
    if x.dtype().is_float() { sum.div(&count) } else { floor_quotient(&sum, &count) }
}

/// Products of the elements that meet, with the derivatives of those that are zero: a single one is multiplied by the
/// others, several leave nothing.
fn products(x: &Tensor, dim: i64, at: &Tensor, values: &Tensor) -> Result<Tensor> {
    let one_or = |t: &Tensor, zero: &Tensor| one(&op::Where, &[zero, &constant(1.0, t)?, t]);
    let only = |t: &Tensor, zero: &Tensor| one(&op::Where, &[zero, t, &constant(0.0, t)?]);
    let (own, given) = (x.detach().equal(0i64)?, values.detach().equal(0i64)?);
    let rest = scatter(&one_or(x, &own)?, dim, at, Operand::Tensor(&one_or(values, &given)?), "prod")?;
    let count = scatter(&own.to_dtype(x.dtype())?, dim, at, Operand::Tensor(&given.to_dtype(x.dtype())?), "sum")?;
    let single = scatter(&only(x, &own)?, dim, at, Operand::Tensor(&only(values, &given)?), "sum")?;
    let met = one(&op::Where, &[&count.equal(1i64)?, &rest.mul(&single)?, &constant(0.0, &rest)?])?;
    one(&op::Where, &[&count.equal(0i64)?, &rest, &met])
}

/// `x / y` of integers, rounded down.
fn floor_quotient(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let rest = one(&op::Remainder, &[x, y])?;
    x.sub(&rest)?.div_trunc(y)
}

/// The largest (or smallest) number of an integer type.
fn extreme(x: &Tensor, largest: bool) -> Result<Tensor> {
    let bits = x.dtype().bits() as u32;
    let value = match (x.dtype().is_signed_integer(), largest) {
        (true, true) => i64::MAX >> (64 - bits),
        (true, false) => i64::MIN >> (64 - bits),
        (false, true) if bits == 64 => -1,
        (false, true) => (1i64 << bits) - 1,
        (false, false) => 0,
    };
    Tensor::scalar(lampyr_runtime::Scalar::Int(value), x.dtype(), x.device())
}

/// A vector index of slices of `values` on axis `dim`, spread over their other axes.
fn spread(x: &Tensor, dim: i64, at: &Tensor, values: &Tensor, name: &str) -> Result<(Tensor, Tensor)> {
    index_tensor(at, name)?;
    if at.rank() > 1 {
        return Err(shape_error(name, "the index is not a vector", &[x, at]).with_expected("a vector"));
    }
    let (at, values) = (with_axis(at)?, with_axis(values)?);
    let rank = x.rank().max(1);
    let a = axis(dim, rank)?;
    let mut want = with_axis(x)?.shape().to_vec();
    want[a] = at.len();
    if values.shape() != want {
        return Err(shape_error(
            name,
            format!("slices {:?} for a tensor {:?}", values.shape(), x.shape()),
            &[x, &values],
        )
        .with_expected(format!("{want:?}")));
    }
    let mut column = vec![1; rank];
    column[a] = at.len();
    Ok((reshape_to(&at, &column)?.expand(&want)?, values))
}

/// `x` with `alpha` times the slices of `values` added at the positions `at` of axis `dim`.
pub fn index_add(x: &Tensor, dim: i64, at: &Tensor, values: &Tensor, alpha: Operand) -> Result<Tensor> {
    same_dtype(x, values, "index_add")?;
    let (at, values) = spread(x, dim, at, values, "index_add")?;
    let scaled = match alpha {
        Operand::Scalar(s) if s.to_f64() == 1.0 => values,
        Operand::Scalar(s) if x.dtype() == DType::Bool && s.to_f64() == 0.0 => {
            super::support::zeros(values.shape(), &values)?
        }
        _ if x.dtype() == DType::Bool => values,
        alpha => values.mul(alpha)?.to_dtype(x.dtype())?,
    };
    scatter(x, dim, &at, Operand::Tensor(&scaled), "sum")
}

/// `x` with the slices of `values` at the positions `at` of axis `dim`.
pub fn index_copy(x: &Tensor, dim: i64, at: &Tensor, values: &Tensor) -> Result<Tensor> {
    same_dtype(x, values, "index_copy")?;
    let (at, values) = spread(x, dim, at, values, "index_copy")?;
    scatter(x, dim, &at, Operand::Tensor(&values), "")
}

/// `x` combined with the slices of `values` at the positions `at` of axis `dim`; see [`scatter_reduce`].
pub fn index_reduce(
    x: &Tensor,
    dim: i64,
    at: &Tensor,
    values: &Tensor,
    reduce: &str,
    include_self: bool,
) -> Result<Tensor> {
    same_dtype(x, values, "index_reduce")?;
    let (at, values) = spread(x, dim, at, values, "index_reduce")?;
    scatter_reduce(x, dim, &at, &values, reduce, include_self)
}

/// `x` with `value` in the slices at the positions `at` of axis `dim`.
pub fn index_fill(x: &Tensor, dim: i64, at: &Tensor, value: Operand) -> Result<Tensor> {
    index_tensor(at, "index_fill")?;
    let value = match value {
        Operand::Tensor(t) if t.rank() > 0 => {
            return Err(shape_error("index_fill", "the value has axes", &[x, t]).with_expected("a number"));
        }
        Operand::Tensor(t) => t.to_dtype(x.dtype())?,
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?,
    };
    let wide = with_axis(x)?;
    let a = axis(dim, wide.rank())?;
    if at.rank() > 1 {
        return Err(shape_error("index_fill", "the index is not a vector", &[x, at]).with_expected("a vector"));
    }
    let n = wide.shape()[a];
    let none = Tensor::full(&[n], 0.0, DType::U8, x.device())?;
    let hit = scatter(&none, 0, &with_axis(at)?, 1i64.into(), "")?.to_dtype(DType::Bool)?;
    let mut column = vec![1; wide.rank()];
    column[a] = n;
    shaped_like(one(&op::Where, &[&reshape_to(&hit, &column)?, &value, &wide])?, x)
}

/// `x` with `value` where `mask` holds.
pub fn masked_fill(x: &Tensor, mask: &Tensor, value: Operand) -> Result<Tensor> {
    if mask.dtype() != DType::Bool {
        return Err(Error::dtype(format!("the mask is {}", mask.dtype()))
            .with_op("masked_fill")
            .with_expected("a bool tensor"));
    }
    let value = match value {
        Operand::Tensor(t) if t.rank() > 0 => {
            return Err(shape_error("masked_fill", "the value has axes", &[x, t]).with_expected("a number"));
        }
        Operand::Tensor(t) => t.to_dtype(x.dtype())?,
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?,
    };
    one(&op::Where, &[mask, &value, x])
}

/// `x` with the elements of `source`, one after another, where `mask` holds.
pub fn masked_scatter(x: &Tensor, mask: &Tensor, source: &Tensor) -> Result<Tensor> {
    same_dtype(x, source, "masked_scatter")?;
    if mask.dtype() != DType::Bool {
        return Err(Error::dtype(format!("the mask is {}", mask.dtype()))
            .with_op("masked_scatter")
            .with_expected("a bool tensor"));
    }
    let shape = lampyr_base::broadcast_shapes(x.shape(), mask.shape()).map_err(|e| e.with_op("masked_scatter"))?;
    let (wide, mask) = (x.expand(&shape)?, mask.expand(&shape)?);
    let hits = mask.to_host()?;
    let count = hits.bytes().iter().filter(|b| **b != 0).count();
    if count > source.len() {
        return Err(shape_error(
            "masked_scatter",
            format!("{} elements for {count} places", source.len()),
            &[x, source],
        )
        .with_expected(format!("at least {count} elements")));
    }
    if count == 0 {
        return wide.duplicate();
    }
    let mut next = 0;
    let at = hits.bytes().iter().map(|b| {
        let here = next.min(count as i64 - 1);
        next += i64::from(*b != 0);
        here
    });
    let at = ints(&at.collect::<Vec<_>>(), &shape, x.device())?;
    let picked = one(&op::Gather { axis: 0 }, &[&reshape_to(source, &[source.len()])?, &at])?;
    one(&op::Where, &[&mask, &picked, &wide])
}

/// `x` with `values` at the positions `at` of its elements in a row; they are added when `accumulate`.
pub fn put(x: &Tensor, at: &Tensor, values: &Tensor, accumulate: bool) -> Result<Tensor> {
    same_dtype(x, values, "put")?;
    index_tensor(at, "put")?;
    if at.len() != values.len() {
        return Err(shape_error("put", format!("{} positions for {} values", at.len(), values.len()), &[at, values]));
    }
    let flat = |t: &Tensor| reshape_to(t, &[t.len()]);
    let reduce = if accumulate { "sum" } else { "" };
    let made = scatter(&flat(x)?, 0, &flat(at)?, Operand::Tensor(&flat(values)?), reduce)?;
    reshape_to(&made, x.shape())
}

/// `x` with `values` at positions that `indices` name as an index does; they are added when `accumulate`.
pub fn index_put(x: &Tensor, indices: &[Index], values: Operand, accumulate: bool) -> Result<Tensor> {
    if let Operand::Tensor(t) = values {
        same_dtype(x, t, "index_put")?;
    }
    let all = reshape_to(&super::support::counting(x.len(), x.device())?, x.shape())?;
    let at = super::index::index(&all, indices)?;
    let values = match values {
        Operand::Tensor(t) => t.expand(at.shape())?,
        Operand::Scalar(s) => Tensor::scalar(s, common(&[x.into()]), x.device())?.expand(at.shape())?,
    };
    put(x, &at, &values, accumulate)
}

fn scatter_word(x: &Tensor, dim: i64, at: &Tensor, values: Operand, reduce: &str) -> Result<Tensor> {
    if !["add", "multiply"].contains(&reduce) {
        return Err(Error::value(format!("reduce is `{reduce}`")).with_op("scatter").with_expected("add or multiply"));
    }
    scatter(x, dim, at, values, reduce)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "scatter(Tensor input, int dim, Tensor index, Tensor src, *, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With elements placed along an axis.",
        |a| give(scatter(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?.into(), "")),
    ),
    name(
        "scatter(Tensor input, int dim, Tensor index, Scalar value, *, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With a number placed along an axis.",
        |a| give(scatter(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.scalar(3)?.into(), "")),
    ),
    name(
        "scatter(Tensor input, int dim, Tensor index, Tensor src, *, str reduce, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With elements combined along an axis.",
        |a| give(scatter_word(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?.into(), a.str(4)?)),
    ),
    name(
        "scatter(Tensor input, int dim, Tensor index, Scalar value, *, str reduce, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With a number combined along an axis.",
        |a| give(scatter_word(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.scalar(3)?.into(), a.str(4)?)),
    ),
    name(
        "scatter_add(Tensor input, int dim, Tensor index, Tensor src, *, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With elements added along an axis.",
        |a| give(scatter(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?.into(), "add")),
    ),
    name(
        "scatter_reduce(Tensor input, int dim, Tensor index, Tensor src, str reduce, *, bool include_self=True, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With elements combined along an axis.",
        |a| give(scatter_reduce(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, a.str(4)?, a.bool(5)?)),
    ),
    name(
        "index_add(Tensor input, int dim, Tensor index, Tensor source, *, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With slices added at positions of an axis.",
        |a| give(index_add(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, a.scalar(4)?.into())),
    ),
    name(
        "index_copy(Tensor input, int dim, Tensor index, Tensor source, *, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With slices at positions of an axis.",
        |a| give(index_copy(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?)),
    ),
    name(
        "index_reduce(Tensor input, int dim, Tensor index, Tensor source, str reduce, *, bool include_self=True, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "With slices combined at positions of an axis.",
        |a| give(index_reduce(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, a.str(4)?, a.bool(5)?)),
    ),
    name(
        "index_fill(Tensor input, int dim, Tensor index, Operand value) -> Tensor",
        TOP | METHOD | INPLACE,
        "With a number in slices of an axis.",
        |a| give(index_fill(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.operand(3)?)),
    ),
    name(
        "index_put(Tensor input, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor",
        TOP | METHOD | INPLACE | TOP_INPLACE,
        "With values where an index points.",
        |a| {
            let all = a.optional_tensors(1)?.iter().map(|t| match t {
                Some(t) => Index::Tensor(t.clone()),
                None => Index::Slice(None, None, 1),
            });
            give(index_put(a.tensor(0)?, &all.collect::<Vec<_>>(), a.tensor(2)?.into(), a.bool(3)?))
        },
    ),
    name(
        "masked_fill(Tensor input, Tensor mask, Operand value) -> Tensor",
        TOP | METHOD | INPLACE,
        "With a number where a mask holds.",
        |a| give(masked_fill(a.tensor(0)?, a.tensor(1)?, a.operand(2)?)),
    ),
    name(
        "masked_scatter(Tensor input, Tensor mask, Tensor source) -> Tensor",
        TOP | METHOD | INPLACE,
        "With elements in turn where a mask holds.",
        |a| give(masked_scatter(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?)),
    ),
    name(
        "put(Tensor input, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
        TOP | METHOD | INPLACE,
        "With values at positions of all elements in a row.",
        |a| give(put(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.bool(3)?)),
    ),
];
