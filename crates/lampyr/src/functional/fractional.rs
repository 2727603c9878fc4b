//! Pooling with windows at random places (Graham 2014, "Fractional max-pooling").

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ops::build as op;
use lampyr_ops::common::unravel;
use lampyr_runtime::Tensor;

use super::convolution::{batched, per_axis, unbatched};
use super::operand::one;
use super::shape::reshape_to;
use super::support::{floats, ints, shape_error, sizes, two};
use crate::names::{Call, Entry, FUNCTIONAL, Output, give, name};

/// First elements of `out` windows of `kernel` elements over `n`, by a number from 0 to 1.
fn starts(sample: f64, n: usize, out: usize, kernel: usize, double: bool) -> Vec<usize> {
    let room = n - kernel;
    // The steps are those of the type that the numbers have.
    let narrow = |v: f64| if double { v } else { f64::from(v as f32) };
    let alpha = narrow(room as f64 / out.saturating_sub(1).max(1) as f64);
    let at = |i: usize| narrow(narrow(i as f64 + sample) * alpha) as i64 - narrow(sample * alpha) as i64;
    (0..out).map(|i| if i + 1 == out { room } else { at(i).clamp(0, room as i64) as usize }).collect()
}

/// Largest elements of `output` windows of `kernel` elements per axis of `x` `[N, C, ..]` or `[C, ..]`, and their
/// positions in the plane. `samples` `[N, C, n]` says where windows lie; random when not given.
pub fn fractional_max_pooling(
    n: usize,
    x: &Tensor,
    kernel: &[i64],
    output: &[i64],
    samples: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let name = format!("fractional_max_pool{n}d");
    floats(x, &name)?;
    let (wide, added) = batched(x, n, &name)?;
    let (kernel, output) =
        (sizes(&per_axis(kernel, n, "kernel_size", 1)?)?, sizes(&per_axis(output, n, "output_size", 1)?)?);
    let own = &wide.shape()[2..];
    if own.iter().zip(&kernel).zip(&output).any(|((d, k), o)| o + k > d + 1) {
        return Err(shape_error(&name, format!("{output:?} windows {kernel:?} do not fit into {own:?}"), &[x]));
    }
    let (batch, channels) = (wide.shape()[0], wide.shape()[1]);
    let random = match samples {
        Some(t) => t.clone(),
        None => crate::random::rand(&[batch, channels, n], DType::F64, crate::random::default_generator())?,
    };
    if random.shape() != [batch, channels, n] {
        return Err(shape_error(&name, "the samples do not fit", &[x, &random])
            .with_expected(format!("[{batch}, {channels}, {n}]")));
    }
    let random = random.to_host()?.to_f64();
    let double = x.dtype() == DType::F64;
    let (windows, taps) = (output.iter().product::<usize>(), kernel.iter().product::<usize>());
    let rows = batch * channels;
    super::support::room(&[rows, windows, taps])?;
    let mut at = Vec::with_capacity(rows * windows * taps);
    for row in 0..rows {
        // Images give the sample of the width first, volumes that of the depth.
        let sample = |a: usize| random[row * n + if n == 2 { 1 - a } else { a }];
        let places: Vec<_> = (0..n).map(|a| starts(sample(a), own[a], output[a], kernel[a], double)).collect();
        for w in 0..windows {
            let window = unravel(w, &output);
            for t in 0..taps {
                let tap = unravel(t, &kernel);
                at.push((0..n).fold(0, |flat, a| flat * own[a] + places[a][window[a]] + tap[a]) as i64);
            }
        }
    }
    let plane: usize = own.iter().product();
    let table = ints(&at, &[rows, windows * taps], x.device())?;
    let all = one(&op::GatherElements { axis: 1 }, &[&reshape_to(&wide, &[rows, plane])?, &table])?;
    let split = |t: &Tensor| reshape_to(t, &[rows, windows, taps]);
    let (best, tap) = two(&op::Topk { k: Dim::Known(1), axis: -1, largest: true, sorted: true }, &[&split(&all)?])?;
    let place = one(&op::GatherElements { axis: 2 }, &[&split(&table)?, &tap])?;
    let shape = [&[batch, channels], &output[..]].concat();
    Ok((unbatched(reshape_to(&best, &shape)?, added)?, unbatched(reshape_to(&place, &shape)?, added)?))
}

fn named(n: usize, a: &Call) -> Result<Output> {
    let x = a.tensor(0)?;
    let output = match (a.ints_or_none(2)?, a.floats_or_none(3)?) {
        (Some(sizes), None) => per_axis(sizes, n, "output_size", 1)?,
        (None, Some(ratios)) if (ratios.len() == n || ratios.len() == 1) && x.rank() > n => {
            let own = x.shape()[x.rank() - n..].iter();
            own.enumerate().map(|(i, &d)| (d as f64 * ratios[i % ratios.len()]) as i64).collect()
        }
        _ => return Err(Error::value("either output_size or output_ratio is needed, one number or one per axis")),
    };
    let (y, at) = fractional_max_pooling(n, x, a.ints(1)?, &output, a.tensor_or_none(5)?)?;
    if a.bool(4)? { Ok((y, at).into()) } else { Ok(y.into()) }
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "fractional_max_pool2d(Tensor input, int[1] kernel_size, int[1]? output_size=None, float[1]? output_ratio=None, bool return_indices=False, Tensor? _random_samples=None) -> Tensor",
        FUNCTIONAL,
        "Largest elements in windows at random places.",
        |a| named(2, a),
    ),
    name(
        "fractional_max_pool2d(Tensor input, int[1] kernel_size, int[1] output_size, Tensor random_samples) -> (Tensor, Tensor)",
        FUNCTIONAL,
        "Largest elements in windows at random places, and their positions.",
        |a| give(fractional_max_pooling(2, a.tensor(0)?, a.ints(1)?, a.ints(2)?, Some(a.tensor(3)?))),
    ),
    name(
        "fractional_max_pool3d(Tensor input, int[1] kernel_size, int[1]? output_size=None, float[1]? output_ratio=None, bool return_indices=False, Tensor? _random_samples=None) -> Tensor",
        FUNCTIONAL,
        "Largest elements in windows at random places.",
        |a| named(3, a),
    ),
    name(
        "fractional_max_pool3d(Tensor input, int[1] kernel_size, int[1] output_size, Tensor random_samples) -> (Tensor, Tensor)",
        FUNCTIONAL,
        "Largest elements in windows at random places, and their positions.",
        |a| give(fractional_max_pooling(3, a.tensor(0)?, a.ints(1)?, a.ints(2)?, Some(a.tensor(3)?))),
    ),
];
