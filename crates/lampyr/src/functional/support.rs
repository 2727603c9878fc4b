//! What the families share.

use lampyr_base::{DType, Device, Dim, Error, Result, num_elements};
use lampyr_ir::{HostTensor, Op};
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Scalar, Tensor, apply};

use super::operand::{common, one};
use super::shape::reshape_to;

/// `dtype[shape]`, as errors print operands.
pub(crate) fn described(x: &Tensor) -> String {
    format!("{}{:?}", x.dtype(), x.shape())
}

pub(crate) fn known(values: &[i64]) -> Vec<Dim> {
    values.iter().map(|&v| Dim::Known(v)).collect()
}

/// # Errors
/// When a size is negative or the number of elements overflows.
pub(crate) fn sizes(values: &[i64]) -> Result<Vec<usize>> {
    let size = |&v: &i64| usize::try_from(v).map_err(|_| Error::shape(format!("a size cannot be {v}")));
    let all = values.iter().map(size).collect::<Result<Vec<_>>>()?;
    num_elements(&all)?;
    Ok(all)
}

pub(crate) fn ints(values: &[i64], shape: &[usize], device: Device) -> Result<Tensor> {
    Tensor::from_host(&HostTensor::from_slice(shape, values)?, device)
}

/// `x` with one axis where it has none.
pub(crate) fn with_axis(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 { reshape_to(x, &[1]) } else { Ok(x.clone()) }
}

/// `x` in the shape of `like`, without a copy; the same tensor when it has it.
pub(crate) fn shaped_like(x: Tensor, like: &Tensor) -> Result<Tensor> {
    if x.shape() == like.shape() { Ok(x) } else { reshape_to(&x, like.shape()) }
}

/// All tensors in their common type.
pub(crate) fn promoted(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let operands: Vec<Operand> = tensors.iter().map(|t| Operand::Tensor(t)).collect();
    let to = common(&operands);
    tensors.iter().map(|t| t.to_dtype(to)).collect()
}

/// The function on half precision as `float32`, rounded once; on other types as they are.
pub(crate) fn once(tensors: &[&Tensor], f: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    let operands: Vec<Operand> = tensors.iter().map(|t| Operand::Tensor(t)).collect();
    let to = common(&operands);
    if !matches!(to, DType::F16 | DType::BF16) {
        return f(tensors);
    }
    let wide = tensors.iter().map(|t| t.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
    f(&wide.iter().collect::<Vec<_>>())?.to_dtype(to)
}

/// An op of two operands in their common type.
pub(crate) fn joined<'a>(op: &dyn Op, x: &Tensor, y: impl Into<Operand<'a>>) -> Result<Tensor> {
    let y = y.into();
    let to = common(&[x.into(), y]);
    let y = match y {
        Operand::Tensor(t) => t.to_dtype(to)?,
        Operand::Scalar(s) => Tensor::scalar(s, to, x.device())?,
    };
    one(op, &[&x.to_dtype(to)?, &y])
}

/// The two outputs of an op.
pub(crate) fn two(op: &dyn Op, inputs: &[&Tensor]) -> Result<(Tensor, Tensor)> {
    match <[Tensor; 2]>::try_from(apply(op, inputs)?.into_vec()) {
        Ok([first, second]) => Ok((first, second)),
        Err(_) => Err(Error::internal("two outputs were expected").with_op(op.name())),
    }
}

pub(crate) fn constant(value: f64, like: &Tensor) -> Result<Tensor> {
    Tensor::scalar(Scalar::Float(value), like.dtype(), like.device())
}

pub(crate) fn zeros(shape: &[usize], like: &Tensor) -> Result<Tensor> {
    num_elements(shape)?;
    Tensor::full(shape, 0.0, like.dtype(), like.device())
}

/// # Errors
/// When there is no memory for so many numbers, which a table of them would need.
pub(crate) fn room(shape: &[usize]) -> Result<()> {
    Tensor::empty(shape, DType::I64, Device::CPU).map(drop)
}

/// `0, 1, ... n - 1`
pub(crate) fn counting(n: usize, device: Device) -> Result<Tensor> {
    room(&[n])?;
    ints(&(0..n as i64).collect::<Vec<_>>(), &[n], device)
}

/// An `int64` or `int32` tensor of indices.
///
/// # Errors
/// When `index` is of another type.
pub(crate) fn index_tensor(index: &Tensor, name: &str) -> Result<()> {
    if matches!(index.dtype(), DType::I32 | DType::I64) {
        return Ok(());
    }
    Err(Error::dtype(format!("indices are {}", index.dtype())).with_op(name).with_expected("int64 or int32"))
}

pub(crate) fn square(x: &Tensor) -> Result<Tensor> {
    one(&op::Mul, &[x, x])
}

pub(crate) fn floats(x: &Tensor, name: &str) -> Result<()> {
    if x.dtype().is_float() {
        return Ok(());
    }
    Err(Error::dtype(format!("{name} of {} is not defined", described(x)))
        .with_op(name)
        .with_expected("a float tensor"))
}

pub(crate) fn shape_error(name: &str, message: impl Into<String>, tensors: &[&Tensor]) -> Error {
    Error::shape(message).with_op(name).with_inputs(tensors.iter().map(|t| described(t)))
}
