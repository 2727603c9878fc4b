use lampyr_base::{Error, Result};
use lampyr_ir::{Builder, Op, Var, Vars};

use super::EagerBuilder;

/// Runs a control op: bodies are inlined, so the tape sees the ops inside.
pub(super) fn control(b: &mut EagerBuilder, op: &dyn Op, inputs: &[Var]) -> Result<Vars> {
    if let Some(made) = op.decompose(b as &mut dyn Builder, inputs) {
        return made;
    }
    Err(Error::internal("a control op without eager form").with_op(op.name()))
}
