//! Helpers that gradients share.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::autodiff::GradientOps;
use lampyr_ir::{Builder, TensorFact, Var};

use crate::build::*;
use crate::common;

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
pub fn full(b: &mut dyn Builder, dtype: DType, shape: &[Dim], value: f64) -> Result<Var> {
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

/// `x` as `dtype`; itself when it is that already.
pub fn to_dtype(b: &mut dyn Builder, x: &Var, dtype: DType) -> Result<Var> {
    if b.tensor_fact(x)?.dtype == dtype { Ok(x.clone()) } else { cast(b, x, dtype) }
}

/// `x` in the shape `shape` of equally many elements; itself when it has that already.
pub fn to_shape(b: &mut dyn Builder, x: &Var, shape: Vec<Dim>) -> Result<Var> {
    if b.tensor_fact(x)?.shape.as_slice() == shape {
        return Ok(x.clone());
    }
    reshape(b, x, shape)
}

/// The gradient of a reduction with `axes` put back, as ones, into the shape of the input `like`.
pub fn restore_axes(b: &mut dyn Builder, grad: &Var, axes: &[i64], like: &TensorFact) -> Result<Var> {
    let axes = common::axes(axes, like.rank())?;
    to_shape(b, grad, common::reduced_dims(&like.shape, &axes, true))
}

/// The number of elements of a tensor of shape `dims` as a 0-d tensor of `dtype` (`float32` or `float64`).
pub fn count(b: &mut dyn Builder, dtype: DType, dims: &[Dim]) -> Result<Var> {
    if let Some(n) = Dim::product(dims).known() {
        return b.scalar(dtype, n as f64);
    }
    let ones = full(b, dtype, dims, 1.0)?;
    reduce_sum(b, &ones, &[], false)
}

/// The type in which sums and counts over tensors of the float type `dtype` are taken.
pub fn accumulator(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `x` divided by the number of elements of a tensor of shape `dims`, computed in `float32` or wider.
pub fn divide_by_count(b: &mut dyn Builder, x: &Var, dims: &[Dim]) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let wide = accumulator(dtype);
    let n = count(b, wide, dims)?;
    let x = to_dtype(b, x, wide)?;
    let quotient = div(b, &x, &n)?;
    to_dtype(b, &quotient, dtype)
}

/// `x` times a number.
pub fn scale(b: &mut dyn Builder, x: &Var, factor: f64) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let factor = b.scalar(dtype, factor)?;
    mul(b, x, &factor)
}
