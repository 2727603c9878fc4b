//! Determinants.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::{ThreadPool, num_threads};
use lampyr_base::{DType, Error, Result};
use lampyr_ir::Op;
use lampyr_ops::linalg::det::eliminate;

use super::contraction::{address, floats, workspace};
use super::operand::Shared;
use crate::gemm::{Slots, Store};

/// Elimination in `float64`.
pub(crate) struct DetKernel;

fn size(x: ArgInfo) -> Option<(usize, usize)> {
    let [batch @ .., m, n] = x.shape() else { return None };
    (m == n).then(|| (batch.iter().product(), *n))
}

fn det<E: Into<f64> + 'static, S: Store<E>>(launch: &Launch, put: impl Fn(f64) -> S + Sync) -> Result<()> {
    let x = &launch.inputs[0];
    let (batch, n) = size(x.info()).ok_or_else(|| Error::internal("matrices that are not square"))?;
    let y = launch.output(0)?;
    let (room, len) = workspace::<f64>(launch)?;
    if y.layout.len() != batch || len < n * n {
        return Err(Error::internal(format!("determinants of {:?} into {:?}", x.layout.shape, y.layout.shape)));
    }
    let (from, to, room) = (Shared(address(x)?), Shared(address(y)?), Shared(room.cast()));
    let slots = Slots::new(len.checked_div(n * n).unwrap_or(64));
    ThreadPool::global().parallel_ranges(batch, (16 * 1024 / (n * n * n).max(1)).max(1), |range| {
        let slot = slots.take();
        for i in range {
            // SAFETY: matrices lie one after another; the slot has room for one, and results are one per matrix.
            unsafe {
                let a = std::slice::from_raw_parts(from.at(0).cast::<S>().add(i * n * n), n * n);
                let work = room.at(0).cast::<f64>().wrapping_add(slot.index() * n * n);
                a.iter().enumerate().for_each(|(k, x)| work.add(k).write(x.get().into()));
                let result = eliminate(std::slice::from_raw_parts_mut(work, n * n), n);
                to.at(0).cast::<S>().add(i).write(put(result));
            }
        }
    });
    Ok(())
}

impl Kernel for DetKernel {
    fn name(&self) -> &'static str {
        "cpu_det"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.first().is_some_and(|x| x.dtype.is_float() && size(*x).is_some())
    }

    fn workspace(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        inputs.first().and_then(|x| size(*x)).map_or(0, |(_, n)| 8 * n * n * num_threads().clamp(1, 64))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let dtype = launch.inputs.first().map_or(DType::F32, |x| x.dtype);
        floats!(dtype, E, S => det::<E, S>(launch, |x| S::put(x as E)), _ => Err(Error::internal("det of integers")))
    }
}
