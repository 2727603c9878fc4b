//! Rows picked from tables.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::build as op;
use lampyr_ops::gradient::accumulator;
use lampyr_runtime::{Tensor, no_grad};

use super::distance::norm_over;
use super::operand::one;
use super::shape::{reshape_to, unsqueeze};
use super::support::{constant, floats, index_tensor, ints, joined, shape_error, zeros};
use crate::names::{Entry, FUNCTIONAL, give, name};

fn table(weight: &Tensor, at: &Tensor, name: &str) -> Result<()> {
    index_tensor(at, name)?;
    if weight.rank() == 2 {
        return Ok(());
    }
    Err(shape_error(name, format!("the weight has {} axes", weight.rank()), &[at, weight])
        .with_expected("[rows, size]"))
}

/// `padding` counted from the front.
fn row(padding: Option<i64>, rows: usize, name: &str) -> Result<Option<i64>> {
    let n = rows as i64;
    match padding {
        Some(p) if p < -n || p >= n => {
            Err(Error::value(format!("padding_idx is {p} for {rows} rows")).with_op(name).with_expected("a row"))
        }
        Some(p) => Ok(Some(if p < 0 { p + n } else { p })),
        None => Ok(None),
    }
}

/// Rows of `weight` that `at` names, scaled down in place to a norm of at most `max`.
fn renormalize(weight: &Tensor, at: &Tensor, max: f64, p: f64) -> Result<()> {
    let rows = weight.shape()[0];
    let old = weight.detach();
    let norms = norm_over(&old, p, &[1], true)?;
    let ones = Tensor::full(&[at.len()], 1.0, DType::I64, at.device())?;
    let flat = reshape_to(at, &[at.len()])?;
    let used = one(&op::ScatterAddElements { axis: 0, shape: vec![rows.into()] }, &[&flat, &ones])?;
    let used = reshape_to(&used.to_dtype(DType::Bool)?, &[rows, 1])?;
    let long = one(&op::Greater, &[&norms, &constant(max, &norms)?])?;
    let factor = constant(max, &norms)?.div(&norms.add(1e-7)?)?;
    let chosen = one(&op::LogicalAnd, &[&used, &long])?;
    let factor = one(&op::Where, &[&chosen, &factor, &constant(1.0, &norms)?])?;
    no_grad(|| weight.assign_(&old.mul(&factor)?))
}

/// `y` with gradients scaled by `1 / count` of each row in `at`.
fn by_frequency(y: Tensor, at: &Tensor) -> Result<Tensor> {
    let all = at.to_host()?.to_i64();
    let mut counts = std::collections::HashMap::new();
    all.iter().for_each(|i| *counts.entry(*i).or_insert(0i64) += 1);
    let factors: Vec<f64> = all.iter().map(|i| 1.0 / counts.get(i).map_or(1.0, |c| *c as f64)).collect();
    let factors = Tensor::from_host(&HostTensor::from_f64(y.dtype(), at.shape(), &factors)?, y.device())?;
    let held = y.detach();
    y.sub(&held)?.mul(&unsqueeze(&factors, -1)?)?.add(&held)
}

/// What embeddings take besides indices and weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedding {
    /// The row that gets no gradient.
    pub padding: Option<i64>,
    /// Rows are scaled down in place to this norm at most.
    pub max_norm: Option<f64>,
    /// Which norm.
    pub norm_type: f64,
    /// Whether gradients are divided by how often a row is named.
    pub by_frequency: bool,
}

/// The rows of `weight` `[rows, size]` at `at`.
pub fn embedding(at: &Tensor, weight: &Tensor, options: Embedding) -> Result<Tensor> {
    table(weight, at, "embedding")?;
    let padding = row(options.padding, weight.shape()[0], "embedding")?;
    if let Some(max) = options.max_norm {
        one(&op::Gather { axis: 0 }, &[&weight.detach(), at])?;
        renormalize(weight, at, max, options.norm_type)?;
    }
    let mut y = one(&op::Gather { axis: 0 }, &[weight, at])?;
    if !weight.requires_grad() {
        return Ok(y);
    }
    if options.by_frequency {
        y = by_frequency(y, at)?;
    }
    if let Some(p) = padding {
        let fixed = unsqueeze(&at.equal(p)?, -1)?;
        y = one(&op::Where, &[&fixed, &y.detach(), &y])?;
    }
    Ok(y)
}

/// Which rows go into which bag.
#[derive(Clone, Copy, Debug)]
pub struct Bags<'a> {
    /// Where bags begin in a vector of indices; none for a matrix with one bag per row.
    pub offsets: Option<&'a Tensor>,
    /// Factor of every index, for sums.
    pub weights: Option<&'a Tensor>,
    /// Whether the last offset is the end.
    pub last: bool,
    /// `sum`, `mean` or `max`.
    pub mode: &'a str,
}

fn bag_numbers(at: &Tensor, bags: &Bags) -> Result<(Vec<i64>, usize)> {
    let fail = |what: &str| Error::value(what.to_string()).with_op("embedding_bag");
    match (at.rank(), bags.offsets) {
        (2, None) => {
            Ok(((0..at.shape()[0]).flat_map(|b| std::iter::repeat_n(b as i64, at.shape()[1])).collect(), at.shape()[0]))
        }
        (1, Some(offsets)) => {
            index_tensor(offsets, "embedding_bag")?;
            let starts = offsets.to_host()?.to_i64();
            let n = at.len() as i64;
            let sorted = starts.windows(2).all(|w| w[0] <= w[1]);
            if offsets.rank() != 1 || !sorted || starts.iter().any(|s| *s < 0 || *s > n) {
                return Err(fail("the offsets are not ascending places in the indices"));
            }
            if starts.first().is_some_and(|s| *s != 0) || (bags.last && starts.is_empty()) {
                return Err(fail("the first offset is not 0"));
            }
            let count = starts.len() - usize::from(bags.last);
            let bag = |i: i64| starts.partition_point(|s| *s <= i) as i64 - 1;
            Ok(((0..n).map(|i| bag(i).min(count as i64 - 1)).collect(), count))
        }
        (2, Some(_)) => Err(fail("a matrix of indices takes no offsets")),
        _ => Err(fail("the indices are neither a matrix nor a vector with offsets")),
    }
}

/// Sums, means or largest elements of the rows of `weight` in every bag; an empty bag gives zeros.
pub fn embedding_bag(at: &Tensor, weight: &Tensor, bags: Bags, options: Embedding) -> Result<Tensor> {
    table(weight, at, "embedding_bag")?;
    floats(weight, "embedding_bag")?;
    if !["sum", "mean", "max"].contains(&bags.mode) {
        return Err(Error::value(format!("mode is `{}`", bags.mode))
            .with_op("embedding_bag")
            .with_expected("sum, mean or max"));
    }
    if bags.weights.is_some() && bags.mode != "sum" {
        return Err(Error::value("per_sample_weights without mode `sum`").with_op("embedding_bag"));
    }
    if let Some(w) = bags.weights.filter(|w| w.shape() != at.shape()) {
        return Err(
            shape_error("embedding_bag", "per_sample_weights do not fit", &[at, w]).with_expected("equal shapes")
        );
    }
    let (mut numbers, count) = bag_numbers(at, &bags)?;
    let padding = row(options.padding, weight.shape()[0], "embedding_bag")?;
    let mut places = at.to_host()?.to_i64();
    let mut kept: Vec<i64> = (0..places.len() as i64).collect();
    if let Some(p) = padding {
        kept.retain(|&i| places[i as usize] != p);
        numbers = kept.iter().map(|&i| numbers[i as usize]).collect();
        places = kept.iter().map(|&i| places[i as usize]).collect();
    }
    let n = places.len();
    let flat = ints(&places, &[n], at.device())?;
    let plain = Embedding { padding: None, ..options };
    let mut rows = embedding(&flat, weight, plain)?;
    if let Some(w) = bags.weights {
        let w = reshape_to(w, &[w.len()])?;
        let w = one(&op::Gather { axis: 0 }, &[&w, &ints(&kept, &[n], at.device())?])?;
        rows = rows.to_dtype(accumulator(weight.dtype()))?.mul(&unsqueeze(&w, 1)?)?;
    }
    let size = weight.shape()[1];
    let bag = ints(&numbers, &[n, 1], at.device())?.expand(&[n, size])?;
    let mut sizes = vec![0.0; count];
    numbers.iter().for_each(|&b| sizes[b as usize] += 1.0);
    let filled = Tensor::from_host(&HostTensor::from_f64(weight.dtype(), &[count, 1], &sizes)?, at.device())?;
    if bags.mode == "max" {
        let low = Tensor::full(&[count, size], f64::NEG_INFINITY, weight.dtype(), at.device())?;
        let best = super::place::scatter(&low, 0, &bag, (&rows).into(), "amax")?;
        return one(&op::Where, &[&filled.equal(0.0)?, &constant(0.0, &best)?, &best]);
    }
    let rows = rows.to_dtype(accumulator(weight.dtype()))?;
    let sum = super::place::scatter(&zeros(&[count, size], &rows)?, 0, &bag, (&rows).into(), "sum")?;
    let made = match bags.mode {
        "sum" => sum,
        _ => sum.div(&joined(&op::Maximum, &filled.to_dtype(sum.dtype())?, 1.0)?)?,
    };
    made.to_dtype(weight.dtype())
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "embedding(Tensor input, Tensor weight, int? padding_idx=None, float? max_norm=None, float norm_type=2.0, bool scale_grad_by_freq=False, bool sparse=False) -> Tensor",
        FUNCTIONAL,
        "Rows of a table.",
        |a| {
            let options = Embedding {
                padding: a.int_or_none(2)?,
                max_norm: a.float_or_none(3)?,
                norm_type: a.float(4)?,
                by_frequency: a.bool(5)?,
            };
            give(embedding(a.tensor(0)?, a.tensor(1)?, options))
        },
    ),
    name(
        "embedding_bag(Tensor input, Tensor weight, Tensor? offsets=None, float? max_norm=None, float norm_type=2.0, bool scale_grad_by_freq=False, str mode='mean', bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False, int? padding_idx=None) -> Tensor",
        FUNCTIONAL,
        "Sums, means or largest elements of rows of a table.",
        |a| {
            let bags = Bags {
                offsets: a.tensor_or_none(2)?,
                weights: a.tensor_or_none(8)?,
                last: a.bool(9)?,
                mode: a.str(6)?,
            };
            let options = Embedding {
                padding: a.int_or_none(10)?,
                max_norm: a.float_or_none(3)?,
                norm_type: a.float(4)?,
                by_frequency: a.bool(5)?,
            };
            give(embedding_bag(a.tensor(0)?, a.tensor(1)?, bags, options))
        },
    ),
];
