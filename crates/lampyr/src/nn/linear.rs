//! Affine maps.

use lampyr_base::Result;
use lampyr_runtime::Tensor;

use super::Module;
use super::forward::Forward;
use super::make;
use super::part::Parameter;
use crate::functional::linear;

/// `x weight' + bias`, from `[.., in_features]` to `[.., out_features]`.
#[derive(Clone, Debug, Module)]
pub struct Linear {
    /// `[out_features, in_features]`
    pub weight: Parameter,
    /// `[out_features]`
    pub bias: Option<Parameter>,
}

impl Linear {
    /// With a bias; weights are uniform up to `1 / sqrt(in_features)`.
    ///
    /// # Errors
    /// When there is no memory for the weights.
    pub fn new(in_features: usize, out_features: usize) -> Result<Linear> {
        Linear::with_bias(in_features, out_features, true)
    }

    /// As [`Linear::new`], with or without a bias.
    ///
    /// # Errors
    /// When there is no memory for the weights.
    pub fn with_bias(in_features: usize, out_features: usize, bias: bool) -> Result<Linear> {
        let (weight, bias) = make::affine(&[out_features, in_features], out_features, bias)?;
        Ok(Linear { weight, bias })
    }
}

impl Forward for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, self.bias.as_deref())
    }
}
