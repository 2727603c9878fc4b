//! Other shapes over the same elements.

use lampyr_base::{Error, Layout, Result, broadcast_shapes};
use lampyr_ops::build::{AsStrided, Diagonal, Unfold};
use lampyr_ops::common::{axes, axis};
use lampyr_runtime::Tensor;

use super::operand::one;
use super::shape::{expand_keeping, flatten, reshape_to, squeeze, unsqueeze, view};
use super::support::{shape_error, sizes, with_axis};
use crate::names::{Call, Entry, INPLACE, METHOD, RENEW, TOP, give, name};

/// Axis `dim` as several of sizes `shape`, of which one may be -1.
pub fn unflatten(x: &Tensor, dim: i64, shape: &[i64]) -> Result<Tensor> {
    let a = axis(dim, x.rank())?;
    if shape.is_empty() {
        return Err(Error::value("no sizes to unflatten to").with_op("unflatten"));
    }
    let n = x.shape()[a];
    let known = shape.iter().filter(|d| **d >= 0).try_fold(1usize, |n, &d| n.checked_mul(d as usize));
    let free = shape.iter().filter(|d| **d < 0).count();
    let rest = match known {
        Some(k) if free == 1 && k > 0 && n.is_multiple_of(k) => n / k,
        Some(k) if free == 0 && k == n => 1,
        _ => {
            return Err(shape_error("unflatten", format!("an axis of {n} elements does not become {shape:?}"), &[x])
                .with_expected(format!("sizes whose product is {n}; one may be -1")));
        }
    };
    let inner = shape.iter().map(|&d| if d < 0 { rest } else { d as usize }).collect::<Vec<_>>();
    reshape_to(x, &[&x.shape()[..a], &inner, &x.shape()[a + 1..]].concat())
}

/// Without those of the axes `dims` whose size is 1.
pub fn squeeze_axes(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    if x.rank() == 0 || dims.is_empty() {
        dims.iter().try_for_each(|&d| axis(d, x.rank().max(1)).map(drop))?;
        return reshape_to(x, x.shape());
    }
    let gone = axes(dims, x.rank())?;
    let kept = x.shape().iter().enumerate().filter(|(i, d)| **d != 1 || !gone.contains(i)).map(|(_, &d)| d);
    reshape_to(x, &kept.collect::<Vec<_>>())
}

/// Axes `source` moved to the places `destination`; the others keep their order.
pub fn movedim(x: &Tensor, source: &[i64], destination: &[i64]) -> Result<Tensor> {
    if source.len() != destination.len() {
        return Err(Error::value(format!("axes {source:?} to {destination:?}"))
            .with_op("movedim")
            .with_expected("as many places as axes"));
    }
    if x.rank() == 0 || source.is_empty() {
        return reshape_to(x, x.shape());
    }
    let rank = x.rank();
    axes(source, rank).and(axes(destination, rank)).map_err(|e| e.with_op("movedim"))?;
    let from = source.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?;
    let to = destination.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?;
    let mut rest = (0..rank).filter(|a| !from.contains(a));
    let order = (0..rank).map(|place| match to.iter().position(|&t| t == place) {
        Some(i) => from[i] as i64,
        None => rest.next().unwrap_or(0) as i64,
    });
    x.permute(&order.collect::<Vec<_>>())
}

/// Rows and columns of a matrix exchanged; vectors stay.
pub fn t(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        0 | 1 => reshape_to(x, x.shape()),
        2 => x.transpose(0, 1),
        n => Err(shape_error("t", format!("t() of a tensor of {n} axes"), &[x]).with_expected("at most 2 axes")),
    }
}

/// The last two axes exchanged.
pub fn adjoint(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 1 {
        return Err(
            shape_error("adjoint", "the adjoint of a vector", &[x]).with_expected("a matrix or a batch of them")
        );
    }
    if x.rank() == 0 { reshape_to(x, &[]) } else { x.transpose(-2, -1) }
}

/// A view of `x` broadcast to the shape of `other`.
pub fn expand_as(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    x.expand(other.shape())
}

/// A view of `x` broadcast to `shape`, where -1 keeps a size.
pub fn broadcast_to(x: &Tensor, shape: &[i64]) -> Result<Tensor> {
    expand_keeping(x, shape)
}

/// All tensors as views of one shape.
pub fn broadcast_tensors(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut shape: Vec<usize> = Vec::new();
    for t in tensors {
        shape = broadcast_shapes(&shape, t.shape()).map_err(|e| e.with_op("broadcast_tensors"))?.to_vec();
    }
    tensors.iter().map(|t| t.expand(&shape)).collect()
}

/// All elements as a vector.
pub fn ravel(x: &Tensor) -> Result<Tensor> {
    reshape_to(x, &[x.len()])
}

/// `x` in the shape of `other`.
pub fn reshape_as(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    let shape: Vec<i64> = other.shape().iter().map(|&d| d as i64).collect();
    x.reshape(&shape)
}

/// A view of `x` in the shape of `other`.
pub fn view_as(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    let shape: Vec<i64> = other.shape().iter().map(|&d| d as i64).collect();
    view(x, &shape)
}

/// `length` elements of axis `dim` from `start` on.
pub fn narrow(x: &Tensor, dim: i64, start: i64, length: i64) -> Result<Tensor> {
    if x.rank() == 0 {
        return Err(shape_error("narrow", "narrow() of a tensor without axes", &[x]));
    }
    let a = axis(dim, x.rank())?;
    let n = x.shape()[a] as i64;
    if start < -n || start > n {
        return Err(Error::index(format!("start {start} is out of range for axis {a} of size {n}"))
            .with_op("narrow")
            .with_expected(format!("{}..={n}", -n)));
    }
    let from = if start < 0 { start + n } else { start };
    if length < 0 || length > n - from {
        return Err(Error::value(format!("{length} elements from {from} on of axis {a} of size {n}"))
            .with_op("narrow")
            .with_expected(format!("a length from 0 to {}", n - from)));
    }
    x.slice(a as i64, from, from + length, 1)
}

/// The elements whose positions on `first` and `second` differ by `offset`, as the last axis; a view.
pub fn diagonal(x: &Tensor, offset: i64, first: i64, second: i64) -> Result<Tensor> {
    one(&Diagonal { offset, axis1: first, axis2: second }, &[x])
}

/// Windows of `size` elements of axis `dim`, `step` apart, as a new last axis; a view.
pub fn unfold_axis(x: &Tensor, dim: i64, size: i64, step: i64) -> Result<Tensor> {
    one(&Unfold { axis: dim, size, step }, &[x])
}

/// A view with these sizes and steps over the memory of `x`, from element `offset` of that memory on.
///
/// # Errors
/// When it reaches outside the elements of `x`, or these do not lie one after another.
pub fn as_strided(x: &Tensor, size: &[i64], stride: &[i64], offset: Option<i64>) -> Result<Tensor> {
    sizes(size)?;
    let layout = x.layout();
    let start = layout.offset as i64;
    let offset = offset.unwrap_or(start).checked_sub(start).unwrap_or(-1);
    let base = if x.is_contiguous() {
        x.clone()
    } else {
        let mut order: Vec<i64> = (0..x.rank() as i64).collect();
        order.sort_by_key(|&a| -(layout.strides[a as usize].unsigned_abs() as i64));
        let dense = x.permute(&order)?;
        if !dense.is_contiguous() {
            return Err(Error::value(format!(
                "elements with strides {:?} have gaps between them",
                &layout.strides[..]
            ))
            .with_op("as_strided")
            .with_help("take as_strided() of the tensor that this one is a view of, or of contiguous()"));
        }
        dense
    };
    one(&AsStrided { size: size.to_vec(), stride: stride.to_vec(), offset }, &[&base])
}

/// `x` with at least one axis.
pub fn atleast_1d(x: &Tensor) -> Result<Tensor> {
    with_axis(x)
}

/// `x` with at least two axes; a vector becomes a row.
pub fn atleast_2d(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        0 => reshape_to(x, &[1, 1]),
        1 => unsqueeze(x, 0),
        _ => Ok(x.clone()),
    }
}

/// `x` with at least three axes: a vector `[N]` becomes `[1, N, 1]`, a matrix `[M, N]` becomes `[M, N, 1]`.
pub fn atleast_3d(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        0 => reshape_to(x, &[1, 1, 1]),
        1 => unsqueeze(&unsqueeze(x, 0)?, -1),
        2 => unsqueeze(x, -1),
        _ => Ok(x.clone()),
    }
}

/// Number of axes of the memory format `name` if that puts the channels last.
pub fn channels_last(name: Option<&str>) -> Option<usize> {
    match name {
        Some("channels_last") => Some(4),
        Some("channels_last_3d") => Some(5),
        _ => None,
    }
}

/// Axes in the order of channels-last memory, `[N, .., C]`.
pub fn last_order(rank: usize) -> Vec<i64> {
    let rank = rank as i64;
    [0].into_iter().chain(2..rank).chain([1]).collect()
}

/// The elements in the order of the memory format `name`; the same tensor when they lie so, or for other formats.
///
/// # Errors
/// When the format is for another number of axes.
pub fn formatted(x: Tensor, name: Option<&str>) -> Result<Tensor> {
    let Some(rank) = channels_last(name) else { return Ok(x) };
    if x.rank() != rank {
        return Err(shape_error("contiguous", format!("channels last for a tensor of {} axes", x.rank()), &[&x])
            .with_expected(format!("{rank} axes")));
    }
    let rows = x.permute(&last_order(rank))?;
    if rows.is_contiguous() {
        return Ok(x);
    }
    let back: Vec<i64> = [0, rank as i64 - 1].into_iter().chain(1..rank as i64 - 1).collect();
    rows.contiguous()?.permute(&back)
}

/// Axes in another order.
///
/// # Errors
/// When they are not each of the tensor's axes once.
pub(super) fn permuted(x: &Tensor, order: &[i64]) -> Result<Tensor> {
    if order.len() != x.rank() {
        return Err(shape_error("permute", format!("an order {order:?} of {} axes", x.rank()), &[x])
            .with_expected("every axis once"));
    }
    x.permute(order)
}

pub(super) fn transposed(x: &Tensor, first: i64, second: i64) -> Result<Tensor> {
    if x.rank() == 0 {
        axis(first, 1).and(axis(second, 1))?;
        return reshape_to(x, &[]);
    }
    x.transpose(first, second)
}

/// The number that a tensor of integers without axes holds.
fn whole(x: &Tensor) -> Result<i64> {
    match x.to_host()?.to_i64().as_slice() {
        [i] if x.dtype().is_integer() => Ok(*i),
        _ => Err(shape_error("narrow", "the start is not one integer", &[x])),
    }
}

/// The layout that arguments 2 to 4 of a call state: offset, sizes and steps.
fn layout(a: &Call) -> Result<Layout> {
    let sizes = a.sizes(3)?;
    let mut layout = Layout::contiguous(&sizes);
    if let Some(strides) = a.ints_or_none(4)? {
        if strides.len() != sizes.len() || strides.iter().any(|&s| s < 0) {
            return Err(Error::value(format!("strides {strides:?} for sizes {sizes:?}"))
                .with_expected("as many strides as sizes, none negative"));
        }
        layout.strides = strides.iter().map(|&s| s as isize).collect();
    }
    let offset = a.int(2)?;
    layout.offset = usize::try_from(offset)
        .map_err(|_| Error::index(format!("an offset of {offset} elements")).with_expected("0 or more"))?;
    Ok(layout)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "reshape(Tensor input, int[] shape) -> Tensor",
        TOP | METHOD,
        "The same elements in another shape; one size may be -1.",
        |a| give(a.tensor(0)?.reshape(a.ints(1)?)),
    )
    .short(|x, shape| Some(x.reshape(shape))),
    name(
        "view(Tensor input, int[] size) -> Tensor",
        TOP | METHOD,
        "The same elements in another shape, never a copy.",
        |a| give(view(a.tensor(0)?, a.ints(1)?)),
    )
    .short(|x, shape| Some(view(x, shape))),
    name("view(Tensor input, dtype dtype) -> Tensor", METHOD, "The same bytes read as another dtype.", |a| {
        give(a.tensor(0)?.reinterpret(a.dtype(1)?))
    }),
    name("permute(Tensor input, int[] dims) -> Tensor", TOP | METHOD, "Axes in another order; a view.", |a| {
        give(permuted(a.tensor(0)?, a.ints(1)?))
    })
    .short(|x, dims| Some(permuted(x, dims))),
    name(
        "transpose(Tensor input, int dim0, int dim1) -> Tensor",
        TOP | METHOD | INPLACE | RENEW,
        "Two axes exchanged; a view.",
        |a| give(transposed(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    )
    .short(|x, dims| if let [a, b] = *dims { Some(transposed(x, a, b)) } else { None })
    .also(&["swapdims"]),
    name(
        "swapaxes(Tensor input, int axis0, int axis1) -> Tensor",
        TOP | METHOD | INPLACE | RENEW,
        "Two axes exchanged; a view.",
        |a| give(transposed(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
    name("squeeze(Tensor input) -> Tensor", TOP | METHOD | INPLACE | RENEW, "Without axes of size 1; a view.", |a| {
        give(squeeze(a.tensor(0)?, None))
    })
    .also(&["squeeze_all"]),
    name(
        "squeeze(Tensor input, int dim) -> Tensor",
        TOP | METHOD | INPLACE | RENEW,
        "Without axes of size 1; a view.",
        |a| give(squeeze_axes(a.tensor(0)?, &[a.int(1)?])),
    ),
    name(
        "squeeze(Tensor input, int[] dim) -> Tensor",
        TOP | METHOD | INPLACE | RENEW,
        "Without axes of size 1; a view.",
        |a| give(squeeze_axes(a.tensor(0)?, a.ints(1)?)),
    ),
    name(
        "unsqueeze(Tensor input, int dim) -> Tensor",
        TOP | METHOD | INPLACE | RENEW,
        "With an axis of size 1; a view.",
        |a| give(unsqueeze(a.tensor(0)?, a.int(1)?)),
    )
    .short(|x, dim| if let [dim] = *dim { Some(unsqueeze(x, dim)) } else { None })
    .also(&["expand_dims"]),
    name(
        "flatten(Tensor input, int start_dim=0, int end_dim=-1) -> Tensor",
        TOP | METHOD,
        "Several axes as one.",
        |a| give(flatten(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
    name(
        "unflatten(Tensor input, int dim, int[] sizes) -> Tensor",
        TOP | METHOD,
        "One axis as several; a view.",
        |a| give(unflatten(a.tensor(0)?, a.int(1)?, a.ints(2)?)),
    ),
    name(
        "movedim(Tensor input, int[1] source, int[1] destination) -> Tensor",
        TOP | METHOD,
        "Axes moved to other places; a view.",
        |a| give(movedim(a.tensor(0)?, a.ints(1)?, a.ints(2)?)),
    )
    .also(&["moveaxis"]),
    name("t(Tensor input) -> Tensor", TOP | METHOD | INPLACE | RENEW, "Rows and columns exchanged; a view.", |a| {
        give(t(a.tensor(0)?))
    }),
    name("adjoint(Tensor input) -> Tensor", TOP | METHOD, "The last two axes exchanged; a view.", |a| {
        give(adjoint(a.tensor(0)?))
    }),
    name(
        "expand(Tensor input, int[] size) -> Tensor",
        TOP | METHOD,
        "A view broadcast to a shape; -1 keeps a size.",
        |a| give(expand_keeping(a.tensor(0)?, a.ints(1)?)),
    ),
    name(
        "expand_as(Tensor input, Tensor other) -> Tensor",
        METHOD,
        "A view broadcast to the shape of another tensor.",
        |a| give(expand_as(a.tensor(0)?, a.tensor(1)?)),
    ),
    name("broadcast_to(Tensor input, int[] size) -> Tensor", TOP | METHOD, "A view broadcast to a shape.", |a| {
        give(broadcast_to(a.tensor(0)?, a.ints(1)?))
    }),
    name("broadcast_tensors(Tensor[]... tensors) -> Tensor[]", TOP, "All tensors as views of one shape.", |a| {
        give(broadcast_tensors(a.tensors(0)?))
    }),
    name("ravel(Tensor input) -> Tensor", TOP | METHOD, "All elements as a vector.", |a| give(ravel(a.tensor(0)?))),
    name("reshape_as(Tensor input, Tensor other) -> Tensor", METHOD, "In the shape of another tensor.", |a| {
        give(reshape_as(a.tensor(0)?, a.tensor(1)?))
    }),
    name("view_as(Tensor input, Tensor other) -> Tensor", METHOD, "A view in the shape of another tensor.", |a| {
        give(view_as(a.tensor(0)?, a.tensor(1)?))
    }),
    name(
        "narrow(Tensor input, int dim, int start, int length) -> Tensor",
        TOP | METHOD,
        "Some elements of one axis; a view.",
        |a| give(narrow(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?)),
    ),
    name(
        "narrow(Tensor input, int dim, Tensor start, int length) -> Tensor",
        TOP | METHOD,
        "Some elements of one axis; a view.",
        |a| give(narrow(a.tensor(0)?, a.int(1)?, whole(a.tensor(2)?)?, a.int(3)?)),
    ),
    name(
        "select(Tensor input, int dim, int index) -> Tensor",
        TOP | METHOD,
        "One slice of an axis, without it; a view.",
        |a| give(a.tensor(0)?.select(a.int(1)?, a.int(2)?)),
    ),
    name(
        "diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1) -> Tensor",
        TOP | METHOD,
        "The diagonal of two axes as the last axis; a view.",
        |a| give(diagonal(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?)),
    ),
    name(
        "unfold(Tensor input, int dimension, int size, int step) -> Tensor",
        METHOD,
        "Windows of an axis as a new last axis; a view.",
        |a| give(unfold_axis(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?)),
    ),
    name(
        "as_strided(Tensor input, int[] size, int[] stride, int? storage_offset=None) -> Tensor",
        TOP | METHOD | INPLACE | RENEW,
        "A view with given sizes and steps over the memory of a tensor.",
        |a| give(as_strided(a.tensor(0)?, a.ints(1)?, a.ints(2)?, a.int_or_none(3)?)),
    ),
    name(
        "resize(Tensor input, int[] size, *, memory_format? memory_format=None) -> Tensor",
        INPLACE | RENEW,
        "Other sizes over the same memory, which grows where it is too small; new elements are arbitrary.",
        |a| give(a.tensor(0)?.resized(&a.sizes(1)?)),
    ),
    name(
        "resize_as(Tensor input, Tensor other, *, memory_format? memory_format=None) -> Tensor",
        INPLACE | RENEW,
        "The sizes of another tensor over the same memory, which grows where it is too small.",
        |a| give(a.tensor(0)?.resized(a.tensor(1)?.shape())),
    ),
    name("set(Tensor input) -> Tensor", INPLACE | RENEW, "No elements any more.", |a| {
        let x = a.tensor(0)?;
        let none = Tensor::empty(&[0], x.dtype(), x.device())?;
        give(x.set_to(&none, none.layout().clone()))
    }),
    name("set(Tensor input, Tensor source) -> Tensor", INPLACE | RENEW, "The memory and sizes of `source`.", |a| {
        let source = a.tensor(1)?;
        give(a.tensor(0)?.set_to(source, source.layout().clone()))
    }),
    name("set(Tensor input, Storage source) -> Tensor", INPLACE | RENEW, "All of the memory `source`.", |a| {
        let whole = a.tensor(1)?.reinterpret_whole(a.tensor(0)?.dtype())?;
        give(a.tensor(0)?.set_to(&whole, whole.layout().clone()))
    }),
    name(
        "set(Tensor input, Tensor source, int storage_offset, int[] size, int[]? stride=None) -> Tensor",
        INPLACE | RENEW,
        "The memory of `source` under other sizes and steps.",
        |a| give(a.tensor(0)?.set_to(a.tensor(1)?, layout(a)?)),
    ),
    name(
        "set(Tensor input, Storage source, int storage_offset, int[] size, int[]? stride=None) -> Tensor",
        INPLACE | RENEW,
        "The memory `source` under other sizes and steps.",
        |a| {
            let whole = a.tensor(1)?.reinterpret_whole(a.tensor(0)?.dtype())?;
            give(a.tensor(0)?.set_to(&whole, layout(a)?))
        },
    ),
    name(
        "clone(Tensor input, *, memory_format? memory_format=None) -> Tensor",
        TOP | METHOD,
        "A copy through which gradients flow.",
        |a| give(formatted(a.tensor(0)?.duplicate()?, a.str_or_none(1)?)),
    ),
    name("atleast_1d(Tensor input) -> Tensor", TOP, "With at least one axis.", |a| give(atleast_1d(a.tensor(0)?))),
    name("atleast_1d(Tensor[]... tensors) -> Tensor[]", TOP, "With at least one axis.", |a| {
        give(a.tensors(0)?.iter().map(atleast_1d).collect::<Result<Vec<_>>>())
    }),
    name("atleast_2d(Tensor input) -> Tensor", TOP, "With at least two axes.", |a| give(atleast_2d(a.tensor(0)?))),
    name("atleast_2d(Tensor[]... tensors) -> Tensor[]", TOP, "With at least two axes.", |a| {
        give(a.tensors(0)?.iter().map(atleast_2d).collect::<Result<Vec<_>>>())
    }),
    name("atleast_3d(Tensor input) -> Tensor", TOP, "With at least three axes.", |a| give(atleast_3d(a.tensor(0)?))),
    name("atleast_3d(Tensor[]... tensors) -> Tensor[]", TOP, "With at least three axes.", |a| {
        give(a.tensors(0)?.iter().map(atleast_3d).collect::<Result<Vec<_>>>())
    }),
];
