//! Elements picked by position.

use lampyr_base::{DType, Error, Result, broadcast_shapes};
use lampyr_ops::build as op;
use lampyr_ops::common::axis;
use lampyr_runtime::Tensor;

use super::index::{Index, index};
use super::operand::one;
use super::shape::reshape_to;
use super::support::{index_tensor, shape_error, with_axis};
use crate::names::{Entry, FUNCTIONAL, METHOD, TOP, give, name};

/// Elements of `x` at `at` along axis `dim`, which has as many axes as `x`; see PyTorch's `gather`.
pub fn gather_along(x: &Tensor, dim: i64, at: &Tensor) -> Result<Tensor> {
    if at.is_empty() && !at.dtype().is_float() {
        axis(dim, x.rank().max(1))?;
        return Tensor::empty(at.shape(), x.dtype(), x.device());
    }
    index_tensor(at, "gather")?;
    let (wide, wide_at) = (with_axis(x)?, with_axis(at)?);
    let made = one(&op::GatherElements { axis: dim }, &[&wide, &wide_at])?;
    if at.rank() == 0 { reshape_to(&made, &[]) } else { Ok(made) }
}

/// Slices of axis `dim` at the positions of a vector.
pub fn index_select(x: &Tensor, dim: i64, at: &Tensor) -> Result<Tensor> {
    index_tensor(at, "index_select")?;
    if at.rank() > 1 {
        return Err(shape_error("index_select", "the index is not a vector", &[x, at]).with_expected("a vector"));
    }
    let made = one(&op::Gather { axis: dim }, &[&with_axis(x)?, &with_axis(at)?])?;
    if x.rank() == 0 { reshape_to(&made, &[]) } else { Ok(made) }
}

/// Elements of `x`, seen as a vector, at `at`.
pub fn take(x: &Tensor, at: &Tensor) -> Result<Tensor> {
    index_tensor(at, "take")?;
    if x.is_empty() && !at.is_empty() {
        return Err(Error::index("take() from a tensor without elements").with_op("take"));
    }
    one(&op::Gather { axis: 0 }, &[&reshape_to(x, &[x.len()])?, at])
}

/// Elements of `x` at `at` along axis `dim` after broadcasting the other axes; of all elements when no axis is given.
pub fn take_along_dim(x: &Tensor, at: &Tensor, dim: Option<i64>) -> Result<Tensor> {
    index_tensor(at, "take_along_dim")?;
    let Some(dim) = dim else {
        return gather_along(&reshape_to(x, &[x.len()])?, 0, &reshape_to(at, &[at.len()])?);
    };
    if x.rank() != at.rank() {
        return Err(shape_error("take_along_dim", "tensor and index have different numbers of axes", &[x, at]));
    }
    let a = axis(dim, x.rank())?;
    let but = |t: &Tensor| {
        let mut s = t.shape().to_vec();
        s[a] = 1;
        s
    };
    let wide = broadcast_shapes(&but(x), &but(at)).map_err(|e| e.with_op("take_along_dim"))?;
    let to = |t: &Tensor| {
        let mut s = wide.to_vec();
        s[a] = t.shape()[a];
        t.expand(&s)
    };
    gather_along(&to(x)?, a as i64, &to(at)?)
}

/// The elements of `x` where `mask` holds, as a vector; both broadcast.
pub fn masked_select(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if mask.dtype() != DType::Bool {
        return Err(Error::dtype(format!("the mask is {}", mask.dtype()))
            .with_op("masked_select")
            .with_expected("a bool tensor"));
    }
    let shape = broadcast_shapes(x.shape(), mask.shape()).map_err(|e| e.with_op("masked_select"))?;
    let (wide, mask) = (x.expand(&shape)?, mask.expand(&shape)?);
    let n = wide.len();
    index(&reshape_to(&wide, &[n])?, &[Index::Tensor(reshape_to(&mask, &[n])?)])
}

/// Positions of the elements that are not zero, one row per element.
pub fn argwhere(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 {
        let hit = x.to_dtype(DType::Bool)?.item()? != 0.0;
        return Tensor::empty(&[usize::from(hit), 0], DType::I64, x.device());
    }
    one(&op::Nonzero, &[x])?.transpose(0, 1)
}

/// Positions of the elements that are not zero, one vector per axis.
pub fn nonzero_tuple(x: &Tensor) -> Result<Vec<Tensor>> {
    let rows = one(&op::Nonzero, &[&with_axis(x)?])?;
    (0..rows.shape()[0] as i64).map(|i| rows.select(0, i)).collect()
}

/// `x` with the axis of `values` for every class: 1 at the class, 0 elsewhere. `-1` classes: one more than the largest.
pub fn one_hot(x: &Tensor, classes: i64) -> Result<Tensor> {
    if x.dtype() != DType::I64 {
        return Err(Error::dtype(format!("classes are {}", x.dtype())).with_op("one_hot").with_expected("int64"));
    }
    let values = if classes < 0 { x.to_host()? } else { x.peek()? }.to_i64();
    let least = values.iter().copied().min().unwrap_or(0);
    let most = values.iter().copied().max();
    if least < 0 {
        return Err(Error::value(format!("a class is {least}")).with_op("one_hot").with_expected("numbers from 0 on"));
    }
    let count = match (classes, most) {
        (-1, None) => return Err(Error::value("no elements to find the number of classes by").with_op("one_hot")),
        (-1, Some(most)) => most.saturating_add(1),
        (n, _) if n < 0 || (n == 0 && x.is_empty()) => {
            return Err(Error::value(format!("{n} classes")).with_op("one_hot").with_expected("at least one, or -1"));
        }
        (n, Some(most)) if most >= n => {
            return Err(Error::value(format!("class {most} of {n} classes"))
                .with_op("one_hot")
                .with_expected(format!("classes below {n}")));
        }
        (n, _) => n,
    };
    let shape: Vec<i64> = x.shape().iter().map(|&d| d as i64).chain([count]).collect();
    let shape = super::support::sizes(&shape)?;
    if x.is_empty() {
        return Tensor::empty(&shape, DType::I64, x.device());
    }
    let all = super::support::counting(count as usize, x.device())?;
    let column = reshape_to(x, &[x.shape(), &[1]].concat())?;
    column.equal(&all)?.to_dtype(DType::I64)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "gather(Tensor input, int dim, Tensor index, *, bool sparse_grad=False, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "Elements at positions along an axis.",
        |a| give(super::reduce::same_out(a, 4).and_then(|()| gather_along(a.tensor(0)?, a.int(1)?, a.tensor(2)?))),
    ),
    name(
        "index_select(Tensor input, int dim, Tensor index, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "Slices at positions of an axis.",
        |a| give(index_select(a.tensor(0)?, a.int(1)?, a.tensor(2)?)),
    ),
    name(
        "take(Tensor input, Tensor index, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "Elements at positions of all elements in a row.",
        |a| give(take(a.tensor(0)?, a.tensor(1)?)),
    ),
    name(
        "take_along_dim(Tensor input, Tensor indices, int? dim=None, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "Elements at positions along an axis, with broadcasting.",
        |a| give(take_along_dim(a.tensor(0)?, a.tensor(1)?, a.int_or_none(2)?)),
    ),
    name(
        "masked_select(Tensor input, Tensor mask, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "The elements where a mask holds, as a vector.",
        |a| give(masked_select(a.tensor(0)?, a.tensor(1)?)),
    ),
    name("argwhere(Tensor input) -> Tensor", TOP | METHOD, "Positions of the elements that are not zero.", |a| {
        give(argwhere(a.tensor(0)?))
    }),
    name(
        "nonzero(Tensor input, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "Positions of the elements that are not zero.",
        |a| give(argwhere(a.tensor(0)?)),
    ),
    name(
        "nonzero(Tensor input, *, bool as_tuple, Tensor? out=None) -> Tensor[]",
        TOP | METHOD,
        "Positions of the elements that are not zero.",
        |a| {
            if a.bool(1)? { give(nonzero_tuple(a.tensor(0)?)) } else { give(argwhere(a.tensor(0)?)) }
        },
    ),
    name(
        "where(Tensor condition) -> Tensor[]",
        TOP,
        "Positions of the elements that are not zero, one vector per axis.",
        |a| give(nonzero_tuple(a.tensor(0)?)),
    ),
    name(
        "one_hot(Tensor input, int num_classes=-1) -> Tensor",
        FUNCTIONAL,
        "1 at the class of each element, 0 elsewhere.",
        |a| give(one_hot(a.tensor(0)?, a.int(1)?)),
    ),
];
