//! Elements copied as bits.

use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::{Error, Result};
use lampyr_ir::Op;

use super::copy::copy;

/// The bits of elements as another type.
pub(crate) struct BitCastKernel;

impl Kernel for BitCastKernel {
    fn name(&self) -> &'static str {
        "cpu_bit_cast"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> bool {
        matches!((inputs, outputs), ([x], [y]) if x.dtype.size() == y.dtype.size())
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let x = launch.inputs.first().ok_or_else(|| Error::internal("one input is needed"))?;
        copy(x, launch.output(0)?)
    }
}
