//! Pooling to given sizes.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::build as op;
use lampyr_ops::gradient::accumulator;
use lampyr_runtime::Tensor;

use super::convolution::{batched, unbatched};
use super::operand::one;
use super::pooling::{Pooling, avg_pooling, max_pooling};
use super::shape::reshape_to;
use super::support::{floats, ints, shape_error, sizes, two};
use crate::names::{Call, Entry, FUNCTIONAL, Output, TOP, give, name};

/// The wanted sizes, with those of `x` for `None`.
fn wanted(x: &Tensor, n: usize, output: &[Option<i64>], name: &str) -> Result<Vec<usize>> {
    let all: Vec<Option<i64>> = match output {
        [one] => vec![*one; n],
        all if all.len() == n => all.to_vec(),
        _ => {
            return Err(Error::value(format!("output_size has {} numbers", output.len()))
                .with_op(name)
                .with_expected(format!("one or {n}")));
        }
    };
    let own = &x.shape()[2..];
    if own.contains(&0) || x.shape()[1] == 0 {
        return Err(shape_error(name, "the input has no elements to pool", &[x]));
    }
    let list: Vec<i64> = all.iter().zip(own).map(|(w, &d)| w.unwrap_or(d as i64)).collect();
    sizes(&[&[x.shape()[0] as i64, x.shape()[1] as i64], &list[..]].concat())?;
    sizes(&list)
}

/// First and one past the last element of window `i` of `out` over `n` elements.
fn bounds(i: usize, out: usize, n: usize) -> (usize, usize) {
    (i * n / out, ((i + 1) * n).div_ceil(out))
}

fn even(own: &[usize], wanted: &[usize]) -> Option<Vec<i64>> {
    let whole = own.iter().zip(wanted).all(|(n, w)| *w > 0 && n % w == 0);
    whole.then(|| own.iter().zip(wanted).map(|(n, w)| (n / w) as i64).collect())
}

/// Means of as many windows per axis as `output` asks for (`None`: as many as there are elements).
pub fn adaptive_avg_pooling(n: usize, x: &Tensor, output: &[Option<i64>]) -> Result<Tensor> {
    let name = format!("adaptive_avg_pool{n}d");
    floats(x, &name)?;
    let (wide, added) = batched(x, n, &name)?;
    let wanted = wanted(&wide, n, output, &name)?;
    if let Some(kernel) = even(&wide.shape()[2..], &wanted) {
        let pooling = Pooling { n, kernel: &kernel, stride: &[], padding: &[0], dilation: &[1], ceil: false };
        return unbatched(avg_pooling(&wide, pooling, true, None)?, added);
    }
    let mut y = wide.to_dtype(accumulator(x.dtype()))?;
    for (a, &out) in wanted.iter().enumerate() {
        let size = y.shape()[a + 2];
        if size == out {
            continue;
        }
        super::support::room(&[size, out])?;
        let mut weights = vec![0.0; size * out];
        for i in 0..out {
            let (from, to) = bounds(i, out, size);
            (from..to).for_each(|k| weights[k * out + i] = 1.0 / (to - from) as f64);
        }
        let weights = Tensor::from_host(&HostTensor::from_f64(y.dtype(), &[size, out], &weights)?, y.device())?;
        y = one(&op::Matmul, &[&y.transpose(a as i64 + 2, -1)?, &weights])?.transpose(a as i64 + 2, -1)?;
    }
    unbatched(y.contiguous()?.to_dtype(x.dtype())?, added)
}

/// Flat positions of the elements of every window, `[windows * taps]`, and the number of taps; windows with fewer
/// elements repeat one.
fn taps(own: &[usize], wanted: &[usize]) -> Result<(Vec<i64>, usize)> {
    let widest = |(&n, &w): (&usize, &usize)| (0..w).map(|i| bounds(i, w, n)).map(|(a, b)| b - a).max().unwrap_or(0);
    let reach: Vec<usize> = own.iter().zip(wanted).map(widest).collect();
    let (windows, count) = (wanted.iter().product::<usize>(), reach.iter().product::<usize>());
    super::support::room(&[windows, count])?;
    let mut at = Vec::with_capacity(windows * count);
    for w in 0..windows {
        let window = lampyr_ops::common::unravel(w, wanted);
        for t in 0..count {
            let tap = lampyr_ops::common::unravel(t, &reach);
            let flat = (0..own.len()).fold(0, |flat, a| {
                let (from, to) = bounds(window[a], wanted[a], own[a]);
                flat * own[a] + (from + tap[a]).min(to - 1)
            });
            at.push(flat as i64);
        }
    }
    Ok((at, count))
}

/// Largest elements of as many windows per axis as `output` asks for, and their positions in the plane.
pub fn adaptive_max_pooling(n: usize, x: &Tensor, output: &[Option<i64>]) -> Result<(Tensor, Tensor)> {
    let name = format!("adaptive_max_pool{n}d");
    floats(x, &name)?;
    let (wide, added) = batched(x, n, &name)?;
    let wanted = wanted(&wide, n, output, &name)?;
    if let Some(kernel) = even(&wide.shape()[2..], &wanted) {
        let pooling = Pooling { n, kernel: &kernel, stride: &[], padding: &[0], dilation: &[1], ceil: false };
        let (y, at) = max_pooling(&wide, pooling, true)?;
        let at = at.ok_or_else(|| Error::internal("the positions are missing").with_op(&name))?;
        return Ok((unbatched(y, added)?, unbatched(at, added)?));
    }
    let (batch, channels) = (wide.shape()[0], wide.shape()[1]);
    let plane: usize = wide.shape()[2..].iter().product();
    let (at, count) = taps(&wide.shape()[2..], &wanted)?;
    let windows = wanted.iter().product::<usize>();
    let shape = [&[batch, channels], &wanted[..]].concat();
    if windows == 0 {
        let empty = |d| Tensor::empty(&shape, d, x.device());
        return Ok((unbatched(empty(x.dtype())?, added)?, unbatched(empty(DType::I64)?, added)?));
    }
    let table = ints(&at, &[windows, count], x.device())?;
    let flat = reshape_to(&wide, &[batch, channels, plane])?;
    let all = one(&op::Gather { axis: 2 }, &[&flat, &table])?;
    let (best, tap) = two(&op::Topk { k: Dim::Known(1), axis: -1, largest: true, sorted: true }, &[&all])?;
    let table = reshape_to(&table, &[1, 1, windows, count])?.expand(&[batch, channels, windows, count])?;
    let place = one(&op::GatherElements { axis: 3 }, &[&table, &tap])?;
    Ok((unbatched(reshape_to(&best, &shape)?, added)?, unbatched(reshape_to(&place, &shape)?, added)?))
}

fn wished(sizes: &[i64]) -> Vec<Option<i64>> {
    sizes.iter().map(|&s| (s != i64::MIN).then_some(s)).collect()
}

fn max_named(n: usize, a: &Call) -> Result<Output> {
    let (y, at) = adaptive_max_pooling(n, a.tensor(0)?, &wished(a.ints(1)?))?;
    if a.bool(2)? { Ok((y, at).into()) } else { Ok(y.into()) }
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "adaptive_avg_pool1d(Tensor input, int?[1] output_size) -> Tensor",
        TOP | FUNCTIONAL,
        "Means of as many windows as asked for.",
        |a| give(adaptive_avg_pooling(1, a.tensor(0)?, &wished(a.ints(1)?))),
    )
    .cost(16.0),
    name(
        "adaptive_max_pool1d(Tensor input, int?[1] output_size, bool return_indices=False) -> Tensor",
        FUNCTIONAL,
        "Largest elements of as many windows as asked for.",
        |a| max_named(1, a),
    )
    .cost(16.0),
    name(
        "adaptive_avg_pool2d(Tensor input, int?[1] output_size) -> Tensor",
        FUNCTIONAL,
        "Means of as many windows as asked for.",
        |a| give(adaptive_avg_pooling(2, a.tensor(0)?, &wished(a.ints(1)?))),
    )
    .cost(16.0),
    name(
        "adaptive_max_pool2d(Tensor input, int?[1] output_size, bool return_indices=False) -> Tensor",
        FUNCTIONAL,
        "Largest elements of as many windows as asked for.",
        |a| max_named(2, a),
    )
    .cost(16.0),
    name(
        "adaptive_avg_pool3d(Tensor input, int?[1] output_size) -> Tensor",
        FUNCTIONAL,
        "Means of as many windows as asked for.",
        |a| give(adaptive_avg_pooling(3, a.tensor(0)?, &wished(a.ints(1)?))),
    )
    .cost(16.0),
    name(
        "adaptive_max_pool3d(Tensor input, int?[1] output_size, bool return_indices=False) -> Tensor",
        FUNCTIONAL,
        "Largest elements of as many windows as asked for.",
        |a| max_named(3, a),
    )
    .cost(16.0),
];
