//! The memory behind tensors, and copies that keep what shares it together.

use lampyr::{DType, Error, Tensor};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::PyTensor;
use crate::error::Result;

/// The memory behind one or more tensors, as bytes.
#[pyclass(name = "UntypedStorage", module = "lampyr", frozen)]
pub struct Storage(pub Tensor);

#[pymethods]
impl Storage {
    /// Bytes of the memory.
    fn nbytes(&self) -> usize {
        self.0.storage_bytes()
    }

    /// Bytes of the memory.
    fn size(&self) -> usize {
        self.0.storage_bytes()
    }

    fn __len__(&self) -> usize {
        self.0.storage_bytes()
    }

    /// Address of the first byte.
    fn data_ptr(&self) -> Result<usize> {
        let whole = self.0.reinterpret_whole(DType::U8)?;
        Ok(whole.host_ptr().map_or(0, |p| p as usize))
    }

    /// The bytes.
    fn tolist<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        Ok(PyList::new(py, self.0.reinterpret_whole(DType::U8)?.to_vec::<u8>()?)?)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Storage>().is_ok_and(|o| self.0.shares_storage(&o.get().0))
    }

    fn __hash__(&self) -> usize {
        self.0.storage_key() >> 4
    }

    fn __repr__(&self) -> String {
        format!("<lampyr.UntypedStorage of {} bytes>", self.0.storage_bytes())
    }
}

#[pymethods]
impl PyTensor {
    /// A copy without history, with `.grad`. Tensors that share memory still do after they were copied under one memo.
    fn __deepcopy__<'py>(slf: &Bound<'py, Self>, memo: &Bound<'py, PyAny>) -> Result<PyTensor> {
        let (py, x) = (slf.py(), &slf.get().t());
        if !x.is_leaf() {
            return Err(Error::autograd("only leaves can be deep-copied")
                .with_help("use detach() or clone(), which says what becomes of the history")
                .into());
        }
        let memo = memo.cast::<PyDict>().ok();
        let key = (intern!(py, "lampyr storage"), x.storage_key());
        let known = match memo {
            Some(memo) => memo.get_item(key)?,
            None => None,
        };
        let copy = match known.as_ref().and_then(|k| k.cast::<PyTensor>().ok()) {
            Some(shared) => shared.get().t().clone(),
            None => {
                let made = x.reinterpret_whole(DType::U8)?.copy_contiguous()?;
                if let Some(memo) = memo {
                    memo.set_item(key, Bound::new(py, PyTensor::of(made.clone()))?)?;
                }
                made
            }
        };
        let copy = copy.reinterpret_whole(x.dtype())?.with_layout(x.layout().clone())?;
        if x.requires_grad() {
            copy.requires_grad_(true)?;
        }
        if let Some(grad) = x.grad() {
            let grad = Bound::new(py, PyTensor::of(grad.detach()))?;
            let none = PyDict::new(py).into_any();
            let memo = memo.map_or(&none, |m| m.as_any());
            copy.set_grad(Some(Self::__deepcopy__(&grad, memo)?.t().clone()));
        }
        Ok(PyTensor::of(copy))
    }

    /// Another tensor over the same memory; a leaf.
    fn __copy__(&self) -> Result<PyTensor> {
        let alias = self.t().detach();
        if self.t().requires_grad() {
            alias.requires_grad_(true)?;
        }
        Ok(PyTensor::of(alias))
    }
}
