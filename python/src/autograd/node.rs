//! Nodes of the tape.

use lampyr::runtime::GradFn;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::function::PyFunction;
use super::hooks::{RemovableHandle, post_hook, pre_hook};
use crate::error::Result;
use crate::tensor::PyTensor;

/// A node of the tape.
#[pyclass(name = "Node", frozen, module = "lampyr.autograd.graph")]
pub struct GradNode(pub GradFn);

#[pymethods]
impl GradNode {
    /// Its name, such as `MulBackward0`.
    fn name(&self) -> String {
        self.0.name()
    }

    /// Where the gradients of the inputs go: a node and the number of its output for each.
    #[getter]
    fn next_functions<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyTuple>> {
        let mut all = Vec::new();
        for next in self.0.next() {
            all.push(match next {
                Some((node, k)) => (Some(Py::new(py, GradNode(node))?), k),
                None => (None, 0),
            });
        }
        Ok(PyTuple::new(py, all)?)
    }

    /// Calls `hook(grad_inputs, grad_outputs)` after the node has computed; what it returns replaces `grad_inputs`.
    fn register_hook(&self, hook: Py<PyAny>) -> Result<RemovableHandle> {
        Ok(RemovableHandle::new(self.0.register_hook(post_hook(hook))?))
    }

    /// Calls `hook(grad_outputs)` before the node computes; what it returns replaces them.
    fn register_prehook(&self, hook: Py<PyAny>) -> Result<RemovableHandle> {
        Ok(RemovableHandle::new(self.0.register_prehook(pre_hook(hook))?))
    }

    /// The leaf, for the end where its gradient is collected.
    #[getter]
    fn variable(&self) -> Option<PyTensor> {
        self.0.variable().map(PyTensor::of)
    }

    /// The context of an `autograd.Function`; None for other nodes.
    #[getter]
    fn _context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.function()?.as_any().downcast_ref::<PyFunction>().map(|f| f.context(py))
    }

    /// Creation order.
    fn _sequence_nr(&self) -> u64 {
        self.0.age().unwrap_or(u64::MAX)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<GradNode>().is_ok_and(|o| o.get().0.address() == self.0.address())
    }

    fn __hash__(&self) -> usize {
        self.0.address() >> 4
    }

    fn __repr__(&self) -> String {
        format!("<{} object at {:#x}>", self.0.name(), self.0.address())
    }
}

/// The node and output number where the gradient of `tensor` goes.
#[pyfunction]
#[pyo3(name = "_gradient_edge")]
pub fn gradient_edge(tensor: &PyTensor) -> Result<Option<(GradNode, usize)>> {
    let k = tensor.t().output_nr();
    Ok(tensor.t().gradient_edge()?.map(|node| (GradNode(node), k)))
}
