//! Functions whose gradient is written in Python.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use lampyr::runtime::{Function, Kept, Output, record_function};
use lampyr::{Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::hooks::grads;
use super::node::GradNode;
use crate::error::{Failure, Result, raised};
use crate::tensor::PyTensor;

/// What the context of a function keeps for the backward pass.
#[pyclass(frozen, subclass, dict, weakref, name = "_FunctionState", module = "lampyr.autograd")]
pub struct FunctionState {
    kept: Kept,
    name: Mutex<String>,
}

fn tensors(list: &Bound<'_, PyAny>) -> Result<Vec<Option<Tensor>>> {
    list.try_iter()?
        .map(|t| {
            let t = t?;
            Ok(t.cast::<PyTensor>().ok().map(|t| t.get().t().clone()))
        })
        .collect()
}

#[pymethods]
impl FunctionState {
    #[new]
    #[pyo3(signature = (*_args, **_named))]
    fn new(_args: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, pyo3::types::PyDict>>) -> FunctionState {
        FunctionState { kept: Kept::default(), name: Mutex::new(String::new()) }
    }

    /// Tensors that were kept, as they were; an error when one was changed in place or they were freed.
    fn _kept<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyTuple>> {
        let name = self.name.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = py.detach(|| self.kept.get(&name))?;
        Ok(PyTuple::new(py, all.into_iter().map(|t| t.map(PyTensor::of)))?)
    }

    /// Hangs this context on `outputs`, as the function `cls` called with `arguments`. `kinds` says what becomes of each
    /// output: 0 gradients flow through it, 1 it is constant, 2 it is an input changed in place.
    fn _connect(
        slf: &Bound<'_, Self>,
        cls: Py<PyAny>,
        arguments: &Bound<'_, PyList>,
        outputs: &Bound<'_, PyList>,
        kinds: Vec<u8>,
        save: &Bound<'_, PyTuple>,
    ) -> Result<Option<GradNode>> {
        let name = format!("{}Backward", cls.bind(slf.py()).getattr("__name__")?.extract::<String>()?);
        slf.get().name.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&name);
        let arguments_ = tensors(arguments.as_any())?;
        let places: Vec<usize> = (0..arguments_.len()).filter(|&i| arguments_[i].is_some()).collect();
        let inputs: Vec<&Tensor> = arguments_.iter().flatten().collect();
        let outputs: Vec<Tensor> = tensors(outputs.as_any())?.into_iter().flatten().collect();
        let kind = |k: usize| match kinds.get(k) {
            Some(1) => Output::Constant,
            Some(2) => Output::Dirty,
            _ => Output::Fresh,
        };
        slf.get().kept.keep(&tensors(save.as_any())?, &outputs)?;
        let function = PyFunction {
            context: slf.clone().into_any().unbind(),
            class: cls,
            name,
            places,
            count: arguments_.len(),
            outputs: outputs.iter().map(|t| (t.dtype(), t.shape().to_vec(), t.device())).collect(),
        };
        let pairs: Vec<(&Tensor, Output)> = outputs.iter().enumerate().map(|(k, t)| (t, kind(k))).collect();
        match record_function(Arc::new(function), &inputs, &pairs)? {
            Some(node) => {
                slf.get().kept.belongs_to(&node);
                Ok(Some(GradNode(node)))
            }
            None => {
                slf.get().kept.release();
                Ok(None)
            }
        }
    }
}

/// A function on the tape.
pub struct PyFunction {
    context: Py<PyAny>,
    class: Py<PyAny>,
    name: String,
    /// Which arguments are tensors.
    places: Vec<usize>,
    count: usize,
    outputs: Vec<(lampyr::DType, Vec<usize>, lampyr::Device)>,
}

impl PyFunction {
    /// The context object.
    pub fn context(&self, py: Python<'_>) -> Py<PyAny> {
        self.context.clone_ref(py)
    }

    fn call(&self, py: Python<'_>, given: &[Option<Tensor>]) -> PyResult<Vec<Option<Tensor>>> {
        let context = self.context.bind(py);
        let full: bool = context.getattr("_materialize")?.extract()?;
        let mut arguments = vec![context.clone()];
        for (grad, (dtype, shape, device)) in given.iter().zip(&self.outputs) {
            let grad = match grad {
                None if full && dtype.is_float() => {
                    Some(Tensor::full(shape, 0.0, *dtype, *device).map_err(Failure::from)?)
                }
                grad => grad.clone(),
            };
            arguments.push(grad.map(PyTensor::of).into_pyobject(py).map(|g| g.into_any())?);
        }
        let made = self.class.bind(py).call_method1("_backward", PyTuple::new(py, arguments)?)?;
        let mut made = grads(&made)?.unwrap_or_else(|| vec![None]);
        while made.len() > self.count && made.last().is_some_and(Option::is_none) {
            made.pop();
        }
        if made.len() != self.count {
            return Err(Failure::from(Error::autograd(format!(
                "function {} returned an incorrect number of gradients (expected {}, got {})",
                self.name,
                self.count,
                made.len()
            )))
            .into());
        }
        if let Some(i) = (0..made.len()).find(|i| made[*i].is_some() && !self.places.contains(i)) {
            return Err(Failure::from(Error::autograd(format!(
                "function {} returned a gradient different from None at position {}, but the corresponding forward \
                 input was not a Tensor",
                self.name,
                i + 1
            )))
            .into());
        }
        Ok(self.places.iter().map(|&i| made.get_mut(i).and_then(Option::take)).collect())
    }
}

impl Function for PyFunction {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn backward(&self, given: &[Option<Tensor>], needs: &[bool]) -> lampyr::Result<Vec<Option<Tensor>>> {
        let _ = needs;
        Python::attach(|py| self.call(py, given)).map_err(|e| raised(&self.name, e))
    }

    fn release(&self) {
        Python::attach(|py| {
            if let Ok(state) = self.context.bind(py).cast::<FunctionState>() {
                state.get().kept.release();
            }
        });
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
