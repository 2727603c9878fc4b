//! What tensors have to do with gradients.

use lampyr::runtime::backward_all;
use lampyr::{Error, GradOptions};
use pyo3::prelude::*;

use super::hooks::{RemovableHandle, leaf_hook, tensor_hook};
use super::node::GradNode;
use crate::argument::required;
use crate::error::{Result, run};
use crate::tensor::PyTensor;

#[pymethods]
impl PyTensor {
    /// Whether gradients flow to or through this tensor.
    #[getter(requires_grad)]
    fn get_requires_grad(&self) -> bool {
        self.t().requires_grad()
    }

    #[setter(requires_grad)]
    fn set_requires_grad(&self, on: bool) -> Result<()> {
        self.t().requires_grad_(on)?;
        Ok(())
    }

    /// Makes this tensor collect a gradient from now on, or stop.
    #[pyo3(signature = (requires_grad = true))]
    fn requires_grad_(slf: Py<Self>, requires_grad: bool) -> Result<Py<Self>> {
        slf.get().t().requires_grad_(requires_grad)?;
        Ok(slf)
    }

    /// Cuts this tensor off its history, in place.
    fn detach_(slf: Py<Self>) -> Result<Py<Self>> {
        slf.get().t().detach_()?;
        Ok(slf)
    }

    /// Whether this tensor was not made by a recorded operation.
    #[getter]
    fn is_leaf(&self) -> bool {
        self.t().is_leaf()
    }

    /// The node that made this tensor; None for leaves.
    #[getter]
    fn grad_fn(&self) -> Result<Option<GradNode>> {
        Ok(self.t().grad_fn()?.map(GradNode))
    }

    /// Which output of its node this tensor is.
    #[getter]
    fn output_nr(&self) -> usize {
        self.t().output_nr()
    }

    /// How often the memory was changed in place.
    #[getter]
    fn _version(&self) -> u64 {
        self.t().storage().version()
    }

    /// The gradient collected by backward passes.
    #[getter(grad)]
    fn get_grad(&self) -> Option<PyTensor> {
        self.t().grad().map(PyTensor::of)
    }

    #[setter(grad)]
    fn set_grad(&self, grad: Option<&Bound<'_, PyTensor>>) -> Result<()> {
        let grad = grad.map(|g| g.get().t().clone());
        if let Some(g) = &grad
            && (g.shape() != self.t().shape() || g.dtype() != self.t().dtype())
        {
            return Err(Error::autograd(format!("a gradient of {}{:?}", g.dtype(), g.shape()))
                .with_expected(format!("{}{:?}, as the tensor", self.t().dtype(), self.t().shape()))
                .into());
        }
        self.t().set_grad(grad);
        Ok(())
    }

    /// Keeps the gradient of this tensor, which need not be a leaf, in `.grad`.
    fn retain_grad(&self) -> Result<()> {
        Ok(self.t().retain_grad()?)
    }

    /// Whether `retain_grad()` was called on this tensor, which is not a leaf.
    #[getter]
    fn retains_grad(&self) -> bool {
        self.t().retains_grad()
    }

    /// Calls `hook(grad)` in each backward pass; what it returns replaces the gradient.
    fn register_hook(&self, hook: Py<PyAny>) -> Result<RemovableHandle> {
        Ok(RemovableHandle::new(self.t().register_hook(tensor_hook(hook))?))
    }

    /// Calls `hook(tensor)` after a backward pass has added to the gradient of this leaf.
    fn register_post_accumulate_grad_hook(&self, hook: Py<PyAny>) -> Result<RemovableHandle> {
        Ok(RemovableHandle::new(self.t().register_post_accumulate_grad_hook(leaf_hook(hook))?))
    }

    /// Adds the gradients of this tensor to the `.grad` of all leaves that it depends on, or only of `inputs`.
    #[pyo3(signature = (gradient = None, retain_graph = None, create_graph = false, inputs = None))]
    fn backward(
        &self,
        py: Python<'_>,
        gradient: Option<&Bound<'_, PyAny>>,
        retain_graph: Option<bool>,
        create_graph: bool,
        inputs: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        let gradient = gradient.map(|g| required(g)?.tensor()).transpose()?;
        let retain_graph = retain_graph.unwrap_or(create_graph);
        let inputs = inputs.map(super::list).transpose()?;
        if inputs.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::autograd("'inputs' argument to backward() cannot be empty.").into());
        }
        let options = GradOptions { create_graph, retain_graph, allow_unused: true };
        run(py, super::BACKWARD, || {
            backward_all(std::slice::from_ref(&self.t()), &[gradient], inputs.as_deref(), options)
        })
    }
}
