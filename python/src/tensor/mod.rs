//! The class `Tensor`.

mod arithmetic;
mod attributes;
mod convert;
mod create;
mod handle;
mod index;
mod inplace;
mod methods;
mod random;
mod repr;
mod storage;

pub use convert::scalar_of;
pub use create::{as_tensor, from_data, tensor};
pub use handle::Handle;
pub use random::{Generator, default_generator, generator};
pub use repr::set_printoptions;
pub use storage::Storage;

use lampyr::{Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::dtype::{MemoryFormat, PyDType, PyDevice, object};
use crate::error::Result;

/// A tensor: numbers of one type in one memory, seen under a shape.
#[pyclass(name = "Tensor", module = "lampyr", subclass, weakref, frozen)]
pub struct PyTensor(handle::Slot);

#[pymethods]
impl PyTensor {
    /// A tensor over the memory of `data`, without history.
    #[new]
    #[pyo3(signature = (data, *, dtype = None, requires_grad = false))]
    fn new(data: &Bound<'_, PyAny>, dtype: Option<&Bound<'_, PyAny>>, requires_grad: bool) -> Result<PyTensor> {
        let made = crate::interop::asarray(data, dtype)?.get().t().detach();
        if requires_grad {
            made.requires_grad_(true)?;
        }
        Ok(PyTensor::of(made))
    }

    /// Sizes of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        attributes::size(py, self.t().shape())
    }

    /// Sizes of the axes, or of one of them.
    #[pyo3(signature = (dim = None))]
    fn size<'py>(&self, py: Python<'py>, dim: Option<i64>) -> Result<Bound<'py, PyAny>> {
        match dim {
            None => Ok(self.shape(py)?),
            Some(d) => {
                let axis = lampyr::ops::common::axis(d, self.t().rank())?;
                Ok(self.t().shape()[axis].into_pyobject(py).map_err(PyErr::from)?.into_any())
            }
        }
    }

    /// Steps of the axes, or of one of them, in elements.
    #[pyo3(signature = (dim = None))]
    fn stride<'py>(&self, py: Python<'py>, dim: Option<i64>) -> Result<Bound<'py, PyAny>> {
        let x = self.t();
        let strides = &x.layout().strides;
        match dim {
            None => Ok(PyTuple::new(py, strides.iter())?.into_any()),
            Some(d) => {
                let axis = lampyr::ops::common::axis(d, self.t().rank())?;
                Ok(strides[axis].into_pyobject(py).map_err(PyErr::from)?.into_any())
            }
        }
    }

    /// Element type.
    #[getter]
    fn dtype(&self, py: Python<'_>) -> PyResult<Py<PyDType>> {
        object(py, self.t().dtype())
    }

    /// Where it lies.
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice(self.t().device())
    }

    /// Number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.t().rank()
    }

    /// Number of axes.
    fn dim(&self) -> usize {
        self.t().rank()
    }

    /// Number of elements.
    fn numel(&self) -> usize {
        self.t().len()
    }

    /// Bytes of one element.
    #[getter]
    fn itemsize(&self) -> usize {
        self.t().dtype().size()
    }

    /// Bytes of all elements.
    #[getter]
    fn nbytes(&self) -> usize {
        self.t().len() * self.t().dtype().size()
    }

    /// Whether the elements lie one after another in row-major order, or in that of `memory_format`.
    #[pyo3(signature = (memory_format = None))]
    fn is_contiguous(&self, memory_format: Option<&Bound<'_, MemoryFormat>>) -> Result<bool> {
        match lampyr::functional::channels_last(attributes::order(memory_format)) {
            Some(rank) if self.t().rank() != rank => Ok(false),
            Some(rank) => Ok(self.t().permute(&lampyr::functional::last_order(rank))?.is_contiguous()),
            None => Ok(self.t().is_contiguous()),
        }
    }

    /// Address of the first element.
    fn data_ptr(&self) -> usize {
        self.t().host_ptr().map_or(0, |p| p as usize)
    }

    /// Whether the element type is a float type.
    fn is_floating_point(&self) -> bool {
        self.t().dtype().is_float()
    }

    fn __hash__(&self) -> usize {
        // Clones of a Lampyr tensor are one tensor, so the shared part stands for its identity.
        std::ptr::from_ref(self.first().layout()) as usize >> 4
    }

    fn __len__(&self) -> Result<usize> {
        match self.t().shape().first() {
            Some(&n) => Ok(n),
            None => Err(Error::dtype("a 0-d tensor has no length").into()),
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let Some(&n) = self.t().shape().first() else {
            return Err(Error::dtype("a 0-d tensor cannot be iterated over").with_help("use item()").into());
        };
        let rows = (0..n as i64)
            .map(|i| lampyr::functional::index(&self.t(), &[lampyr::functional::Index::At(i)]).map(PyTensor::of))
            .collect::<lampyr::Result<Vec<_>>>()?;
        Ok(PyTuple::new(py, rows)?.try_iter()?.into_any())
    }

    fn __repr__(&self) -> Result<String> {
        let t = self.t();
        if t.is_batched() {
            return Ok(format!("tensor(<inside of a vmap>, size={:?}, dtype=lampyr.{})", t.shape(), t.dtype()));
        }
        Ok(repr::format(&t, t.grad_fn()?.map(|node| node.name()))?)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        let (py, x) = (slf.py(), &slf.get().t());
        if !x.is_leaf() {
            return Err(Error::autograd("only leaves can be pickled").with_help("use detach()").into());
        }
        let rebuild = py.import(pyo3::intern!(py, "lampyr._lampyr"))?.getattr(pyo3::intern!(py, "_rebuild"))?;
        let host = x.to_host()?;
        let state = (PyBytes::new(py, host.bytes()), object(py, x.dtype())?, x.shape(), x.requires_grad());
        Ok((rebuild, state).into_pyobject(py)?.into_any())
    }
}

/// A tensor from what pickling kept of it.
#[pyfunction]
#[pyo3(name = "_rebuild")]
pub fn rebuild(bytes: &[u8], dtype: &Bound<'_, PyDType>, shape: Vec<usize>, requires_grad: bool) -> Result<PyTensor> {
    let host = lampyr::HostTensor::copy_bytes(dtype.get().0, &shape, bytes)?;
    let made = Tensor::from_host(&host, lampyr::Device::CPU)?;
    if requires_grad {
        made.requires_grad_(true)?;
    }
    Ok(PyTensor::of(made))
}
