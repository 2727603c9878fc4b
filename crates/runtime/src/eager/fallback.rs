use lampyr_backend::{Backend, Reason, reference};
use lampyr_base::{Error, Result, knobs};
use lampyr_ir::{Op, Var};

use super::{EagerBuilder, Outputs};
use crate::tensor::Tensor;

/// Runs an op that the device has no kernel for: by its decomposition, else by the host reference.
pub(super) fn run(backend: &dyn Backend, op: &dyn Op, inputs: &[&Tensor], reason: Reason) -> Result<Outputs> {
    let vars: Vec<Var> = inputs.iter().map(|t| t.var()).collect();
    if let Some(result) = op.decompose(&mut EagerBuilder::on(backend.device()), &vars) {
        let made = result.map_err(|e| e.with_op(op.name()))?;
        return made.iter().map(|v| Tensor::from_var(v).map(Some)).collect();
    }
    if knobs::FALLBACK.value() == "error" {
        return Err(Error::unsupported(format!("a kernel for `{}` on {}", op.name(), backend.device()))
            .with_op(op.name())
            .with_inputs(inputs.iter().map(|t| format!("{}{:?}", t.dtype(), t.shape())))
            .with_help(format!("reason: {reason}; LAMPYR_FALLBACK=warn allows the slow host reference")));
    }
    let args: Vec<_> = inputs.iter().map(|t| t.arg()).collect();
    let made = reference::run(backend, op, &args)?;
    made.iter().map(|t| Tensor::from_host(t, backend.device()).map(Some)).collect()
}
