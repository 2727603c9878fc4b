//! Help in finding where a backward pass goes wrong.

use std::sync::{Arc, OnceLock, PoisonError};

use lampyr_base::{Error, Result};

use super::hooks::lock;
use super::mode::detect_anomaly;
use super::node::Node;
use crate::tensor::Tensor;

static PLACE: OnceLock<fn() -> Option<String>> = OnceLock::new();

/// Tells how the place of the running call is put into words; the first call counts.
pub fn set_place(describe: fn() -> Option<String>) {
    let _ = PLACE.set(describe);
}

/// Remembers where the op of `node` was called, under anomaly mode.
#[inline]
pub(crate) fn note_place(node: &Arc<Node>) {
    if detect_anomaly().0
        && let Some(place) = PLACE.get().and_then(|describe| describe())
    {
        lock(&node.extra).place = Some(place.into());
    }
}

/// Adds the place of the forward call to an error of the backward pass.
pub(super) fn explain(node: &Node, error: Error) -> Error {
    let place = node.extra.get().and_then(|e| e.lock().unwrap_or_else(PoisonError::into_inner).place.clone());
    match place {
        Some(place) => error.with_help(format!("the forward call that this is the gradient of was:\n{place}")),
        None => error,
    }
}

/// Fails on a gradient that is NaN, under anomaly mode.
pub(super) fn check(node: &Node, grads: &[Option<Tensor>]) -> Result<()> {
    if !detect_anomaly().1 {
        return Ok(());
    }
    for (i, grad) in grads.iter().enumerate() {
        if let Some(grad) = grad
            && grad.dtype().is_float()
            && grad.to_host()?.to_f64().iter().any(|x| x.is_nan())
        {
            return Err(explain(
                node,
                Error::autograd(format!("Function '{}' returned nan values in its {i}th output.", node.name())),
            ));
        }
    }
    Ok(())
}
