use lampyr_base::{DType, Result};
use lampyr_ir::Op;
use lampyr_ops::build::*;

use crate::eager::apply;
use crate::promote::result_type;
use crate::tensor::Tensor;

/// Applies an op with one visible output.
pub(crate) fn one(op: &dyn Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut made = apply(op, inputs)?;
    Ok(made.swap_remove(0))
}

impl Tensor {
    pub(crate) fn common(&self, other: &Tensor) -> DType {
        result_type(&[(self.dtype(), self.rank() == 0), (other.dtype(), other.rank() == 0)], &[])
    }

    /// Sum, after promotion.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        one(&Add, &[self, other])
    }
}
