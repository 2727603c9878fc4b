//! Modes of the tape.

use lampyr::runtime;
use pyo3::prelude::*;

/// Whether gradients are switched on for this thread.
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

/// Whether this thread is in inference mode.
#[pyfunction]
pub fn is_inference_mode_enabled() -> bool {
    runtime::is_inference_mode_enabled()
}

/// Switches inference mode for this thread; the state before.
#[pyfunction]
#[pyo3(name = "_set_inference_mode")]
pub fn set_inference_mode(on: bool) -> bool {
    runtime::set_inference_mode(on)
}

/// Where the running Python code is.
fn place() -> Option<String> {
    Python::attach(|py| {
        let stack = py.import("traceback")?.call_method0("format_stack")?;
        pyo3::types::PyString::new(py, "").call_method1("join", (stack,))?.extract::<String>()
    })
    .ok()
}

/// Switches anomaly mode and its check for NaN, for all threads; the modes before.
#[pyfunction]
#[pyo3(name = "_set_detect_anomaly")]
pub fn set_detect_anomaly(mode: bool, check_nan: bool) -> (bool, bool) {
    runtime::set_place(place);
    runtime::set_detect_anomaly(mode, check_nan)
}

/// Whether anomaly mode is on, and whether it checks for NaN.
#[pyfunction]
#[pyo3(name = "_detect_anomaly")]
pub fn detect_anomaly() -> (bool, bool) {
    runtime::detect_anomaly()
}
