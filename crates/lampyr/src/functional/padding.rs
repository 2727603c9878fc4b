//! Elements put around tensors, and pixels moved between channels and planes.

use lampyr_base::{Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Scalar, Tensor};

use super::operand::one;
use super::shape::reshape_to;
use super::support::{ints, known, shape_error, sizes};
use crate::names::{Entry, FUNCTIONAL, METHOD, TOP, give, name};

/// `x` with `pad[0]` elements before and `pad[1]` behind on the last axis, `pad[2]` and `pad[3]` on the one before, and
/// so on. Modes are `constant` (of `value`), `reflect`, `replicate` and `circular`; negative numbers cut off.
pub fn pad(x: &Tensor, pad: &[i64], mode: &str, value: Option<Scalar>) -> Result<Tensor> {
    let fail = |what: String| Err(Error::value(what).with_op("pad"));
    if !pad.len().is_multiple_of(2) || pad.len() / 2 > x.rank() {
        return fail(format!("{} numbers for {} axes", pad.len(), x.rank()));
    }
    let mode = match mode {
        "constant" => "constant",
        "reflect" => "reflect",
        "replicate" => "edge",
        "circular" => "wrap",
        other => return fail(format!("mode is `{other}`")),
    };
    if mode != "constant" {
        if value.is_some_and(|v| v.to_f64() != 0.0) {
            return fail("a value is for mode `constant` only".to_string());
        }
        let axes = pad.len() / 2;
        if !(1..=3).contains(&axes) || !(axes + 1..=axes + 2).contains(&x.rank()) {
            return Err(shape_error("pad", format!("{} numbers for {} axes", pad.len(), x.rank()), &[x])
                .with_expected("two numbers per spatial axis of [N, C, ..] or [C, ..]"));
        }
    }
    let (mut begins, mut ends) = (vec![0; x.rank()], vec![0; x.rank()]);
    for (i, both) in pad.chunks_exact(2).enumerate() {
        let a = x.rank() - 1 - i;
        (begins[a], ends[a]) = (both[0], both[1]);
        let n = x.shape()[a] as i64;
        let most = match mode {
            "reflect" => n - 1,
            "wrap" => n,
            _ => i64::MAX,
        };
        if both[0] > most || both[1] > most {
            return Err(shape_error("pad", format!("padding {both:?} of axis {a} of size {n}"), &[x])
                .with_expected(format!("at most {most}")));
        }
        let size = both[0].checked_add(both[1]).and_then(|p| p.checked_add(n));
        if size.is_none_or(|s| s < 0) {
            return Err(shape_error("pad", format!("padding {both:?} leaves nothing of axis {a} of size {n}"), &[x]));
        }
    }
    let whole: Vec<i64> = (0..x.rank()).map(|a| x.shape()[a] as i64 + begins[a] + ends[a]).collect();
    sizes(&whole)?;
    if mode == "edge" && pad.iter().any(|p| *p < 0) {
        return replicated(x, &begins, &whole);
    }
    let op = op::Pad { begins: known(&begins), ends: known(&ends), mode: mode.to_string() };
    match value.filter(|_| mode == "constant") {
        Some(v) => one(&op, &[x, &Tensor::scalar(v, x.dtype(), x.device())?]),
        None => one(&op, &[x]),
    }
}

/// Every axis with as many elements as `wanted`: element `i` is element `i - begin` of `x`, or the nearest there is.
fn replicated(x: &Tensor, begins: &[i64], wanted: &[i64]) -> Result<Tensor> {
    let mut made = x.clone();
    for (a, (&begin, &count)) in begins.iter().zip(wanted).enumerate() {
        let n = x.shape()[a] as i64;
        if (begin, count) == (0, n) {
            continue;
        }
        if n == 0 {
            return Err(shape_error("pad", format!("axis {a} has no element to repeat"), &[x]));
        }
        let size = sizes(&[count])?[0];
        super::support::room(&[size])?;
        let at: Vec<i64> = (0..count).map(|i| (i - begin).clamp(0, n - 1)).collect();
        made = one(&op::Gather { axis: a as i64 }, &[&made, &ints(&at, &[size], x.device())?])?;
    }
    Ok(made)
}

fn planes(x: &Tensor, factor: i64, name: &str) -> Result<usize> {
    if x.rank() < 3 {
        return Err(shape_error(name, format!("an input of {} axes", x.rank()), &[x]).with_expected("[.., C, H, W]"));
    }
    match usize::try_from(factor) {
        Ok(r) if r > 0 && r < 1 << 16 => Ok(r),
        _ => Err(Error::value(format!("the factor is {factor}")).with_op(name).with_expected("1 or more")),
    }
}

fn moved(x: &Tensor, split: &[usize], order: &[i64], shape: &[usize]) -> Result<Tensor> {
    reshape_to(&reshape_to(x, split)?.permute(order)?, shape)
}

/// `[.., C r r, H, W]` as `[.., C, H r, W r]`.
pub fn pixel_shuffle(x: &Tensor, factor: i64) -> Result<Tensor> {
    let r = planes(x, factor, "pixel_shuffle")?;
    let (lead, last) = x.shape().split_at(x.rank() - 3);
    let (c, h, w) = (last[0], last[1], last[2]);
    if c % (r * r) != 0 {
        return Err(shape_error("pixel_shuffle", format!("{c} channels for a factor of {r}"), &[x])
            .with_expected("a multiple of the square of the factor"));
    }
    let (n, k) = (lead.iter().product(), c / (r * r));
    moved(x, &[n, k, r, r, h, w], &[0, 1, 4, 2, 5, 3], &[lead, &[k, h * r, w * r]].concat())
}

/// `[.., C, H r, W r]` as `[.., C r r, H, W]`.
pub fn pixel_unshuffle(x: &Tensor, factor: i64) -> Result<Tensor> {
    let r = planes(x, factor, "pixel_unshuffle")?;
    let (lead, last) = x.shape().split_at(x.rank() - 3);
    let (c, h, w) = (last[0], last[1], last[2]);
    if h % r != 0 || w % r != 0 {
        return Err(shape_error("pixel_unshuffle", format!("planes of {h} by {w} for a factor of {r}"), &[x])
            .with_expected("multiples of the factor"));
    }
    let n = lead.iter().product();
    moved(x, &[n, c, h / r, r, w / r, r], &[0, 1, 3, 5, 2, 4], &[lead, &[c * r * r, h / r, w / r]].concat())
}

/// Channels of `x` `[N, C, ..]` in `groups`, taken in turns.
pub fn channel_shuffle(x: &Tensor, groups: i64) -> Result<Tensor> {
    let g = planes(x, groups, "channel_shuffle")?;
    let (n, c) = (x.shape()[0], x.shape()[1]);
    if c % g != 0 {
        return Err(shape_error("channel_shuffle", format!("{c} channels in {g} groups"), &[x])
            .with_expected("groups of equal size"));
    }
    let rest = x.shape()[2..].iter().product();
    moved(x, &[n, g, c / g, rest], &[0, 2, 1, 3], x.shape())
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "pad(Tensor input, int[] pad, str mode='constant', Scalar? value=None) -> Tensor",
        TOP | FUNCTIONAL,
        "With elements put around.",
        |a| give(pad(a.tensor(0)?, a.ints(1)?, a.str(2)?, a.scalar_or_none(3)?)),
    ),
    name(
        "pad(Tensor input, int[] pad, str mode='constant', *, Scalar? value=None) -> Tensor",
        METHOD,
        "With elements put around.",
        |a| give(pad(a.tensor(0)?, a.ints(1)?, a.str(2)?, a.scalar_or_none(3)?)),
    ),
    name(
        "pixel_shuffle(Tensor input, int upscale_factor) -> Tensor",
        TOP | FUNCTIONAL,
        "Channels moved into larger planes.",
        |a| give(pixel_shuffle(a.tensor(0)?, a.int(1)?)),
    ),
    name(
        "pixel_unshuffle(Tensor input, int downscale_factor) -> Tensor",
        TOP | FUNCTIONAL,
        "Pixels moved into channels.",
        |a| give(pixel_unshuffle(a.tensor(0)?, a.int(1)?)),
    ),
    name(
        "channel_shuffle(Tensor input, int groups) -> Tensor",
        TOP | FUNCTIONAL,
        "Channels of groups taken in turns.",
        |a| give(channel_shuffle(a.tensor(0)?, a.int(1)?)),
    ),
];
