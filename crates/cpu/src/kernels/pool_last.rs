use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Dim, Result};
use lampyr_ir::Op;
use lampyr_ops::build::{AvgPool, GlobalAveragePool, MaxPool};

use super::contraction::address;
use super::depthwise_last::axes;
use super::operand::Shared;
use crate::channels_last::{Divisor, Fold, Mean, PoolRow};
use crate::simd::{Tier, run};

/// Pooling of float32 images with the channels last, row by row of the result.
pub(super) struct PoolLastKernel;

/// Elements seen by one chunk.
const GRAIN: usize = 32 * 1024;
/// Channels of one chunk of means over whole images.
const CHANNELS: usize = 128;

/// Windows of an op: sizes, steps, dilations, padding.
type Windows<'a> = (&'a [i64], &'a [i64], &'a [i64], &'a [Dim]);

fn of(op: &dyn Op) -> Option<(Windows<'_>, Fold)> {
    let op = op.as_any();
    if let Some(p) = op.downcast_ref::<MaxPool>() {
        return p.channels_last.then_some(((&p.kernel, &p.strides, &p.dilations, &p.pads), Fold::Max));
    }
    let p = op.downcast_ref::<AvgPool>().filter(|p| p.channels_last)?;
    let rank = p.kernel.len();
    let behind = |axis: usize| p.pads.get(rank + axis).and_then(|d| usize::try_from(d.known()?).ok());
    let divisor = match (p.divisor_override, p.count_include_pad) {
        (Some(n), _) => Divisor::Fixed(n as f32),
        (None, false) => Divisor::Seen,
        (None, true) if rank == 1 => Divisor::Padded([0, behind(0)?]),
        (None, true) => Divisor::Padded([behind(0)?, behind(1)?]),
    };
    Some(((&p.kernel, &p.strides, &p.dilations, &p.pads), Fold::Mean(divisor)))
}

impl Kernel for PoolLastKernel {
    fn name(&self) -> &'static str {
        "pool_last"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let fixed = |d: &Dim| d.known().is_some_and(|n| n >= 0);
        inputs[0].dtype == DType::F32
            && matches!(inputs[0].layout.rank(), 3 | 4)
            && of(op).is_some_and(|((.., pads), _)| pads.iter().all(fixed))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let Some(((kernel, strides, dilations, pads), fold)) = of(launch.op) else { return Ok(()) };
        let x = &launch.inputs[0];
        let values = launch.outputs.first().and_then(Option::as_ref);
        let indices = launch.outputs.get(1).and_then(Option::as_ref);
        let Some(out) = values.or(indices).filter(|o| !o.layout.is_empty()) else { return Ok(()) };
        let (from, to) = (x.shape(), out.shape());
        let rank = from.len();
        let spatial = 1..rank - 1;
        let kernel: Vec<usize> = kernel.iter().map(|&k| k.max(1) as usize).collect();
        let [rows, columns] = axes((strides, dilations, pads), &kernel, &from[spatial.clone()], &to[spatial])?;
        let channels = to[rank - 1];
        let (image, line) = (rows.size * columns.size * channels, columns.count * channels);
        let grain = (GRAIN / (line * rows.taps * columns.taps).max(1)).max(1);
        let x = Shared(address::<f32>(x)?.cast());
        let y = values.map(address::<f32>).transpose()?.map(|p| Shared(p.cast()));
        let at = indices.map(address::<i64>).transpose()?.map(|p| Shared(p.cast()));
        let tier = Tier::current();
        ThreadPool::global().parallel_ranges(to[0] * rows.count, grain, |range| {
            for i in range {
                // Operands have the shapes inferred and no gaps; each row of the result belongs to one chunk.
                let row = PoolRow {
                    rows,
                    columns,
                    channels,
                    from: x.at(0).cast::<f32>().wrapping_add(i / rows.count * image),
                    to: y.map_or(std::ptr::null_mut(), |y| y.at(0).cast::<f32>().wrapping_add(i * line)),
                    row: i % rows.count,
                    fold,
                };
                if y.is_some() {
                    run(tier, row);
                }
                if let Some(at) = at {
                    // SAFETY: as above.
                    unsafe { row.indices(at.at(0).cast::<i64>().wrapping_add(i * line)) };
                }
            }
        });
        Ok(())
    }
}

/// Means over all positions of float32 images with the channels last.
pub(super) struct MeanLastKernel;

impl Kernel for MeanLastKernel {
    fn name(&self) -> &'static str {
        "mean_last"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let last = op.as_any().downcast_ref::<GlobalAveragePool>().is_some_and(|p| p.channels_last);
        last && inputs[0].dtype == DType::F32
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (x, out) = (&launch.inputs[0], launch.output(0)?);
        if out.layout.is_empty() {
            return Ok(());
        }
        let (shape, rank) = (x.shape(), x.shape().len());
        let (images, channels) = (shape[0], shape[rank - 1]);
        let positions: usize = shape[1..rank - 1].iter().product();
        let parts = channels.div_ceil(CHANNELS);
        let grain = (2 * GRAIN / (positions * CHANNELS.min(channels)).max(1)).max(1);
        let (x, y) = (Shared(address::<f32>(x)?.cast()), Shared(address::<f32>(out)?.cast()));
        let tier = Tier::current();
        ThreadPool::global().parallel_ranges(images * parts, grain, |range| {
            for i in range {
                let (image, first) = (i / parts, i % parts * CHANNELS);
                // Operands have the shapes inferred and no gaps; each mean belongs to one chunk.
                let mean = Mean {
                    from: x.at(0).cast::<f32>().wrapping_add(image * positions * channels + first),
                    step: channels,
                    positions,
                    to: y.at(0).cast::<f32>().wrapping_add(image * channels + first),
                    count: CHANNELS.min(channels - first),
                };
                run(tier, mean);
            }
        });
        Ok(())
    }
}
