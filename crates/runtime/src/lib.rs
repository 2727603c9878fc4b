//! Tensors that compute at once, the tape that differentiates them, and sessions that run compiled graphs.

mod eager;
mod inplace;
mod methods;
mod promote;
pub mod session;
mod storage;
mod tape;
mod tensor;
pub mod trace;
mod update;

pub use eager::{EagerBuilder, Sequence, Value, apply};
pub use methods::Operand;
pub use promote::{Scalar, promote_types, result_type};
pub use storage::Storage;
pub use tape::{GradOptions, backward, grad, is_grad_enabled, no_grad, set_grad_enabled, with_grad_mode};
pub use tensor::Tensor;
pub use update::{check_update, update};
