//! Replacing a regular part of a tensor.

use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::{Error, Result};
use lampyr_ir::Op;
use lampyr_ops::shape::set_slice::SetSlice;
use lampyr_ops::shape::slice::Slice;

use super::copy::copy_strided;
use super::operand::start;

/// Copies the base unless it runs in place, then the new part.
pub(crate) struct SetSliceKernel;

impl Kernel for SetSliceKernel {
    fn name(&self) -> &'static str {
        "cpu_set_slice"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn in_place(&self, _op: &dyn Op, input: usize, _output: usize) -> bool {
        input == 0
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let [base, value] = launch.inputs else { return Err(Error::internal("set_slice takes two inputs")) };
        let output = launch.output(0)?;
        let op = launch.op::<SetSlice>()?;
        let region =
            Slice { axes: op.axes.clone(), starts: op.starts.clone(), ends: op.ends.clone(), steps: op.steps.clone() };
        let region = region.view(output.layout).ok_or_else(|| Error::internal("a slice without a view"))?;
        if output.layout.shape != base.layout.shape || base.dtype != output.dtype || value.dtype != output.dtype {
            return Err(Error::internal("set_slice of other types or shapes"));
        }
        let value_layout = value.layout.broadcast_to(&region.shape)?;
        let size = output.dtype.size();
        let (to, from) = (start(output)?, start(base)?);
        if !std::ptr::eq(to, from) || base.layout.strides != output.layout.strides {
            // SAFETY: the backend has checked that the operands lie inside their memories; the launcher lets them
            // overlap in place only, which was excluded.
            unsafe {
                copy_strided(to, &output.layout.strides, from, &base.layout.strides, &output.layout.shape, size);
            }
        }
        let offset = region.offset as isize - output.layout.offset as isize;
        // SAFETY: as above; the region is a part of the output.
        unsafe {
            let to = to.wrapping_offset(offset * size as isize);
            copy_strided(to, &region.strides, start(value)?, &value_layout.strides, &region.shape, size);
        }
        Ok(())
    }
}
