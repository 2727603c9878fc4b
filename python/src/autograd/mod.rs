//! Gradients.

mod batch;
mod function;
mod hooks;
mod mode;
mod node;
mod tensor;

pub use batch::{vmap_enter, vmap_has, vmap_leave, vmap_pop, vmap_push, vmap_spread};
pub use function::FunctionState;
pub use hooks::{RemovableHandle, disable_saved_hooks, pop_saved_hooks, push_saved_hooks};
pub use mode::{
    detect_anomaly, is_grad_enabled, is_inference_mode_enabled, set_detect_anomaly, set_grad_enabled,
    set_inference_mode,
};
pub use node::{GradNode, gradient_edge};

use lampyr::runtime::{backward_all, depends_on_others};
use lampyr::{GradOptions, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::argument::{is_sequence, required};
use crate::error::{Result, run};
use crate::tensor::PyTensor;

pub(crate) const BACKWARD: f64 = 1e9;

fn list(ob: &Bound<'_, PyAny>) -> Result<Vec<Tensor>> {
    if ob.cast::<PyTensor>().is_ok() {
        return Ok(vec![required(ob)?.tensor()?]);
    }
    if is_sequence(ob) || ob.hasattr("__iter__")? {
        crate::argument::tensors(ob)
    } else {
        Ok(vec![required(ob)?.tensor()?])
    }
}

fn optional_list(ob: Option<&Bound<'_, PyAny>>) -> Result<Vec<Option<Tensor>>> {
    match ob {
        None => Ok(Vec::new()),
        Some(ob) if ob.is_none() => Ok(Vec::new()),
        Some(ob) if is_sequence(ob) => ob
            .try_iter()?
            .map(|x| {
                let x = x?;
                if x.is_none() { Ok(None) } else { Ok(Some(required(&x)?.tensor()?)) }
            })
            .collect(),
        Some(ob) => Ok(vec![Some(required(ob)?.tensor()?)]),
    }
}

/// Adds gradients to the `.grad` of leaves.
#[pyfunction]
#[pyo3(name = "_backward", signature = (tensors, grad_tensors = None, retain_graph = false, create_graph = false, inputs = None))]
pub fn backward(
    py: Python<'_>,
    tensors: &Bound<'_, PyAny>,
    grad_tensors: Option<&Bound<'_, PyAny>>,
    retain_graph: bool,
    create_graph: bool,
    inputs: Option<&Bound<'_, PyAny>>,
) -> Result<()> {
    let outputs = list(tensors)?;
    let seeds = optional_list(grad_tensors)?;
    let inputs = inputs.map(list).transpose()?;
    if inputs.as_ref().is_some_and(Vec::is_empty) {
        return Err(lampyr::Error::autograd("'inputs' argument to backward() cannot be empty.").into());
    }
    let options = GradOptions { create_graph, retain_graph, allow_unused: true };
    run(py, BACKWARD, || backward_all(&outputs, &seeds, inputs.as_deref(), options))
}

/// Gradients of the sum of `outputs` with respect to `inputs`; no `.grad` changes.
#[pyfunction]
#[pyo3(name = "_grad", signature = (outputs, inputs, grad_outputs = None, retain_graph = None, create_graph = false, allow_unused = false))]
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
    let seeds = optional_list(grad_outputs)?;
    let options = GradOptions { create_graph, retain_graph: retain_graph.unwrap_or(create_graph), allow_unused };
    let made = run(py, BACKWARD, || lampyr::grad(&outputs, &inputs, &seeds, options))?;
    Ok(PyTuple::new(py, made.into_iter().map(|t| t.map(PyTensor::of)))?)
}

/// Whether any of `outputs` depends on a leaf that is not in `known`.
#[pyfunction]
#[pyo3(name = "_depends_on_others")]
pub fn depends(outputs: &Bound<'_, PyAny>, known: &Bound<'_, PyAny>) -> Result<bool> {
    let known = list(known)?;
    for output in list(outputs)? {
        if depends_on_others(&output, &known)? {
            return Ok(true);
        }
    }
    Ok(false)
}
