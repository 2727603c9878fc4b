//! Connectionist temporal classification (Graves et al. 2006).

use lampyr_base::{DType, Error, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::losses::reduced;
use super::operand::one;
use super::shape::{reshape_to, unsqueeze};
use super::support::{constant, floats, ints, joined, shape_error};
use crate::names::{Call, Entry, FUNCTIONAL, give, name};

/// Below every sum of log probabilities, and finite, so that differences of two of them are numbers.
const NEVER: f64 = -1e30;

/// What [`ctc_loss`] takes besides log probabilities and targets.
#[derive(Clone, Copy, Debug)]
pub struct Ctc<'a> {
    /// Steps of each sequence.
    pub inputs: &'a [i64],
    /// Labels of each target.
    pub targets: &'a [i64],
    /// The class of no label.
    pub blank: i64,
    /// `none`, `mean` or `sum`.
    pub reduction: &'a str,
    /// Whether infinite losses count as 0.
    pub zero_infinity: bool,
}

/// Labels of every sequence.
fn labels(targets: &Tensor, lengths: &[i64], classes: i64, blank: i64) -> Result<Vec<Vec<i64>>> {
    let all = targets.to_host()?.to_i64();
    let fail = |what: String| Error::value(what).with_op("ctc_loss");
    if !targets.dtype().is_integer() {
        return Err(Error::dtype(format!("targets are {}", targets.dtype()))
            .with_op("ctc_loss")
            .with_expected("integers"));
    }
    let mut from = 0usize;
    let mut made = Vec::new();
    for (row, &n) in lengths.iter().enumerate() {
        let n = usize::try_from(n).map_err(|_| fail(format!("target length {n}")))?;
        let start = if targets.rank() == 2 { row * targets.shape()[1] } else { from };
        let room = if targets.rank() == 2 { targets.shape()[1] } else { all.len().saturating_sub(from) };
        let own = all.get(start..start + n).filter(|_| n <= room);
        let own = own.ok_or_else(|| fail(format!("target length {n} is more than there are labels")))?;
        if let Some(bad) = own.iter().find(|l| **l < 0 || **l >= classes || **l == blank) {
            return Err(
                Error::value(format!("label {bad} of {classes} classes with blank {blank}")).with_op("ctc_loss")
            );
        }
        made.push(own.to_vec());
        from += n;
    }
    Ok(made)
}

/// `log(sum(exp))` of tensors of one shape.
fn log_sum(parts: &[&Tensor]) -> Result<Tensor> {
    let Some((first, rest)) = parts.split_first() else { return Err(Error::internal("no parts")) };
    let most = rest.iter().try_fold(first.detach(), |m, p| joined(&op::Maximum, &m, &p.detach()))?;
    let mut sum = first.sub(&most)?.exp()?;
    for part in rest {
        sum = sum.add(&part.sub(&most)?.exp()?)?;
    }
    sum.log()?.add(&most)
}

/// Negative log likelihood of the targets under `log_probs` `[T, N, C]` or `[T, C]`, summed over all alignments.
pub fn ctc_loss(log_probs: &Tensor, targets: &Tensor, options: Ctc) -> Result<Tensor> {
    let Ctc { inputs, targets: lengths, blank, reduction, zero_infinity } = options;
    floats(log_probs, "ctc_loss")?;
    let single = log_probs.rank() == 2;
    let wide = match log_probs.rank() {
        2 => unsqueeze(log_probs, 1)?,
        3 => log_probs.clone(),
        n => {
            return Err(
                shape_error("ctc_loss", format!("log_probs of {n} axes"), &[log_probs]).with_expected("[T, N, C]")
            );
        }
    };
    let (steps, batch, classes) = (wide.shape()[0], wide.shape()[1], wide.shape()[2]);
    let fits = inputs.len() == batch && lengths.len() == batch && (targets.rank() != 2 || targets.shape()[0] == batch);
    if !fits || targets.rank() == 0 || targets.rank() > 2 || !(0..classes as i64).contains(&blank) {
        return Err(shape_error(
            "ctc_loss",
            format!("lengths {inputs:?} and {lengths:?}, blank {blank}"),
            &[log_probs, targets],
        )
        .with_expected(format!("{batch} lengths each, and a blank below {classes}")));
    }
    if let Some(bad) = inputs.iter().find(|n| **n < 0 || **n > steps as i64) {
        return Err(Error::value(format!("input length {bad} of {steps} steps")).with_op("ctc_loss"));
    }
    let labels = labels(targets, lengths, classes as i64, blank)?;
    let places = 2 * labels.iter().map(Vec::len).max().unwrap_or(0) + 1;
    let (mut at, mut skip) = (vec![blank; batch * places], vec![0u8; batch * places]);
    for (row, own) in labels.iter().enumerate() {
        for (i, &label) in own.iter().enumerate() {
            at[row * places + 2 * i + 1] = label;
            skip[row * places + 2 * i + 1] = u8::from(i > 0 && own[i - 1] != label);
        }
    }
    let at = ints(&at, &[batch, places], log_probs.device())?;
    let mask = |bits: &[u8]| {
        Tensor::from_host(&HostTensor::from_slice(&[batch, places], bits)?, log_probs.device())?.to_dtype(DType::Bool)
    };
    let skip = mask(&skip)?;
    let never = constant(NEVER, &wide)?;
    let shifted = |t: &Tensor, by: i64| -> Result<Tensor> {
        let front = never.expand(&[batch, (by as usize).min(places)])?;
        Tensor::concat(&[&front, &t.slice(1, 0, (places as i64 - by).max(0), 1)?], 1)
    };
    let emit = |step: usize| one(&op::GatherElements { axis: 1 }, &[&wide.select(0, step as i64)?, &at]);
    let ends = |row: usize, place: usize| place + 2 > 2 * labels[row].len() && place <= 2 * labels[row].len();
    let last: Vec<u8> = (0..batch * places).map(|i| u8::from(ends(i / places, i % places))).collect();
    let last = mask(&last)?;
    let finish = |alpha: &Tensor| -> Result<Tensor> {
        let kept = one(&op::Where, &[&last, alpha, &never])?;
        one(&op::Logsumexp { axes: vec![1], keepdims: false }, &[&kept])
    };
    let first: Vec<u8> = (0..batch * places).map(|i| u8::from(i % places < 2)).collect();
    let nothing: Vec<u8> = (0..batch * places).map(|i| u8::from(i % places == 0)).collect();
    let mut alpha = one(&op::Where, &[&mask(&nothing)?, &constant(0.0, &wide)?, &never])?;
    let mut alphas = vec![finish(&alpha)?];
    for step in 0..steps {
        let moved = if step == 0 {
            one(&op::Where, &[&mask(&first)?, &constant(0.0, &wide)?, &never])?
        } else {
            let jumped = one(&op::Where, &[&skip, &shifted(&alpha, 2)?, &never])?;
            log_sum(&[&alpha, &shifted(&alpha, 1)?, &jumped])?
        };
        alpha = joined(&op::Maximum, &moved.add(&emit(step)?)?, NEVER)?;
        alphas.push(finish(&alpha)?);
    }
    let all = Tensor::concat(
        &alphas.iter().map(|a| unsqueeze(a, 0)).collect::<Result<Vec<_>>>()?.iter().collect::<Vec<_>>(),
        0,
    )?;
    let chosen = one(&op::GatherElements { axis: 0 }, &[&all, &ints(inputs, &[1, batch], log_probs.device())?])?;
    let loss = reshape_to(&chosen, &[batch])?.neg()?;
    // PyTorch's gradient is that of the logits where `log_probs` come from a log softmax: probabilities less posteriors.
    let live = mask_steps(inputs, steps, &wide)?;
    let total = wide.exp()?.mul(&live)?.sum(&[0, 2], false)?;
    let loss = loss.add(&total.sub(&total.detach())?)?;
    let impossible = one(&op::Greater, &[&loss, &constant(-NEVER / 2.0, &loss)?])?;
    let instead = constant(if zero_infinity { 0.0 } else { f64::INFINITY }, &loss)?;
    let loss = one(&op::Where, &[&impossible, &instead, &loss])?;
    match reduction {
        "mean" => {
            let sizes: Vec<f64> = lengths.iter().map(|&n| n.max(1) as f64).collect();
            let sizes = Tensor::from_host(&HostTensor::from_f64(loss.dtype(), &[batch], &sizes)?, loss.device())?;
            loss.div(&sizes)?.mean(&[], false)
        }
        "none" if single => reshape_to(&loss, &[]),
        _ => reduced(loss, reduction),
    }
}

/// 1 for the steps of each sequence, else 0, `[T, N, 1]`.
fn mask_steps(inputs: &[i64], steps: usize, like: &Tensor) -> Result<Tensor> {
    let live: Vec<f64> =
        (0..steps as i64).flat_map(|t| inputs.iter().map(move |n| f64::from(u8::from(t < *n)))).collect();
    Tensor::from_host(&HostTensor::from_f64(like.dtype(), &[steps, inputs.len(), 1], &live)?, like.device())
}

fn options<'a>(a: &'a Call, inputs: &'a [i64], targets: &'a [i64]) -> Result<Ctc<'a>> {
    Ok(Ctc { inputs, targets, blank: a.int(4)?, reduction: a.str(5)?, zero_infinity: a.bool(6)? })
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "ctc_loss(Tensor log_probs, Tensor targets, int[] input_lengths, int[] target_lengths, int blank=0, str reduction='mean', bool zero_infinity=False) -> Tensor",
        FUNCTIONAL,
        "Negative log likelihood of targets, summed over alignments.",
        |a| give(ctc_loss(a.tensor(0)?, a.tensor(1)?, options(a, a.ints(2)?, a.ints(3)?)?)),
    )
    .cost(64.0),
    name(
        "ctc_loss(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank=0, str reduction='mean', bool zero_infinity=False) -> Tensor",
        FUNCTIONAL,
        "Negative log likelihood of targets, summed over alignments.",
        |a| {
            let (steps, labels) = (a.tensor(2)?.to_host()?.to_i64(), a.tensor(3)?.to_host()?.to_i64());
            give(ctc_loss(a.tensor(0)?, a.tensor(1)?, options(a, &steps, &labels)?))
        },
    )
    .cost(64.0),
];
