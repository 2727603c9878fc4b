//! Joining along an axis.

use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::{Error, Result};
use lampyr_ir::Op;
use lampyr_ops::common;
use lampyr_ops::shape::concat::Concat;

use super::copy::copy_strided;
use super::operand::start;

/// One strided copy per input.
pub(crate) struct ConcatKernel;

impl Kernel for ConcatKernel {
    fn name(&self) -> &'static str {
        "cpu_concat"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let output = launch.output(0)?;
        let axis = common::axis(launch.op::<Concat>()?.axis, output.layout.rank())?;
        let size = output.dtype.size();
        let to = start(output)?;
        let mut at = 0;
        for input in launch.inputs {
            let shape = &input.layout.shape;
            let fits = shape.len() == output.layout.rank()
                && (0..shape.len()).all(|i| i == axis || shape[i] == output.layout.shape[i])
                && at + shape[axis] <= output.layout.shape[axis]
                && input.dtype == output.dtype;
            if !fits {
                return Err(Error::internal(format!("concat of {shape:?} into {:?}", output.layout.shape)));
            }
            let offset = at as isize * output.layout.strides[axis] * size as isize;
            // SAFETY: both lie inside their memories: the backend has checked the operands, `fits` the part of the output.
            unsafe {
                let target = to.wrapping_offset(offset);
                copy_strided(target, &output.layout.strides, start(input)?, &input.layout.strides, shape, size);
            }
            at += shape[axis];
        }
        Ok(())
    }
}
