//! Tensors with a view of them replaced, and copies of views.

use lampyr_base::{DType, Error, Result};
use lampyr_runtime::{Operand, Scalar, Tensor};

use super::join::{split, split_with_sizes, unbind};
use super::padding::pad;
use super::pick::argwhere;
use super::reduce::axis;
use super::shape::{expand_keeping, squeeze, unsqueeze, view};
use super::support::{counting, described, shape_error, sizes};
use super::views::{as_strided, diagonal, narrow, squeeze_axes, t, unfold_axis};
use crate::names::{Entry, METHOD, Output, TOP, TOP_INPLACE, give, name};

/// A copy of `x` in which the part that `part` shows is `source`.
fn patched(x: &Tensor, source: &Tensor, name: &str, part: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let made = x.duplicate()?;
    let target = part(&made)?;
    if target.shape() != source.shape() {
        return Err(shape_error(name, format!("{} for a part {:?}", described(source), target.shape()), &[x, source])
            .with_expected("the shape of the part that is replaced"));
    }
    target.assign_(&source.to_dtype(x.dtype())?)?;
    Ok(made)
}

/// `x` with `source` on a diagonal.
pub fn diagonal_scatter(x: &Tensor, source: &Tensor, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
    patched(x, source, "diagonal_scatter", |t| diagonal(t, offset, dim1, dim2))
}

/// `x` with `source` as the slice at `index` of axis `dim`.
pub fn select_scatter(x: &Tensor, source: &Tensor, dim: i64, index: i64) -> Result<Tensor> {
    patched(x, source, "select_scatter", |t| t.select(dim, index))
}

/// `x` with `source` as the elements `start..end` by `step` of axis `dim`.
pub fn slice_scatter(
    x: &Tensor,
    source: &Tensor,
    dim: i64,
    from: Option<i64>,
    to: Option<i64>,
    step: i64,
) -> Result<Tensor> {
    if step <= 0 {
        return Err(Error::value(format!("a step of {step}")).with_op("slice_scatter").with_expected("1 or more"));
    }
    let a = axis(x, dim)? as i64;
    patched(x, source, "slice_scatter", |t| t.slice(a, from.unwrap_or(0), to.unwrap_or(i64::MAX), step))
}

/// `x` with `source` where a view with given sizes and steps shows its elements, which lie row by row.
pub fn as_strided_scatter(
    x: &Tensor,
    source: &Tensor,
    size: &[i64],
    stride: &[i64],
    offset: Option<i64>,
) -> Result<Tensor> {
    let all = super::shape::reshape_to(&counting(x.len(), x.device())?, x.shape())?;
    let at = as_strided(&all, size, stride, offset)?.contiguous()?;
    if at.shape() != source.shape() {
        return Err(shape_error(
            "as_strided_scatter",
            format!("{} for a view {size:?}", described(source)),
            &[x, source],
        )
        .with_expected("the shape of the view"));
    }
    super::put(x, &at, &source.to_dtype(x.dtype())?, false)
}

/// `x` summed over the axes that a tensor of shape `size` would be broadcast along.
///
/// # Errors
/// When `size` does not broadcast to the shape of `x`.
pub fn sum_to_size(x: &Tensor, size: &[i64]) -> Result<Tensor> {
    let wanted = sizes(size)?;
    let lead = x.rank().checked_sub(wanted.len());
    let fits = |lead: usize| wanted.iter().zip(&x.shape()[lead..]).all(|(w, d)| w == d || *w == 1);
    let Some(lead) = lead.filter(|&lead| fits(lead)) else {
        return Err(shape_error("sum_to_size", format!("{:?} to {size:?}", x.shape()), &[x])
            .with_expected("a shape that broadcasts to that of the tensor"));
    };
    let gone = |a: &usize| *a < lead || (wanted[a - lead] == 1 && x.shape()[*a] != 1);
    let dims: Vec<i64> = (0..x.rank()).filter(gone).map(|a| a as i64).collect();
    if dims.is_empty() && x.rank() > 0 {
        return Ok(x.clone());
    }
    super::shape::reshape_to(&super::sum(x, &dims, false, None)?, &wanted)
}

/// The positions, one tensor per axis, of elements numbered row by row in a tensor of shape `shape`.
///
/// # Errors
/// When the numbers are no integers, or out of range.
pub fn unravel_index(at: &Tensor, shape: &[i64]) -> Result<Vec<Tensor>> {
    if at.dtype().is_float() || at.dtype() == DType::Bool {
        return Err(Error::dtype(format!("numbers of elements are {}", at.dtype()))
            .with_op("unravel_index")
            .with_expected("an integer type"));
    }
    let all = sizes(shape)?;
    let count: i64 = all.iter().product::<usize>() as i64;
    if let Some(bad) = at.detach().contiguous()?.to_host()?.to_i64().iter().find(|i| **i < -count || **i >= count) {
        return Err(Error::value(format!("element {bad} of a tensor of {count}")).with_op("unravel_index"));
    }
    let mut rest = super::remainder((&at.to_dtype(DType::I64)?).into(), count.max(1).into())?;
    let mut found = Vec::with_capacity(all.len());
    for &d in shape.iter().rev() {
        found.push(super::remainder((&rest).into(), d.max(1).into())?);
        rest = rest.div_trunc(d.max(1))?;
    }
    found.reverse();
    Ok(found)
}

/// As `x`, every element `value`, a number or a tensor without axes.
pub fn fill(x: &Tensor, value: Operand) -> Result<Tensor> {
    let value = match value {
        Operand::Tensor(t) if t.rank() > 0 => {
            return Err(shape_error("fill", "the value has axes", &[x, t]).with_expected("a number"));
        }
        Operand::Tensor(t) => t.to_dtype(x.dtype())?,
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?,
    };
    value.expand(x.shape())?.duplicate()
}

/// The positions of the first `count` elements that are not zero, one row per element, then rows of `value`.
pub fn nonzero_static(x: &Tensor, count: i64, value: i64) -> Result<Tensor> {
    let rows = sizes(&[count])?[0] as i64;
    let found = argwhere(&x.detach())?;
    let have = found.shape().first().copied().unwrap_or(0) as i64;
    if have >= rows {
        return found.slice(0, 0, rows, 1)?.duplicate();
    }
    let rest = sizes(&[rows - have, x.rank() as i64])?;
    let rest = super::full(&rest, Scalar::Int(value), DType::I64, x.device())?;
    Tensor::concat(&[&found, &rest], 0)
}

fn many(made: Result<Vec<Tensor>>) -> Result<Output> {
    give(made.and_then(|all| all.iter().map(Tensor::duplicate).collect::<Result<Vec<_>>>()))
}

const BOTH: u16 = TOP | METHOD;

macro_rules! copies {
    ($($signature:literal |$a:ident| $view:expr;)*) => {
        pub(super) const COPIES: &[Entry] = &[$(
            name(concat!($signature, ", *, Tensor? out=None) -> Tensor"), TOP, "A copy of what the view shows.", |$a| {
                give($view.and_then(|t: Tensor| t.duplicate()))
            }),
        )*];
    };
}

copies! {
    "alias_copy(Tensor input" |a| a.tensor(0).cloned();
    "as_strided_copy(Tensor input, int[] size, int[] stride, int? storage_offset=None"
        |a| as_strided(a.tensor(0)?, a.ints(1)?, a.ints(2)?, a.int_or_none(3)?);
    "diagonal_copy(Tensor input, int offset=0, int dim1=0, int dim2=1"
        |a| diagonal(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?);
    "expand_copy(Tensor input, int[] size" |a| expand_keeping(a.tensor(0)?, a.ints(1)?);
    "permute_copy(Tensor input, int[] dims" |a| super::views::permuted(a.tensor(0)?, a.ints(1)?);
    "select_copy(Tensor input, int dim, int index" |a| a.tensor(0)?.select(a.int(1)?, a.int(2)?);
    "squeeze_copy(Tensor input" |a| squeeze(a.tensor(0)?, None);
    "squeeze_copy(Tensor input, int[1] dim" |a| squeeze_axes(a.tensor(0)?, a.ints(1)?);
    "t_copy(Tensor input" |a| t(a.tensor(0)?);
    "transpose_copy(Tensor input, int dim0, int dim1" |a| super::views::transposed(a.tensor(0)?, a.int(1)?, a.int(2)?);
    "unfold_copy(Tensor input, int dimension, int size, int step"
        |a| unfold_axis(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?);
    "unsqueeze_copy(Tensor input, int dim" |a| unsqueeze(a.tensor(0)?, a.int(1)?);
    "view_copy(Tensor input, int[] size" |a| view(a.tensor(0)?, a.ints(1)?);
    "view_copy(Tensor input, dtype dtype" |a| a.tensor(0)?.reinterpret(a.dtype(1)?);
}

pub(super) const NAMES: &[Entry] = &[
    name(
        "diagonal_scatter(Tensor input, Tensor src, int offset=0, int dim1=0, int dim2=1) -> Tensor",
        BOTH,
        "With another diagonal.",
        |a| give(diagonal_scatter(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.int(3)?, a.int(4)?)),
    ),
    name(
        "select_scatter(Tensor input, Tensor src, int dim, int index) -> Tensor",
        BOTH,
        "With another slice at a position of an axis.",
        |a| give(select_scatter(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.int(3)?)),
    ),
    name(
        "slice_scatter(Tensor input, Tensor src, int dim=0, int? start=None, int? end=None, int step=1, *, Tensor? out=None) -> Tensor",
        BOTH,
        "With other elements in a range of an axis.",
        |a| {
            let (from, to) = (a.int_or_none(3)?, a.int_or_none(4)?);
            give(slice_scatter(a.tensor(0)?, a.tensor(1)?, a.int(2)?, from, to, a.int(5)?))
        },
    ),
    name(
        "as_strided_scatter(Tensor input, Tensor src, int[] size, int[] stride, int? storage_offset=None) -> Tensor",
        BOTH,
        "With other elements where a view with given steps shows them.",
        |a| {
            let (size, stride, offset) = (a.ints(2)?, a.ints(3)?, a.int_or_none(4)?);
            give(as_strided_scatter(a.tensor(0)?, a.tensor(1)?, size, stride, offset))
        },
    ),
    name("sum_to_size(Tensor input, int[] size) -> Tensor", METHOD, "Summed to a shape that broadcasts to it.", |a| {
        give(sum_to_size(a.tensor(0)?, a.ints(1)?))
    }),
    name(
        "unravel_index(Tensor indices, int[1] shape) -> Tensor[]",
        TOP,
        "Positions on each axis of elements that are numbered row by row.",
        |a| give(unravel_index(a.tensor(0)?, a.ints(1)?)),
    ),
    name("fill(Tensor input, Operand value) -> Tensor", TOP | TOP_INPLACE, "Every element one value.", |a| {
        give(fill(a.tensor(0)?, a.operand(1)?))
    })
    .cost(1.0),
    name("zero(Tensor input) -> Tensor", TOP_INPLACE, "Every element zero.", |a| {
        give(fill(a.tensor(0)?, Operand::Scalar(Scalar::Int(0))))
    })
    .cost(1.0),
    name(
        "narrow_copy(Tensor input, int dim, int start, int length, *, Tensor? out=None) -> Tensor",
        BOTH,
        "A copy of some elements of one axis.",
        |a| give(narrow(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?).and_then(|t| t.duplicate())),
    ),
    name(
        "nonzero_static(Tensor input, *, int size, int fill_value=-1, Tensor? out=None) -> Tensor",
        BOTH,
        "Positions of so many elements that are not zero.",
        |a| give(nonzero_static(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
    name(
        "constant_pad_nd(Tensor input, int[] pad, Scalar value=0, *, Tensor? out=None) -> Tensor",
        TOP,
        "With a number put around.",
        |a| give(pad(a.tensor(0)?, a.ints(1)?, "constant", Some(a.scalar(2)?))),
    ),
    name("unbind_copy(Tensor input, int dim=0, *, Tensor[]? out=None) -> Tensor[]", TOP, "Copies of slices.", |a| {
        many(unbind(a.tensor(0)?, a.int(1)?))
    }),
    name(
        "split_with_sizes_copy(Tensor input, int[] split_sizes, int dim=0, *, Tensor[]? out=None) -> Tensor[]",
        TOP,
        "Copies of parts.",
        |a| many(split_with_sizes(a.tensor(0)?, a.ints(1)?, a.int(2)?)),
    ),
    name(
        "split_copy(Tensor input, int split_size, int dim=0, *, Tensor[]? out=None) -> Tensor[]",
        TOP,
        "Copies of parts.",
        |a| many(split(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
];
