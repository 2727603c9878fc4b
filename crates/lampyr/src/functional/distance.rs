//! Norms along axes and distances.

use lampyr_base::{Error, Result, broadcast_shapes};
use lampyr_ops::build as op;
use lampyr_ops::common::axis;
use lampyr_runtime::Tensor;

use super::operand::one;
use super::shape::unsqueeze;
use super::support::{constant, floats, ints, joined, promoted, shape_error};
use crate::names::{Entry, FUNCTIONAL, TOP, give, name};

/// The `p` norm over `dims` (all axes when empty): `p` 0 counts elements that are not 0, infinite ones give extremes.
pub(crate) fn norm_over(x: &Tensor, p: f64, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    floats(x, "norm")?;
    let axes = dims.to_vec();
    if p == 2.0 {
        return one(&op::ReduceL2 { axes, keepdims: keepdim }, &[x]);
    }
    if p == 1.0 {
        return one(&op::ReduceL1 { axes, keepdims: keepdim }, &[x]);
    }
    if p == 0.0 {
        let hit = x.equal(0.0)?;
        let ones = one(&op::Where, &[&hit, &constant(0.0, x)?, &constant(1.0, x)?])?;
        return ones.sum(dims, keepdim);
    }
    let size = one(&op::Abs, &[x])?;
    if p == f64::INFINITY {
        return size.amax(dims, keepdim);
    }
    if p == f64::NEG_INFINITY {
        return one(&op::ReduceMin { axes, keepdims: keepdim }, &[&size]);
    }
    let sum = joined(&op::Pow, &size, p)?.sum(dims, keepdim)?;
    if p < 0.0 {
        return joined(&op::Pow, &sum, 1.0 / p);
    }
    // The root has no gradient at 0, where that of the norm is 0.
    let nothing = sum.equal(0.0)?;
    let safe = one(&op::Where, &[&nothing, &constant(1.0, &sum)?, &sum])?;
    one(&op::Where, &[&nothing, &constant(0.0, &sum)?, &joined(&op::Pow, &safe, 1.0 / p)?])
}

/// `x` divided by its `p` norm along `dims`, which counts as `eps` at least.
pub fn normalize(x: &Tensor, p: f64, dims: &[i64], eps: f64) -> Result<Tensor> {
    let dims = super::reduce::reduced(x, dims)?;
    let norm = norm_over(x, p, &dims, true)?;
    x.div(&one(&op::Clip { min: Some(eps), max: None }, &[&norm])?)
}

/// Cosine of the angle between vectors along axis `dim`; lengths count as `eps` at least.
pub fn cosine_similarity(x: &Tensor, y: &Tensor, dim: i64, eps: f64) -> Result<Tensor> {
    let both = promoted(&[x, y])?;
    let [x, y] = &both[..] else { return Err(Error::internal("two operands")) };
    floats(x, "cosine_similarity")?;
    let shape = broadcast_shapes(x.shape(), y.shape()).map_err(|e| e.with_op("cosine_similarity"))?;
    let (x, y) = (x.expand(&shape)?, y.expand(&shape)?);
    if shape.is_empty() {
        return normalize(&x, 2.0, &[], eps)?.mul(&normalize(&y, 2.0, &[], eps)?);
    }
    let a = axis(dim, shape.len())? as i64;
    normalize(&x, 2.0, &[a], eps)?.mul(&normalize(&y, 2.0, &[a], eps)?)?.sum(&[a], false)
}

/// The `p` norm of `x - y + eps` along the last axis.
pub fn pairwise_distance(x: &Tensor, y: &Tensor, p: f64, eps: f64, keepdim: bool) -> Result<Tensor> {
    let difference = x.sub(y)?.add(eps)?;
    if difference.rank() == 0 {
        return norm_over(&difference, p, &[], keepdim);
    }
    norm_over(&difference, p, &[-1], keepdim)
}

/// The `p` norm of the difference of every row of `x` `[.., P, M]` and every row of `y` `[.., R, M]`: `[.., P, R]`.
pub fn cdist(x: &Tensor, y: &Tensor, p: f64) -> Result<Tensor> {
    floats(x, "cdist")?;
    if x.rank() < 2 || y.rank() < 2 || x.shape().last() != y.shape().last() {
        return Err(
            shape_error("cdist", "the rows have different sizes", &[x, y]).with_expected("[.., P, M] and [.., R, M]")
        );
    }
    if p < 0.0 || p.is_nan() {
        return Err(Error::value(format!("p is {p}")).with_op("cdist").with_expected("0 or more"));
    }
    let difference = unsqueeze(x, -2)?.sub(&unsqueeze(y, -3)?)?;
    if difference.shape().last() == Some(&0) {
        return difference.sum(&[-1], false);
    }
    norm_over(&difference, p, &[-1], false)
}

/// The `p` norm of the difference of every two rows of a matrix, the first one's pairs first.
pub fn pdist(x: &Tensor, p: f64) -> Result<Tensor> {
    floats(x, "pdist")?;
    if x.rank() != 2 {
        return Err(shape_error("pdist", format!("a tensor of {} axes", x.rank()), &[x]).with_expected("a matrix"));
    }
    if p < 0.0 || p.is_nan() {
        return Err(Error::value(format!("p is {p}")).with_op("pdist").with_expected("0 or more"));
    }
    let n = x.shape()[0] as i64;
    super::support::room(&[x.shape()[0], x.shape()[0]])?;
    let pairs: Vec<(i64, i64)> = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect();
    let rows = |at: Vec<i64>| one(&op::Gather { axis: 0 }, &[x, &ints(&at, &[at.len()], x.device())?]);
    let first = rows(pairs.iter().map(|p| p.0).collect())?;
    let difference = first.sub(&rows(pairs.iter().map(|p| p.1).collect())?)?;
    if difference.shape()[1] == 0 {
        return difference.sum(&[-1], false);
    }
    norm_over(&difference, p, &[-1], false)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "normalize(Tensor input, float p=2.0, int[1] dim=1, float eps=1e-12, Tensor? out=None) -> Tensor",
        FUNCTIONAL,
        "Divided by norms along axes.",
        |a| give(normalize(a.tensor(0)?, a.float(1)?, a.ints(2)?, a.float(3)?)),
    ),
    name(
        "cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-8) -> Tensor",
        TOP | FUNCTIONAL,
        "Cosine of the angle between vectors.",
        |a| give(cosine_similarity(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.float(3)?)),
    ),
    name(
        "pairwise_distance(Tensor x1, Tensor x2, float p=2.0, float eps=1e-6, bool keepdim=False) -> Tensor",
        TOP | FUNCTIONAL,
        "Norms of differences along the last axis.",
        |a| give(pairwise_distance(a.tensor(0)?, a.tensor(1)?, a.float(2)?, a.float(3)?, a.bool(4)?)),
    ),
    name(
        "cdist(Tensor x1, Tensor x2, float p=2.0, str compute_mode='use_mm_for_euclid_dist_if_necessary') -> Tensor",
        TOP,
        "Norms of the differences of all pairs of rows.",
        |a| give(cdist(a.tensor(0)?, a.tensor(1)?, a.float(2)?)),
    )
    .cost(64.0),
    name(
        "pdist(Tensor input, float p=2.0) -> Tensor",
        TOP | FUNCTIONAL,
        "Norms of the differences of every two rows.",
        |a| give(pdist(a.tensor(0)?, a.float(1)?)),
    )
    .cost(64.0),
];
