//! Losses of predictions against targets.

use lampyr_base::{DType, Error, Result, broadcast_shapes};
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Tensor, default_dtype};

use super::activation::log_softmax;
use super::operand::one;
use super::shape::{reshape_to, unsqueeze};
use super::support::{constant, described, floats, joined, promoted, shape_error, square};
use crate::names::{Call, Entry, FUNCTIONAL, give, name};

/// `none`, `mean` or `sum` of the elements of a loss.
///
/// # Errors
/// For other words.
pub(crate) fn reduced(x: Tensor, reduction: &str) -> Result<Tensor> {
    match reduction {
        "none" => Ok(x),
        "mean" => x.mean(&[], false),
        "sum" => x.sum(&[], false),
        _ => Err(Error::value(format!("reduction is `{reduction}`")).with_expected("none, mean or sum")),
    }
}

pub(crate) fn both(name: &str, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
    broadcast_shapes(x.shape(), y.shape()).map_err(|e| e.with_op(name))?;
    let all = promoted(&[x, y])?;
    let [x, y] = &all[..] else { return Err(Error::internal("two operands")) };
    floats(x, name)?;
    Ok((x.clone(), y.clone()))
}

pub(crate) fn same_shape(name: &str, x: &Tensor, y: &Tensor) -> Result<()> {
    if x.shape() == y.shape() {
        return Ok(());
    }
    Err(shape_error(name, "input and target have different shapes", &[x, y]).with_expected("equal shapes"))
}

fn weighted(loss: Tensor, weight: Option<&Tensor>, reduction: &str) -> Result<Tensor> {
    let Some(w) = weight else { return reduced(loss, reduction) };
    let loss = loss.mul(w)?;
    if reduction == "mean" {
        return loss.sum(&[], false)?.div(&w.expand(loss.shape())?.sum(&[], false)?);
    }
    reduced(loss, reduction)
}

/// `|x - y|`
pub fn l1_loss(x: &Tensor, y: &Tensor, reduction: &str, weight: Option<&Tensor>) -> Result<Tensor> {
    let (x, y) = both("l1_loss", x, y)?;
    weighted(one(&op::Abs, &[&x.sub(&y)?])?, weight, reduction)
}

/// `(x - y)^2`
pub fn mse_loss(x: &Tensor, y: &Tensor, reduction: &str, weight: Option<&Tensor>) -> Result<Tensor> {
    let (x, y) = both("mse_loss", x, y)?;
    weighted(square(&x.sub(&y)?)?, weight, reduction)
}

/// Half the square below `beta`, `|x - y| - beta / 2` above, both divided by `beta`.
pub fn smooth_l1_loss(x: &Tensor, y: &Tensor, reduction: &str, beta: f64) -> Result<Tensor> {
    if beta.is_nan() || beta < 0.0 {
        return Err(Error::value(format!("beta is {beta}")).with_op("smooth_l1_loss").with_expected("0 or more"));
    }
    if beta == 0.0 {
        return l1_loss(x, y, reduction, None);
    }
    let (x, y) = both("smooth_l1_loss", x, y)?;
    let size = one(&op::Abs, &[&x.sub(&y)?])?;
    let near = one(&op::Less, &[&size, &constant(beta, &size)?])?;
    let curved = square(&size)?.mul(0.5 / beta)?;
    reduced(one(&op::Where, &[&near, &curved, &size.sub(0.5 * beta)?])?, reduction)
}

/// Half the square up to `delta`, `delta * (|x - y| - delta / 2)` above.
pub fn huber_loss(x: &Tensor, y: &Tensor, reduction: &str, delta: f64, weight: Option<&Tensor>) -> Result<Tensor> {
    if delta.is_nan() || delta <= 0.0 {
        return Err(Error::value(format!("delta is {delta}")).with_op("huber_loss").with_expected("above 0"));
    }
    let (x, y) = both("huber_loss", x, y)?;
    let size = one(&op::Abs, &[&x.sub(&y)?])?;
    let near = one(&op::LessEqual, &[&size, &constant(delta, &size)?])?;
    let (curved, straight) = (square(&size)?.mul(0.5)?, size.sub(0.5 * delta)?.mul(delta)?);
    let loss = one(&op::Where, &[&near, &curved, &straight])?;
    reduced(weight.map_or(Ok(loss.clone()), |w| loss.mul(w))?, reduction)
}

fn classes(name: &str, x: &Tensor, target: &Tensor, weight: Option<&Tensor>) -> Result<(Tensor, Tensor, bool)> {
    floats(x, name)?;
    let all: Vec<&Tensor> = [x, target].into_iter().chain(weight).collect();
    let (wide, at, alone) = match x.rank() {
        0 => return Err(shape_error(name, "the input has no classes", &all).with_expected("[C] or [N, C, ..]")),
        1 => (unsqueeze(x, 0)?, reshape_to(target, &[target.len()])?, target.rank() == 0),
        _ => (x.clone(), target.clone(), false),
    };
    let want = [&wide.shape()[..1], &wide.shape()[2..]].concat();
    if at.shape() != want {
        return Err(shape_error(name, format!("a target {:?} for an input {:?}", target.shape(), x.shape()), &all)
            .with_expected(format!("a target {want:?}")));
    }
    if !matches!(at.dtype(), DType::I64 | DType::U8 | DType::I32) {
        return Err(Error::dtype(format!("the target is {}", described(target))).with_op(name).with_expected("int64"));
    }
    if let Some(w) = weight.filter(|w| w.shape() != [wide.shape()[1]]) {
        return Err(shape_error(name, format!("{:?} weights for {} classes", w.shape(), wide.shape()[1]), &all)
            .with_expected("one weight per class"));
    }
    Ok((wide, at.to_dtype(DType::I64)?, alone))
}

/// `-weight[t] * x[n, t, ..]` for every target `t[n, ..]`; `mean` divides by the sum of the weights.
pub fn nll_loss(x: &Tensor, target: &Tensor, weight: Option<&Tensor>, ignore: i64, reduction: &str) -> Result<Tensor> {
    reduction_word(reduction)?;
    let (wide, at, alone) = classes("nll_loss", x, target, weight)?;
    let n = wide.shape()[1] as i64;
    if let Some(bad) = at.peek()?.to_i64().into_iter().find(|&t| t != ignore && (t < 0 || t >= n)) {
        return Err(Error::index(format!("target {bad} is out of range for {n} classes"))
            .with_op("nll_loss")
            .with_expected(format!("0 to {}, or {ignore} to be ignored", n - 1)));
    }
    let op = op::NllLoss { reduction: reduction.to_string(), ignore_index: Some(ignore) };
    let inputs: Vec<&Tensor> = [&wide, &at].into_iter().chain(weight).collect();
    let loss = one(&op, &inputs)?;
    if alone && reduction == "none" { reshape_to(&loss, &[]) } else { Ok(loss) }
}

pub(crate) fn reduction_word(reduction: &str) -> Result<()> {
    if ["none", "mean", "sum"].contains(&reduction) {
        return Ok(());
    }
    Err(Error::value(format!("reduction is `{reduction}`")).with_expected("none, mean or sum"))
}

/// What [`cross_entropy`] takes besides input and target.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// A factor per class.
    pub weight: Option<&'a Tensor>,
    /// The target that counts as nothing.
    pub ignore: i64,
    /// `none`, `mean` or `sum`.
    pub reduction: &'a str,
    /// The part of a target that is spread over all classes.
    pub smoothing: f64,
}

/// Cross entropy of the softmax of `x` `[N, C, ..]` or `[C]` with classes or probabilities.
pub fn cross_entropy(x: &Tensor, target: &Tensor, options: CrossEntropy) -> Result<Tensor> {
    let CrossEntropy { weight, ignore, reduction, smoothing } = options;
    reduction_word(reduction)?;
    floats(x, "cross_entropy")?;
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::value(format!("label_smoothing is {smoothing}"))
            .with_op("cross_entropy")
            .with_expected("0 to 1"));
    }
    if x.rank() == 0 {
        return Err(shape_error("cross_entropy", "the input has no classes", &[x, target]));
    }
    let axis = i64::from(x.rank() > 1);
    let log = log_softmax(x, axis, None)?;
    let classes = x.shape()[axis as usize];
    let mut per_class = vec![1; x.rank()];
    per_class[axis as usize] = classes;
    if target.dtype().is_float() {
        same_shape("cross_entropy", x, target)?;
        let mut wanted = target.to_dtype(x.dtype())?;
        if smoothing > 0.0 {
            wanted = wanted.mul(1.0 - smoothing)?.add(smoothing / classes as f64)?;
        }
        let mut product = log.mul(&wanted)?;
        if let Some(w) = weight {
            product = product.mul(&reshape_to(w, &per_class)?)?;
        }
        let loss = product.sum(&[axis], false)?.neg()?;
        if reduction == "mean" {
            let count = (x.len() / classes.max(1)).max(1) as f64;
            return loss.sum(&[], false)?.div(count);
        }
        return reduced(loss, reduction);
    }
    let hard = nll_loss(&log, target, weight, ignore, reduction)?;
    if smoothing == 0.0 {
        return Ok(hard);
    }
    let mut all = log;
    if let Some(w) = weight {
        all = all.mul(&reshape_to(w, &per_class)?)?;
    }
    let smooth = all.sum(&[axis], false)?.neg()?;
    let ignored = target.equal(ignore)?;
    let zero = constant(0.0, &smooth)?;
    let smooth = one(&op::Where, &[&ignored, &zero, &smooth])?;
    let smooth = if reduction == "mean" {
        let shares = match weight {
            Some(w) => {
                let safe =
                    one(&op::Where, &[&ignored, &Tensor::full(&[], 0.0, target.dtype(), target.device())?, target])?;
                one(&op::Gather { axis: 0 }, &[w, &safe.to_dtype(DType::I64)?])?
            }
            None => constant(1.0, &smooth)?.expand(smooth.shape())?,
        };
        let shares = one(&op::Where, &[&ignored, &zero, &shares])?;
        smooth.sum(&[], false)?.div(&shares.sum(&[], false)?)?
    } else {
        reduced(smooth, reduction)?
    };
    hard.mul(1.0 - smoothing)?.add(&smooth.mul(smoothing / classes as f64)?)
}

/// `-(y log x + (1 - y) log(1 - x))`; logarithms count as -100 at least.
pub fn binary_cross_entropy(x: &Tensor, y: &Tensor, weight: Option<&Tensor>, reduction: &str) -> Result<Tensor> {
    floats(x, "binary_cross_entropy")?;
    same_shape("binary_cross_entropy", x, y)?;
    let values = x.peek()?.to_f64();
    if let Some(bad) = values.iter().find(|v| !(0.0..=1.0).contains(*v) && !v.is_nan()) {
        return Err(Error::value(format!("the input holds {bad}"))
            .with_op("binary_cross_entropy")
            .with_expected("probabilities from 0 to 1"));
    }
    let bounded = |t: Tensor| one(&op::Clip { min: Some(-100.0), max: None }, &[&t.log()?]);
    let (yes, no) = (bounded(x.clone())?, bounded(x.neg()?.add(1.0)?)?);
    let loss = y.sub(1.0)?.mul(&no)?.sub(&y.mul(&yes)?)?;
    let loss = weight.map_or(Ok(loss.clone()), |w| loss.mul(w))?;
    reduced(loss, reduction)
}

/// Binary cross entropy of the sigmoid of `x`; `positive` weighs the part of positive targets.
pub fn bce_with_logits(
    x: &Tensor,
    y: &Tensor,
    weight: Option<&Tensor>,
    reduction: &str,
    positive: Option<&Tensor>,
) -> Result<Tensor> {
    floats(x, "binary_cross_entropy_with_logits")?;
    same_shape("binary_cross_entropy_with_logits", x, y)?;
    let log = one(&op::LogSigmoid, &[x])?;
    let rest = y.neg()?.add(1.0)?.mul(x)?;
    let loss = match positive {
        Some(p) => rest.sub(&p.sub(1.0)?.mul(y)?.add(1.0)?.mul(&log)?)?,
        None => rest.sub(&log)?,
    };
    let loss = weight.map_or(Ok(loss.clone()), |w| loss.mul(w))?;
    reduced(loss, reduction)
}

/// `y (log y - x)`, or `exp(y) (y - x)` where `log_target`; `batchmean` is the sum divided by the batch.
pub fn kl_div(x: &Tensor, y: &Tensor, reduction: &str, log_target: bool) -> Result<Tensor> {
    let (x, y) = both("kl_div", x, y)?;
    let loss = if log_target {
        y.exp()?.mul(&y.sub(&x)?)?
    } else {
        let zero = y.equal(0.0)?;
        let safe = one(&op::Where, &[&zero, &constant(1.0, &y)?, &y])?;
        let entropy = y.mul(&safe.log()?)?;
        entropy.sub(&y.mul(&x)?)?
    };
    if reduction == "batchmean" {
        let batch = x.shape().first().copied().unwrap_or(1) as f64;
        return loss.sum(&[], false)?.div(batch);
    }
    reduced(loss, reduction)
}

/// `exp(x) - y x` (or `x - y log(x + eps)`), with Stirling's term of the target when `full`.
pub fn poisson_nll_loss(x: &Tensor, y: &Tensor, log: bool, full: bool, eps: f64, reduction: &str) -> Result<Tensor> {
    reduction_word(reduction)?;
    broadcast_shapes(x.shape(), y.shape()).map_err(|e| e.with_op("poisson_nll_loss"))?;
    super::support::once(&[x, y], |t| poisson_of(t[0], t[1], log, full, eps, reduction))
}

fn poisson_of(x: &Tensor, y: &Tensor, log: bool, full: bool, eps: f64, reduction: &str) -> Result<Tensor> {
    let numbers = |t: &Tensor| if t.dtype().is_float() { Ok(t.clone()) } else { t.to_dtype(default_dtype()) };
    let (x, y) = (numbers(x)?, numbers(y)?);
    let mut loss = if log { x.exp()?.sub(&y.mul(&x)?)? } else { x.sub(&y.mul(&x.add(eps)?.log()?)?)? };
    if full {
        let term = y.mul(&y.log()?)?.sub(&y)?.add(&y.mul(2.0 * std::f64::consts::PI)?.log()?.mul(0.5)?)?;
        let large = one(&op::Greater, &[&y, &constant(1.0, &y)?])?;
        loss = loss.add(&one(&op::Where, &[&large, &term, &constant(0.0, &term)?])?)?;
    }
    reduced(loss, reduction)
}

/// `(log variance + (x - y)^2 / variance) / 2`, with the constant when `full`; variances count as `eps` at least.
pub fn gaussian_nll_loss(
    x: &Tensor,
    y: &Tensor,
    var: &Tensor,
    full: bool,
    eps: f64,
    reduction: &str,
) -> Result<Tensor> {
    floats(x, "gaussian_nll_loss")?;
    let mut var = var.clone();
    if var.shape() != x.shape() {
        if x.shape().split_last().is_some_and(|(_, lead)| var.shape() == lead) {
            var = unsqueeze(&var, -1)?;
        } else if x.rank() != var.rank() || var.shape().iter().zip(x.shape()).any(|(v, d)| v != d && *v != 1) {
            return Err(shape_error("gaussian_nll_loss", "the variances do not fit the input", &[x, &var]));
        }
    }
    if var.peek()?.to_f64().iter().any(|v| *v < 0.0) {
        return Err(Error::value("a variance is negative").with_op("gaussian_nll_loss").with_expected("0 or more"));
    }
    let raised = joined(&op::Maximum, &var.detach(), eps)?;
    let var = var.add(&raised.sub(&var.detach())?)?;
    let mut loss = var.log()?.add(&square(&x.sub(y)?)?.div(&var)?)?.mul(0.5)?;
    if full {
        loss = loss.add(0.5 * (2.0 * std::f64::consts::PI).ln())?;
    }
    reduced(loss, reduction)
}

/// The reduction that is asked for, with PyTorch's old pair of flags.
pub(crate) fn word<'a>(a: &'a Call, average: usize, reduce: usize, at: usize) -> Result<&'a str> {
    match (a.bool_or_none(average)?, a.bool_or_none(reduce)?) {
        (None, None) => a.str(at),
        (_, Some(false)) => Ok("none"),
        (Some(false), _) => Ok("sum"),
        _ => Ok("mean"),
    }
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name("l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', Tensor? weight=None) -> Tensor", FUNCTIONAL, "Absolute differences.", |a| {
        give(l1_loss(a.tensor(0)?, a.tensor(1)?, word(a, 2, 3, 4)?, a.tensor_or_none(5)?))
    }),
    name("mse_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', Tensor? weight=None) -> Tensor", FUNCTIONAL, "Squared differences.", |a| {
        give(mse_loss(a.tensor(0)?, a.tensor(1)?, word(a, 2, 3, 4)?, a.tensor_or_none(5)?))
    }),
    name("smooth_l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', float beta=1.0) -> Tensor", FUNCTIONAL, "Absolute differences, squares near 0.", |a| {
        give(smooth_l1_loss(a.tensor(0)?, a.tensor(1)?, word(a, 2, 3, 4)?, a.float(5)?))
    }),
    name("huber_loss(Tensor input, Tensor target, str reduction='mean', float delta=1.0, Tensor? weight=None) -> Tensor", FUNCTIONAL, "Squares near 0, absolute differences beyond.", |a| {
        give(huber_loss(a.tensor(0)?, a.tensor(1)?, a.str(2)?, a.float(3)?, a.tensor_or_none(4)?))
    }),
    name(
        "nll_loss(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, int ignore_index=-100, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Negative log likelihood of classes.",
        |a| give(nll_loss(a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?, a.int(4)?, word(a, 3, 5, 6)?)),
    ),
    name(
        "cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, int ignore_index=-100, bool? reduce=None, str reduction='mean', float label_smoothing=0.0) -> Tensor",
        FUNCTIONAL,
        "Cross entropy of the softmax with classes or probabilities.",
        |a| {
            let options = CrossEntropy {
                weight: a.tensor_or_none(2)?,
                ignore: a.int(4)?,
                reduction: word(a, 3, 5, 6)?,
                smoothing: a.float(7)?,
            };
            give(cross_entropy(a.tensor(0)?, a.tensor(1)?, options))
        },
    )
    .cost(16.0),
    name("binary_cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor", FUNCTIONAL, "Cross entropy of probabilities.", |a| {
        give(binary_cross_entropy(a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?, word(a, 3, 4, 5)?))
    }),
    name(
        "binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean', Tensor? pos_weight=None) -> Tensor",
        FUNCTIONAL,
        "Cross entropy of the sigmoid.",
        |a| give(bce_with_logits(a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?, word(a, 3, 4, 5)?, a.tensor_or_none(6)?)),
    ),
    name("kl_div(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', bool log_target=False) -> Tensor", FUNCTIONAL, "Kullback-Leibler divergence.", |a| {
        give(kl_div(a.tensor(0)?, a.tensor(1)?, word(a, 2, 3, 4)?, a.bool(5)?))
    }),
    name(
        "poisson_nll_loss(Tensor input, Tensor target, bool log_input=True, bool full=False, bool? size_average=None, float eps=1e-8, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Negative log likelihood of Poisson distributions.",
        |a| give(poisson_nll_loss(a.tensor(0)?, a.tensor(1)?, a.bool(2)?, a.bool(3)?, a.float(5)?, word(a, 4, 6, 7)?)),
    ),
    name(
        "gaussian_nll_loss(Tensor input, Tensor target, Operand var, bool full=False, float eps=1e-6, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Negative log likelihood of normal distributions.",
        |a| {
            let x = a.tensor(0)?;
            let var = match a.operand(2)? {
                Operand::Tensor(t) => t.clone(),
                Operand::Scalar(s) => Tensor::full(x.shape(), s.to_f64(), x.dtype(), x.device())?,
            };
            give(gaussian_nll_loss(x, a.tensor(1)?, &var, a.bool(3)?, a.float(4)?, a.str(5)?))
        },
    ),
];
