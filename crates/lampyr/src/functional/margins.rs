//! Losses with margins and of similarities.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::activation::power;
use super::distance::pairwise_distance;
use super::losses::{both, reduced, reduction_word, same_shape, word};
use super::operand::one;
use super::shape::{reshape_to, unsqueeze};
use super::support::{constant, floats, index_tensor, joined, shape_error};
use crate::names::{Entry, FUNCTIONAL, give, name};

fn positive(x: &Tensor) -> Result<Tensor> {
    one(&op::Clip { min: Some(0.0), max: None }, &[x])
}

/// `x` where `y` is 1, `max(0, margin - x)` where it is -1.
pub fn hinge_embedding_loss(x: &Tensor, y: &Tensor, margin: f64, reduction: &str) -> Result<Tensor> {
    let (x, y) = both("hinge_embedding_loss", x, y)?;
    let zero = constant(0.0, &x)?;
    let far = one(&op::Where, &[&y.equal(1i64)?, &zero, &positive(&x.neg()?.add(margin)?)?])?;
    let near = one(&op::Where, &[&y.equal(-1i64)?, &zero, &x])?;
    reduced(far.add(&near)?, reduction)
}

/// `1 - cos(x, y)` where the target is 1, `max(0, cos(x, y) - margin)` where it is -1.
pub fn cosine_embedding_loss(x: &Tensor, y: &Tensor, target: &Tensor, margin: f64, reduction: &str) -> Result<Tensor> {
    let fits = matches!((x.rank(), target.rank()), (1, 0) | (2, 1));
    if !fits || x.rank() != y.rank() {
        return Err(shape_error("cosine_embedding_loss", "inputs and target do not fit", &[x, y, target])
            .with_expected("[N, D], [N, D] and [N], or [D], [D] and []"));
    }
    if x.dtype() == DType::Bool && y.dtype() == DType::Bool {
        let wide = |t: &Tensor| t.to_dtype(DType::I64);
        return cosine_embedding_loss(&wide(x)?, &wide(y)?, target, margin, reduction);
    }
    const EPSILON: f64 = 1e-12;
    let last = |t: Tensor| t.sum(&[-1], false);
    let product = last(x.mul(y)?)?;
    let (a, b) = (last(x.mul(x)?)?.add(EPSILON)?, last(y.mul(y)?)?.add(EPSILON)?);
    let cosine = product.div(&a.mul(&b)?.sqrt()?)?;
    let zero = constant(0.0, &cosine)?;
    let near = one(&op::Where, &[&target.equal(1i64)?, &cosine.neg()?.add(1.0)?, &zero])?;
    let far = one(&op::Where, &[&target.equal(-1i64)?, &positive(&cosine.sub(margin)?)?, &zero])?;
    reduced(near.add(&far)?, reduction)
}

/// `max(0, -target * (x - y) + margin)`
pub fn margin_ranking_loss(x: &Tensor, y: &Tensor, target: &Tensor, margin: f64, reduction: &str) -> Result<Tensor> {
    if x.rank() != y.rank() || x.rank() != target.rank() {
        return Err(shape_error(
            "margin_ranking_loss",
            "inputs and target have different numbers of axes",
            &[x, y, target],
        ));
    }
    reduced(positive(&target.neg()?.mul(&x.sub(y)?)?.add(margin)?)?, reduction)
}

/// `log(1 + exp(-y x))`
pub fn soft_margin_loss(x: &Tensor, y: &Tensor, reduction: &str) -> Result<Tensor> {
    let (x, y) = both("soft_margin_loss", x, y)?;
    reduced(one(&op::Log1p, &[&y.neg()?.mul(&x)?.exp()?])?, reduction)
}

/// Mean over classes of the binary cross entropy of the sigmoid of `x`.
pub fn multilabel_soft_margin_loss(x: &Tensor, y: &Tensor, weight: Option<&Tensor>, reduction: &str) -> Result<Tensor> {
    floats(x, "multilabel_soft_margin_loss")?;
    let (yes, no) = (one(&op::LogSigmoid, &[x])?, one(&op::LogSigmoid, &[&x.neg()?])?);
    let mut loss = y.mul(&yes)?.add(&y.neg()?.add(1.0)?.mul(&no)?)?.neg()?;
    if let Some(w) = weight {
        loss = loss.mul(w)?;
    }
    reduced(loss.mean(&[-1], false)?, reduction)
}

fn rows(name: &str, x: &Tensor) -> Result<Tensor> {
    floats(x, name)?;
    match x.rank() {
        0 => reshape_to(x, &[1, 1]),
        1 => unsqueeze(x, 0),
        2 => Ok(x.clone()),
        n => Err(shape_error(name, format!("an input of {n} axes"), &[x]).with_expected("[C] or [N, C]")),
    }
}

/// Mean over the other classes of `max(0, margin - x[target] + x[class])^p`, times the weight of the target.
pub fn multi_margin_loss(
    x: &Tensor,
    target: &Tensor,
    p: i64,
    margin: f64,
    weight: Option<&Tensor>,
    reduction: &str,
) -> Result<Tensor> {
    if !(1..=2).contains(&p) {
        return Err(Error::value(format!("p is {p}")).with_op("multi_margin_loss").with_expected("1 or 2"));
    }
    reduction_word(reduction)?;
    if weight.is_some_and(|w| w.rank() != 1) {
        return Err(Error::value("the weight is not a vector").with_op("multi_margin_loss").with_expected("a vector"));
    }
    index_tensor(target, "multi_margin_loss")?;
    let wide = rows("multi_margin_loss", x)?;
    let (n, classes) = (wide.shape()[0], wide.shape()[1]);
    if target.len() != n || target.rank() > 1 || weight.is_some_and(|w| w.len() != classes) {
        return Err(shape_error("multi_margin_loss", "the target or the weight does not fit", &[x, target])
            .with_expected("one class per row, and one weight per class"));
    }
    let at = reshape_to(target, &[n, 1])?;
    let own = one(&op::GatherElements { axis: 1 }, &[&wide, &at])?;
    let mut loss = power(&positive(&wide.sub(&own)?.add(margin)?)?, p as f64)?;
    if let Some(w) = weight {
        loss = loss.mul(&one(&op::Gather { axis: 0 }, &[w, &at])?)?;
    }
    let all = super::support::counting(classes, x.device())?;
    let others = one(&op::Where, &[&at.equal(&all)?, &constant(0.0, &loss)?, &loss])?;
    let loss = others.sum(&[1], false)?.div(classes as f64)?;
    let loss = if x.rank() < 2 && target.rank() == 0 { reshape_to(&loss, &[])? } else { loss };
    reduced(loss, reduction)
}

/// Mean over classes of `max(0, 1 - (x[target] - x[class]))` over all targets up to the first negative one and all
/// other classes.
pub fn multilabel_margin_loss(x: &Tensor, target: &Tensor, reduction: &str) -> Result<Tensor> {
    same_shape("multilabel_margin_loss", x, target)?;
    reduction_word(reduction)?;
    index_tensor(target, "multilabel_margin_loss")?;
    let wide = rows("multilabel_margin_loss", x)?;
    let (n, classes) = (wide.shape()[0], wide.shape()[1]);
    let labels = target.to_host()?.to_i64();
    if let Some(bad) = labels.iter().find(|l| **l >= classes as i64 || **l < -1) {
        return Err(Error::index(format!("target {bad} is out of range for {classes} classes"))
            .with_op("multilabel_margin_loss"));
    }
    let (mut counted, mut is_target) = (vec![0.0; n * classes], vec![0.0; n * classes]);
    let mut at = vec![0i64; n * classes];
    for row in 0..n {
        for k in 0..classes {
            let label = labels[row * classes + k];
            if label < 0 {
                break;
            }
            counted[row * classes + k] = 1.0;
            at[row * classes + k] = label;
            is_target[row * classes + label as usize] = 1.0;
        }
    }
    let host = |v: &[f64], shape: &[usize]| Tensor::from_host(&HostTensor::from_f64(x.dtype(), shape, v)?, x.device());
    let counted = host(&counted, &[n, classes, 1])?;
    let others = host(&is_target, &[n, 1, classes])?.neg()?.add(1.0)?;
    let at = super::support::ints(&at, &[n, classes], x.device())?;
    let own = unsqueeze(&one(&op::GatherElements { axis: 1 }, &[&wide, &at])?, 2)?;
    let gap = positive(&unsqueeze(&wide, 1)?.sub(&own)?.add(1.0)?)?;
    let loss = gap.mul(&counted.mul(&others)?)?.sum(&[1, 2], false)?.div(classes.max(1) as f64)?;
    let loss = if x.rank() < 2 { reshape_to(&loss, &[])? } else { loss };
    reduced(loss, reduction)
}

/// What [`triplet_margin_loss`] takes besides the vectors.
#[derive(Clone, Copy, Debug)]
pub struct Triplet<'a> {
    /// The wanted distance.
    pub margin: f64,
    /// Which norm.
    pub p: f64,
    /// Added to differences.
    pub eps: f64,
    /// Whether the smaller of both distances to the negative counts.
    pub swap: bool,
    /// `none`, `mean` or `sum`.
    pub reduction: &'a str,
}

/// `max(0, d(anchor, positive) - d(anchor, negative) + margin)`
pub fn triplet_margin_loss(anchor: &Tensor, same: &Tensor, other: &Tensor, options: Triplet) -> Result<Tensor> {
    let Triplet { margin, p, eps, swap, reduction } = options;
    if anchor.rank() != same.rank() || anchor.rank() != other.rank() {
        return Err(shape_error(
            "triplet_margin_loss",
            "the tensors have different numbers of axes",
            &[anchor, same, other],
        ));
    }
    if margin.is_nan() || margin <= 0.0 {
        return Err(Error::value(format!("margin is {margin}"))
            .with_op("triplet_margin_loss")
            .with_expected("above 0"));
    }
    let near = pairwise_distance(anchor, same, p, eps, false)?;
    let mut far = pairwise_distance(anchor, other, p, eps, false)?;
    if swap {
        far = joined(&op::Minimum, &far, &pairwise_distance(same, other, p, eps, false)?)?;
    }
    reduced(positive(&near.sub(&far)?.add(margin)?)?, reduction)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "hinge_embedding_loss(Tensor input, Tensor target, float margin=1.0, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Hinge loss of distances.",
        |a| give(hinge_embedding_loss(a.tensor(0)?, a.tensor(1)?, a.float(2)?, word(a, 3, 4, 5)?)),
    ),
    name(
        "cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Loss of cosines of angles.",
        |a| give(cosine_embedding_loss(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.float(3)?, word(a, 4, 5, 6)?)),
    ),
    name(
        "margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Hinge loss of differences.",
        |a| give(margin_ranking_loss(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.float(3)?, word(a, 4, 5, 6)?)),
    ),
    name(
        "soft_margin_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "`log(1 + exp(-target * input))`",
        |a| give(soft_margin_loss(a.tensor(0)?, a.tensor(1)?, word(a, 2, 3, 4)?)),
    ),
    name(
        "multilabel_soft_margin_loss(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Mean over classes of the cross entropy of the sigmoid.",
        |a| give(multilabel_soft_margin_loss(a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?, word(a, 3, 4, 5)?)),
    ),
    name(
        "multi_margin_loss(Tensor input, Tensor target, int p=1, float margin=1.0, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Hinge loss of classes.",
        |a| {
            give(multi_margin_loss(
                a.tensor(0)?,
                a.tensor(1)?,
                a.int(2)?,
                a.float(3)?,
                a.tensor_or_none(4)?,
                word(a, 5, 6, 7)?,
            ))
        },
    ),
    name(
        "multilabel_margin_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Hinge loss of several classes.",
        |a| give(multilabel_margin_loss(a.tensor(0)?, a.tensor(1)?, word(a, 2, 3, 4)?)),
    ),
    name(
        "triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1.0, float p=2.0, float eps=1e-6, bool swap=False, bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor",
        FUNCTIONAL,
        "Hinge loss of two distances.",
        |a| {
            let options = Triplet {
                margin: a.float(3)?,
                p: a.float(4)?,
                eps: a.float(5)?,
                swap: a.bool(6)?,
                reduction: word(a, 7, 8, 9)?,
            };
            give(triplet_margin_loss(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, options))
        },
    ),
];
