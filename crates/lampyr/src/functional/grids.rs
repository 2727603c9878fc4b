//! Diagonals, blocks and grids of coordinates.

use lampyr_base::{DType, Device, Error, Result, num_elements};
use lampyr_ops::build as op;
use lampyr_ops::common::axis;
use lampyr_runtime::Tensor;

use super::operand::{common, one};
use super::shape::{reshape_to, stack};
use super::support::{ints, shape_error, sizes, zeros};
use super::views::{atleast_2d, diagonal, movedim};
use crate::names::{Entry, METHOD, TOP, give, name};

/// The last axis of `x` as the diagonal of matrices on the axes `first` and `second` of the result.
pub fn diag_embed(x: &Tensor, offset: i64, first: i64, second: i64) -> Result<Tensor> {
    let rank = x.rank() + 1;
    let (a, b) = (axis(first, rank)?, axis(second, rank)?);
    if a == b {
        return Err(Error::value(format!("axes {first} and {second} are the same")).with_op("diag_embed"));
    }
    let Some((&n, batch)) = x.shape().split_last() else {
        return Err(shape_error("diag_embed", "diag_embed() of a tensor without axes", &[x]));
    };
    let side = offset.checked_abs().and_then(|o| o.checked_add(n as i64));
    let side = side.ok_or_else(|| Error::value(format!("offset {offset}")).with_op("diag_embed"))?;
    let whole: Vec<i64> = batch.iter().map(|&d| d as i64).chain([side, side]).collect();
    let shape = sizes(&whole)?;
    let (row, column) = if offset >= 0 { (0, offset) } else { (-offset, 0) };
    let at: Vec<i64> = (0..n as i64).map(|i| (i + row) * side + i + column).collect();
    let count: usize = batch.iter().product();
    let flat = reshape_to(x, &[count, n])?;
    let at = ints(&at, &[1, n], x.device())?.expand(&[count, n])?;
    let empty = zeros(&[count, (side * side) as usize], x)?;
    let placed = one(&op::ScatterElements { axis: 1, reduction: "none".to_string() }, &[&empty, &at, &flat])?;
    movedim(&reshape_to(&placed, &shape)?, &[-2, -1], &[a as i64, b as i64])
}

/// A matrix with the vector `x` on its diagonal, or the diagonal of the matrix `x`.
pub fn diag(x: &Tensor, offset: i64) -> Result<Tensor> {
    match x.rank() {
        1 => diag_embed(x, offset, 0, 1),
        2 => diagonal(x, offset, 0, 1)?.duplicate(),
        n => Err(shape_error("diag", format!("diag() of a tensor of {n} axes"), &[x]).with_expected("1 or 2 axes")),
    }
}

/// A matrix with all elements of `x` on its diagonal.
pub fn diagflat(x: &Tensor, offset: i64) -> Result<Tensor> {
    diag_embed(&reshape_to(x, &[x.len()])?, offset, 0, 1)
}

/// Matrices along the diagonal of one, the rest zero.
pub fn block_diag(tensors: &[Tensor]) -> Result<Tensor> {
    if tensors.is_empty() {
        return Tensor::empty(&[1, 0], DType::F32, Device::CPU);
    }
    let to = common(&tensors.iter().map(Into::into).collect::<Vec<_>>());
    let blocks = tensors
        .iter()
        .map(|t| match t.rank() {
            0..=2 => atleast_2d(&t.to_dtype(to)?),
            n => Err(shape_error("block_diag", format!("a block of {n} axes"), &[t]).with_expected("at most 2 axes")),
        })
        .collect::<Result<Vec<_>>>()?;
    let width: usize = blocks.iter().map(|b| b.shape()[1]).sum();
    let mut from = 0;
    let mut rows = Vec::new();
    for block in &blocks {
        let (height, wide) = (block.shape()[0], block.shape()[1]);
        let (left, right) = (zeros(&[height, from], block)?, zeros(&[height, width - from - wide], block)?);
        rows.push(Tensor::concat(&[&left, block, &right], 1)?);
        from += wide;
    }
    Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0)
}

/// Row and column of every element of the lower (or upper) triangle of a matrix of this size.
pub fn triangle_indices(rows: i64, columns: i64, offset: i64, upper: bool, dtype: DType) -> Result<Tensor> {
    let [height, width] = sizes(&[rows, columns])?[..] else { return Err(Error::internal("two sizes")) };
    super::support::room(&[2, height, width])?;
    let inside = |i: i64, j: i64| {
        let distance = i128::from(j) - i128::from(i);
        if upper { distance >= i128::from(offset) } else { distance <= i128::from(offset) }
    };
    let pairs: Vec<(i64, i64)> = (0..height as i64)
        .flat_map(|i| (0..width as i64).map(move |j| (i, j)))
        .filter(|&(i, j)| inside(i, j))
        .collect();
    let all: Vec<i64> = pairs.iter().map(|p| p.0).chain(pairs.iter().map(|p| p.1)).collect();
    ints(&all, &[2, pairs.len()], Device::CPU)?.to_dtype(dtype)
}

/// One tensor per vector, all of the sizes of the vectors, each varying along its own axis; views. `indexing` is `ij`,
/// or `xy` to have the first two axes exchanged.
pub fn meshgrid(tensors: &[Tensor], indexing: &str) -> Result<Vec<Tensor>> {
    if !["ij", "xy"].contains(&indexing) {
        return Err(Error::value(format!("indexing is `{indexing}`")).with_op("meshgrid").with_expected("ij or xy"));
    }
    if tensors.is_empty() {
        return Err(Error::value("meshgrid() of no tensors").with_op("meshgrid"));
    }
    if let Some(t) = tensors.iter().find(|t| t.rank() > 1) {
        return Err(shape_error("meshgrid", "a tensor has several axes", &[t]).with_expected("vectors or numbers"));
    }
    if let Some(t) = tensors.iter().find(|t| t.dtype() != tensors[0].dtype()) {
        return Err(Error::dtype(format!("tensors of {} and {}", tensors[0].dtype(), t.dtype())).with_op("meshgrid"));
    }
    let shape: Vec<usize> = tensors.iter().map(Tensor::len).collect();
    num_elements(&shape)?;
    let swap = indexing == "xy" && tensors.len() > 1;
    let grid = |(i, t): (usize, &Tensor)| {
        let mut own = vec![1; shape.len()];
        own[i] = t.len();
        let wide = reshape_to(t, &own)?.expand(&shape)?;
        if swap { wide.transpose(0, 1) } else { Ok(wide) }
    };
    tensors.iter().enumerate().map(grid).collect()
}

/// All combinations of one element per vector, as rows.
pub fn cartesian_prod(tensors: &[Tensor]) -> Result<Tensor> {
    if let Some(t) = tensors.iter().find(|t| t.rank() != 1) {
        return Err(shape_error("cartesian_prod", "a tensor is not a vector", &[t]).with_expected("vectors"));
    }
    if let [only] = tensors {
        return Ok(only.clone());
    }
    let columns = meshgrid(tensors, "ij")?.iter().map(|g| reshape_to(g, &[g.len()])).collect::<Result<Vec<_>>>()?;
    stack(&columns, 1)
}

/// All choices of `r` elements of a vector in the order of their positions, as rows.
pub fn combinations(x: &Tensor, r: i64, with_replacement: bool) -> Result<Tensor> {
    if x.rank() != 1 {
        return Err(shape_error("combinations", "the tensor is not a vector", &[x]).with_expected("a vector"));
    }
    let count = usize::try_from(r).map_err(|_| Error::value(format!("choices of {r}")).with_op("combinations"))?;
    let n = x.len();
    if count == 0 {
        return Tensor::empty(&[0], x.dtype(), x.device());
    }
    if count > 64 {
        return Err(Error::value(format!("choices of {r}")).with_op("combinations").with_expected("at most 64"));
    }
    let mut rows: Vec<Vec<i64>> = vec![Vec::new()];
    for _ in 0..count {
        let grown = rows.iter().flat_map(|row| {
            let from = row.last().map_or(0, |&l| if with_replacement { l } else { l + 1 });
            (from..n as i64).map(move |i| [row.as_slice(), &[i]].concat())
        });
        rows = grown.collect();
        super::support::room(&[rows.len(), count])?;
    }
    let at: Vec<i64> = rows.concat();
    one(&op::Gather { axis: 0 }, &[x, &ints(&at, &[rows.len(), count], x.device())?])
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "diag_embed(Tensor input, int offset=0, int dim1=-2, int dim2=-1) -> Tensor",
        TOP | METHOD,
        "The last axis as the diagonal of matrices.",
        |a| give(diag_embed(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?)),
    ),
    name(
        "diag(Tensor input, int diagonal=0, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "A matrix of a diagonal, or the diagonal of a matrix.",
        |a| give(diag(a.tensor(0)?, a.int(1)?)),
    ),
    name(
        "diagflat(Tensor input, int offset=0) -> Tensor",
        TOP | METHOD,
        "A matrix with all elements on its diagonal.",
        |a| give(diagflat(a.tensor(0)?, a.int(1)?)),
    ),
    name("block_diag(Tensor[]... tensors) -> Tensor", TOP, "Matrices along the diagonal of one.", |a| {
        give(block_diag(a.tensors(0)?))
    }),
    name(
        "tril_indices(int row, int col, int offset=0, *, dtype? dtype=int64, device? device=None, layout? layout=None, bool pin_memory=False) -> Tensor",
        TOP,
        "Rows and columns of the elements of a lower triangle.",
        |a| give(triangle_indices(a.int(0)?, a.int(1)?, a.int(2)?, false, a.dtype_or_none(3)?.unwrap_or(DType::I64))),
    ),
    name(
        "triu_indices(int row, int col, int offset=0, *, dtype? dtype=int64, device? device=None, layout? layout=None, bool pin_memory=False) -> Tensor",
        TOP,
        "Rows and columns of the elements of an upper triangle.",
        |a| give(triangle_indices(a.int(0)?, a.int(1)?, a.int(2)?, true, a.dtype_or_none(3)?.unwrap_or(DType::I64))),
    ),
    name(
        "meshgrid(Tensor[]... tensors, *, str? indexing=None) -> Tensor[]",
        TOP,
        "Coordinates of a grid; views.",
        |a| give(meshgrid(a.tensors(0)?, a.str_or_none(1)?.unwrap_or("ij"))),
    ),
    name("cartesian_prod(Tensor[]... tensors) -> Tensor", TOP, "All combinations of one element per vector.", |a| {
        give(cartesian_prod(a.tensors(0)?))
    }),
    name(
        "combinations(Tensor input, int r=2, bool with_replacement=False) -> Tensor",
        TOP,
        "All choices of elements of a vector.",
        |a| give(combinations(a.tensor(0)?, a.int(1)?, a.bool(2)?)),
    ),
];
