//! Convolutions and their transposes.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::operand::one;
use super::shape::{reshape_to, unsqueeze};
use super::support::{described, known, shape_error};
use crate::names::{Call, Entry, FUNCTIONAL, Output, TOP, give, name};

/// `list` with one number per spatial axis.
///
/// # Errors
/// When it has another length than 1 or `n`, or a number below `least`.
pub(crate) fn per_axis(list: &[i64], n: usize, what: &str, least: i64) -> Result<Vec<i64>> {
    let all = match list {
        [one] => vec![*one; n],
        all if all.len() == n => all.to_vec(),
        _ => {
            return Err(Error::value(format!("{what} is {list:?}")).with_expected(format!("one number or {n}")));
        }
    };
    if all.iter().any(|v| *v < least) {
        return Err(Error::value(format!("{what} is {list:?}")).with_expected(format!("numbers from {least} on")));
    }
    Ok(all)
}

/// `x` with a batch axis, and whether one was added.
pub(crate) fn batched(x: &Tensor, spatial: usize, name: &str) -> Result<(Tensor, bool)> {
    if x.rank() == spatial + 2 {
        return Ok((x.clone(), false));
    }
    if x.rank() == spatial + 1 {
        return Ok((unsqueeze(x, 0)?, true));
    }
    Err(shape_error(name, format!("the input has {} axes", x.rank()), &[x])
        .with_expected(format!("[N, C, ..] or [C, ..] with {spatial} spatial axes")))
}

pub(crate) fn unbatched(y: Tensor, added: bool) -> Result<Tensor> {
    if added { reshape_to(&y, &y.shape()[1..]) } else { Ok(y) }
}

fn checked(name: &str, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, spatial: usize, groups: i64) -> Result<()> {
    let all: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if all.iter().any(|t| t.dtype() != x.dtype()) {
        return Err(Error::dtype("input, weight and bias have different types")
            .with_op(name)
            .with_inputs(all.iter().map(|t| described(t)))
            .with_expected("equal types"));
    }
    if weight.rank() != spatial + 2 {
        return Err(shape_error(name, format!("the weight has {} axes", weight.rank()), &all)
            .with_expected(format!("{}", spatial + 2)));
    }
    if groups <= 0 {
        return Err(Error::value(format!("{groups} groups")).with_op(name).with_expected("at least one"));
    }
    Ok(())
}

/// Padding of a convolution.
#[derive(Clone, Copy, Debug)]
pub enum Padding<'a> {
    /// Elements on both sides of every axis.
    Sizes(&'a [i64]),
    /// `valid` (none) or `same` (as many windows as elements).
    Named(&'a str),
}

/// Convolution over `n` spatial axes of `x` `[N, C, ..]` or `[C, ..]` with `weight` `[M, C / groups, ..]` and `bias` `[M]`.
#[allow(clippy::too_many_arguments)]
pub fn convolution(
    n: usize,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: &[i64],
    padding: Padding,
    dilation: &[i64],
    groups: i64,
) -> Result<Tensor> {
    let name = format!("conv{n}d");
    checked(&name, x, weight, bias, n, groups)?;
    if x.dtype().is_integer() {
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let bias = bias.map(wide).transpose()?;
        let y = convolution(n, &wide(x)?, &wide(weight)?, bias.as_ref(), stride, padding, dilation, groups)?;
        return y.to_dtype(x.dtype());
    }
    let (wide, added) = batched(x, n, &name)?;
    let strides = per_axis(stride, n, "stride", 1)?;
    let dilations = per_axis(dilation, n, "dilation", 1)?;
    let pads = match padding {
        Padding::Sizes(list) => {
            let one = per_axis(list, n, "padding", 0)?;
            [one.clone(), one].concat()
        }
        Padding::Named("valid") => vec![0; 2 * n],
        Padding::Named("same") => {
            if strides.iter().any(|s| *s != 1) {
                return Err(Error::value(format!("padding `same` with stride {stride:?}"))
                    .with_op(&name)
                    .with_expected("stride 1"));
            }
            let total = |a: usize| dilations[a].saturating_mul(weight.shape()[a + 2] as i64 - 1).max(0);
            (0..n).map(|a| total(a) / 2).chain((0..n).map(|a| total(a) - total(a) / 2)).collect()
        }
        Padding::Named(other) => {
            return Err(Error::value(format!("padding is `{other}`")).with_op(&name).with_expected("valid or same"));
        }
    };
    let inputs: Vec<&Tensor> = [&wide, weight].into_iter().chain(bias).collect();
    let conv = op::Conv { strides, pads: known(&pads), dilations, group: groups, channels_last: false };
    unbatched(one(&conv, &inputs)?, added)
}

/// Transposed convolution over `n` spatial axes of `x` `[N, C, ..]` or `[C, ..]` with `weight` `[C, M / groups, ..]` and
/// `bias` `[M]`: `(size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1` elements per axis.
#[allow(clippy::too_many_arguments)]
pub fn convolution_transpose(
    n: usize,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: &[i64],
    padding: &[i64],
    output_padding: &[i64],
    groups: i64,
    dilation: &[i64],
) -> Result<Tensor> {
    let name = format!("conv_transpose{n}d");
    checked(&name, x, weight, bias, n, groups)?;
    let within = match x.dtype() {
        DType::F16 | DType::BF16 if bias.is_some() => Some(DType::F32),
        d if d.is_integer() => Some(DType::F64),
        _ => None,
    };
    if let Some(within) = within {
        let wide = |t: &Tensor| t.to_dtype(within);
        let (bias, x64, weight) = (bias.map(wide).transpose()?, wide(x)?, wide(weight)?);
        let bias = bias.as_ref();
        let y = convolution_transpose(n, &x64, &weight, bias, stride, padding, output_padding, groups, dilation)?;
        return y.to_dtype(x.dtype());
    }
    let (wide, added) = batched(x, n, &name)?;
    let strides = per_axis(stride, n, "stride", 1)?;
    let dilations = per_axis(dilation, n, "dilation", 1)?;
    let pads = per_axis(padding, n, "padding", 0)?;
    let extra = per_axis(output_padding, n, "output_padding", 0)?;
    let fits = wide.shape()[1] == weight.shape()[0] && (weight.shape()[0] as i64) % groups == 0;
    if !fits {
        return Err(shape_error(
            &name,
            format!("{} channels for weights of {}", wide.shape()[1], weight.shape()[0]),
            &[x, weight],
        )
        .with_expected("equally many, a multiple of the groups"));
    }
    let channels = (weight.shape()[1] as i64).saturating_mul(groups);
    if bias.is_some_and(|b| b.shape() != [channels as usize]) {
        let all: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        return Err(shape_error(&name, "the bias does not fit", &all).with_expected(format!("[{channels}]")));
    }
    let mut input = Vec::new();
    for a in 0..n {
        let (size, kernel) = (wide.shape()[a + 2] as i64, weight.shape()[a + 2] as i64);
        if extra[a] >= strides[a].max(dilations[a]) {
            return Err(Error::value(format!("output_padding is {output_padding:?}"))
                .with_op(&name)
                .with_expected("less than stride or dilation"));
        }
        let reach = (size - 1).checked_mul(strides[a]).zip(dilations[a].checked_mul(kernel - 1));
        let out =
            reach.and_then(|(s, k)| s.checked_add(k)?.checked_add(extra[a] + 1)?.checked_sub(pads[a].checked_mul(2)?));
        match out {
            Some(d) if d > 0 => input.push(d),
            _ => return Err(shape_error(&name, "the result would have no elements", &[x, weight])),
        }
    }
    super::support::sizes(&[&[wide.shape()[0] as i64, channels], &input[..]].concat())?;
    // `output_padding` keeps elements that the padding would cut off at the end; what lies behind these is zero.
    let rest: Vec<i64> = (0..n).map(|a| (extra[a] - pads[a]).max(0)).collect();
    input.iter_mut().zip(&rest).for_each(|(d, r)| *d -= r);
    let ends = (0..n).map(|a| (pads[a] - extra[a]).max(0));
    let both: Vec<i64> = pads.iter().copied().chain(ends).collect();
    let grad = op::ConvInputGrad { input: known(&input), strides, pads: known(&both), dilations, group: groups };
    let mut y = one(&grad, &[&wide, weight])?;
    if rest.iter().any(|r| *r > 0) {
        let ends: Vec<i64> = [0, 0].into_iter().chain(rest).collect();
        let pad = op::Pad { begins: known(&vec![0; n + 2]), ends: known(&ends), mode: "constant".to_string() };
        y = one(&pad, &[&y])?;
    }
    if let Some(bias) = bias {
        let mut shape = vec![1; n + 2];
        shape[1] = bias.len();
        y = y.add(&reshape_to(bias, &shape)?)?;
    }
    unbatched(y, added)
}

fn run(n: usize, a: &Call, padding: Padding) -> Result<Output> {
    let bias = a.tensor_or_none(2)?;
    give(convolution(n, a.tensor(0)?, a.tensor(1)?, bias, a.ints(3)?, padding, a.ints(5)?, a.int(6)?))
}

fn plain(n: usize, a: &Call) -> Result<Output> {
    run(n, a, Padding::Sizes(a.ints(4)?))
}

fn padded(n: usize, a: &Call) -> Result<Output> {
    run(n, a, Padding::Named(a.str(4)?))
}

fn transposed(n: usize, a: &Call) -> Result<Output> {
    let (x, weight, bias) = (a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?);
    let (stride, padding, extra) = (a.ints(3)?, a.ints(4)?, a.ints(5)?);
    give(convolution_transpose(n, x, weight, bias, stride, padding, extra, a.int(6)?, a.ints(7)?))
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "conv1d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] dilation=1, int groups=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Convolution over 1 spatial axis.",
        |a| plain(1, a),
    )
    .cost(64.0),
    name(
        "conv1d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, str padding='valid', int[1] dilation=1, int groups=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Convolution over 1 spatial axis.",
        |a| padded(1, a),
    )
    .cost(64.0),
    name(
        "conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] output_padding=0, int groups=1, int[1] dilation=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Transposed convolution over 1 spatial axis.",
        |a| transposed(1, a),
    )
    .cost(64.0),
    name(
        "conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] dilation=1, int groups=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Convolution over 2 spatial axes.",
        |a| plain(2, a),
    )
    .cost(64.0),
    name(
        "conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, str padding='valid', int[1] dilation=1, int groups=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Convolution over 2 spatial axes.",
        |a| padded(2, a),
    )
    .cost(64.0),
    name(
        "conv_transpose2d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] output_padding=0, int groups=1, int[1] dilation=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Transposed convolution over 2 spatial axes.",
        |a| transposed(2, a),
    )
    .cost(64.0),
    name(
        "conv3d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] dilation=1, int groups=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Convolution over 3 spatial axes.",
        |a| plain(3, a),
    )
    .cost(64.0),
    name(
        "conv3d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, str padding='valid', int[1] dilation=1, int groups=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Convolution over 3 spatial axes.",
        |a| padded(3, a),
    )
    .cost(64.0),
    name(
        "conv_transpose3d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] output_padding=0, int groups=1, int[1] dilation=1) -> Tensor",
        TOP | FUNCTIONAL,
        "Transposed convolution over 3 spatial axes.",
        |a| transposed(3, a),
    )
    .cost(64.0),
];
