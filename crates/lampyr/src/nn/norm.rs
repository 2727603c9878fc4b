//! Normalisation.

use lampyr_base::{Error, Result};
use lampyr_runtime::{Scalar, Tensor, no_grad};

use super::Module;
use super::forward::Forward;
use super::make;
use super::part::{Buffer, Parameter, Training};
use crate::functional::{self, batch_norm_checked, layer_norm};

/// Normalises channels by statistics of the batch (Ioffe and Szegedy 2015); in evaluation by running statistics.
#[derive(Clone, Debug, Module)]
pub struct BatchNorm<const N: usize> {
    /// Factor per channel.
    pub weight: Option<Parameter>,
    /// Summand per channel.
    pub bias: Option<Parameter>,
    /// Running means.
    pub running_mean: Option<Buffer>,
    /// Running variances.
    pub running_var: Option<Buffer>,
    /// Number of batches seen, `int64[]`.
    pub num_batches_tracked: Option<Buffer>,
    training: Training,
    #[module(skip)]
    options: BatchNormBuilder<N>,
}

/// Normalises the channels of `[batch, channels]` or `[batch, channels, length]`.
pub type BatchNorm1d = BatchNorm<1>;
/// Normalises the channels of `[batch, channels, height, width]`.
pub type BatchNorm2d = BatchNorm<2>;

/// Options of a [`BatchNorm`].
#[derive(Clone, Debug)]
pub struct BatchNormBuilder<const N: usize> {
    features: usize,
    eps: f64,
    momentum: Option<f64>,
    affine: bool,
    track: bool,
}

impl<const N: usize> BatchNorm<N> {
    /// For `num_features` channels, with `eps` 1e-5, momentum 0.1, weight, bias and running statistics.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(num_features: usize) -> Result<BatchNorm<N>> {
        BatchNorm::builder(num_features).build()
    }

    /// As [`BatchNorm::new`], with options: `BatchNorm2d::builder(8).momentum(None).build()?`
    pub fn builder(num_features: usize) -> BatchNormBuilder<N> {
        BatchNormBuilder { features: num_features, eps: 1e-5, momentum: Some(0.1), affine: true, track: true }
    }
}

impl<const N: usize> BatchNormBuilder<N> {
    /// What is added to variances.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Weight of a batch in new running statistics; without one all batches weigh the same.
    #[must_use]
    pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> Self {
        self.momentum = momentum.into();
        self
    }

    /// Whether there are weight and bias.
    #[must_use]
    pub fn affine(mut self, on: bool) -> Self {
        self.affine = on;
        self
    }

    /// Whether there are running statistics; without them those of the batch are used always.
    #[must_use]
    pub fn track_running_stats(mut self, on: bool) -> Self {
        self.track = on;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn build(self) -> Result<BatchNorm<N>> {
        let shape = [self.features];
        let parameter = |value| self.affine.then(|| make::filled(&shape, value)).transpose();
        let buffer = |value| self.track.then(|| make::constant(&shape, value).map(Buffer::new)).transpose();
        let count = self.track.then(|| Tensor::from_slice(&[0i64], &[]).map(Buffer::new)).transpose();
        Ok(BatchNorm {
            weight: parameter(1.0)?,
            bias: parameter(0.0)?,
            running_mean: buffer(0.0)?,
            running_var: buffer(1.0)?,
            num_batches_tracked: count?,
            training: Training::default(),
            options: self,
        })
    }
}

impl<const N: usize> BatchNorm<N> {
    /// The weight of this batch in the running statistics; counts it.
    fn momentum(&self) -> Result<f64> {
        let given = self.options.momentum;
        let Some(count) = self.num_batches_tracked.as_ref().filter(|_| self.training.is_on()) else {
            return Ok(given.unwrap_or(0.0));
        };
        no_grad(|| count.assign_(&count.add(Scalar::Int(1))?))?;
        given.map_or_else(|| Ok(1.0 / count.item()?), Ok)
    }
}

impl<const N: usize> Forward for BatchNorm<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.rank() != N + 2 && !(N == 1 && x.rank() == 2) {
            return Err(Error::shape(format!("the input has {} axes", x.rank()))
                .with_op(&format!("BatchNorm{N}d"))
                .with_inputs([format!("{}{:?}", x.dtype(), x.shape())])
                .with_expected(if N == 1 { "2 or 3".to_string() } else { (N + 2).to_string() }));
        }
        let statistics = || self.running_mean.as_deref().zip(self.running_var.as_deref());
        let options = functional::BatchNorm {
            running_mean: statistics().map(|s| s.0),
            running_var: statistics().map(|s| s.1),
            weight: self.weight.as_deref(),
            bias: self.bias.as_deref(),
            training: self.training.is_on() || statistics().is_none(),
            momentum: self.momentum()?,
            epsilon: self.options.eps,
        };
        batch_norm_checked(x, &options)
    }
}

/// Normalises the elements of the last axes (Ba et al. 2016).
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// Factor per element.
    pub weight: Option<Parameter>,
    /// Summand per element.
    pub bias: Option<Parameter>,
    #[module(skip)]
    options: LayerNormBuilder,
}

/// Options of a [`LayerNorm`].
#[derive(Clone, Debug)]
pub struct LayerNormBuilder {
    shape: Vec<i64>,
    eps: f64,
    affine: bool,
    bias: bool,
}

impl LayerNorm {
    /// Over the last axis, of `size` elements, with `eps` 1e-5, weight and bias.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(size: usize) -> Result<LayerNorm> {
        LayerNorm::builder(&[size]).build()
    }

    /// Over the last axes, of sizes `shape`, with options: `LayerNorm::builder(&[8]).bias(false).build()?`
    pub fn builder(shape: &[usize]) -> LayerNormBuilder {
        let shape = shape.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
        LayerNormBuilder { shape, eps: 1e-5, affine: true, bias: true }
    }
}

impl LayerNormBuilder {
    /// What is added to variances.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether there are weight and bias.
    #[must_use]
    pub fn elementwise_affine(mut self, on: bool) -> Self {
        self.affine = on;
        self
    }

    /// Whether there is a bias beside the weight.
    #[must_use]
    pub fn bias(mut self, on: bool) -> Self {
        self.bias = on;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// When there are no axes, or no memory.
    pub fn build(self) -> Result<LayerNorm> {
        if self.shape.is_empty() {
            return Err(Error::shape("no axes to normalise").with_op("LayerNorm").with_expected("one or more"));
        }
        let shape: Vec<usize> = self.shape.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
        let weight = self.affine.then(|| make::filled(&shape, 1.0)).transpose()?;
        let bias = (self.affine && self.bias).then(|| make::filled(&shape, 0.0)).transpose()?;
        Ok(LayerNorm { weight, bias, options: self })
    }
}

impl Forward for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.options.shape, self.weight.as_deref(), self.bias.as_deref(), self.options.eps)
    }
}
