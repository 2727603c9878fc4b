//! Shapes and types.

use lampyr::functional as f;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use super::PyTensor;
use super::attributes::order;
use crate::dtype::{MemoryFormat, PyDType, parse};
use crate::error::Result;

type Ob<'py> = Bound<'py, PyAny>;

#[pymethods]
impl PyTensor {
    /// Axes reversed.
    #[getter(T)]
    fn reversed(&self) -> Result<PyTensor> {
        let order: Vec<i64> = (0..self.t().rank() as i64).rev().collect();
        Ok(PyTensor::of(self.t().permute(&order)?))
    }

    /// The last two axes exchanged.
    #[getter(mT)]
    fn matrix_transposed(&self) -> Result<PyTensor> {
        if self.t().rank() < 2 {
            return Err(lampyr::Error::shape(format!("mT of a tensor with {} axes", self.t().rank()))
                .with_expected("a matrix or a batch of matrices")
                .into());
        }
        Ok(PyTensor::of(self.t().transpose(-2, -1)?))
    }

    /// This tensor, or a row-major copy of it.
    #[pyo3(signature = (memory_format = None))]
    fn contiguous(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        let x = slf.get().t();
        let made = match f::channels_last(order(memory_format)) {
            Some(_) => f::formatted(x.clone(), order(memory_format))?,
            None if x.is_contiguous() => x.clone(),
            None => x.contiguous()?,
        };
        if made.same(&x) {
            return Ok(slf.clone().unbind());
        }
        Ok(Py::new(slf.py(), PyTensor::of(made))?)
    }

    /// The same memory without history.
    fn detach(&self) -> PyTensor {
        PyTensor::of(self.t().detach())
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
        let x = slf.get().t();
        let mut target = dtype.map(parse).transpose()?;
        device.map(|d| crate::dtype::device(Some(d))).transpose()?;
        let (mut copy, mut flags) = (copy, 0);
        for arg in args {
            if let Ok(other) = arg.cast::<PyTensor>() {
                target = Some(other.get().t().dtype());
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
        let made = f::formatted(x.to_dtype(target.unwrap_or(x.dtype()))?, order(memory_format))?;
        match (made.same(&x), copy) {
            (true, false) => Ok(slf.clone().unbind()),
            (true, true) => Ok(Py::new(slf.py(), PyTensor::of(x.duplicate()?))?),
            _ => Ok(Py::new(slf.py(), PyTensor::of(made))?),
        }
    }

    /// The histogram of all elements.
    #[pyo3(signature = (bins, *, range = None, weight = None, density = false))]
    fn histogram<'py>(
        slf: &Bound<'py, Self>,
        bins: &Ob<'py>,
        range: Option<&Ob<'py>>,
        weight: Option<&Ob<'py>>,
        density: bool,
    ) -> Result<Ob<'py>> {
        let named = PyDict::new(slf.py());
        named.set_item("range", range)?;
        named.set_item("weight", weight)?;
        named.set_item("density", density)?;
        Ok(slf.py().import("lampyr.histograms")?.call_method("histogram", (slf, bins), Some(&named))?)
    }

    /// On the CPU.
    #[pyo3(signature = (memory_format = None))]
    fn cpu(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        let x = slf.get().t();
        let made = f::formatted(x.clone(), order(memory_format))?;
        if made.same(&x) { Ok(slf.clone().unbind()) } else { Ok(Py::new(slf.py(), PyTensor::of(made))?) }
    }
}
