//! Grids of points moved by affine maps.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::Result;
use lampyr_base::pool::ThreadPool;
use lampyr_ir::Op;
use lampyr_ops::build::AffineGrid;
use lampyr_ops::common;

use super::contraction::{address, floats};
use super::operand::Shared;
use crate::gemm::Store;

/// Row by row of the points.
pub(super) struct AffineGridKernel;

impl Kernel for AffineGridKernel {
    fn name(&self) -> &'static str {
        "affine_grid"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs[0].dtype.is_float()
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (theta, out) = (&launch.inputs[0], launch.output(0)?);
        let op: &AffineGrid = launch.op()?;
        let sizes = common::sizes(&op.size[2..])?;
        let (axes, width) = (sizes.len(), sizes[sizes.len() - 1]);
        let points: usize = sizes.iter().product();
        if out.layout.is_empty() {
            return Ok(());
        }
        let lines = theta.shape()[0] * points / width;
        floats!(theta.dtype, E, S => {
            let (from, to) = (Shared(address(theta)?), Shared(address(out)?));
            ThreadPool::global().parallel_ranges(lines, (16 * 1024 / (width * 8)).max(1), |range| {
                for line in range {
                    let at = common::unravel(line * width % points, &sizes);
                    for x in 0..width {
                        for k in 0..axes {
                            // SAFETY: maps and points have the shapes inferred; each point belongs to one chunk.
                            unsafe {
                                let map = (line * width / points * axes + k) * (axes + 1);
                                let row = from.at(0).cast::<S>().add(map);
                                let mut sum: E = <S as Store<E>>::get(*row.add(axes));
                                for j in 0..axes {
                                    let axis = axes - 1 - j;
                                    let i = if axis + 1 == axes { x } else { at[axis] };
                                    sum += <S as Store<E>>::get(*row.add(j)) * op.coordinate(i, sizes[axis]) as E;
                                }
                                to.at(0).cast::<S>().add((line * width + x) * axes + k).write(S::put(sum));
                            }
                        }
                    }
                }
            });
        }, _ => {});
        Ok(())
    }
}
