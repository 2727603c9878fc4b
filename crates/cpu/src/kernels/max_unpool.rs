//! Elements put back to where they were the largest.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::Result;
use lampyr_base::pool::ThreadPool;
use lampyr_ir::Op;
use lampyr_ops::common;

use super::contraction::address;
use super::operand::Shared;

/// Plane by plane.
pub(super) struct MaxUnpoolKernel;

impl Kernel for MaxUnpoolKernel {
    fn name(&self) -> &'static str {
        "max_unpool"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, indices, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        let planes: usize = x.shape()[..2].iter().product();
        let (from, to): (usize, usize) = (x.shape()[2..].iter().product(), out.shape()[2..].iter().product());
        let places = Shared(address(indices)?);
        for i in 0..indices.layout.len() {
            // SAFETY: `i` lies inside the indices.
            common::element(unsafe { *places.at(0).cast::<i64>().add(i) }, to)?;
        }
        let (source, target) = (Shared(address(x)?), Shared(address(out)?));
        macro_rules! spread {
            ($t:ty) => {
                ThreadPool::global().parallel_ranges(planes, (16 * 1024 / (from + to).max(1)).max(1), |range| {
                    for plane in range {
                        // SAFETY: indices were checked; each plane belongs to one chunk.
                        unsafe {
                            let source = source.at(0).cast::<$t>().add(plane * from);
                            let places = places.at(0).cast::<i64>().add(plane * from);
                            let target = target.at(0).cast::<$t>().add(plane * to);
                            target.write_bytes(0, to);
                            for i in 0..from {
                                let at = *places.add(i);
                                let at = if at < 0 { at + to as i64 } else { at };
                                target.add(at as usize).write(*source.add(i));
                            }
                        }
                    }
                })
            };
        }
        match x.dtype.size() {
            1 => spread!(u8),
            2 => spread!(u16),
            4 => spread!(u32),
            _ => spread!(u64),
        }
        Ok(())
    }
}
