//! Normalisation.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::activation::power;
use super::nn::{BatchNorm, batch_norm};
use super::operand::one;
use super::pooling::{Pooling, avg_pooling};
use super::shape::reshape_to;
use super::support::{floats, known, shape_error};
use crate::names::{Call, Entry, FUNCTIONAL, TOP, give, name};

/// [`batch_norm`] after its checks.
///
/// # Errors
/// When training would normalise single elements, or statistics, weight or bias do not have one number per channel.
pub fn batch_norm_checked(x: &Tensor, options: &BatchNorm) -> Result<Tensor> {
    floats(x, "batch_norm")?;
    if x.rank() == 1 && x.is_empty() {
        return x.duplicate();
    }
    if x.rank() < 2 {
        return Err(
            shape_error("batch_norm", format!("an input of {} axes", x.rank()), &[x]).with_expected("[N, C, ..]")
        );
    }
    let channels = x.shape()[1];
    let each = [options.running_mean, options.running_var, options.weight, options.bias];
    if let Some(t) = each.into_iter().flatten().find(|t| t.shape() != [channels]) {
        return Err(shape_error("batch_norm", format!("{:?} for {channels} channels", t.shape()), &[x, t])
            .with_expected(format!("[{channels}]")));
    }
    let count = x.len().checked_div(channels).unwrap_or(0);
    if options.training && count == 1 {
        return Err(shape_error("batch_norm", "one element per channel has no statistics", &[x])
            .with_expected("more than one element per channel when training"));
    }
    batch_norm(x, options)
}

fn over_last<'a>(name: &str, x: &'a Tensor, shape: &[i64], parts: [Option<&'a Tensor>; 2]) -> Result<i64> {
    let last = super::support::sizes(shape)?;
    let fits = !last.is_empty() && x.shape().ends_with(&last);
    let all: Vec<&Tensor> = [x].into_iter().chain(parts.into_iter().flatten()).collect();
    if !fits || all[1..].iter().any(|t| t.shape() != last) {
        return Err(shape_error(name, format!("normalized_shape {shape:?} does not fit"), &all)
            .with_expected(format!("an input [.., {last:?}], and weight and bias of the normalized shape")));
    }
    Ok(-(shape.len() as i64))
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over the last axes, of sizes `shape`.
pub fn layer_norm(
    x: &Tensor,
    shape: &[i64],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    floats(x, "layer_norm")?;
    let axis = over_last("layer_norm", x, shape, [weight, bias])?;
    let norm = op::LayerNorm { axis, epsilon: eps };
    match (weight, bias) {
        (None, None) => one(&norm, &[x]),
        (Some(w), None) => one(&norm, &[x, w]),
        (Some(w), Some(b)) => one(&norm, &[x, w, b]),
        (None, Some(b)) => one(&norm, &[x])?.add(b),
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last axes, of sizes `shape`; `eps` is the machine epsilon when not
/// given.
pub fn rms_norm(x: &Tensor, shape: &[i64], weight: Option<&Tensor>, eps: Option<f64>) -> Result<Tensor> {
    floats(x, "rms_norm")?;
    let axis = over_last("rms_norm", x, shape, [weight, None])?;
    let epsilon = eps.unwrap_or(match x.dtype() {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    });
    let inputs: Vec<&Tensor> = [x].into_iter().chain(weight).collect();
    one(&op::RmsNorm { axis, epsilon }, &inputs)
}

fn per_channel(name: &str, x: &Tensor, parts: [Option<&Tensor>; 2]) -> Result<()> {
    if x.rank() < 2 {
        return Err(shape_error(name, format!("an input of {} axes", x.rank()), &[x]).with_expected("[N, C, ..]"));
    }
    let channels = x.shape()[1];
    match parts.into_iter().flatten().find(|t| t.shape() != [channels]) {
        Some(t) => Err(shape_error(name, format!("{:?} for {channels} channels", t.shape()), &[x, t])
            .with_expected(format!("[{channels}]"))),
        None => Ok(()),
    }
}

fn grouped(x: &Tensor, groups: i64, parts: [Option<&Tensor>; 2], eps: f64) -> Result<Tensor> {
    if matches!(x.dtype(), DType::F16 | DType::BF16) {
        let wide = |t: &Tensor| t.to_dtype(DType::F32);
        let [weight, bias] = [parts[0].map(wide).transpose()?, parts[1].map(wide).transpose()?];
        return grouped(&wide(x)?, groups, [weight.as_ref(), bias.as_ref()], eps)?.to_dtype(x.dtype());
    }
    let norm = op::GroupNorm { num_groups: groups, epsilon: eps };
    let [weight, bias] = parts;
    match (weight, bias) {
        (None, None) => one(&norm, &[x]),
        (Some(w), None) => one(&norm, &[x, w]),
        (Some(w), Some(b)) => one(&norm, &[x, w, b]),
        (None, Some(b)) => {
            let mut shape = vec![1; x.rank()];
            shape[1] = b.len();
            one(&norm, &[x])?.add(&reshape_to(b, &shape)?)
        }
    }
}

/// Every group of channels of every sample brought to mean 0 and variance 1, then `y * weight + bias` per channel.
pub fn group_norm(x: &Tensor, groups: i64, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    floats(x, "group_norm")?;
    per_channel("group_norm", x, [weight, bias])?;
    if groups <= 0 || (x.shape()[1] as i64) % groups != 0 {
        return Err(shape_error("group_norm", format!("{} channels in {groups} groups", x.shape()[1]), &[x])
            .with_expected("groups of equal size"));
    }
    if x.shape()[1..].contains(&0) {
        return Err(shape_error("group_norm", "the input has no channels or no elements in them", &[x]));
    }
    grouped(x, groups, [weight, bias], eps)
}

/// Every channel of every sample brought to mean 0 and variance 1; running statistics are means over the batch.
pub fn instance_norm(x: &Tensor, options: &BatchNorm) -> Result<Tensor> {
    floats(x, "instance_norm")?;
    per_channel("instance_norm", x, [options.weight, options.bias])?;
    per_channel("instance_norm", x, [options.running_mean, options.running_var])?;
    if !options.training {
        return batch_norm(x, options);
    }
    let plane: usize = x.shape()[2..].iter().product();
    if plane <= 1 {
        return Err(shape_error("instance_norm", "one element per channel has no statistics", &[x])
            .with_expected("more than one spatial element when training"));
    }
    if let Some((mean, variance)) = options.running_mean.zip(options.running_var) {
        let flat = reshape_to(&x.detach(), &[x.shape()[0], x.shape()[1], plane])?;
        let spread = one(&op::Variance { axes: vec![2], correction: 1, keepdims: false }, &[&flat])?;
        let update = |old: &Tensor, new: Tensor| {
            let new = new.mean(&[0], false)?.mul(options.momentum)?.to_dtype(old.dtype())?;
            old.assign_(&old.detach().mul(1.0 - options.momentum)?.add(&new)?)
        };
        let means = flat.mean(&[2], false)?;
        update(mean, means)?;
        update(variance, spread)?;
    }
    grouped(x, 0, [options.weight, options.bias], options.epsilon)
}

/// `x / (k + alpha * mean of the squares of size channels around)^beta`.
pub fn local_response_norm(x: &Tensor, size: i64, alpha: f64, beta: f64, k: f64) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        floats(x, "local_response_norm")?;
    }
    if x.rank() < 3 {
        return Err(shape_error("local_response_norm", format!("an input of {} axes", x.rank()), &[x])
            .with_expected("[N, C, ..] with at least one spatial axis"));
    }
    if size < 1 {
        return Err(Error::value(format!("{size} channels"))
            .with_op("local_response_norm")
            .with_expected("at least one"));
    }
    if x.is_empty() {
        return x.duplicate();
    }
    let (batch, channels) = (x.shape()[0], x.shape()[1]);
    let plane = reshape_to(&x.mul(x)?, &[batch, 1, channels, x.len() / (batch * channels)])?;
    let wide = one(
        &op::Pad {
            begins: known(&[0, 0, size / 2, 0]),
            ends: known(&[0, 0, (size - 1) / 2, 0]),
            mode: "constant".to_string(),
        },
        &[&plane],
    )?;
    let pooling = Pooling { n: 2, kernel: &[size, 1], stride: &[1, 1], padding: &[0], dilation: &[1], ceil: false };
    let mean = reshape_to(&avg_pooling(&wide, pooling, true, None)?, x.shape())?;
    x.div(&power(&mean.mul(alpha)?.add(k)?, beta)?)
}

fn statistics<'a>(a: &'a Call) -> Result<BatchNorm<'a>> {
    Ok(BatchNorm {
        running_mean: a.tensor_or_none(1)?,
        running_var: a.tensor_or_none(2)?,
        weight: a.tensor_or_none(3)?,
        bias: a.tensor_or_none(4)?,
        training: a.bool(5)?,
        momentum: a.float(6)?,
        epsilon: a.float(7)?,
    })
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "batch_norm(Tensor input, Tensor? running_mean, Tensor? running_var, Tensor? weight=None, Tensor? bias=None, bool training=False, float momentum=0.1, float eps=1e-5) -> Tensor",
        FUNCTIONAL,
        "Every channel brought to mean 0 and variance 1; in training the running statistics are updated.",
        |a| give(batch_norm_checked(a.tensor(0)?, &statistics(a)?)),
    )
    .cost(16.0),
    name(
        "batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled=False) -> Tensor",
        TOP,
        "Every channel brought to mean 0 and variance 1; in training the running statistics are updated.",
        |a| {
            let given = BatchNorm {
                weight: a.tensor_or_none(1)?,
                bias: a.tensor_or_none(2)?,
                running_mean: a.tensor_or_none(3)?,
                running_var: a.tensor_or_none(4)?,
                training: a.bool(5)?,
                momentum: a.float(6)?,
                epsilon: a.float(7)?,
            };
            give(batch_norm_checked(a.tensor(0)?, &given))
        },
    )
    .cost(16.0),
    name(
        "instance_norm(Tensor input, Tensor? running_mean=None, Tensor? running_var=None, Tensor? weight=None, Tensor? bias=None, bool use_input_stats=True, float momentum=0.1, float eps=1e-5) -> Tensor",
        FUNCTIONAL,
        "Every channel of every sample brought to mean 0 and variance 1.",
        |a| give(instance_norm(a.tensor(0)?, &statistics(a)?)),
    )
    .cost(16.0),
    name(
        "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-5) -> Tensor",
        FUNCTIONAL,
        "The last axes brought to mean 0 and variance 1.",
        |a| give(layer_norm(a.tensor(0)?, a.ints(1)?, a.tensor_or_none(2)?, a.tensor_or_none(3)?, a.float(4)?)),
    )
    .cost(16.0),
    name(
        "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
        FUNCTIONAL,
        "The last axes divided by the root of their mean square.",
        |a| give(rms_norm(a.tensor(0)?, a.ints(1)?, a.tensor_or_none(2)?, a.float_or_none(3)?)),
    )
    .cost(16.0),
    name(
        "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-5) -> Tensor",
        FUNCTIONAL,
        "Groups of channels brought to mean 0 and variance 1.",
        |a| give(group_norm(a.tensor(0)?, a.int(1)?, a.tensor_or_none(2)?, a.tensor_or_none(3)?, a.float(4)?)),
    )
    .cost(16.0),
    name(
        "local_response_norm(Tensor input, int size, float alpha=1e-4, float beta=0.75, float k=1.0) -> Tensor",
        FUNCTIONAL,
        "Divided by what channels around add up to.",
        |a| give(local_response_norm(a.tensor(0)?, a.int(1)?, a.float(2)?, a.float(3)?, a.float(4)?)),
    )
    .cost(32.0),
];
