//! What constructors of layers share.

use lampyr_base::{Device, Error, Result, num_elements};
use lampyr_runtime::{Tensor, default_dtype};

use super::init;
use super::part::Parameter;

/// A parameter of the default type whose elements are not set.
pub(super) fn parameter(shape: &[usize]) -> Result<Parameter> {
    crate::init();
    num_elements(shape)?;
    Parameter::new(&Tensor::empty(shape, default_dtype(), Device::CPU)?)
}

/// A parameter with all elements `value`.
pub(super) fn filled(shape: &[usize], value: f64) -> Result<Parameter> {
    Parameter::new(&constant(shape, value)?)
}

/// A tensor of the default type with all elements `value`.
pub(super) fn constant(shape: &[usize], value: f64) -> Result<Tensor> {
    crate::init();
    num_elements(shape)?;
    Tensor::full(shape, value, default_dtype(), Device::CPU)
}

/// Weight and bias as linear layers and convolutions start with: uniform up to `1 / sqrt(fan_in)`.
pub(super) fn affine(shape: &[usize], out: usize, bias: bool) -> Result<(Parameter, Option<Parameter>)> {
    let weight = parameter(shape)?;
    init::kaiming_uniform_(&weight, 5f64.sqrt())?;
    let fan_in = init::fans(&weight)?.0;
    let bias = bias.then(|| parameter(&[out])).transpose()?;
    if let Some(b) = &bias {
        let bound = if fan_in > 0 { 1.0 / (fan_in as f64).sqrt() } else { 0.0 };
        init::uniform_(b, -bound, bound)?;
    }
    Ok((weight, bias))
}

/// # Errors
/// When `p` is no probability.
pub(super) fn probability(p: f64, layer: &str) -> Result<f64> {
    if (0.0..=1.0).contains(&p) {
        return Ok(p);
    }
    Err(Error::value(format!("the probability is {p}")).with_op(layer).with_expected("0 to 1"))
}

/// # Errors
/// When `size` is 0.
pub(super) fn positive(size: usize, what: &str, layer: &str) -> Result<usize> {
    if size > 0 {
        return Ok(size);
    }
    Err(Error::value(format!("{what} is 0")).with_op(layer).with_expected("1 or more"))
}

/// One number per spatial axis: a number stands for all axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes<const N: usize>(pub(super) [i64; N]);

fn size(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl<const N: usize> From<usize> for Sizes<N> {
    fn from(n: usize) -> Sizes<N> {
        Sizes([size(n); N])
    }
}

impl<const N: usize> From<[usize; N]> for Sizes<N> {
    fn from(all: [usize; N]) -> Sizes<N> {
        Sizes(all.map(size))
    }
}

impl From<(usize, usize)> for Sizes<2> {
    fn from((height, width): (usize, usize)) -> Sizes<2> {
        Sizes([size(height), size(width)])
    }
}

impl<const N: usize> Sizes<N> {
    /// As sizes of axes.
    pub(super) fn axes(&self) -> [usize; N] {
        self.0.map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// # Errors
    /// When one is 0.
    pub(super) fn positive(self, what: &str, layer: &str) -> Result<Sizes<N>> {
        self.axes().iter().try_for_each(|&n| positive(n, what, layer).map(drop))?;
        Ok(self)
    }
}
