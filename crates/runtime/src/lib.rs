//! Tensors that compute at once, the tape that differentiates them, and sessions that run compiled graphs.

pub mod batch;
mod destination;
mod determinism;
mod eager;
mod inplace;
mod memory;
mod methods;
mod promote;
mod recorder;
mod renew;
mod reuse;
pub mod session;
mod storage;
mod tape;
mod tensor;
pub mod trace;
mod update;

pub use destination::into_memory;
pub use determinism::{Deterministic, deterministic, set_deterministic};
pub use eager::{Cut, EagerBuilder, Sequence, Value, apply, apply_one};
pub use methods::{Operand, Pick};
pub use promote::{Scalar, default_dtype, promote_types, result_type, set_default_dtype};
pub use recorder::{Named, check_readable, is_recording, record, refuse, unwatched};
pub use reuse::clear_recycled;
pub use storage::Storage;
pub use tape::{
    Function, GradFn, GradOptions, Grads, HookHandle, Kept, LeafHook, Output, Packed, PostHook, PreHook, SavedHooks,
    TensorHook, backward, backward_all, depends_on_others, detect_anomaly, disable_saved_hooks, grad, is_grad_enabled,
    is_inference_mode_enabled, no_grad, pop_saved_hooks, push_saved_hooks, record_function, set_detect_anomaly,
    set_grad_enabled, set_inference_mode, set_place, with_grad_mode,
};
pub use tensor::Tensor;
pub use update::{check_update, update};
