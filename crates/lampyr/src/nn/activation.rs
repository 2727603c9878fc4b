//! Layers without parameters: activations, dropout, and axes made one.

use lampyr_base::Result;
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::Module;
use super::forward::Forward;
use super::make;
use super::part::Training;
use crate::functional::{self, dropout_checked, one};

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident |$x:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Module)]
        pub struct $name;

        impl Forward for $name {
            fn forward(&self, $x: &Tensor) -> Result<Tensor> {
                $body
            }
        }
    )*};
}

plain! {
    /// Its input.
    Identity |x| Ok(x.clone());
    /// `max(x, 0)`
    ReLU |x| x.relu();
    /// `x sigmoid(x)`
    SiLU |x| one(&op::Silu, &[x]);
    /// `1 / (1 + exp(-x))`
    Sigmoid |x| functional::sigmoid(x);
    /// Hyperbolic tangent.
    Tanh |x| x.tanh();
}

/// Gaussian error linear unit: `x` times the share of the normal distribution below it.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct GELU {
    /// Whether it is approximated with a hyperbolic tangent.
    pub tanh: bool,
}

impl Forward for GELU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.gelu(if self.tanh { "tanh" } else { "none" })
    }
}

/// Shares that add up to 1 along an axis.
#[derive(Clone, Copy, Debug, Module)]
pub struct Softmax(
    /// The axis; from the end when negative.
    pub i64,
);

impl Forward for Softmax {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::softmax(x, self.0, None)
    }
}

/// Axes from one to another made one, as the module before linear layers.
#[derive(Clone, Copy, Debug, Module)]
pub struct Flatten {
    /// The first axis.
    pub start: i64,
    /// The last axis.
    pub end: i64,
}

/// All axes but the first.
impl Default for Flatten {
    fn default() -> Flatten {
        Flatten { start: 1, end: -1 }
    }
}

impl Forward for Flatten {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::flatten(x, self.start, self.end)
    }
}

/// In training, sets elements to zero at random and scales the others up (Srivastava et al. 2014).
#[derive(Clone, Copy, Debug, Module)]
pub struct Dropout {
    p: f64,
    training: Training,
}

impl Dropout {
    /// With probability `p` for every element.
    ///
    /// # Errors
    /// When `p` is not between 0 and 1.
    pub fn new(p: f64) -> Result<Dropout> {
        Ok(Dropout { p: make::probability(p, "Dropout")?, training: Training::default() })
    }

    /// The probability, 0 in evaluation.
    pub(super) fn rate(&self) -> f64 {
        if self.training.is_on() { self.p } else { 0.0 }
    }
}

impl Forward for Dropout {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        dropout_checked(x, self.p, self.training.is_on())
    }
}
