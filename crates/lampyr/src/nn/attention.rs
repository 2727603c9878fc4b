//! Multi-head attention.

use lampyr_base::{DType, Error, Result};
use lampyr_runtime::{Scalar, Tensor};

use super::Module;
use super::activation::Dropout;
use super::init;
use super::linear::Linear;
use super::make;
use super::part::Parameter;
use crate::functional::{Heads, arange, multi_head_attention, unsqueeze};

/// Which keys queries see. The default is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks<'a> {
    /// `[queries, keys]` or `[batch * heads, queries, keys]`: `bool` (true takes no part) or numbers added to scores.
    pub mask: Option<&'a Tensor>,
    /// `[batch, keys]`: `bool` (true takes no part) or numbers added to scores.
    pub key_padding: Option<&'a Tensor>,
    /// Whether no query sees a later key.
    pub causal: bool,
}

/// The mask that hides later keys, `bool[size, size]`.
///
/// # Errors
/// When there is no memory for it.
pub fn causal_mask(size: usize) -> Result<Tensor> {
    crate::init();
    let end = i64::try_from(size).map_err(|_| Error::shape(format!("a mask of {size} rows")))?;
    let at = arange(Scalar::Int(0), Scalar::Int(end), Scalar::Int(1), DType::I64)?;
    unsqueeze(&at, 0)?.greater(&unsqueeze(&at, 1)?)
}

/// Attention of several heads (Vaswani et al. 2017).
#[derive(Clone, Debug, Module)]
pub struct MultiheadAttention {
    /// Weights of queries, keys and values, `[3 * embed_dim, embed_dim]`.
    pub in_proj_weight: Parameter,
    /// `[3 * embed_dim]`
    pub in_proj_bias: Option<Parameter>,
    /// What joins the heads.
    pub out_proj: Linear,
    dropout: Dropout,
    heads: usize,
    batch_first: bool,
}

/// Options of [`MultiheadAttention`].
#[derive(Clone, Debug)]
pub struct MultiheadAttentionBuilder {
    size: usize,
    heads: usize,
    dropout: f64,
    bias: bool,
    batch_first: bool,
}

impl MultiheadAttention {
    /// `num_heads` heads over `embed_dim` features; the batch is the second axis.
    ///
    /// # Errors
    /// When a number is 0, heads do not divide features, or there is no memory for the weights.
    pub fn new(embed_dim: usize, num_heads: usize) -> Result<MultiheadAttention> {
        MultiheadAttention::builder(embed_dim, num_heads).build()
    }

    /// As [`MultiheadAttention::new`], with options.
    pub fn builder(embed_dim: usize, num_heads: usize) -> MultiheadAttentionBuilder {
        MultiheadAttentionBuilder { size: embed_dim, heads: num_heads, dropout: 0.0, bias: true, batch_first: false }
    }
}

impl MultiheadAttentionBuilder {
    /// Probability of dropping a weight.
    #[must_use]
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// Whether there are biases.
    #[must_use]
    pub fn bias(mut self, on: bool) -> Self {
        self.bias = on;
        self
    }

    /// Whether the batch is the first axis.
    #[must_use]
    pub fn batch_first(mut self, on: bool) -> Self {
        self.batch_first = on;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// When a number is 0, heads do not divide features, `dropout` is no probability, or there is no memory.
    pub fn build(self) -> Result<MultiheadAttention> {
        let (size, heads) = (self.size, self.heads);
        make::positive(size, "embed_dim", "MultiheadAttention")?;
        make::positive(heads, "num_heads", "MultiheadAttention")?;
        if !size.is_multiple_of(heads) {
            return Err(Error::value(format!("{size} features for {heads} heads"))
                .with_op("MultiheadAttention")
                .with_expected("a multiple of the heads"));
        }
        let dropout = Dropout::new(self.dropout)?;
        let rows = size.saturating_mul(3);
        let in_proj_weight = make::parameter(&[rows, size])?;
        let in_proj_bias = self.bias.then(|| make::filled(&[rows], 0.0)).transpose()?;
        let out_proj = Linear::with_bias(size, size, self.bias)?;
        init::xavier_uniform_(&in_proj_weight, 1.0)?;
        out_proj.bias.iter().try_for_each(|b| init::constant_(b, 0.0))?;
        let batch_first = self.batch_first;
        Ok(MultiheadAttention { in_proj_weight, in_proj_bias, out_proj, dropout, heads, batch_first })
    }
}

impl MultiheadAttention {
    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        masks: Masks,
        weights: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let swapped = self.batch_first && q.rank() == 3;
        let turned = |t: &Tensor| if swapped && t.rank() == 3 { t.transpose(0, 1) } else { Ok(t.clone()) };
        let (all_same, query) = (q.same(k) && k.same(v), turned(q)?);
        let (key, value) = if all_same { (query.clone(), query.clone()) } else { (turned(k)?, turned(v)?) };
        let (rows, columns) = (query.shape().first(), key.shape().first());
        // Beside other masks, or where weights are asked for, the causal one has to be written out.
        let made = match (masks.causal, masks.mask, rows) {
            (true, None, Some(&n)) if weights || masks.key_padding.is_some() => {
                if rows != columns {
                    return Err(Error::shape("causal attention of unequal lengths")
                        .with_op("MultiheadAttention")
                        .with_inputs([format!("{:?}", q.shape()), format!("{:?}", k.shape())])
                        .with_expected("as many keys as queries"));
                }
                Some(causal_mask(n)?.to_device(q.device())?)
            }
            _ => None,
        };
        let options = Heads {
            heads: i64::try_from(self.heads).unwrap_or(i64::MAX),
            in_weight: Some(&self.in_proj_weight),
            apart: [None; 3],
            in_bias: self.in_proj_bias.as_deref(),
            extra: [None; 2],
            zero: false,
            dropout: self.dropout.rate(),
            out_weight: &self.out_proj.weight,
            out_bias: self.out_proj.bias.as_deref(),
            training: true,
            key_mask: masks.key_padding,
            need_weights: weights,
            mask: masks.mask.or(made.as_ref()),
            average: true,
            causal: masks.causal,
        };
        let (y, weights) = multi_head_attention(&query, &key, &value, &options)?;
        Ok((if swapped { y.transpose(0, 1)? } else { y }, weights))
    }

    /// The attended values, `[queries, batch, embed_dim]`, of queries, keys and values of such shapes; with
    /// `batch_first` the batch comes first; or without a batch.
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor, masks: Masks) -> Result<Tensor> {
        Ok(self.attend(query, key, value, masks, false)?.0)
    }

    /// As [`MultiheadAttention::forward`], with the weights, `[batch, queries, keys]`, means over the heads.
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn forward_with_weights(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        masks: Masks,
    ) -> Result<(Tensor, Tensor)> {
        let (y, weights) = self.attend(query, key, value, masks, true)?;
        weights.map(|w| (y, w)).ok_or_else(|| Error::internal("attention made no weights"))
    }
}
