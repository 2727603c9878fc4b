//! Changes in place.

use lampyr::functional::{self as f, Operand};
use lampyr::{Scalar, Tensor};
use pyo3::prelude::*;

use super::PyTensor;
use crate::argument::required;
use crate::error::{Result, run};

type Ob<'py> = Bound<'py, PyAny>;

fn change(x: &Tensor, other: &Ob<'_>, op: fn(Operand<'_>, Operand<'_>) -> lampyr::Result<Tensor>) -> Result<()> {
    let argument = required(other)?;
    let b = argument.operand();
    run(other.py(), x.len() as f64, || {
        let value = op(Operand::Tensor(x), b)?;
        if value.shape() != x.shape() {
            return Err(lampyr::Error::shape(format!(
                "a result of shape {:?} in place of {:?}",
                value.shape(),
                x.shape()
            ))
            .with_help("use the operation that returns a new tensor"));
        }
        f::copy_(x, (&value).into(), true)
    })
}

#[pymethods]
impl PyTensor {
    fn __iadd__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::add)
    }
    fn __isub__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::sub)
    }
    fn __imul__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::mul)
    }
    fn __itruediv__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::div)
    }
    fn __ifloordiv__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::floor_divide)
    }
    fn __imod__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::remainder)
    }
    fn __iand__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::bitwise_and)
    }
    fn __ior__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::bitwise_or)
    }
    fn __ixor__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::bitwise_xor)
    }
    fn __ilshift__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::bitwise_left_shift)
    }
    fn __irshift__(&self, other: &Ob<'_>) -> Result<()> {
        change(&self.t(), other, f::bitwise_right_shift)
    }
    fn __ipow__(&self, exponent: &Ob<'_>, _modulo: &Ob<'_>) -> Result<()> {
        change(&self.t(), exponent, f::pow)
    }

    /// Copies the elements of `src`, converted and broadcast.
    #[pyo3(signature = (src, non_blocking = false))]
    fn copy_(slf: Py<Self>, src: &Ob<'_>, non_blocking: bool) -> Result<Py<Self>> {
        let _ = non_blocking;
        let value = required(src)?;
        f::copy_(&slf.get().t(), value.operand(), false)?;
        Ok(slf)
    }

    /// Sets all elements to zero.
    fn zero_(slf: Py<Self>) -> Result<Py<Self>> {
        f::copy_(&slf.get().t(), Operand::Scalar(Scalar::Int(0)), false)?;
        Ok(slf)
    }

    /// Sets all elements to `value`.
    fn fill_(slf: Py<Self>, value: &Ob<'_>) -> Result<Py<Self>> {
        Self::copy_(slf, value, false)
    }
}
