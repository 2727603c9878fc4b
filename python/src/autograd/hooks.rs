//! Python functions as hooks.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lampyr::runtime::{self, Grads, HookHandle, LeafHook, Packed, PostHook, PreHook, SavedHooks, TensorHook};
use lampyr::{Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::argument::{is_sequence, required};
use crate::error::{Result, raised};
use crate::tensor::PyTensor;

enum Kept {
    Tape(HookHandle),
    /// Dictionaries of Python code that keep hooks by their numbers.
    Places(u64, Vec<Py<PyAny>>),
}

/// Removes a hook: by `remove()` or at the end of a `with` block.
#[pyclass(frozen, weakref, module = "lampyr.autograd")]
pub struct RemovableHandle(Kept);

impl RemovableHandle {
    pub fn new(handle: HookHandle) -> RemovableHandle {
        RemovableHandle(Kept::Tape(handle))
    }
}

#[pymethods]
impl RemovableHandle {
    /// A handle of hooks that a dictionary keeps under `id`.
    #[new]
    #[pyo3(signature = (hooks_dict, *, extra_dict = None))]
    fn of(hooks_dict: &Bound<'_, PyAny>, extra_dict: Option<&Bound<'_, PyAny>>) -> RemovableHandle {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
        let places = [Some(hooks_dict), extra_dict].into_iter().flatten().map(|p| p.clone().unbind()).collect();
        RemovableHandle(Kept::Places(NEXT.fetch_add(1, Ordering::Relaxed), places))
    }
    /// A number that no other hook has.
    #[getter]
    fn id(&self) -> u64 {
        match &self.0 {
            Kept::Tape(handle) => handle.id(),
            Kept::Places(id, _) => *id,
        }
    }
    /// Removes the hook; nothing happens when it is gone already.
    fn remove(&self, py: Python<'_>) -> PyResult<()> {
        match &self.0 {
            Kept::Tape(handle) => handle.remove(),
            Kept::Places(id, places) => {
                for place in places {
                    place.bind(py).call_method1("pop", (*id, py.None()))?;
                }
            }
        }
        Ok(())
    }
    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.remove(py)
    }
}

fn tensor_of(ob: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    Ok(required(ob).and_then(|a| a.tensor())?)
}

pub fn tensor_hook(hook: Py<PyAny>) -> TensorHook {
    Arc::new(move |grad| {
        Python::attach(|py| {
            let made = hook.bind(py).call1((PyTensor::of(grad.clone()),))?;
            if made.is_none() { Ok(None) } else { tensor_of(&made).map(Some) }
        })
        .map_err(|e| raised("a hook", e))
    })
}

pub fn leaf_hook(hook: Py<PyAny>) -> LeafHook {
    Arc::new(move |leaf| {
        Python::attach(|py| hook.bind(py).call1((PyTensor::of(leaf.clone()),)).map(|_| ()))
            .map_err(|e| raised("a hook", e))
    })
}

fn tuple<'py>(py: Python<'py>, grads: &[Option<Tensor>]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, grads.iter().map(|g| g.clone().map(PyTensor::of)))
}

/// Gradients that a hook or function returned; `None` for None.
pub fn grads(made: &Bound<'_, PyAny>) -> PyResult<Option<Grads>> {
    if made.is_none() {
        return Ok(None);
    }
    if !is_sequence(made) {
        return Ok(Some(vec![Some(tensor_of(made)?)]));
    }
    made.try_iter()?
        .map(|g| {
            let g = g?;
            if g.is_none() { Ok(None) } else { tensor_of(&g).map(Some) }
        })
        .collect::<PyResult<_>>()
        .map(Some)
}

pub fn pre_hook(hook: Py<PyAny>) -> PreHook {
    Arc::new(move |outputs| {
        Python::attach(|py| grads(&hook.bind(py).call1((tuple(py, outputs)?,))?)).map_err(|e| raised("a hook", e))
    })
}

pub fn post_hook(hook: Py<PyAny>) -> PostHook {
    Arc::new(move |inputs, outputs| {
        Python::attach(|py| grads(&hook.bind(py).call1((tuple(py, inputs)?, tuple(py, outputs)?))?))
            .map_err(|e| raised("a hook", e))
    })
}

struct Hooks {
    pack: Py<PyAny>,
    unpack: Py<PyAny>,
}

impl SavedHooks for Hooks {
    fn pack(&self, tensor: &Tensor) -> lampyr::Result<Packed> {
        Python::attach(|py| self.pack.call1(py, (PyTensor::of(tensor.clone()),)))
            .map(|packed| Box::new(packed) as Packed)
            .map_err(|e| raised("the pack hook of saved tensors", e))
    }

    fn unpack(&self, packed: &(dyn Any + Send + Sync)) -> lampyr::Result<Tensor> {
        let packed = packed.downcast_ref::<Py<PyAny>>().ok_or_else(|| Error::internal("packed by other hooks"))?;
        Python::attach(|py| tensor_of(self.unpack.call1(py, (packed,))?.bind(py)))
            .map_err(|e| raised("the unpack hook of saved tensors", e))
    }
}

/// Tensors kept for gradients go through these hooks, in this thread.
#[pyfunction]
#[pyo3(name = "_push_saved_hooks")]
pub fn push_saved_hooks(pack: Py<PyAny>, unpack: Py<PyAny>) -> Result<()> {
    Ok(runtime::push_saved_hooks(Arc::new(Hooks { pack, unpack }))?)
}

/// Removes what was pushed last.
#[pyfunction]
#[pyo3(name = "_pop_saved_hooks")]
pub fn pop_saved_hooks() {
    runtime::pop_saved_hooks();
}

/// Forbids such hooks, with the message of the error.
#[pyfunction]
#[pyo3(name = "_disable_saved_hooks")]
pub fn disable_saved_hooks(message: &str) {
    runtime::disable_saved_hooks(message);
}
