use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::Op;
use lampyr_kernels::conv::weight_grad::{LANES, WeightGrad, finish, weight_grad};
use lampyr_ops::build::ConvWeightGrad;
use lampyr_ops::common::sizes;

use super::contraction::{Packs, Product, Sizes, address, floats, multiply, product_bytes, workspace};
use super::frames::{Frame, Framed, Patches};
use super::image::{Axis, Folded, Image, Window};
use super::operand::Shared;
use crate::gemm::{Batch, Side, Store, Strided};
use crate::simd::Tier;

/// Most channels of the gradient for which sums run along rows of positions.
const NARROW: usize = 32;
/// Most sums of that kind.
const MOST_SUMS: usize = 8192;
/// Stretches of images that are summed up on their own.
const STRETCHES: usize = 8;

/// Gradients times the transposed columns of the images, summed over images and positions.
struct Geometry {
    axes: [Axis; 3],
    images: usize,
    groups: usize,
    /// Channels of the gradient in a group.
    rows: usize,
    /// Channels of the image in a group.
    channels: usize,
    taps: usize,
    positions: usize,
}

impl Geometry {
    fn new(op: &ConvWeightGrad, x: &Layout, g: &[usize], out: &[usize]) -> Result<Geometry> {
        let pads = sizes(&op.pads)?;
        let window = Window { strides: &op.strides, pads: &pads, dilations: &op.dilations };
        let groups = op.group.max(1) as usize;
        Ok(Geometry {
            axes: window.forward(x, &out[2..], &g[2..])?,
            images: g[0],
            groups,
            rows: g[1] / groups,
            channels: out[1],
            taps: out[2..].iter().product(),
            positions: g[2..].iter().product(),
        })
    }

    /// Whether products would be narrow, and rows of positions fill registers.
    fn is_narrow(&self, dtype: DType) -> bool {
        let [depth, _, width] = &self.axes;
        let even = depth.positions == 1 && width.step == 1;
        let full = 2 * width.positions >= width.positions.next_multiple_of(LANES);
        let few = self.groups == 1 && self.rows <= NARROW && self.sums() <= MOST_SUMS;
        dtype == DType::F32 && few && even && full && self.images > 0
    }

    /// Elements of the result.
    fn sums(&self) -> usize {
        self.rows * self.channels * self.taps
    }

    /// Images that are summed up at a time, by sizes alone.
    fn stretch(&self) -> usize {
        self.images.div_ceil(STRETCHES).max(1)
    }

    /// Elements of the partial sums.
    fn partial(&self) -> usize {
        self.images.div_ceil(self.stretch()) * self.sums() * LANES
    }

    /// Sums along rows of positions, see [`weight_grad`].
    ///
    /// # Safety
    /// `gradient` has the sizes given and lies without gaps, `to` has an element per weight, and `partial` has
    /// [`Geometry::partial`] of them.
    unsafe fn run_narrow(&self, framed: &Framed<f32>, gradient: *const f32, partial: *mut f32, to: *mut f32) {
        let (plane, count) = (framed.plane(), framed.tap_count());
        let at = |i: usize| (i / count * plane) as isize + framed.tap(i % count);
        let taps: Vec<isize> = (0..self.channels * count).map(at).collect();
        let run = weight_grad(Tier::current());
        let (image, from) = (Shared(framed.matrix(0).cast_mut().cast()), Shared(gradient.cast_mut().cast()));
        let (sums, stretch) = (self.sums() * LANES, self.stretch());
        let (next_image, next_gradient) = (self.channels * plane, self.rows * self.positions);
        let partials = Shared(partial.cast());
        ThreadPool::global().parallel_ranges(self.images.div_ceil(stretch), 1, |range| {
            for i in range {
                let first = i * stretch;
                let d = WeightGrad {
                    image: image.at(0).cast::<f32>().wrapping_add(first * next_image),
                    next_image,
                    pitch: framed.pitch(),
                    taps: &taps,
                    gradient: from.at(0).cast::<f32>().wrapping_add(first * next_gradient),
                    next_gradient,
                    images: stretch.min(self.images - first),
                    rows: self.rows,
                    height: self.axes[1].positions,
                    width: self.axes[2].positions,
                    to: partials.at(0).cast::<f32>().wrapping_add(i * sums),
                };
                // SAFETY: the tier is there; taps of all positions lie in the frames; each stretch has its own sums.
                unsafe { run(&d) };
            }
        });
        let (to, stretches) = (Shared(to.cast()), self.images.div_ceil(stretch));
        ThreadPool::global().parallel_ranges(self.sums(), 256, |range| {
            // SAFETY: the caller's promise; all partial sums were written, and each weight belongs to one chunk.
            unsafe {
                let to = to.at(0).cast::<f32>().add(range.start);
                let partial = partials.at(0).cast::<f32>().add(range.start * LANES);
                finish(partial, (stretches, sums), std::slice::from_raw_parts_mut(to, range.len()));
            }
        });
    }

    fn sizes(&self) -> Sizes {
        (self.groups, self.rows, self.channels * self.taps, self.images * self.positions)
    }
}

pub(super) struct ConvWeightGradKernel;

fn of(op: &dyn Op) -> Option<&ConvWeightGrad> {
    op.as_any().downcast_ref()
}

impl Kernel for ConvWeightGradKernel {
    fn name(&self) -> &'static str {
        "conv_weight_grad"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let fixed = |d: &Dim| d.known().is_some_and(|n| n >= 0);
        of(op).is_some_and(|op| op.pads.iter().all(fixed))
            && inputs[0].dtype.is_float()
            && (3..=5).contains(&inputs[0].layout.rank())
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        let geometry = |op| Geometry::new(op, inputs[0].layout, inputs[1].shape(), outputs[0].shape()).ok();
        let Some(g) = of(op).and_then(geometry) else { return 0 };
        floats!(inputs[0].dtype, E, S => {
            let frames = Frame::new(&[g.axes]).map_or(0, |f| f.elements(g.images * g.groups * g.channels));
            if g.is_narrow(inputs[0].dtype) {
                return (frames + g.partial()) * size_of::<E>();
            }
            frames * size_of::<E>() + product_bytes::<E>(g.sizes(), (g.groups, g.groups), false, !<S as Store<E>>::SAME, Packs::Left)
        }, _ => 0)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let op: &ConvWeightGrad = launch.op()?;
        let (x, y, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        let g = Geometry::new(op, x.layout, y.shape(), out.shape())?;
        let (xs, plane) = (&x.layout.strides, g.positions as isize);
        floats!(x.dtype, E, S => {
            let rows = Batch::new(&[g.groups], &[g.rows as isize * plane]);
            let matrix = Strided { data: address::<S>(y)?.cast_const(), outer: plane, inner: 1, batch: rows };
            let left = Folded { matrix, length: g.positions, next: (g.groups * g.rows) as isize * plane };
            let image = Image { data: address::<S>(x)?.cast_const(), batch: Batch::default(), channel: xs[1], axes: g.axes };
            let channels = g.groups * g.channels;
            let (mut scratch, mut room) = workspace::<E>(launch)?;
            // Without positions there is nothing to sum, and any frame will do.
            let frame = Frame::new(&[g.axes]);
            let axes = if frame.is_some() { g.axes } else { [Axis::ONE; 3] };
            let Some(frame) = frame.or(Frame::new(&[axes])) else { return Ok(()) };
            if g.images * g.positions > 0 {
                let used = frame.elements(g.images * channels);
                if used > room {
                    return Err(Error::internal("the workspace of a convolution is too small"));
                }
                // SAFETY: the layout lies inside its memory, and the workspace has room for the frames.
                unsafe { frame.fill::<E, S>(&image, (g.images, xs[0]), channels, scratch) };
                (scratch, room) = (scratch.wrapping_add(used), room - used);
            }
            let data = workspace::<E>(launch)?.0;
            let framed = Framed::new(&frame, &axes, data, (&[g.groups], &[g.channels]));
            if g.is_narrow(x.dtype) && g.positions > 0 {
                let framed = Framed::new(&frame, &axes, data.cast(), (&[g.groups], &[g.channels]));
                if g.partial() > room {
                    return Err(Error::internal("the workspace of a convolution is too small"));
                }
                // SAFETY: sizes come from the layouts, which lie inside their memories.
                unsafe { g.run_narrow(&framed, address::<f32>(y)?, scratch.cast(), address(out)?) };
                return Ok(());
            }
            let right = Patches { framed, next: channels };
            let product = Product {
                sizes: g.sizes(),
                left: Side::<E>::Operand(&left),
                right: Side::Operand(&right),
                c: address::<S>(out)?,
                alpha: 1.0,
                start: None,
                sink: None,
                tail: None,
                planes: None,
            };
            // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
            unsafe { multiply(&product, (scratch, room)) }?;
        }, _ => {});
        Ok(())
    }
}
