use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{Dim, Result, dispatch};
use lampyr_ir::Op;
use lampyr_ops::build::MaxPool;
use lampyr_ops::common::sizes;

use super::contraction::address;
use super::image::{Image, Window};
use super::number::Number;
use super::operand::Shared;
use crate::gemm::Batch;
use crate::simd::{Job, Level, Tier, run};

/// Tap by tap over whole planes: the results seen so far stay in cache.
pub(super) struct MaxPoolKernel;

fn of(op: &dyn Op) -> Option<&MaxPool> {
    op.as_any().downcast_ref()
}

impl Kernel for MaxPoolKernel {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let fixed = |d: &Dim| d.known().is_some_and(|n| n >= 0);
        of(op).is_some_and(|op| op.pads.iter().all(fixed)) && (3..=5).contains(&inputs[0].layout.rank())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let op: &MaxPool = launch.op()?;
        let x = &launch.inputs[0];
        let Some(first) = launch.outputs.iter().flatten().next() else { return Ok(()) };
        let shape = first.shape();
        let kernel: Vec<Dim> = op.kernel.iter().map(|&k| Dim::Known(k)).collect();
        let (kernel, pads) = (sizes(&kernel)?, sizes(&op.pads)?);
        let window = Window { strides: &op.strides, pads: &pads, dilations: &op.dilations };
        let axes = window.forward(x.layout, &kernel, &shape[2..])?;
        let planes: usize = shape[..2].iter().product();
        let plane: usize = x.shape()[2..].iter().product();
        let values = launch.outputs.first().and_then(Option::as_ref);
        let indices = launch.outputs.get(1).and_then(Option::as_ref);
        let indices = indices.map(address::<i64>).transpose()?.map(|p| Shared(p.cast()));
        let pool = ThreadPool::global();
        let tier = Tier::current();
        dispatch!(x.dtype, T => {
            let image = Image { data: address::<T>(x)?.cast_const(), batch: Batch::default(), channel: 0, axes };
            let positions = image.positions();
            let grain = (32 * 1024 / (positions * image.taps()).max(1)).max(1);
            let values = values.map(address::<T>).transpose()?.map(|p| Shared(p.cast()));
            pool.parallel_ranges(planes, grain, |range| {
                for i in range {
                    let source = image.data.wrapping_add(i * plane);
                    let values = values.map(|p| p.at(0).cast::<T>().wrapping_add(i * positions));
                    let indices = indices.map(|p| p.at(0).cast::<i64>().wrapping_add(i * positions));
                    // SAFETY: operands have the shapes inferred; each plane of the results belongs to one chunk.
                    unsafe { pool_plane(tier, &image, source, values, indices) };
                }
            });
        });
        Ok(())
    }
}

/// One stretch of one tap.
struct Stretch<T> {
    from: *const T,
    step: isize,
    count: usize,
    best: *mut T,
}

impl<T: Number> Job for Stretch<T> {
    type Output = ();
    #[inline(always)]
    fn run<L: Level>(self) {
        // SAFETY: the run lies inside the image and the results inside their plane.
        unsafe {
            let best = std::slice::from_raw_parts_mut(self.best, self.count);
            if self.step == 1 {
                let from = std::slice::from_raw_parts(self.from, self.count);
                best.iter_mut().zip(from).for_each(|(b, &x)| *b = if x.above(*b) || x.is_nan() { x } else { *b });
                return;
            }
            for (q, b) in best.iter_mut().enumerate() {
                let x = *self.from.offset(q as isize * self.step);
                *b = if x.above(*b) || x.is_nan() { x } else { *b };
            }
        }
    }
}

/// # Safety
/// `source` is a plane of the image; results have one element per position.
unsafe fn pool_plane<T: Number>(
    tier: Tier,
    image: &Image<T>,
    source: *const T,
    values: Option<*mut T>,
    indices: Option<*mut i64>,
) {
    let positions = image.positions();
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(values) = values {
            (0..positions).for_each(|i| values.add(i).write(T::LOWEST));
        }
        if let Some(indices) = indices {
            (0..positions).for_each(|i| indices.add(i).write(-1));
        }
        let (mut channel, mut tap) = (0, [0; 3]);
        while channel == 0 {
            image.runs(source, tap, [0; 3], positions, |offset, r| {
                let at = offset + r.first;
                if let Some(indices) = indices {
                    let start = r.from.offset_from(source);
                    for q in 0..r.count {
                        let here = start + q as isize * r.step;
                        let (x, index) = (*source.offset(here), indices.add(at + q));
                        let beats = match *index {
                            -1 => true,
                            i => {
                                let best = *source.offset(i as isize);
                                x.above(best) || (x.is_nan() && !best.is_nan())
                            }
                        };
                        if beats {
                            *index = here as i64;
                        }
                    }
                }
                if let Some(values) = values {
                    run(tier, Stretch { from: r.from, step: r.step, count: r.count, best: values.add(at) });
                }
            });
            image.next_tap(&mut channel, &mut tap);
        }
        if let Some(indices) = indices {
            (0..positions).for_each(|i| *indices.add(i) = (*indices.add(i)).max(0));
        }
    }
}
