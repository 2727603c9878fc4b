//! Functions on tensors with PyTorch's names, promotion and defaults.

mod binary;
mod index;
mod nn;
mod operand;
mod quotient;
mod reduce;
mod shape;
mod unary;

pub use binary::{
    add, bitwise_and, bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor, copy_, div, div_rounded, eq,
    fmod, ge, gt, le, logical_and, logical_or, logical_xor, lt, maximum, minimum, mul, ne, pow, sub, where_,
};
pub use index::{Index, index, set_index};
pub use nn::*;
pub use operand::{Operand, call, common, one};
pub use quotient::{floor_divide, remainder};
pub use reduce::*;
pub use shape::*;
pub use unary::*;

use crate::names::Entry;

/// The names of all families.
pub(crate) const FAMILIES: &[&[Entry]] = &[unary::NAMES, binary::NAMES, reduce::NAMES];
