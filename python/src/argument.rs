//! Python objects as operands, axes and shapes.

use lampyr::functional::Operand;
use lampyr::{Error, Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyTuple};

use crate::error::Result;
use crate::tensor::{Handle, PyTensor};

/// An operand read from a Python object.
pub enum Argument<'a> {
    Tensor(&'a Tensor),
    Made(Tensor),
    Scalar(Scalar),
}

impl Argument<'_> {
    #[inline]
    pub fn operand(&self) -> Operand<'_> {
        match self {
            Argument::Tensor(t) => Operand::Tensor(t),
            Argument::Made(t) => Operand::Tensor(t),
            Argument::Scalar(s) => Operand::Scalar(*s),
        }
    }

    pub fn tensor(self) -> Result<Tensor> {
        Ok(match self {
            Argument::Tensor(t) => t.clone(),
            Argument::Made(t) => t,
            Argument::Scalar(s) => Tensor::scalar(s, s.dtype(), lampyr::Device::CPU)?,
        })
    }
}

/// A number of Python; `None` when it is none.
pub fn number(ob: &Bound<'_, PyAny>) -> Result<Option<Scalar>> {
    if let Ok(b) = ob.cast::<PyBool>() {
        return Ok(Some(Scalar::Bool(b.is_true())));
    }
    if ob.cast::<PyFloat>().is_ok() {
        return Ok(Some(Scalar::Float(ob.extract()?)));
    }
    if ob.cast::<PyInt>().is_ok() {
        let fail = |_| Error::value(format!("{ob} does not fit in 64 bits"));
        return Ok(Some(Scalar::Int(ob.extract().map_err(fail)?)));
    }
    Ok(None)
}

/// An operand: a tensor, a number, or an array of another library; `None` for anything else.
#[inline]
pub fn optional<'a>(ob: &'a Bound<'_, PyAny>) -> Result<Option<Argument<'a>>> {
    if let Ok(t) = ob.cast::<PyTensor>() {
        return Ok(Some(match t.get().t() {
            Handle::Of(t) => Argument::Tensor(t),
            Handle::Held(t) => Argument::Made(t),
        }));
    }
    if let Some(s) = number(ob)? {
        return Ok(Some(Argument::Scalar(s)));
    }
    Ok(crate::interop::array(ob, false)?.map(Argument::Made))
}

/// As [`optional`], but anything else is an error.
pub fn required<'a>(ob: &'a Bound<'_, PyAny>) -> Result<Argument<'a>> {
    Ok(optional(ob)?.ok_or_else(|| {
        let name = ob.get_type().name().map_or_else(|_| "this".to_string(), |n| n.to_string());
        Error::dtype(format!("a {name} is not a tensor")).with_expected("a tensor, a number or an array")
    })?)
}

pub fn is_sequence(ob: &Bound<'_, PyAny>) -> bool {
    ob.cast::<PyTuple>().is_ok() || ob.cast::<PyList>().is_ok()
}

pub fn tensors(ob: &Bound<'_, PyAny>) -> Result<Vec<Tensor>> {
    ob.try_iter()?.map(|x| required(&x?)?.tensor()).collect()
}
