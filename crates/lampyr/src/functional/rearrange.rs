//! Elements repeated, turned round and moved.

use lampyr_base::{Dim, Error, Result};
use lampyr_ops::build as op;
use lampyr_ops::common::{axes, axis};
use lampyr_runtime::Tensor;

use super::operand::one;
use super::shape::reshape_to;
use super::support::{index_tensor, ints, known, shape_error, sizes};
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

/// `x` repeated `times[i]` times along axis `i`; new axes come first.
pub fn repeat(x: &Tensor, times: &[i64]) -> Result<Tensor> {
    let Some(lead) = times.len().checked_sub(x.rank()) else {
        return Err(shape_error("repeat", format!("{} repeats for {} axes", times.len(), x.rank()), &[x])
            .with_expected("at least one number per axis"));
    };
    let times_checked = sizes(times)?;
    let shape: Vec<usize> = std::iter::repeat_n(1, lead).chain(x.shape().iter().copied()).collect();
    let whole: Option<Vec<i64>> =
        shape.iter().zip(&times_checked).map(|(a, b)| a.checked_mul(*b).and_then(|n| i64::try_from(n).ok())).collect();
    sizes(&whole.ok_or_else(|| shape_error("repeat", format!("{times:?} repeats are too many"), &[x]))?)?;
    one(&op::Tile { repeats: known(times) }, &[&reshape_to(x, &shape)?])
}

/// As [`repeat`], but missing numbers in front count as 1.
pub fn tile(x: &Tensor, times: &[i64]) -> Result<Tensor> {
    let missing = x.rank().saturating_sub(times.len());
    let all: Vec<i64> = std::iter::repeat_n(1, missing).chain(times.iter().copied()).collect();
    repeat(x, &all)
}

/// Every element of axis `dim` (of all elements when none is given) `repeats` times: one number, or one per element.
pub fn repeat_interleave(x: &Tensor, repeats: &Tensor, dim: Option<i64>, output_size: Option<i64>) -> Result<Tensor> {
    index_tensor(repeats, "repeat_interleave")?;
    let (flat, dim) = match dim {
        None => (reshape_to(x, &[x.len()])?, 0),
        Some(_) if x.rank() == 0 => (reshape_to(x, &[1])?, 0),
        Some(d) => (x.clone(), axis(d, x.rank())?),
    };
    let n = flat.shape()[dim];
    let times = repeats.to_host()?.to_i64();
    if repeats.rank() > 1 || (times.len() != 1 && times.len() != n) {
        return Err(shape_error(
            "repeat_interleave",
            format!("{} repeats for {n} elements", times.len()),
            &[x, repeats],
        )
        .with_expected("one number, or one per element"));
    }
    if let Some(negative) = times.iter().find(|t| **t < 0) {
        return Err(Error::value(format!("repeats cannot be {negative}")).with_op("repeat_interleave"));
    }
    let time = |i: usize| if times.len() == 1 { times[0] } else { times[i] };
    let total = (0..n).try_fold(0i64, |sum, i| sum.checked_add(time(i)));
    let total = total.ok_or_else(|| Error::value("the repeats are too many").with_op("repeat_interleave"))?;
    if output_size.is_some_and(|s| s != total) {
        return Err(Error::value(format!("output_size does not fit repeats that add up to {total}"))
            .with_op("repeat_interleave"));
    }
    sizes(&[total, (flat.len() / n.max(1)).max(1) as i64])?;
    super::support::room(&[total as usize])?;
    let at: Vec<i64> = (0..n).flat_map(|i| std::iter::repeat_n(i as i64, time(i) as usize)).collect();
    one(&op::Gather { axis: dim as i64 }, &[&flat, &ints(&at, &[at.len()], x.device())?])
}

/// The elements of the axes `dims` in reverse order.
pub fn flip(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    if dims.is_empty() || x.rank() == 0 {
        dims.iter().try_for_each(|&d| axis(d, x.rank().max(1)).map(drop))?;
        return x.duplicate();
    }
    let all = axes(dims, x.rank()).map_err(|e| e.with_op("flip"))?;
    let n = all.len();
    let cut = op::Slice {
        axes: all.iter().map(|&a| a as i64).collect(),
        starts: vec![Dim::Known(-1); n],
        ends: all.iter().map(|&a| Dim::Known(-(x.shape()[a] as i64) - 1)).collect(),
        steps: vec![-1; n],
    };
    if all.iter().any(|&a| x.shape()[a] == 0) {
        return x.duplicate();
    }
    one(&cut, &[x])?.duplicate()
}

/// Columns in reverse order.
pub fn fliplr(x: &Tensor) -> Result<Tensor> {
    if x.rank() < 2 {
        return Err(shape_error("fliplr", format!("fliplr() of a tensor of {} axes", x.rank()), &[x]));
    }
    flip(x, &[1])
}

/// Rows in reverse order.
pub fn flipud(x: &Tensor) -> Result<Tensor> {
    if x.rank() < 1 {
        return Err(shape_error("flipud", "flipud() of a tensor without axes", &[x]));
    }
    flip(x, &[0])
}

/// Elements moved by `shifts[i]` along axis `dims[i]`, round the end; without axes: of all elements in a row.
pub fn roll(x: &Tensor, shifts: &[i64], dims: &[i64]) -> Result<Tensor> {
    if dims.is_empty() {
        let [shift] = shifts else {
            return Err(Error::value(format!("{} shifts without axes", shifts.len())).with_op("roll"));
        };
        return reshape_to(&roll(&reshape_to(x, &[x.len()])?, &[*shift], &[0])?, x.shape());
    }
    if shifts.len() != dims.len() {
        return Err(Error::value(format!("{} shifts for {} axes", shifts.len(), dims.len())).with_op("roll"));
    }
    let mut rolled = x.clone();
    for (&shift, &dim) in shifts.iter().zip(dims) {
        let a = axis(dim, x.rank())? as i64;
        let n = x.shape()[a as usize] as i64;
        let from = if n == 0 { 0 } else { (n - shift.rem_euclid(n)) % n };
        if from != 0 {
            rolled = Tensor::concat(&[&rolled.slice(a, from, n, 1)?, &rolled.slice(a, 0, from, 1)?], a)?;
        }
    }
    if rolled.same(x) { x.duplicate() } else { Ok(rolled) }
}

/// Turned by `k` quarters in the plane of two axes, from the first towards the second.
pub fn rot90(x: &Tensor, k: i64, dims: &[i64]) -> Result<Tensor> {
    let [first, second] = dims else {
        return Err(Error::value(format!("a plane of {} axes", dims.len())).with_op("rot90").with_expected("two axes"));
    };
    if x.rank() < 2 {
        return Err(shape_error("rot90", format!("rot90() of a tensor of {} axes", x.rank()), &[x]));
    }
    axes(dims, x.rank()).map_err(|e| e.with_op("rot90"))?;
    match k.rem_euclid(4) {
        1 => flip(x, &[*second])?.transpose(*first, *second),
        2 => flip(x, &[*first, *second]),
        3 => flip(x, &[*first])?.transpose(*first, *second),
        _ => x.duplicate(),
    }
}

/// The upper (or lower) triangle of matrices, the rest zero; `diagonal` 0 is the main one, positive ones lie above.
pub fn triangle(x: &Tensor, diagonal: i64, upper: bool) -> Result<Tensor> {
    if x.rank() < 2 {
        let name = if upper { "triu" } else { "tril" };
        return Err(shape_error(name, format!("{name}() of a tensor of {} axes", x.rank()), &[x])
            .with_expected("at least 2 axes"));
    }
    one(&op::Trilu { upper, k: Dim::Known(diagonal) }, &[x])
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name("repeat(Tensor input, int[] repeats) -> Tensor", TOP | METHOD, "Repeated along every axis.", |a| {
        give(repeat(a.tensor(0)?, a.ints(1)?))
    }),
    name("tile(Tensor input, int[] dims) -> Tensor", TOP | METHOD, "Repeated along every axis.", |a| {
        give(tile(a.tensor(0)?, a.ints(1)?))
    }),
    name(
        "repeat_interleave(Tensor input, int repeats, int? dim=None, *, int? output_size=None) -> Tensor",
        TOP | METHOD,
        "Every element several times.",
        |a| {
            let x = a.tensor(0)?;
            let times = ints(&[a.int(1)?], &[], x.device())?;
            give(repeat_interleave(x, &times, a.int_or_none(2)?, a.int_or_none(3)?))
        },
    ),
    name(
        "repeat_interleave(Tensor input, Tensor repeats, int? dim=None, *, int? output_size=None) -> Tensor",
        TOP | METHOD,
        "Every element several times.",
        |a| give(repeat_interleave(a.tensor(0)?, a.tensor(1)?, a.int_or_none(2)?, a.int_or_none(3)?)),
    ),
    name(
        "repeat_interleave(Tensor repeats, *, int? output_size=None) -> Tensor",
        TOP,
        "Every position as often as its number says.",
        |a| {
            let times = a.tensor(0)?;
            let all = super::support::counting(times.len(), times.device())?;
            give(repeat_interleave(&all, times, Some(0), a.int_or_none(1)?))
        },
    ),
    name("flip(Tensor input, int[1] dims) -> Tensor", TOP | METHOD, "Axes in reverse order.", |a| {
        give(flip(a.tensor(0)?, a.ints(1)?))
    }),
    name("fliplr(Tensor input) -> Tensor", TOP | METHOD, "Columns in reverse order.", |a| give(fliplr(a.tensor(0)?))),
    name("flipud(Tensor input) -> Tensor", TOP | METHOD, "Rows in reverse order.", |a| give(flipud(a.tensor(0)?))),
    name(
        "roll(Tensor input, int[1] shifts, int[1] dims=[]) -> Tensor",
        TOP | METHOD,
        "Elements moved along axes, round the end.",
        |a| give(roll(a.tensor(0)?, a.ints(1)?, a.ints(2)?)),
    ),
    name(
        "rot90(Tensor input, int k=1, int[] dims=[0, 1]) -> Tensor",
        TOP | METHOD,
        "Turned by quarters in a plane.",
        |a| give(rot90(a.tensor(0)?, a.int(1)?, a.ints(2)?)),
    ),
    name(
        "tril(Tensor input, int diagonal=0, *, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "Lower triangles, the rest zero.",
        |a| give(triangle(a.tensor(0)?, a.int(1)?, false)),
    ),
    name(
        "triu(Tensor input, int diagonal=0, *, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "Upper triangles, the rest zero.",
        |a| give(triangle(a.tensor(0)?, a.int(1)?, true)),
    ),
];
