//! Steps of optimisers: one pass over the parameter and its moments, in place where the caller wants it.

use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::{DType, Result};
use lampyr_ir::Op;
use lampyr_ir::scalar::ScalarExpr;
use lampyr_ops::build::{AdamStep, SgdStep};

use super::elementwise::general;
use crate::simd::Tier;

/// Adam, AdamW and gradient descent by the tile interpreter.
pub(super) struct StepKernel;

fn expression(op: &dyn Op, dtype: DType) -> Option<ScalarExpr> {
    let op = op.as_any();
    if let Some(op) = op.downcast_ref::<AdamStep>() {
        return Some(op.expression(dtype));
    }
    op.downcast_ref::<SgdStep>().map(|op| op.expression(dtype))
}

impl Kernel for StepKernel {
    fn name(&self) -> &'static str {
        "cpu_step"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.first().is_some_and(|x| expression(op, x.dtype).is_some())
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    // The parameter replaces itself; the others follow the gradient.
    fn in_place(&self, _op: &dyn Op, input: usize, output: usize) -> bool {
        input == if output == 0 { 0 } else { output + 1 }
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let Some(expr) = launch.inputs.first().and_then(|x| expression(launch.op, x.dtype)) else { return Ok(()) };
        general(launch, &expr, Tier::current())
    }
}
