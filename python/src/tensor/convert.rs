//! Tensors as Python values.

use lampyr::ir::Numbers;
use lampyr::{DType, Error, HostTensor, Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMemoryView};
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
        if self.0.dtype() == DType::U64 && self.0.len() == 1 {
            return Ok(list(py, &self.0.to_host()?.reshaped(&[])?)?);
        }
        Ok(object(py, scalar_of(&self.0)?)?)
    }

    /// The elements as nested lists.
    fn tolist<'py>(&self, py: Python<'py>) -> Result<Ob<'py>> {
        Ok(list(py, &self.0.to_host()?)?)
    }

    /// A NumPy array over the same memory.
    #[pyo3(signature = (*, force = false))]
    fn numpy<'py>(slf: &Bound<'py, Self>, force: bool) -> Result<Ob<'py>> {
        let py = slf.py();
        let x = &slf.get().0;
        if x.dtype() == DType::BF16 {
            return Err(Error::dtype("NumPy has no bfloat16").with_help("convert with .float() first").into());
        }
        if x.requires_grad() && !force {
            return Err(Error::autograd("a tensor that requires a gradient cannot become a NumPy array")
                .with_help("use .detach().numpy()")
                .into());
        }
        let shared = Bound::new(py, PyTensor(x.detach()))?;
        let view = PyMemoryView::from(shared.as_any())?;
        Ok(py.import(intern!(py, "numpy"))?.call_method1(intern!(py, "asarray"), (view,))?)
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
        if self.0.len() != 1 {
            return Err(Error::value("the truth value of a tensor with more than one element, or none, is ambiguous")
                .with_expected("one element")
                .into());
        }
        Ok(scalar_of(&self.0)?.to_f64() != 0.0)
    }

    fn __float__(&self) -> Result<f64> {
        Ok(scalar_of(&self.0)?.to_f64())
    }

    fn __int__(&self) -> Result<i64> {
        match scalar_of(&self.0)? {
            Scalar::Int(i) => Ok(i),
            Scalar::Bool(b) => Ok(i64::from(b)),
            Scalar::Float(x) if x.is_finite() && x.abs() < 9.2e18 => Ok(x as i64),
            Scalar::Float(x) => Err(Error::value(format!("{x} is not a whole number of 64 bits")).into()),
        }
    }

    fn __index__(&self) -> Result<i64> {
        let one = if self.0.len() == 1 && self.0.dtype().is_integer() { Some(scalar_of(&self.0)?) } else { None };
        match one {
            Some(Scalar::Int(i)) => Ok(i),
            _ => Err(Error::dtype(format!("a {}{:?} tensor is not an index", self.0.dtype(), self.0.shape()))
                .with_expected("an integer tensor with one element")
                .into()),
        }
    }
}
