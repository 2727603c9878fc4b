//! Tensors as Python values.

use lampyr::ir::Numbers;
use lampyr::{DType, Error, HostTensor, Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyComplex, PyDict, PyList, PyMemoryView};
use pyo3::{IntoPyObjectExt, intern};

use super::PyTensor;
use crate::error::Result;

type Ob<'py> = Bound<'py, PyAny>;

/// The only element of a tensor.
pub fn scalar_of(t: &Tensor) -> Result<Scalar> {
    if t.len() != 1 {
        return Err(Error::shape(format!("one element is needed, this tensor has {}", t.len()))
            .with_help("index or reduce it first")
            .into());
    }
    let host = t.to_host()?;
    Ok(match (t.dtype(), host.numbers()) {
        (DType::Bool, _) => Scalar::Bool(host.bytes()[0] != 0),
        (_, Numbers::F(v)) => Scalar::Float(v[0]),
        (_, Numbers::I(v)) => Scalar::Int(v[0]),
        (_, Numbers::U(v)) => match i64::try_from(v[0]) {
            Ok(i) => Scalar::Int(i),
            Err(_) => Scalar::Float(v[0] as f64),
        },
    })
}

fn object(py: Python<'_>, value: Scalar) -> PyResult<Ob<'_>> {
    match value {
        Scalar::Bool(b) => b.into_bound_py_any(py),
        Scalar::Int(i) => i.into_bound_py_any(py),
        Scalar::Float(x) => x.into_bound_py_any(py),
    }
}

fn nested<'py, T: IntoPyObjectExt<'py> + Copy>(py: Python<'py>, shape: &[usize], values: &[T]) -> PyResult<Ob<'py>> {
    match shape {
        [] => values[0].into_bound_py_any(py),
        [_] => {
            Ok(PyList::new(py, values.iter().copied().map(|v| v.into_bound_py_any(py)).collect::<PyResult<Vec<_>>>()?)?
                .into_any())
        }
        [n, rest @ ..] => {
            let row = values.len() / n.max(&1);
            let rows = (0..*n).map(|i| nested(py, rest, &values[i * row..(i + 1) * row]));
            Ok(PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)?.into_any())
        }
    }
}

fn list<'py>(py: Python<'py>, host: &HostTensor) -> PyResult<Ob<'py>> {
    if host.dtype() == DType::Bool {
        let values: Vec<bool> = host.bytes().iter().map(|&b| b != 0).collect();
        return nested(py, host.shape(), &values);
    }
    match host.numbers() {
        Numbers::F(v) => nested(py, host.shape(), &v),
        Numbers::I(v) => nested(py, host.shape(), &v),
        Numbers::U(v) => nested(py, host.shape(), &v),
    }
}

#[pymethods]
impl PyTensor {
    /// The only element as a Python number.
    fn item<'py>(&self, py: Python<'py>) -> Result<Ob<'py>> {
        if self.t().dtype() == DType::U64 && self.t().len() == 1 {
            return Ok(list(py, &self.t().to_host()?.reshaped(&[])?)?);
        }
        Ok(object(py, scalar_of(&self.t())?)?)
    }

    /// The elements as nested lists.
    fn tolist<'py>(&self, py: Python<'py>) -> Result<Ob<'py>> {
        Ok(list(py, &self.t().to_host()?)?)
    }

    /// A NumPy array over the same memory. bfloat16 needs the package ml_dtypes.
    #[pyo3(signature = (*, force = false))]
    fn numpy<'py>(slf: &Bound<'py, Self>, force: bool) -> Result<Ob<'py>> {
        let py = slf.py();
        let x = &slf.get().t();
        lampyr::runtime::check_readable(x)?;
        if x.requires_grad() && !force {
            return Err(Error::autograd("a tensor that requires a gradient cannot become a NumPy array")
                .with_help("use .detach().numpy()")
                .into());
        }
        let brain = x.dtype() == DType::BF16;
        let plain = if brain { x.reinterpret(DType::U16)? } else { x.detach() };
        let as_brain = match brain {
            true => Some(py.import(intern!(py, "ml_dtypes")).map_err(|_| {
                Error::dtype("NumPy has no bfloat16").with_help("convert with .float() first, or install ml_dtypes")
            })?),
            false => None,
        };
        let shared = Bound::new(py, PyTensor::of(plain))?;
        let view = PyMemoryView::from(shared.as_any())?;
        let array = py.import(intern!(py, "numpy"))?.call_method1(intern!(py, "asarray"), (view,))?;
        match as_brain {
            Some(types) => Ok(array.call_method1(intern!(py, "view"), (types.getattr(intern!(py, "bfloat16"))?,))?),
            None => Ok(array),
        }
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(slf: &Bound<'py, Self>, dtype: Option<&Ob<'py>>, copy: Option<bool>) -> Result<Ob<'py>> {
        let py = slf.py();
        let array = Self::numpy(slf, false)?;
        let Some(dtype) = dtype else {
            return if copy == Some(true) { Ok(array.call_method0(intern!(py, "copy"))?) } else { Ok(array) };
        };
        let options = PyDict::new(py);
        options.set_item("copy", copy.unwrap_or(false))?;
        Ok(array.call_method(intern!(py, "astype"), (dtype,), Some(&options))?)
    }

    /// Arithmetic of a NumPy array with a tensor is the tensor's.
    #[classattr]
    fn __array_priority__() -> i64 {
        1000
    }

    fn __bool__(&self) -> Result<bool> {
        if self.t().len() != 1 {
            return Err(Error::value("the truth value of a tensor with more than one element, or none, is ambiguous")
                .with_expected("one element")
                .with_help("use any() or all()")
                .into());
        }
        Ok(scalar_of(&self.t())?.to_f64() != 0.0)
    }

    fn __float__<'py>(&self, py: Python<'py>) -> Result<Ob<'py>> {
        Ok(self.item(py)?.call_method0(intern!(py, "__float__"))?)
    }

    /// Towards zero, of any size; NaN and infinities have none.
    fn __int__<'py>(&self, py: Python<'py>) -> Result<Ob<'py>> {
        Ok(self.item(py)?.call_method0(intern!(py, "__int__"))?)
    }

    fn __complex__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyComplex>> {
        Ok(PyComplex::from_doubles(py, self.item(py)?.call_method0(intern!(py, "__float__"))?.extract()?, 0.0))
    }

    fn __index__<'py>(&self, py: Python<'py>) -> Result<Ob<'py>> {
        if self.t().len() != 1 || self.t().dtype().is_float() {
            return Err(Error::dtype(format!("a {}{:?} tensor is not an index", self.t().dtype(), self.t().shape()))
                .with_expected("an integer tensor with one element")
                .into());
        }
        self.__int__(py)
    }

    fn __format__<'py>(slf: &Bound<'py, Self>, spec: &str) -> Result<Ob<'py>> {
        let py = slf.py();
        if slf.get().t().rank() == 0 {
            let item = slf.get().item(py)?;
            return Ok(item.call_method1(intern!(py, "__format__"), (spec,))?);
        }
        if !spec.is_empty() {
            return Err(Error::dtype(format!("a tensor with axes has no format `{spec}`"))
                .with_help("format the numbers of tolist()")
                .into());
        }
        Ok(slf.str()?.into_any())
    }
}
