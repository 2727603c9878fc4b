//! Gradients.

use lampyr::{GradOptions, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::argument::{is_sequence, required};
use crate::error::{Result, run};
use crate::tensor::PyTensor;

const BACKWARD: f64 = 1e9;

#[pymethods]
impl PyTensor {
    /// Whether gradients flow to or through this tensor.
    #[getter(requires_grad)]
    fn get_requires_grad(&self) -> bool {
        self.0.requires_grad()
    }

    #[setter(requires_grad)]
    fn set_requires_grad(&self, on: bool) -> Result<()> {
        self.0.requires_grad_(on)?;
        Ok(())
    }

    /// Makes this tensor collect a gradient from now on, or stop.
    #[pyo3(signature = (requires_grad = true))]
    fn requires_grad_(slf: Py<Self>, requires_grad: bool) -> Result<Py<Self>> {
        slf.get().0.requires_grad_(requires_grad)?;
        Ok(slf)
    }

    /// Whether this tensor was not made by a recorded operation.
    #[getter]
    fn is_leaf(&self) -> bool {
        self.0.is_leaf()
    }

    /// The gradient collected by backward passes.
    #[getter(grad)]
    fn get_grad(&self) -> Option<PyTensor> {
        self.0.grad().map(PyTensor)
    }

    #[setter(grad)]
    fn set_grad(&self, grad: Option<&Bound<'_, PyTensor>>) -> Result<()> {
        let grad = grad.map(|g| g.get().0.clone());
        if let Some(g) = &grad
            && (g.shape() != self.0.shape() || g.dtype() != self.0.dtype())
        {
            return Err(lampyr::Error::autograd(format!("a gradient of {}{:?}", g.dtype(), g.shape()))
                .with_expected(format!("{}{:?}, as the tensor", self.0.dtype(), self.0.shape()))
                .into());
        }
        self.0.set_grad(grad);
        Ok(())
    }

    /// Adds the gradients of this tensor to the `.grad` of all leaves that it depends on.
    #[pyo3(signature = (gradient = None, retain_graph = false, create_graph = false))]
    fn backward(
        &self,
        py: Python<'_>,
        gradient: Option<&Bound<'_, PyAny>>,
        retain_graph: bool,
        create_graph: bool,
    ) -> Result<()> {
        let gradient = gradient.map(|g| required(g)?.tensor()).transpose()?;
        let options = GradOptions { create_graph, retain_graph, allow_unused: false };
        run(py, BACKWARD, || lampyr::backward(&self.0, gradient.as_ref(), options))
    }
}

/// Whether operations of this thread are recorded.
#[pyfunction]
pub fn is_grad_enabled() -> bool {
    lampyr::is_grad_enabled()
}

/// Switches recording for this thread; the state before.
#[pyfunction]
#[pyo3(name = "_set_grad_enabled")]
pub fn set_grad_enabled(on: bool) -> bool {
    lampyr::set_grad_enabled(on)
}

fn list(ob: &Bound<'_, PyAny>) -> Result<Vec<Tensor>> {
    if is_sequence(ob) { crate::argument::tensors(ob) } else { Ok(vec![required(ob)?.tensor()?]) }
}

/// Gradients of the sum of `outputs` with respect to `inputs`; no `.grad` changes.
#[pyfunction]
#[pyo3(signature = (outputs, inputs, grad_outputs = None, retain_graph = None, create_graph = false, allow_unused = false))]
pub fn grad<'py>(
    py: Python<'py>,
    outputs: &Bound<'py, PyAny>,
    inputs: &Bound<'py, PyAny>,
    grad_outputs: Option<&Bound<'py, PyAny>>,
    retain_graph: Option<bool>,
    create_graph: bool,
    allow_unused: bool,
) -> Result<Bound<'py, PyTuple>> {
    let (outputs, inputs) = (list(outputs)?, list(inputs)?);
    let seeds: Vec<Option<Tensor>> = match grad_outputs {
        None => Vec::new(),
        Some(ob) if is_sequence(ob) => ob
            .try_iter()?
            .map(|x| {
                let x = x?;
                if x.is_none() { Ok(None) } else { Ok(Some(required(&x)?.tensor()?)) }
            })
            .collect::<Result<_>>()?,
        Some(ob) => vec![Some(required(ob)?.tensor()?)],
    };
    let options = GradOptions { create_graph, retain_graph: retain_graph.unwrap_or(create_graph), allow_unused };
    let made = run(py, BACKWARD, || lampyr::grad(&outputs, &inputs, &seeds, options))?;
    Ok(PyTuple::new(py, made.into_iter().map(|t| t.map(PyTensor)))?)
}
