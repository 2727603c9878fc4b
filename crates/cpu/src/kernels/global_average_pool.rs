use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::Result;
use lampyr_base::pool::ThreadPool;
use lampyr_ir::Op;
use lampyr_ops::build::GlobalAveragePool;

use super::contraction::{address, floats};
use super::operand::Shared;
use crate::gemm::{Compute, Store};
use crate::simd::{Job, Level, Tier, run};

/// Mean of each plane.
pub(super) struct GlobalAveragePoolKernel;

/// Sums kept side by side; their number fixes the bits.
const LANES: usize = 16;

struct Mean<'a, S, E> {
    from: &'a [S],
    count: E,
}

impl<E: Compute + std::ops::Div<Output = E>, S: Store<E>> Job for Mean<'_, S, E> {
    type Output = S;
    #[inline(always)]
    fn run<L: Level>(self) -> S {
        let mut sums = [E::ZERO; LANES];
        let (blocks, rest) = self.from.as_chunks::<LANES>();
        for block in blocks {
            sums.iter_mut().zip(block).for_each(|(s, x)| *s = *s + x.get());
        }
        sums.iter_mut().zip(rest).for_each(|(s, x)| *s = *s + x.get());
        let mut width = LANES / 2;
        while width > 0 {
            (0..width).for_each(|i| sums[i] = sums[i] + sums[i + width]);
            width /= 2;
        }
        S::put(sums[0] / self.count)
    }
}

impl Kernel for GlobalAveragePoolKernel {
    fn name(&self) -> &'static str {
        "global_average_pool"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let first = op.as_any().downcast_ref::<GlobalAveragePool>().is_some_and(|p| !p.channels_last);
        first && inputs[0].dtype.is_float()
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, out) = (&launch.inputs[0], launch.output(0)?);
        let plane: usize = if x.layout.is_empty() { 0 } else { x.shape()[2..].iter().product() };
        let (planes, tier) = (out.layout.len(), Tier::current());
        floats!(x.dtype, E, S => {
            let (from, to) = (Shared(address::<u8>(x)?), Shared(address::<u8>(out)?));
            ThreadPool::global().parallel_ranges(planes, (64 * 1024 / plane.max(1)).max(1), |range| {
                for i in range {
                    // SAFETY: operands have the shapes inferred; each mean belongs to one chunk.
                    unsafe {
                        let from = std::slice::from_raw_parts(from.at(0).cast::<S>().add(i * plane), plane);
                        *to.at(0).cast::<S>().add(i) = run(tier, Mean { from, count: plane as E });
                    }
                }
            });
        }, _ => {});
        Ok(())
    }
}
