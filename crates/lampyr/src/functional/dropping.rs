//! Elements and channels left out at random.

use lampyr_base::{Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::nn::dropout;
use super::operand::one;
use super::support::{constant, floats, shape_error};
use crate::names::{Entry, FUNCTIONAL, TOP, give, name};

fn probability(p: f64, name: &str) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::value(format!("the probability is {p}")).with_op(name).with_expected("0 to 1"))
}

/// In training, elements are 0 with probability `p` and the others scaled by `1 / (1 - p)`.
pub fn dropout_checked(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    probability(p, "dropout")?;
    if training && p > 0.0 {
        floats(x, "dropout")?;
    }
    dropout(x, p, training)
}

/// 1 with probability `1 - p`, else 0, in the shape `shape`.
fn kept(shape: &[usize], p: f64, like: &Tensor) -> Result<Tensor> {
    let uniform = crate::random::rand(shape, lampyr_base::DType::F32, crate::random::default_generator())?;
    one(&op::GreaterEqual, &[&uniform, &constant(p, &uniform)?])?.to_dtype(like.dtype())
}

/// The shape of a mask over whole channels of `x` with `spatial` spatial axes.
fn channels(x: &Tensor, spatial: usize, name: &str) -> Result<Vec<usize>> {
    let lead = match x.rank().checked_sub(spatial) {
        Some(lead @ (1 | 2)) => lead,
        _ => {
            return Err(shape_error(name, format!("an input of {} axes", x.rank()), &[x])
                .with_expected(format!("[N, C, ..] or [C, ..] with {spatial} spatial axes")));
        }
    };
    Ok(x.shape().iter().enumerate().map(|(i, &d)| if i < lead { d } else { 1 }).collect())
}

fn mask_out(x: &Tensor, shape: &[usize], p: f64) -> Result<Tensor> {
    if p == 1.0 {
        return x.mul(&constant(0.0, x)?);
    }
    x.mul(&kept(shape, p, x)?.div(1.0 - p)?)
}

/// In training, whole channels are 0 with probability `p` and the others scaled by `1 / (1 - p)`.
pub fn channel_dropout(x: &Tensor, p: f64, training: bool, spatial: usize) -> Result<Tensor> {
    let name = format!("dropout{spatial}d");
    probability(p, &name)?;
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    floats(x, &name)?;
    mask_out(x, &channels(x, spatial, &name)?, p)
}

/// As [`channel_dropout`], for any number of spatial axes.
pub fn feature_dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    channel_dropout(x, p, training, x.rank().saturating_sub(2))
}

fn alpha_mask(x: &Tensor, shape: &[usize], p: f64) -> Result<Tensor> {
    // Klambauer et al. 2017, "Self-normalizing neural networks": -scale * alpha of SELU.
    const SATURATED: f64 = -1.758_099_340_847_376_6;
    if p == 1.0 {
        return x.mul(&constant(0.0, x)?);
    }
    let a = 1.0 / ((1.0 - p) * (1.0 + p * SATURATED * SATURATED)).sqrt();
    let keep = kept(shape, p, x)?;
    let gone = keep.mul(-1.0)?.add(1.0)?.mul(SATURATED * a)?;
    x.mul(&keep.mul(a)?)?.add(&gone.add(-SATURATED * a * p)?)
}

/// Dropout that keeps mean and variance of inputs with mean 0 and variance 1.
pub fn alpha_dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    probability(p, "alpha_dropout")?;
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    floats(x, "alpha_dropout")?;
    alpha_mask(x, x.shape(), p)
}

/// As [`alpha_dropout`], for whole channels.
pub fn feature_alpha_dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    probability(p, "feature_alpha_dropout")?;
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    floats(x, "feature_alpha_dropout")?;
    alpha_mask(x, &channels(x, x.rank().saturating_sub(2), "feature_alpha_dropout")?, p)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "dropout(Tensor input, float p=0.5, bool training=True, bool inplace=False) -> Tensor",
        FUNCTIONAL,
        "Elements left out at random in training.",
        |a| give(dropout_checked(a.tensor(0)?, a.float(1)?, a.bool(2)?)),
    )
    .cost(16.0),
    name(
        "dropout(Tensor input, float p=0.5, bool train=True) -> Tensor",
        TOP,
        "Elements left out at random in training.",
        |a| give(dropout_checked(a.tensor(0)?, a.float(1)?, a.bool(2)?)),
    )
    .cost(16.0),
    name(
        "dropout1d(Tensor input, float p=0.5, bool training=True, bool inplace=False) -> Tensor",
        FUNCTIONAL,
        "Channels left out at random in training.",
        |a| give(channel_dropout(a.tensor(0)?, a.float(1)?, a.bool(2)?, 1)),
    )
    .cost(16.0),
    name(
        "dropout2d(Tensor input, float p=0.5, bool training=True, bool inplace=False) -> Tensor",
        FUNCTIONAL,
        "Channels left out at random in training.",
        |a| give(channel_dropout(a.tensor(0)?, a.float(1)?, a.bool(2)?, 2)),
    )
    .cost(16.0),
    name(
        "dropout3d(Tensor input, float p=0.5, bool training=True, bool inplace=False) -> Tensor",
        FUNCTIONAL,
        "Channels left out at random in training.",
        |a| give(channel_dropout(a.tensor(0)?, a.float(1)?, a.bool(2)?, 3)),
    )
    .cost(16.0),
    name(
        "alpha_dropout(Tensor input, float p=0.5, bool training=False, bool inplace=False) -> Tensor",
        FUNCTIONAL,
        "Elements left out at random so that mean and variance stay.",
        |a| give(alpha_dropout(a.tensor(0)?, a.float(1)?, a.bool(2)?)),
    )
    .cost(16.0),
    name(
        "feature_alpha_dropout(Tensor input, float p=0.5, bool training=False, bool inplace=False) -> Tensor",
        FUNCTIONAL,
        "Channels left out at random so that mean and variance stay.",
        |a| give(feature_alpha_dropout(a.tensor(0)?, a.float(1)?, a.bool(2)?)),
    )
    .cost(16.0),
];
