//! The gradient tape: nodes hang from the outputs they made, and are walked by age.

mod anomaly;
mod backward;
mod function;
mod hooks;
mod mode;
mod node;
mod release;
mod saved;
mod walk;

pub(crate) use anomaly::note_place;
pub use anomaly::set_place;
pub use backward::{GradOptions, backward, backward_all, depends_on_others, grad};
pub use function::{Function, Kept, Output, record_function};
pub(crate) use hooks::lock as lock_extra;
pub use hooks::{GradFn, Grads, HookHandle, LeafHook, PostHook, PreHook, TensorHook};
pub use mode::{
    detect_anomaly, disable_saved_hooks, is_grad_enabled, is_inference_mode_enabled, no_grad, pop_saved_hooks,
    push_saved_hooks, set_detect_anomaly, set_grad_enabled, set_inference_mode, with_grad_mode,
};
pub(crate) use mode::{is_watched_by_recorder, recorded, recording, watch_by_recorder, watched};
pub(crate) use node::{Edge, GradCell, Inputs, Meta, Node, Rule, Saved, SavedSet};
pub(crate) use release::{Chained, release};
pub(crate) use saved::SavedTensor;
pub use saved::{Packed, SavedHooks};
