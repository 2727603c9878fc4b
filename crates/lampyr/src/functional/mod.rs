//! Functions on tensors with PyTorch's names, promotion and defaults.

mod arith;
mod index;
mod nn;
mod operand;
mod shape;

pub use arith::*;
pub use index::{Index, index, set_index};
pub use nn::*;
pub use operand::{Operand, call, common, one};
pub use shape::*;
