//! Gradients kept small.

use lampyr_base::Result;
use lampyr_runtime::{Tensor, no_grad};

/// Scales the gradients of `parameters` so that the norm of all elements together is at most `max_norm`; the norm
/// before.
///
/// # Errors
/// When there is no memory for the squares.
pub fn clip_grad_norm_(parameters: &[Tensor], max_norm: f64) -> Result<f64> {
    no_grad(|| {
        let grads: Vec<Tensor> = parameters.iter().filter_map(Tensor::grad).collect();
        let mut total = 0.0;
        for grad in &grads {
            total += grad.mul(grad)?.sum(&[], false)?.item()?;
        }
        let norm = total.sqrt();
        let factor = max_norm / (norm + 1e-6);
        if factor < 1.0 || factor.is_nan() {
            grads.iter().try_for_each(|grad| grad.assign_(&grad.mul(factor)?))?;
        }
        Ok(norm)
    })
}
