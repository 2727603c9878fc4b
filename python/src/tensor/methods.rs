//! Shapes and types.

use lampyr::functional as f;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};

use super::PyTensor;
use super::attributes::check_format;
use crate::argument::{shape, sizes};
use crate::dtype::{MemoryFormat, PyDType, parse};
use crate::error::{Result, run};

type Ob<'py> = Bound<'py, PyAny>;

#[pymethods]
impl PyTensor {
    /// Gaussian error linear unit; `approximate` is "none" or "tanh".
    #[pyo3(signature = (approximate = "none"))]
    fn gelu(&self, py: Python<'_>, approximate: &str) -> Result<PyTensor> {
        Ok(PyTensor(run(py, self.0.len() as f64 * 8.0, || self.0.gelu(approximate))?))
    }

    /// The same elements under another shape: a view where that is possible.
    #[pyo3(signature = (*shape))]
    fn reshape(&self, shape: &Bound<'_, PyTuple>) -> Result<PyTensor> {
        Ok(PyTensor(self.0.reshape(&sizes(shape)?)?))
    }

    /// The same memory under another shape, or read as another dtype.
    #[pyo3(signature = (*shape, dtype = None))]
    fn view(&self, shape: &Bound<'_, PyTuple>, dtype: Option<&Ob<'_>>) -> Result<PyTensor> {
        let given = dtype.cloned().or_else(|| match shape.len() {
            1 => shape.get_item(0).ok().filter(|d| d.cast::<PyDType>().is_ok()),
            _ => None,
        });
        match given {
            Some(d) => Ok(PyTensor(self.0.reinterpret(parse(&d)?)?)),
            None => Ok(PyTensor(f::view(&self.0, &sizes(shape)?)?)),
        }
    }

    /// Two axes exchanged.
    fn transpose(&self, dim0: i64, dim1: i64) -> Result<PyTensor> {
        Ok(PyTensor(self.0.transpose(dim0, dim1)?))
    }

    /// Axes in another order.
    #[pyo3(signature = (*dims))]
    fn permute(&self, dims: &Bound<'_, PyTuple>) -> Result<PyTensor> {
        Ok(PyTensor(self.0.permute(&sizes(dims)?)?))
    }

    /// A matrix transposed.
    fn t(&self) -> Result<PyTensor> {
        match self.0.rank() {
            0 | 1 => Ok(PyTensor(self.0.reshape(&self.sizes())?)),
            2 => Ok(PyTensor(self.0.transpose(0, 1)?)),
            n => Err(lampyr::Error::shape(format!("t() of a tensor with {n} axes"))
                .with_help("use transpose() or mT")
                .into()),
        }
    }

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

    /// Axes `start_dim` to `end_dim` as one.
    #[pyo3(signature = (start_dim = 0, end_dim = -1))]
    fn flatten(&self, start_dim: i64, end_dim: i64) -> Result<PyTensor> {
        Ok(PyTensor(f::flatten(&self.0, start_dim, end_dim)?))
    }

    /// A view broadcast to a shape; -1 keeps a size.
    #[pyo3(signature = (*size))]
    fn expand(&self, size: &Bound<'_, PyTuple>) -> Result<PyTensor> {
        Ok(PyTensor(f::expand_keeping(&self.0, &sizes(size)?)?))
    }

    /// A view broadcast to a shape.
    #[pyo3(signature = (*size))]
    fn broadcast_to(&self, size: &Bound<'_, PyTuple>) -> Result<PyTensor> {
        Ok(PyTensor(self.0.expand(&shape(size)?)?))
    }

    /// Without an axis of size 1, or without all of them.
    #[pyo3(signature = (dim = None))]
    fn squeeze(&self, dim: Option<i64>) -> Result<PyTensor> {
        Ok(PyTensor(f::squeeze(&self.0, dim)?))
    }

    /// With a new axis of size 1.
    fn unsqueeze(&self, dim: i64) -> Result<PyTensor> {
        Ok(PyTensor(f::unsqueeze(&self.0, dim)?))
    }

    /// This tensor, or a row-major copy of it.
    #[pyo3(signature = (memory_format = None))]
    fn contiguous(slf: &Bound<'_, Self>, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<Py<Self>> {
        check_format(memory_format)?;
        let x = &slf.get().0;
        if x.is_contiguous() {
            return Ok(slf.clone().unbind());
        }
        Ok(Py::new(slf.py(), PyTensor(x.contiguous()?))?)
    }

    /// A copy through which gradients flow.
    #[pyo3(signature = (*, memory_format = None))]
    fn clone(&self, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<PyTensor> {
        check_format(memory_format)?;
        Ok(PyTensor(self.0.duplicate()?))
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
        check_format(memory_format)?;
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
        let made = x.to_dtype(target.unwrap_or(x.dtype()))?;
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

impl PyTensor {
    pub(super) fn sizes(&self) -> Vec<i64> {
        self.0.shape().iter().map(|&d| d as i64).collect()
    }
}
