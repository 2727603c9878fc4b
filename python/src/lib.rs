//! The Python module `lampyr._lampyr`.

mod argument;
mod autograd;
mod dtype;
mod error;
mod graph;
mod interop;
mod limits;
mod model;
mod names;
mod optim;
mod runtime;
mod tensor;
mod user_op;

use pyo3::prelude::*;

#[pymodule]
mod _lampyr {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::autograd::{
        FunctionState, GradNode, RemovableHandle, backward, depends, detect_anomaly, disable_saved_hooks, grad,
        gradient_edge, is_grad_enabled, is_inference_mode_enabled, pop_saved_hooks, push_saved_hooks,
        set_detect_anomaly, set_grad_enabled, set_inference_mode, vmap_enter, vmap_has, vmap_leave, vmap_pop,
        vmap_push, vmap_spread,
    };
    #[pymodule_export]
    use crate::dtype::{
        MemoryFormat, MemoryLayout, PyDType, PyDevice, can_cast, get_default_dtype, promote_types, result_type,
        set_default_dtype,
    };
    #[pymodule_export]
    use crate::graph::{CompiledGraph, Graph, GraphValue, record_onnx};
    #[pymodule_export]
    use crate::interop::{asarray, from_dlpack, from_numpy};
    #[pymodule_export]
    use crate::limits::{FInfo, IInfo};
    #[pymodule_export]
    use crate::model::{Check, Explanation, Model, ModelMemory, Port, Problem, check_onnx, load_onnx};
    #[pymodule_export]
    use crate::names::return_type;
    #[pymodule_export]
    use crate::optim::{adam_step, sgd_step};
    #[pymodule_export]
    use crate::runtime::{
        OpInfo, are_deterministic_algorithms_enabled, call_op, empty_cache, get_num_threads,
        is_deterministic_algorithms_warn_only_enabled, memory_stats, ops, reset_peak_memory_stats, set_memory_limit,
        set_num_threads, start_trace, stop_trace, take_warnings, use_deterministic_algorithms,
    };
    #[pymodule_export]
    use crate::tensor::{
        Generator, PyTensor, Storage, as_tensor, default_generator, generator, rebuild, set_printoptions, tensor,
    };
    #[pymodule_export]
    use crate::user_op::{UserOp, register_op};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        lampyr::init();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::dtype::add_all(module)?;
        crate::names::install(module)
    }
}
