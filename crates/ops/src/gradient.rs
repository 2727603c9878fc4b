//! Helpers that gradients share.

use lampyr_base::{Dim, Result};
use lampyr_ir::autodiff::GradientOps;
use lampyr_ir::{Builder, TensorFact, Var};

use crate::build::*;

/// What gradient engines need from this crate.
pub const OPS: GradientOps = GradientOps { add: |b, x, y| add(b, x, y) };

/// `grad` expanded to the shape of `like`.
pub fn expand_to(b: &mut dyn Builder, grad: &Var, like: &TensorFact) -> Result<Var> {
    let have = b.tensor_fact(grad)?;
    if have.shape == like.shape {
        return Ok(grad.clone());
    }
    expand(b, grad, like.shape.to_vec())
}

/// A 0-d constant of `dtype` expanded to `shape`.
pub fn full(b: &mut dyn Builder, dtype: lampyr_base::DType, shape: &[Dim], value: f64) -> Result<Var> {
    let scalar = b.scalar(dtype, value)?;
    expand(b, &scalar, shape.to_vec())
}

/// `grad` summed over the axes along which a tensor like `like` was broadcast.
pub fn sum_to(b: &mut dyn Builder, grad: &Var, like: &TensorFact) -> Result<Var> {
    let have = b.tensor_fact(grad)?;
    if have.shape == like.shape {
        return Ok(grad.clone());
    }
    sum_to_shape(b, grad, like.shape.to_vec())
}
