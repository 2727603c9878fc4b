//! Tensors joined and cut apart.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::common::axis;
use lampyr_runtime::Tensor;

use super::shape::{cat, reshape_to, stack};
use super::support::shape_error;
use super::views::{atleast_1d, atleast_2d, atleast_3d};
use crate::names::{Entry, METHOD, TOP, give, name};

fn raised(tensors: &[Tensor], raise: fn(&Tensor) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    tensors.iter().map(raise).collect()
}

fn some(tensors: &[Tensor], name: &str) -> Result<()> {
    if tensors.is_empty() {
        return Err(Error::value(format!("{name}() of no tensors")).with_op(name).with_expected("at least one"));
    }
    Ok(())
}

/// Tensors side by side: along axis 1, vectors along axis 0.
pub fn hstack(tensors: &[Tensor]) -> Result<Tensor> {
    some(tensors, "hstack")?;
    let all = raised(tensors, atleast_1d)?;
    let dim = i64::from(all.first().is_some_and(|t| t.rank() > 1));
    cat(&all, dim)
}

/// Tensors below one another, vectors as rows.
pub fn vstack(tensors: &[Tensor]) -> Result<Tensor> {
    some(tensors, "vstack")?;
    cat(&raised(tensors, atleast_2d)?, 0)
}

/// Tensors behind one another, along axis 2.
pub fn dstack(tensors: &[Tensor]) -> Result<Tensor> {
    some(tensors, "dstack")?;
    cat(&raised(tensors, atleast_3d)?, 2)
}

/// Tensors side by side, vectors as columns.
pub fn column_stack(tensors: &[Tensor]) -> Result<Tensor> {
    some(tensors, "column_stack")?;
    let column = |t: &Tensor| if t.rank() < 2 { reshape_to(t, &[t.len(), 1]) } else { Ok(t.clone()) };
    cat(&tensors.iter().map(column).collect::<Result<Vec<_>>>()?, 1)
}

/// Tensors of equal shape along a new axis.
pub fn stack_checked(tensors: &[Tensor], dim: i64) -> Result<Tensor> {
    some(tensors, "stack")?;
    if let Some(other) = tensors.iter().find(|t| t.shape() != tensors[0].shape()) {
        return Err(shape_error("stack", "the tensors have different shapes", &[&tensors[0], other])
            .with_expected("equal shapes"));
    }
    stack(tensors, dim)
}

/// Parts without elements that one call makes at most.
const MOST_EMPTY: i64 = 1 << 16;

fn cuts(x: &Tensor, dim: i64, name: &str) -> Result<(i64, i64)> {
    if x.rank() == 0 {
        return Err(shape_error(name, format!("{name}() of a tensor without axes"), &[x]));
    }
    let a = axis(dim, x.rank())?;
    Ok((a as i64, x.shape()[a] as i64))
}

/// Parts of `sizes` elements along axis `dim`; views.
///
/// # Errors
/// When the sizes do not add up to that of the axis.
pub fn split_with_sizes(x: &Tensor, sizes: &[i64], dim: i64) -> Result<Vec<Tensor>> {
    let (a, n) = cuts(x, dim, "split")?;
    let total = sizes.iter().try_fold(0i64, |sum, &s| if s < 0 { None } else { sum.checked_add(s) });
    if total != Some(n) {
        return Err(Error::value(format!("parts of {sizes:?} elements of an axis of {n}"))
            .with_op("split")
            .with_expected(format!("sizes that add up to {n}")));
    }
    let mut from = 0;
    sizes
        .iter()
        .map(|&s| {
            from += s;
            x.slice(a, from - s, from, 1)
        })
        .collect()
}

/// Parts of `size` elements along axis `dim`, the last one perhaps smaller; views.
pub fn split(x: &Tensor, size: i64, dim: i64) -> Result<Vec<Tensor>> {
    let (_, n) = cuts(x, dim, "split")?;
    if size < 0 || (size == 0 && n > 0) {
        return Err(Error::value(format!("parts of {size} elements of an axis of {n}")).with_op("split"));
    }
    if n == 0 {
        return split_with_sizes(x, &[0], dim);
    }
    super::support::room(&[(n / size) as usize])?;
    let parts: Vec<i64> = (0..n).step_by(size as usize).map(|from| size.min(n - from)).collect();
    split_with_sizes(x, &parts, dim)
}

/// At most `chunks` parts of equal size along axis `dim`, the last one perhaps smaller; views.
pub fn chunk(x: &Tensor, chunks: i64, dim: i64) -> Result<Vec<Tensor>> {
    let (_, n) = cuts(x, dim, "chunk")?;
    if chunks <= 0 {
        return Err(Error::value(format!("{chunks} chunks")).with_op("chunk").with_expected("at least one"));
    }
    if n == 0 {
        let count = chunks.min(MOST_EMPTY) as usize;
        return split_with_sizes(x, &vec![0; count], dim);
    }
    split(x, (n + chunks - 1).checked_div(chunks).unwrap_or(n).max(1), dim)
}

/// `sections` parts along axis `dim` whose sizes differ by at most one; views.
pub fn tensor_split(x: &Tensor, sections: i64, dim: i64) -> Result<Vec<Tensor>> {
    let (_, n) = cuts(x, dim, "tensor_split")?;
    if sections <= 0 || sections > n.max(MOST_EMPTY) {
        return Err(Error::value(format!("{sections} sections")).with_op("tensor_split").with_expected("at least one"));
    }
    let parts: Vec<i64> = (0..sections).map(|i| n / sections + i64::from(i < n % sections)).collect();
    split_with_sizes(x, &parts, dim)
}

/// Parts along axis `dim` that begin at 0 and at each of `indices`, read as Python reads slices; views.
pub fn tensor_split_at(x: &Tensor, indices: &[i64], dim: i64) -> Result<Vec<Tensor>> {
    let (a, n) = cuts(x, dim, "tensor_split")?;
    let clamp = |i: i64| if i < 0 { i.saturating_add(n).max(0) } else { i.min(n) };
    let ends = indices.iter().map(|&i| clamp(i)).chain([n]);
    let starts = [0].into_iter().chain(indices.iter().map(|&i| clamp(i)));
    starts.zip(ends).map(|(from, to)| x.slice(a, from, to.max(from), 1)).collect()
}

/// Which axis `hsplit`, `vsplit` or `dsplit` cuts.
///
/// # Errors
/// When the tensor has too few axes.
pub fn split_axis(x: &Tensor, name: &str) -> Result<i64> {
    let (least, dim) = match name {
        "hsplit" => (1, i64::from(x.rank() > 1)),
        "vsplit" => (2, 0),
        _ => (3, 2),
    };
    if x.rank() < least {
        return Err(shape_error(name, format!("{name}() of a tensor of {} axes", x.rank()), &[x])
            .with_expected(format!("at least {least}")));
    }
    Ok(dim)
}

/// `sections` equal parts of the axis that `name` (`hsplit`, `vsplit`, `dsplit`) cuts.
///
/// # Errors
/// When the parts are not equal.
pub fn even_split(x: &Tensor, sections: i64, name: &str) -> Result<Vec<Tensor>> {
    let dim = split_axis(x, name)?;
    let n = x.shape()[dim as usize] as i64;
    if sections <= 0 || n % sections != 0 {
        return Err(Error::value(format!("{sections} equal parts of an axis of {n} elements")).with_op(name));
    }
    tensor_split(x, sections, dim)
}

/// The slices along axis `dim`, without it; views.
pub fn unbind(x: &Tensor, dim: i64) -> Result<Vec<Tensor>> {
    if x.rank() == 0 {
        return Err(Error::index("unbind() of a tensor without axes").with_op("unbind").with_expected("an axis"));
    }
    let (a, n) = cuts(x, dim, "unbind")?;
    (0..n).map(|i| x.select(a, i)).collect()
}

/// Tensors one after another along axis `dim`; empty vectors count as nothing.
pub fn joined_along(tensors: &[Tensor], dim: i64) -> Result<Tensor> {
    let wide = tensors.iter().any(|t| t.rank() != 1);
    if !wide || !tensors.iter().any(|t| t.shape() == [0]) {
        return cat(tensors, dim);
    }
    let to = super::operand::common(&tensors.iter().map(Into::into).collect::<Vec<_>>());
    let kept: Vec<Tensor> = tensors.iter().filter(|t| t.shape() != [0]).cloned().collect();
    cat(&kept, dim)?.to_dtype(to)
}

/// As [`tensor_split`] and [`tensor_split_at`], by a tensor of `int64`.
fn tensor_split_by(x: &Tensor, sections: &Tensor, dim: i64) -> Result<Vec<Tensor>> {
    if sections.dtype() != DType::I64 || sections.rank() > 1 {
        return Err(Error::value("indices_or_sections is no number or vector")
            .with_op("tensor_split")
            .with_expected("int64"));
    }
    let all = sections.to_host()?.to_i64();
    match (sections.rank(), all.as_slice()) {
        (0, [n]) => tensor_split(x, *n, dim),
        _ => tensor_split_at(x, &all, dim),
    }
}

fn split_at(x: &Tensor, indices: &[i64], name: &str) -> Result<Vec<Tensor>> {
    tensor_split_at(x, indices, split_axis(x, name)?)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "cat(Tensor[] tensors, int dim=0, *, Tensor? out=None) -> Tensor",
        TOP,
        "Tensors one after another along an axis.",
        |a| give(joined_along(a.tensors(0)?, a.int(1)?)),
    )
    .also(&["concat", "concatenate"]),
    name("stack(Tensor[] tensors, int dim=0, *, Tensor? out=None) -> Tensor", TOP, "Tensors along a new axis.", |a| {
        give(stack_checked(a.tensors(0)?, a.int(1)?))
    }),
    name("hstack(Tensor[] tensors, *, Tensor? out=None) -> Tensor", TOP, "Tensors side by side.", |a| {
        give(hstack(a.tensors(0)?))
    }),
    name("vstack(Tensor[] tensors, *, Tensor? out=None) -> Tensor", TOP, "Tensors below one another.", |a| {
        give(vstack(a.tensors(0)?))
    })
    .also(&["row_stack"]),
    name("dstack(Tensor[] tensors, *, Tensor? out=None) -> Tensor", TOP, "Tensors behind one another.", |a| {
        give(dstack(a.tensors(0)?))
    }),
    name(
        "column_stack(Tensor[] tensors, *, Tensor? out=None) -> Tensor",
        TOP,
        "Tensors side by side, vectors as columns.",
        |a| give(column_stack(a.tensors(0)?)),
    ),
    name(
        "split(Tensor tensor, int split_size_or_sections, int dim=0) -> Tensor[]",
        TOP,
        "Parts along an axis; views.",
        |a| give(split(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
    name(
        "split(Tensor tensor, int[] split_size_or_sections, int dim=0) -> Tensor[]",
        TOP,
        "Parts along an axis; views.",
        |a| give(split_with_sizes(a.tensor(0)?, a.ints(1)?, a.int(2)?)),
    ),
    name("split(Tensor input, int split_size, int dim=0) -> Tensor[]", METHOD, "Parts along an axis; views.", |a| {
        give(split(a.tensor(0)?, a.int(1)?, a.int(2)?))
    }),
    name("split(Tensor input, int[] split_size, int dim=0) -> Tensor[]", METHOD, "Parts along an axis; views.", |a| {
        give(split_with_sizes(a.tensor(0)?, a.ints(1)?, a.int(2)?))
    }),
    name(
        "unsafe_split(Tensor input, int split_size, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "Parts along an axis; views.",
        |a| give(split(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
    name(
        "split_with_sizes(Tensor input, int[] split_sizes, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "Parts along an axis; views.",
        |a| give(split_with_sizes(a.tensor(0)?, a.ints(1)?, a.int(2)?)),
    )
    .also(&["unsafe_split_with_sizes"]),
    name(
        "chunk(Tensor input, int chunks, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "So many parts along an axis; views.",
        |a| give(chunk(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    )
    .also(&["unsafe_chunk"]),
    name(
        "tensor_split(Tensor input, int sections, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "Parts along an axis; views.",
        |a| give(tensor_split(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
    name(
        "tensor_split(Tensor input, int indices_or_sections, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "Parts along an axis; views.",
        |a| give(tensor_split(a.tensor(0)?, a.int(1)?, a.int(2)?)),
    ),
    name(
        "tensor_split(Tensor input, int[] indices, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "Parts along an axis; views.",
        |a| give(tensor_split_at(a.tensor(0)?, a.ints(1)?, a.int(2)?)),
    ),
    name(
        "tensor_split(Tensor input, int[] indices_or_sections, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "Parts along an axis; views.",
        |a| give(tensor_split_at(a.tensor(0)?, a.ints(1)?, a.int(2)?)),
    ),
    name(
        "tensor_split(Tensor input, Tensor tensor_indices_or_sections, int dim=0) -> Tensor[]",
        TOP | METHOD,
        "Parts along an axis; views.",
        |a| give(tensor_split_by(a.tensor(0)?, a.tensor(1)?, a.int(2)?)),
    ),
    name("hsplit(Tensor input, int sections) -> Tensor[]", TOP | METHOD, "Parts side by side; views.", |a| {
        give(even_split(a.tensor(0)?, a.int(1)?, "hsplit"))
    }),
    name("hsplit(Tensor input, int[] indices) -> Tensor[]", TOP | METHOD, "Parts side by side; views.", |a| {
        give(split_at(a.tensor(0)?, a.ints(1)?, "hsplit"))
    }),
    name("vsplit(Tensor input, int sections) -> Tensor[]", TOP | METHOD, "Parts below one another; views.", |a| {
        give(even_split(a.tensor(0)?, a.int(1)?, "vsplit"))
    }),
    name("vsplit(Tensor input, int[] indices) -> Tensor[]", TOP | METHOD, "Parts below one another; views.", |a| {
        give(split_at(a.tensor(0)?, a.ints(1)?, "vsplit"))
    }),
    name("dsplit(Tensor input, int sections) -> Tensor[]", TOP | METHOD, "Parts behind one another; views.", |a| {
        give(even_split(a.tensor(0)?, a.int(1)?, "dsplit"))
    }),
    name("dsplit(Tensor input, int[] indices) -> Tensor[]", TOP | METHOD, "Parts behind one another; views.", |a| {
        give(split_at(a.tensor(0)?, a.ints(1)?, "dsplit"))
    }),
    name("unbind(Tensor input, int dim=0) -> Tensor[]", TOP | METHOD, "The slices along an axis; views.", |a| {
        give(unbind(a.tensor(0)?, a.int(1)?))
    }),
];
