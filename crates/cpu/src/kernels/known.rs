//! Results that do not depend on elements: sizes and constants.

use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::{Error, Result, SmallVec};
use lampyr_ir::Op;
use lampyr_ops::shape::constant::Constant;
use lampyr_ops::shape::shape_of::ShapeOf;

use super::operand::start;

/// Sizes of a tensor.
pub(crate) struct ShapeOfKernel;
/// Number of elements of a tensor.
pub(crate) struct NumelKernel;
/// A fixed tensor.
pub(crate) struct ConstantKernel;

fn write(launch: &Launch, bytes: &[u8]) -> Result<()> {
    let output = launch.output(0)?;
    if output.layout.len() * output.dtype.size() != bytes.len() {
        return Err(Error::internal(format!("{} bytes for {:?}", bytes.len(), output.layout.shape)));
    }
    // SAFETY: the output is row-major, of this size, and inside its memory, as the backend has checked.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start(output)?, bytes.len()) };
    Ok(())
}

fn write_sizes(launch: &Launch, sizes: &[usize]) -> Result<()> {
    let bytes: SmallVec<[u8; 64]> = sizes.iter().flat_map(|&d| (d as i64).to_ne_bytes()).collect();
    write(launch, &bytes)
}

fn input_shape<'a>(launch: &Launch<'a>) -> Result<&'a [usize]> {
    launch.inputs.first().map(|x| x.layout.shape.as_slice()).ok_or_else(|| Error::internal("one input is needed"))
}

impl Kernel for ShapeOfKernel {
    fn name(&self) -> &'static str {
        "cpu_shape_of"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let shape = input_shape(launch)?;
        let op = launch.op::<ShapeOf>()?;
        let rank = shape.len() as i64;
        let at = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
        let first = at(op.start);
        write_sizes(launch, &shape[first..op.end.map_or(shape.len(), at).max(first)])
    }
}

impl Kernel for NumelKernel {
    fn name(&self) -> &'static str {
        "cpu_numel"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        write_sizes(launch, &[input_shape(launch)?.iter().product()])
    }
}

impl Kernel for ConstantKernel {
    fn name(&self) -> &'static str {
        "cpu_constant"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        write(launch, launch.op::<Constant>()?.value.bytes())
    }
}
