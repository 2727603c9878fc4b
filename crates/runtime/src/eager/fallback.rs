use lampyr_backend::{Backend, Reason, reference};
use lampyr_base::{Device, Result};
use lampyr_ir::{Op, Var};

use super::{EagerBuilder, Outputs};
use crate::tensor::Tensor;
use crate::trace;

/// Runs an op that the device has no kernel for: by its decomposition, else by the host reference.
pub(super) fn run(backend: &dyn Backend, op: &dyn Op, inputs: &[&Tensor], reason: Reason) -> Result<Outputs> {
    let vars: Vec<Var> = inputs.iter().map(|t| t.var()).collect();
    let start = trace::now();
    if let Some(result) = op.decompose(&mut EagerBuilder::on(backend.device()), &vars) {
        let made = result.map_err(|e| e.with_op(op.name()))?;
        note(op, "decompose", backend.device(), reason.code(), start, inputs);
        return made.iter().map(|v| Tensor::from_var(v).map(Some)).collect();
    }
    trace::fallback(op.name(), backend.device(), reason)?;
    let args: Vec<_> = inputs.iter().map(|t| t.arg()).collect();
    let made = reference::run(backend, op, &args)?;
    note(op, "reference", backend.device(), reason.code(), start, inputs);
    made.iter().map(|t| Tensor::from_host(t, backend.device()).map(Some)).collect()
}

/// Writes one event, when the trace is on.
pub(crate) fn note(
    op: &dyn Op,
    kernel: &'static str,
    device: Device,
    reason: &'static str,
    start_ns: u64,
    inputs: &[&Tensor],
) {
    if trace::enabled() {
        trace::record(trace::Event {
            op: op.name(),
            node: "".into(),
            kernel,
            device,
            reason,
            start_ns,
            duration_ns: trace::now().saturating_sub(start_ns),
            shapes: inputs.iter().map(|t| t.layout().shape.clone()).collect(),
            thread: 0,
        });
    }
}
