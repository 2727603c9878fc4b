//! Results of the table's functions as Python objects.

use std::ffi::CString;

use lampyr::Scalar;
use lampyr::names::{Output, Returns, Signature};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{IntoPyObjectExt, intern};

use super::source::Arguments;
use crate::tensor::PyTensor;

/// The named tuples that functions with several results give back, by name.
static TUPLES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// The class of the results of `name`, whose fields are `fields`.
pub fn named_tuple<'py>(py: Python<'py>, name: &str, fields: &[&str]) -> PyResult<Bound<'py, PyAny>> {
    let known = TUPLES.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(class) = known.get_item(name)? {
        return Ok(class);
    }
    let options = PyDict::new(py);
    options.set_item("module", "lampyr.return_types")?;
    let make = py.import(intern!(py, "collections"))?.getattr(intern!(py, "namedtuple"))?;
    let class = make.call((PyString::new(py, name), PyTuple::new(py, fields)?), Some(&options))?;
    known.set_item(name, &class)?;
    Ok(class)
}

fn tensor<'py>(py: Python<'py>, given: &Arguments<'_, 'py>, made: lampyr::Tensor) -> PyResult<Bound<'py, PyAny>> {
    match given.same(&made) {
        Some(ob) => Ok(ob),
        None => Ok(Bound::new(py, PyTensor::of(made))?.into_any()),
    }
}

/// Warns that an output which held elements was of another shape than the result.
fn resized(py: Python<'_>, was: &[usize], is: &[usize]) -> PyResult<()> {
    let message = CString::new(format!(
        "An output with one or more elements was resized since it had shape {was:?}, which does not match the required \
         output shape {is:?}. Give an output of that shape, or first resize it to no elements: out.resize_(0)."
    ))?;
    PyErr::warn(py, &py.get_type::<PyUserWarning>(), &message, 1)
}

/// A result as Python sees it: an argument that is given back stays the same object.
pub fn object<'py>(
    py: Python<'py>,
    given: &Arguments<'_, 'py>,
    signature: &Signature,
    output: Output,
) -> PyResult<Bound<'py, PyAny>> {
    match output {
        Output::Tensor(t) => tensor(py, given, t),
        Output::None => Ok(py.None().into_bound(py)),
        Output::Tensors(all) => {
            let all = all.into_iter().map(|t| tensor(py, given, t)).collect::<PyResult<Vec<_>>>()?;
            let tuple = PyTuple::new(py, all)?;
            match &signature.returns {
                Returns::Tuple(fields) if fields.iter().all(|f| !f.is_empty()) => {
                    named_tuple(py, signature.name, fields)?.call1(tuple)
                }
                _ => Ok(tuple.into_any()),
            }
        }
        Output::Renewed(old, new) => {
            given.put(&old, &new);
            tensor(py, given, new)
        }
        Output::Resized(all) => {
            for (old, new) in &all {
                given.put(old, new);
                if !old.is_empty() && !old.same(new) {
                    resized(py, old.shape(), new.shape())?;
                }
            }
            let mut all = all.into_iter().map(|(_, new)| new);
            match (all.next(), all.len()) {
                (Some(one), 0) => tensor(py, given, one),
                (first, _) => object(py, given, signature, Output::Tensors(first.into_iter().chain(all).collect())),
            }
        }
        Output::OptionalTensors(all) => {
            let one = |t: Option<lampyr::Tensor>| match t {
                Some(t) => tensor(py, given, t),
                None => Ok(py.None().into_bound(py)),
            };
            Ok(PyTuple::new(py, all.into_iter().map(one).collect::<PyResult<Vec<_>>>()?)?.into_any())
        }
        Output::Bool(b) => b.into_bound_py_any(py),
        Output::Int(i) => i.into_bound_py_any(py),
        Output::Ints(all) => Ok(PyTuple::new(py, all)?.into_any()),
        Output::Float(x) => x.into_bound_py_any(py),
        Output::Scalar(Scalar::Bool(b)) => b.into_bound_py_any(py),
        Output::Scalar(Scalar::Int(i)) => i.into_bound_py_any(py),
        Output::Scalar(Scalar::Float(x)) => x.into_bound_py_any(py),
        Output::DType(d) => Ok(crate::dtype::object(py, d)?.into_bound(py).into_any()),
    }
}
