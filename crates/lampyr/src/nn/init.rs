//! First values of parameters, from the default generator. Each function writes into its tensor.

use lampyr_base::{Error, Result};
use lampyr_runtime::{Tensor, no_grad};

use crate::functional::full_like;
use crate::random::{default_generator, rand, randn};

/// `values * factor + shift` in place of the elements of `tensor`.
fn write(tensor: &Tensor, values: &Tensor, factor: f64, shift: f64) -> Result<()> {
    no_grad(|| tensor.assign_(&values.mul(factor)?.add(shift)?))
}

/// Uniform numbers from `low` to `high`.
///
/// # Errors
/// When `tensor` has no float type.
pub fn uniform_(tensor: &Tensor, low: f64, high: f64) -> Result<()> {
    write(tensor, &rand(tensor.shape(), tensor.dtype(), default_generator())?, high - low, low)
}

/// Normal numbers.
///
/// # Errors
/// When `tensor` has no float type.
pub fn normal_(tensor: &Tensor, mean: f64, deviation: f64) -> Result<()> {
    write(tensor, &randn(tensor.shape(), tensor.dtype(), default_generator())?, deviation, mean)
}

/// All elements `value`.
pub fn constant_(tensor: &Tensor, value: f64) -> Result<()> {
    no_grad(|| tensor.assign_(&full_like(tensor, value)?))
}

/// Elements that one output depends on, and elements that one input goes into.
///
/// # Errors
/// When `tensor` has less than 2 axes.
pub fn fans(tensor: &Tensor) -> Result<(usize, usize)> {
    match tensor.shape() {
        [out, input, window @ ..] => {
            let window: usize = window.iter().product();
            Ok((input * window, out * window))
        }
        shape => Err(Error::shape(format!("a tensor of shape {shape:?} has no fans")).with_expected("2 axes or more")),
    }
}

/// Uniform numbers of variance `gain^2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010).
///
/// # Errors
/// When `tensor` has less than 2 axes or no float type.
pub fn xavier_uniform_(tensor: &Tensor, gain: f64) -> Result<()> {
    let (fan_in, fan_out) = fans(tensor)?;
    let bound = gain * (6.0 / (fan_in + fan_out) as f64).sqrt();
    uniform_(tensor, -bound, bound)
}

/// Normal numbers of variance `gain^2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010).
///
/// # Errors
/// When `tensor` has less than 2 axes or no float type.
pub fn xavier_normal_(tensor: &Tensor, gain: f64) -> Result<()> {
    let (fan_in, fan_out) = fans(tensor)?;
    normal_(tensor, 0.0, gain * (2.0 / (fan_in + fan_out) as f64).sqrt())
}

/// Uniform numbers of variance `2 / ((1 + slope^2) fan_in)`, for rectifiers with that slope below zero (He et al. 2015).
///
/// # Errors
/// When `tensor` has less than 2 axes or no float type.
pub fn kaiming_uniform_(tensor: &Tensor, slope: f64) -> Result<()> {
    let fan_in = fans(tensor)?.0;
    if tensor.is_empty() {
        return Ok(());
    }
    let bound = 3f64.sqrt() * (2.0 / (1.0 + slope * slope)).sqrt() / (fan_in as f64).sqrt();
    uniform_(tensor, -bound, bound)
}

/// Normal numbers of variance `2 / ((1 + slope^2) fan_in)`, for rectifiers with that slope below zero (He et al. 2015).
///
/// # Errors
/// When `tensor` has less than 2 axes or no float type.
pub fn kaiming_normal_(tensor: &Tensor, slope: f64) -> Result<()> {
    let fan_in = fans(tensor)?.0;
    if tensor.is_empty() {
        return Ok(());
    }
    normal_(tensor, 0.0, (2.0 / (1.0 + slope * slope)).sqrt() / (fan_in as f64).sqrt())
}
