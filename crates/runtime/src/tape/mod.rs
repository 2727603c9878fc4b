//! The gradient tape: nodes hang from the outputs they made, and are walked by age.

mod backward;
mod mode;
mod node;

pub use backward::{GradOptions, backward, grad};
pub use mode::{is_grad_enabled, no_grad, set_grad_enabled, with_grad_mode};
pub(crate) use node::{Edge, GradCell, Meta, Node, SavedSet, SavedTensor, release};
