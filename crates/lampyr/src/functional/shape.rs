//! Shapes, views and new tensors.

use lampyr_base::{DType, Device, Error, Result, Shape, num_elements};
use lampyr_ir::HostTensor;
use lampyr_ops::common;
use lampyr_runtime::{Scalar, Tensor};

pub(super) fn reshape_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    x.reshape_to(shape)
}

/// The same elements under another shape, never a copy.
///
/// # Errors
/// When strides do not allow it.
pub fn view(x: &Tensor, shape: &[i64]) -> Result<Tensor> {
    let seen = x.reshape(shape)?;
    if seen.is_empty() || std::ptr::eq(seen.storage().as_ref(), x.storage().as_ref()) {
        return Ok(seen);
    }
    Err(Error::shape(format!("a tensor with strides {:?} cannot be seen as {shape:?}", &x.layout().strides[..]))
        .with_op("view")
        .with_help("use reshape(), which copies where it has to"))
}

/// Axes `start` to `end` (both included) as one.
pub fn flatten(x: &Tensor, start: i64, end: i64) -> Result<Tensor> {
    if x.rank() == 0 {
        return reshape_to(x, &[1]);
    }
    let (i, j) = (common::axis(start, x.rank())?, common::axis(end, x.rank())?);
    if i > j {
        return Err(Error::value(format!("flatten from axis {start} to {end}")).with_op("flatten"));
    }
    let s = x.shape();
    let shape = [&s[..i], &[s[i..=j].iter().product()], &s[j + 1..]].concat();
    if i == j { Ok(x.clone()) } else { reshape_to(x, &shape) }
}

/// A view broadcast to `shape`, where -1 keeps a size.
pub fn expand_keeping(x: &Tensor, shape: &[i64]) -> Result<Tensor> {
    let lead = shape.len().checked_sub(x.rank());
    let sizes = shape.iter().enumerate().map(|(i, &d)| match (usize::try_from(d), lead) {
        (Ok(d), _) => Ok(d),
        (Err(_), Some(lead)) if d == -1 && i >= lead => Ok(x.shape()[i - lead]),
        _ => Err(Error::shape(format!("size {d} of axis {i} is not a size to expand to")).with_op("expand")),
    });
    x.expand(&sizes.collect::<Result<Shape>>()?)
}

/// Without axis `axis`, where its size is 1; `None`: without all axes of size 1.
pub fn squeeze(x: &Tensor, axis: Option<i64>) -> Result<Tensor> {
    let mut shape = Shape::from_slice(x.shape());
    match axis {
        None => shape.retain(|d| *d != 1),
        Some(_) if x.rank() == 0 => {}
        Some(a) => {
            let a = common::axis(a, x.rank())?;
            if shape[a] == 1 {
                shape.remove(a);
            }
        }
    }
    reshape_to(x, &shape)
}

/// With an axis of size 1 at `axis`.
pub fn unsqueeze(x: &Tensor, axis: i64) -> Result<Tensor> {
    let a = common::axis(axis, x.rank() + 1)?;
    let mut shape = Shape::from_slice(x.shape());
    shape.insert(a, 1);
    reshape_to(x, &shape)
}

/// Tensors one after another along `axis`, after promotion.
///
/// # Errors
/// When there is none.
pub fn cat(tensors: &[Tensor], axis: i64) -> Result<Tensor> {
    if tensors.is_empty() {
        return Err(Error::value("cat() of no tensors").with_expected("at least one").with_op("concat"));
    }
    Tensor::concat(&tensors.iter().collect::<Vec<_>>(), axis)
}

/// Tensors of equal shape along a new axis.
pub fn stack(tensors: &[Tensor], axis: i64) -> Result<Tensor> {
    cat(&tensors.iter().map(|t| unsqueeze(t, axis)).collect::<Result<Vec<_>>>()?, axis)
}

/// All elements `value`.
pub fn full(shape: &[usize], value: Scalar, dtype: DType, device: Device) -> Result<Tensor> {
    crate::init();
    Tensor::scalar(value, dtype, device)?.expand(shape)?.copy_contiguous()
}

/// All elements `value`, with the shape and dtype of `x`.
pub fn full_like(x: &Tensor, value: f64) -> Result<Tensor> {
    Tensor::full(x.shape(), value, x.dtype(), x.device())
}

/// `start`, `start + step`, ... up to but not including `end`.
///
/// # Errors
/// When `step` is zero or leads away from `end`.
pub fn arange(start: Scalar, end: Scalar, step: Scalar, dtype: DType) -> Result<Tensor> {
    crate::init();
    let (a, b, s) = (start.to_f64(), end.to_f64(), step.to_f64());
    if s == 0.0 || !((b - a) / s).is_finite() || (b - a) / s < 0.0 {
        return Err(Error::value(format!("arange from {a} to {b} by {s}")).with_op("arange"));
    }
    let n = ((b - a) / s).ceil() as usize;
    num_elements(&[n])?;
    let host = match (start, step) {
        (Scalar::Int(a), Scalar::Int(s)) => {
            let values: Vec<i64> = (0..n as i64).map(|i| a + i * s).collect();
            HostTensor::from_i64(dtype, &[n], &values)?
        }
        // Whole numbers count from a whole start in whole steps.
        _ if !dtype.is_float() => {
            let (a, s) = (a as i64, s as i64);
            let values: Vec<i64> = (0..n as i64).map(|i| a.wrapping_add(i.wrapping_mul(s))).collect();
            HostTensor::from_i64(dtype, &[n], &values)?
        }
        _ => {
            let values: Vec<f64> = (0..n).map(|i| a + i as f64 * s).collect();
            HostTensor::from_f64(dtype, &[n], &values)?
        }
    };
    Tensor::from_host(&host, Device::CPU)
}
