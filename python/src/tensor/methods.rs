//! Shapes and types.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};

use super::PyTensor;
use super::attributes::{channels_last, formatted};
use crate::dtype::{MemoryFormat, PyDType, parse};
use crate::error::Result;

type Ob<'py> = Bound<'py, PyAny>;

#[pymethods]
impl PyTensor {
    /// Axes reversed.
    #[getter(T)]
    fn reversed(&self) -> Result<PyTensor> {
        let order: Vec<i64> = (0..self.0.rank() as i64).rev().collect();
        Ok(PyTensor(self.0.permute(&order)?))
    }

    /// The last two axes exchanged.
    #[getter(mT)]
    fn matrix_transposed(&self) -> Result<PyTensor> {
        if self.0.rank() < 2 {
            return Err(lampyr::Error::shape(format!("mT of a tensor with {} axes", self.0.rank()))
                .with_expected("a matrix or a batch of matrices")
                .into());
        }
        Ok(PyTensor(self.0.transpose(-2, -1)?))
    }

    /// This tensor, or a row-major copy of it.
    #[pyo3(signature = (memory_format = None))]
    fn contiguous(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        let x = &slf.get().0;
        let made = match channels_last(memory_format) {
            Some(_) => formatted(x.clone(), memory_format)?,
            None if x.is_contiguous() => x.clone(),
            None => x.contiguous()?,
        };
        if made.same(x) {
            return Ok(slf.clone().unbind());
        }
        Ok(Py::new(slf.py(), PyTensor(made))?)
    }

    /// A copy through which gradients flow.
    #[pyo3(signature = (*, memory_format = None))]
    fn clone(&self, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<PyTensor> {
        Ok(PyTensor(formatted(self.0.duplicate()?, memory_format)?))
    }

    /// The same memory without history.
    fn detach(&self) -> PyTensor {
        PyTensor(self.0.detach())
    }

    /// As another dtype or on another device; the same tensor when nothing changes.
    #[pyo3(signature = (*args, dtype = None, device = None, non_blocking = false, copy = false, memory_format = None))]
    fn to(
        slf: &Bound<'_, Self>,
        args: &Bound<'_, PyTuple>,
        dtype: Option<&Ob<'_>>,
        device: Option<&Ob<'_>>,
        non_blocking: bool,
        copy: bool,
        memory_format: Option<&Bound<'_, MemoryFormat>>,
    ) -> Result<Py<Self>> {
        let _ = non_blocking;
        let x = &slf.get().0;
        let mut target = dtype.map(parse).transpose()?;
        device.map(|d| crate::dtype::device(Some(d))).transpose()?;
        let (mut copy, mut flags) = (copy, 0);
        for arg in args {
            if let Ok(other) = arg.cast::<PyTensor>() {
                target = Some(other.get().0.dtype());
            } else if let Ok(flag) = arg.cast::<PyBool>() {
                // By position: first `non_blocking`, then `copy`.
                copy |= flags == 1 && flag.is_true();
                flags += 1;
            } else if !arg.is_none() && (arg.cast::<PyDType>().is_ok() || crate::dtype::device(Some(&arg)).is_err()) {
                target = Some(parse(&arg).map_err(|_| {
                    lampyr::Error::device(format!("{arg} is neither a device nor a data type"))
                        .with_expected("for example \"cpu\" or lampyr.float32")
                })?);
            }
        }
        let made = formatted(x.to_dtype(target.unwrap_or(x.dtype()))?, memory_format)?;
        match (made.same(x), copy) {
            (true, false) => Ok(slf.clone().unbind()),
            (true, true) => Ok(Py::new(slf.py(), PyTensor(x.duplicate()?))?),
            _ => Ok(Py::new(slf.py(), PyTensor(made))?),
        }
    }

    /// On the CPU.
    fn cpu(slf: Py<Self>) -> Py<Self> {
        slf
    }
}
