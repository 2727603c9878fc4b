//! Steps that run sub-graphs or work on sequences.

use lampyr_backend::Reason;
use lampyr_base::Result;
use lampyr_compiler::plan::{Operand, Step};
use lampyr_ir::OpRef;

use super::Value;
use super::run::{Run, host, note};
use crate::trace;

impl Run<'_> {
    /// Runs one control step.
    pub fn control(&mut self, step: &Step, op: &OpRef, inputs: &[Operand], outputs: &[Option<Operand>]) -> Result<()> {
        let device = self.backend(step.device)?.clone();
        let start = if trace::enabled() { trace::now() } else { 0 };
        let op = op.substitute(&self.bindings).unwrap_or_else(|| op.clone());
        let values = inputs.iter().map(|o| self.value(o)).collect::<Result<Vec<_>>>()?;
        let made = host(&*op, device.device(), Reason::Control, &values)?;
        let made = made.iter().map(|v| Value::upload(&*device, v).map(Some)).collect::<Result<Vec<_>>>()?;
        note(op.name(), &step.name, "", device.device(), step.reason.code(), start, &[]);
        self.learn(step, &made)?;
        self.place(step, outputs, made)
    }
}
