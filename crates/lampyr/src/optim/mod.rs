//! Optimisers and schedules of learning rates, with PyTorch's names and defaults.
//!
//! ```
//! use lampyr::nn::{Forward, Linear, Module, mse_loss};
//! use lampyr::optim::{AdamW, Optimizer};
//! use lampyr::Tensor;
//!
//! # fn main() -> lampyr::Result<()> {
//! let layer = Linear::new(1, 1)?;
//! let mut optimizer = AdamW::new(layer.parameters(), 0.1)?;
//! let x = Tensor::from_slice(&[0.0f32, 1.0, 2.0], &[3, 1])?;
//! let y = x.mul(3.0)?.sub(1.0)?;
//! for _ in 0..300 {
//!     optimizer.zero_grad();
//!     mse_loss(&layer.forward(&x)?, &y)?.backward()?;
//!     optimizer.step()?;
//! }
//! assert!((layer.weight.item()? - 3.0).abs() < 0.1);
//! # Ok(())
//! # }
//! ```

mod adam;
mod group;
mod schedule;
mod sgd;
mod step;

use lampyr_base::Result;

pub use adam::{Adam, AdamOptimizer, AdamOptions, AdamW};
pub use schedule::{CosineAnnealingLR, OneCycleLR, OneCycleLRBuilder, Schedule, StepLR};
pub use sgd::{SGD, SGDOptions};
pub use step::{AdamItem, Steps};

/// What a schedule can change in a group of parameters.
#[derive(Debug)]
pub struct Rate<'a> {
    /// The learning rate.
    pub lr: &'a mut f64,
    /// The momentum; of Adam the first beta.
    pub momentum: &'a mut f64,
}

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// Changes every parameter that has a gradient.
    ///
    /// # Errors
    /// When a gradient does not fit its parameter. Neither parameters nor the state of the optimiser have changed then.
    fn step(&mut self) -> Result<()>;

    /// Forgets the gradients of the parameters.
    fn zero_grad(&self);

    /// Learning rate and momentum of every group, to read and to change.
    fn rates(&mut self) -> Vec<Rate<'_>>;
}
