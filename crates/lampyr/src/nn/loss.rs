//! Losses as means over the batch; [`crate::functional`] has them with all options.

use lampyr_base::Result;
use lampyr_runtime::Tensor;

use crate::functional;

/// PyTorch's target that counts as nothing.
const IGNORED: i64 = -100;

/// Cross entropy of the softmax of `x` `[batch, classes, ..]` with classes `[batch, ..]` or with probabilities of the
/// shape of `x`. The class -100 counts as nothing.
///
/// # Errors
/// When shapes or types do not fit, or there is no such class.
pub fn cross_entropy(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    let options = functional::CrossEntropy { weight: None, ignore: IGNORED, reduction: "mean", smoothing: 0.0 };
    functional::cross_entropy(x, target, options)
}

/// Negative log likelihood of classes `[batch, ..]` under logarithms of probabilities `[batch, classes, ..]`. The class
/// -100 counts as nothing.
///
/// # Errors
/// When shapes or types do not fit, or there is no such class.
pub fn nll_loss(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    functional::nll_loss(x, target, None, IGNORED, "mean")
}

/// Cross entropy of the sigmoid of `x` with probabilities of its shape.
///
/// # Errors
/// When shapes or types do not fit.
pub fn bce_with_logits(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    functional::bce_with_logits(x, target, None, "mean", None)
}

/// `(x - target)^2`
///
/// # Errors
/// When shapes or types do not fit.
pub fn mse_loss(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    functional::mse_loss(x, target, "mean", None)
}

/// `|x - target|`
///
/// # Errors
/// When shapes or types do not fit.
pub fn l1_loss(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    functional::l1_loss(x, target, "mean", None)
}

/// Half the square of `x - target` below 1, its size less a half above.
///
/// # Errors
/// When shapes or types do not fit.
pub fn smooth_l1_loss(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    functional::smooth_l1_loss(x, target, "mean", 1.0)
}
