//! What layers are made of.

use lampyr_base::{Dim, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Tensor, apply};

use super::operand::one;

/// Matrix product; vectors and batches as PyTorch's `matmul` takes them.
///
/// # Errors
/// When the types or the inner sizes differ.
pub fn matmul(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    one(&op::Matmul, &[x, y])
}

fn pads(padding: &[i64]) -> Vec<Dim> {
    padding.iter().chain(padding).map(|&p| Dim::Known(p)).collect()
}

/// How the window of a convolution or pooling moves: one number per spatial axis.
#[derive(Clone, Debug)]
pub struct Window {
    /// Steps between windows.
    pub stride: Vec<i64>,
    /// Padding on both sides.
    pub padding: Vec<i64>,
    /// Steps between the elements of a window.
    pub dilation: Vec<i64>,
}

fn check_rank(name: &str, x: &Tensor, spatial: usize) -> Result<()> {
    if x.rank() == spatial + 2 {
        return Ok(());
    }
    Err(Error::shape(format!("the input has {} axes", x.rank()))
        .with_op(name)
        .with_inputs([format!("{}{:?}", x.dtype(), x.shape())])
        .with_expected(format!("{} axes: batch, channels and {spatial} spatial ones", spatial + 2)))
}

/// Convolution of `x` `[N, C, ...]` with `weight` `[M, C/groups, ...]`, plus an optional bias `[M]`.
pub fn conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, window: &Window, groups: i64) -> Result<Tensor> {
    check_rank("conv", x, window.stride.len())?;
    let op = op::Conv {
        strides: window.stride.clone(),
        pads: pads(&window.padding),
        dilations: window.dilation.clone(),
        group: groups,
        channels_last: false,
    };
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    one(&op, &inputs)
}

/// Largest elements in windows of size `kernel`, and their flat positions in the spatial plane.
pub fn max_pool(x: &Tensor, kernel: &[i64], window: &Window, ceil_mode: bool) -> Result<(Tensor, Tensor)> {
    check_rank("max_pool", x, kernel.len())?;
    let op = op::MaxPool {
        kernel: kernel.to_vec(),
        strides: window.stride.clone(),
        pads: pads(&window.padding),
        dilations: window.dilation.clone(),
        ceil_mode,
        return_indices: true,
        channels_last: false,
    };
    pair(apply(&op, &[x])?.into_vec(), "max_pool")
}

fn pair(made: Vec<Tensor>, name: &str) -> Result<(Tensor, Tensor)> {
    match <[Tensor; 2]>::try_from(made) {
        Ok([first, second]) => Ok((first, second)),
        Err(_) => Err(Error::internal("two outputs were expected").with_op(name)),
    }
}

/// What [`batch_norm`] takes besides its input.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Running mean, changed in place in training.
    pub running_mean: Option<&'a Tensor>,
    /// Running variance, changed in place in training.
    pub running_var: Option<&'a Tensor>,
    /// Factor per channel.
    pub weight: Option<&'a Tensor>,
    /// Summand per channel.
    pub bias: Option<&'a Tensor>,
    /// Whether batch statistics are used.
    pub training: bool,
    /// Weight of the batch in new running statistics.
    pub momentum: f64,
    /// Added to the variance.
    pub epsilon: f64,
}

/// Normalises each channel (axis 1).
///
/// # Errors
/// When there are no running statistics outside training.
pub fn batch_norm(x: &Tensor, options: &BatchNorm) -> Result<Tensor> {
    let &BatchNorm { running_mean, running_var, training, momentum, epsilon, .. } = options;
    let statistics = running_mean.zip(running_var);
    if statistics.is_none() && !training {
        return Err(Error::value("there are no running statistics")
            .with_op("batch_norm")
            .with_expected("training=True"));
    }
    let channels =
        [*x.shape().get(1).ok_or_else(|| Error::shape("the input has no channels").with_op("batch_norm"))?];
    let constant = |value: f64| Tensor::full(&channels, value, x.dtype(), x.device());
    let or = |given: Option<&Tensor>, value| given.map_or_else(|| constant(value), |t| Ok(t.clone()));
    let (weight, bias) = (or(options.weight, 1.0)?, or(options.bias, 0.0)?);
    let (mean, var) = (or(running_mean, 0.0)?, or(running_var, 1.0)?);
    let op = op::BatchNorm { epsilon, momentum, training, unbiased: true };
    let mut made = apply(&op, &[x, &weight, &bias, &mean.detach(), &var.detach()])?.into_vec();
    if made.is_empty() {
        return Err(Error::internal("an op made no output").with_op("batch_norm"));
    }
    if let (true, Some((mean, var)), Some(new_mean), Some(new_var)) = (training, statistics, made.get(1), made.get(2)) {
        mean.assign_(&new_mean.detach())?;
        var.assign_(&new_var.detach())?;
    }
    Ok(made.swap_remove(0))
}

/// In training, sets elements to zero with probability `p` and scales the others by `1 / (1 - p)`.
pub fn dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    one(&op::Dropout { ratio: p, training }, &[x, &crate::random::next_key()?])
}

/// The `k` largest (or smallest) elements along `axis`, best first, and their positions.
pub fn topk(x: &Tensor, k: usize, axis: i64, largest: bool, sorted: bool) -> Result<(Tensor, Tensor)> {
    pair(apply(&op::Topk { k: Dim::from(k), axis, largest, sorted }, &[x])?.into_vec(), "topk")
}

/// Positions of the elements that are not zero, one row per element.
pub fn nonzero(x: &Tensor) -> Result<Tensor> {
    // The op counts as ONNX does: one row per axis.
    one(&op::Nonzero, &[x])?.transpose(0, 1)
}

/// Elements of `x` at `index` along `axis`; `index` has as many axes as `x`.
pub fn gather(x: &Tensor, axis: i64, index: &Tensor) -> Result<Tensor> {
    one(&op::GatherElements { axis }, &[x, index])
}
