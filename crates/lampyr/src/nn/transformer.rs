//! Transformers (Vaswani et al. 2017).

use lampyr_base::Result;
use lampyr_runtime::Tensor;

use super::Module;
use super::activation::Dropout;
use super::attention::{Masks, MultiheadAttention};
use super::forward::Forward;
use super::linear::Linear;
use super::norm::LayerNorm;

/// The function between the two linear layers of a [`TransformerEncoderLayer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`
    #[default]
    Relu,
    /// Gaussian error linear unit.
    Gelu,
}

/// Self-attention and two linear layers, each with a normalised residual.
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoderLayer {
    /// Attention of the input to itself.
    pub self_attn: MultiheadAttention,
    /// To the inner features.
    pub linear1: Linear,
    dropout: Dropout,
    /// Back to the outer features.
    pub linear2: Linear,
    norm_first: bool,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the linear layers.
    pub norm2: LayerNorm,
    dropout1: Dropout,
    dropout2: Dropout,
    #[module(skip)]
    activation: Activation,
}

/// Options of a [`TransformerEncoderLayer`].
#[derive(Clone, Debug)]
pub struct TransformerEncoderLayerBuilder {
    size: usize,
    heads: usize,
    inner: usize,
    dropout: f64,
    activation: Activation,
    eps: f64,
    batch_first: bool,
    norm_first: bool,
    bias: bool,
}

impl TransformerEncoderLayer {
    /// `nhead` heads over `d_model` features and 2048 inner ones, with dropout 0.1; the batch is the second axis.
    ///
    /// # Errors
    /// When a number is 0, heads do not divide features, or there is no memory for the weights.
    pub fn new(d_model: usize, nhead: usize) -> Result<TransformerEncoderLayer> {
        TransformerEncoderLayer::builder(d_model, nhead).build()
    }

    /// As [`TransformerEncoderLayer::new`], with options.
    pub fn builder(d_model: usize, nhead: usize) -> TransformerEncoderLayerBuilder {
        TransformerEncoderLayerBuilder {
            size: d_model,
            heads: nhead,
            inner: 2048,
            dropout: 0.1,
            activation: Activation::Relu,
            eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
        }
    }
}

impl TransformerEncoderLayerBuilder {
    /// Features between the two linear layers.
    #[must_use]
    pub fn dim_feedforward(mut self, inner: usize) -> Self {
        self.inner = inner;
        self
    }

    /// Probability of dropping an element or a weight.
    #[must_use]
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// The function between the two linear layers.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// What is added to variances.
    #[must_use]
    pub fn layer_norm_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether the batch is the first axis.
    #[must_use]
    pub fn batch_first(mut self, on: bool) -> Self {
        self.batch_first = on;
        self
    }

    /// Whether inputs are normalised instead of outputs.
    #[must_use]
    pub fn norm_first(mut self, on: bool) -> Self {
        self.norm_first = on;
        self
    }

    /// Whether there are biases.
    #[must_use]
    pub fn bias(mut self, on: bool) -> Self {
        self.bias = on;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// When a number is 0, heads do not divide features, `dropout` is no probability, or there is no memory.
    pub fn build(self) -> Result<TransformerEncoderLayer> {
        let norm = || LayerNorm::builder(&[self.size]).eps(self.eps).bias(self.bias).build();
        Ok(TransformerEncoderLayer {
            self_attn: MultiheadAttention::builder(self.size, self.heads)
                .dropout(self.dropout)
                .bias(self.bias)
                .batch_first(self.batch_first)
                .build()?,
            linear1: Linear::with_bias(self.size, self.inner, self.bias)?,
            dropout: Dropout::new(self.dropout)?,
            linear2: Linear::with_bias(self.inner, self.size, self.bias)?,
            norm_first: self.norm_first,
            norm1: norm()?,
            norm2: norm()?,
            dropout1: Dropout::new(self.dropout)?,
            dropout2: Dropout::new(self.dropout)?,
            activation: self.activation,
        })
    }
}

impl TransformerEncoderLayer {
    /// The result for `x` `[steps, batch, d_model]`, with `batch_first` `[batch, steps, d_model]`, or without a batch.
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn forward_masked(&self, x: &Tensor, masks: Masks) -> Result<Tensor> {
        let attend = |x: &Tensor| self.dropout1.forward(&self.self_attn.forward(x, x, x, masks)?);
        let feed = |x: &Tensor| {
            let inner = self.linear1.forward(x)?;
            let inner = match self.activation {
                Activation::Relu => inner.relu()?,
                Activation::Gelu => inner.gelu("none")?,
            };
            self.dropout2.forward(&self.linear2.forward(&self.dropout.forward(&inner)?)?)
        };
        if self.norm_first {
            let x = x.add(&attend(&self.norm1.forward(x)?)?)?;
            return x.add(&feed(&self.norm2.forward(&x)?)?);
        }
        let x = self.norm1.forward(&x.add(&attend(x)?)?)?;
        self.norm2.forward(&x.add(&feed(&x)?)?)
    }
}

/// Without masks.
impl Forward for TransformerEncoderLayer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_masked(x, Masks::default())
    }
}

/// Encoder layers, one after another.
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// What normalises the result.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// `num_layers` copies of `layer`, each with parameters of its own.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(layer: &TransformerEncoderLayer, num_layers: usize) -> Result<TransformerEncoder> {
        let layers = (0..num_layers).map(|_| layer.deep_copy()).collect::<Result<_>>()?;
        Ok(TransformerEncoder { layers, norm: None })
    }

    /// With a normalised result.
    #[must_use]
    pub fn with_norm(mut self, norm: LayerNorm) -> TransformerEncoder {
        self.norm = Some(norm);
        self
    }

    /// See [`TransformerEncoderLayer::forward_masked`].
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn forward_masked(&self, x: &Tensor, masks: Masks) -> Result<Tensor> {
        let y = self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward_masked(&x, masks))?;
        self.norm.forward(&y)
    }
}

/// Without masks.
impl Forward for TransformerEncoder {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_masked(x, Masks::default())
    }
}
