use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::{DType, Dim, Error, Layout, Result, Shape};
use lampyr_ir::Op;
use lampyr_ops::build::{Conv, ConvInputGrad};
use lampyr_ops::common::sizes;

use super::contraction::{Packs, Product, Sizes, address, floats, multiply, product_bytes, workspace};
use super::conv::ConvKernel;
use super::frames::{Frame, Framed};
use super::image::{Axis, Image, Remainder, Window};
use super::operand::Shared;
use crate::gemm::{Batch, Compute, Operand, Panel, Side, Sink, Store};

/// Transposed weights times columns of the gradient, for each remainder of the positions by the strides.
struct Geometry {
    views: Vec<Remainder>,
    images: usize,
    groups: usize,
    /// Channels of the gradient in a group.
    channels: usize,
    /// Channels of the result in a group.
    rows: usize,
    /// Spatial sizes of the weights and of the result.
    kernel: [usize; 3],
    output: [usize; 3],
}

fn three(sizes: &[usize]) -> [usize; 3] {
    let mut all = [1; 3];
    all[3 - sizes.len().min(3)..].copy_from_slice(&sizes[..sizes.len().min(3)]);
    all
}

impl Geometry {
    fn new(op: &ConvInputGrad, g: &Layout, w: &[usize], out: &[usize]) -> Result<Geometry> {
        let pads = sizes(&op.pads)?;
        let window = Window { strides: &op.strides, pads: &pads, dilations: &op.dilations };
        let groups = op.group.max(1) as usize;
        Ok(Geometry {
            views: window.adjoint(g, &w[2..], &out[2..])?,
            images: g.shape[0],
            groups,
            channels: w[0] / groups,
            rows: w[1],
            kernel: three(&w[2..]),
            output: three(&out[2..]),
        })
    }

    fn sizes(&self, axes: &[Axis; 3]) -> Sizes {
        let (taps, positions) = axes.iter().fold((1, 1), |(t, p), a| (t * a.taps, p * a.positions));
        (self.images * self.groups, self.rows, positions, self.channels * taps)
    }

    fn frame(&self) -> Option<Frame> {
        let axes: Vec<_> = self.views.iter().map(|v| v.axes).collect();
        Frame::new(&axes)
    }

    fn frames(&self) -> usize {
        self.images * self.groups * self.channels
    }
}

/// The weights that one remainder sees, transposed: rows are channels of the result, the contraction runs over channels
/// of the gradient and taps.
struct Weights<S> {
    data: *const S,
    batch: Batch,
    row: isize,
    channel: isize,
    taps: [usize; 3],
    steps: [isize; 3],
}

// SAFETY: the pointer is only read while its operand lives.
unsafe impl<S: Sync> Sync for Weights<S> {}

impl<S> Weights<S> {
    fn new(g: &Geometry, view: &Remainder, data: *const S) -> Weights<S> {
        let [_, height, width] = g.kernel;
        let pitch = [height * width, width, 1];
        let first: usize = (0..3).map(|a| view.tap[a] * pitch[a]).sum();
        let kernel: usize = g.kernel.iter().product();
        let channel = g.rows * kernel;
        Weights {
            data: data.wrapping_add(first),
            batch: Batch::new(&[g.images, g.groups], &[0, (g.channels * channel) as isize]),
            row: kernel as isize,
            channel: channel as isize,
            taps: view.axes.map(|a| a.taps),
            steps: std::array::from_fn(|a| (view.taps[a] * pitch[a]) as isize),
        }
    }
}

impl<E: Compute, S: Store<E>> Operand<E> for Weights<S> {
    fn distinct(&self, _batch: usize) -> usize {
        self.batch.distinct()
    }

    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        let Panel { batch, k, depth, at, count, stride } = panel;
        let first = self.data.wrapping_offset(self.batch.offset(batch) + at as isize * self.row);
        let [_, height, width] = self.taps;
        let per_channel: usize = self.taps.iter().product();
        for p in 0..depth {
            let (channel, tap) = ((k + p) / per_channel, (k + p) % per_channel);
            let tap = [tap / (height * width), tap / width % height, tap % width];
            let offset: isize = (0..3).map(|a| tap[a] as isize * self.steps[a]).sum();
            // SAFETY: channels, taps and rows lie inside the weights; the panel has `depth * stride` elements.
            unsafe {
                let (from, to) = (first.offset(channel as isize * self.channel + offset), to.add(p * stride));
                (0..count).for_each(|i| *to.add(i) = (*from.offset(i as isize * self.row)).get());
                (count..stride).for_each(|i| *to.add(i) = E::ZERO);
            }
        }
    }
}

/// Spreads rows over the positions of one remainder.
struct Spread<'a, S> {
    to: Shared,
    rows: usize,
    output: [usize; 3],
    view: &'a Remainder,
    marker: std::marker::PhantomData<fn(S)>,
}

impl<E: Compute, S: Store<E>> Sink<E> for Spread<'_, S> {
    fn write(&self, batch: usize, row: usize, column: usize, values: &[E]) {
        let Remainder { axes, first, every, .. } = self.view;
        let [_, height, width] = self.output;
        let plane = (batch * self.rows + row) * self.output.iter().product::<usize>();
        let to = self.to.at(0).cast::<S>().wrapping_add(plane);
        let [_, own_height, own_width] = axes.map(|a| a.positions);
        let (mut at, mut rest) = (column, values);
        while !rest.is_empty() {
            let (z, y, x) = (at / (own_width * own_height), at / own_width % own_height, at % own_width);
            let (now, later) = rest.split_at((own_width - x).min(rest.len()));
            let line = (first[0] + z * every[0]) * height + first[1] + y * every[1];
            let to = to.wrapping_add(line * width + first[2] + x * every[2]);
            for (i, &value) in now.iter().enumerate() {
                // SAFETY: positions lie inside the result, and each belongs to one remainder.
                unsafe { to.add(i * every[2]).write(S::put(value)) };
            }
            at += now.len();
            rest = later;
        }
    }
}

/// The convolution of the gradient with mirrored weights that gives the same, where windows make single steps and its
/// pads are not negative.
fn mirrored(op: &ConvInputGrad, w: &[usize], dtype: DType) -> Option<Conv> {
    let taps: usize = w[2..].iter().product();
    if dtype != DType::F32 || taps == 0 || op.strides.iter().any(|&s| s != 1) {
        return None;
    }
    let (pads, axes) = (sizes(&op.pads).ok()?, w.len() - 2);
    let pad = |i: usize| {
        let reach = op.dilations[i % axes] as isize * (w[2 + i % axes] as isize - 1);
        usize::try_from(reach - pads[i] as isize).ok().map(Dim::from)
    };
    let pads = (0..2 * axes).map(pad).collect::<Option<_>>()?;
    let (strides, dilations) = (op.strides.clone(), op.dilations.clone());
    Some(Conv { strides, pads, dilations, group: op.group.max(1), channels_last: false })
}

/// Mirrored weights: channels of the result, then those of the gradient.
fn turned(w: &[usize], groups: usize) -> Layout {
    let mut shape = Shape::from_slice(w);
    (shape[0], shape[1]) = (w[1] * groups, w[0] / groups);
    Layout::contiguous(&shape)
}

fn turned_bytes(turned: &Layout, dtype: DType) -> usize {
    (turned.len() * dtype.size()).next_multiple_of(64)
}

fn run_mirrored(conv: &Conv, launch: &Launch) -> Result<()> {
    let w = &launch.inputs[1];
    let small = || Error::internal("the workspace of a convolution is too small");
    let scratch = launch.workspace.ok_or_else(small)?;
    let groups = conv.group as usize;
    let layout = turned(w.shape(), groups);
    let used = turned_bytes(&layout, w.dtype);
    let rest = (scratch.layout.len() * scratch.dtype.size()).checked_sub(used).ok_or_else(small)?;
    let (of_gradient, of_result) = (layout.shape[1], layout.shape[0] / groups);
    let taps: usize = layout.shape[2..].iter().product();
    let (from, to) = (address::<f32>(w)?.cast_const(), address::<f32>(&scratch)?);
    for at in 0..layout.len() / taps {
        let (group, c, m) = (at / of_gradient / of_result, at / of_gradient % of_result, at % of_gradient);
        let seen = ((group * of_gradient + m) * of_result + c) * taps;
        // SAFETY: both hold `taps` elements for each pair of channels; the workspace has room for the weights.
        (0..taps).for_each(|t| unsafe { *to.add(at * taps + t) = *from.add(seen + taps - 1 - t) });
    }
    let base = scratch.base + scratch.layout.offset * scratch.dtype.size();
    let weights = Arg { base, dtype: w.dtype, layout: &layout, ..scratch };
    let left = Layout::contiguous(&[rest]);
    let inputs = [launch.inputs[0], weights];
    let workspace = Some(Arg { base: base + used, dtype: DType::U8, layout: &left, ..scratch });
    ConvKernel.launch(&Launch { op: conv, inputs: &inputs, workspace, packed: &[], ..*launch })
}

pub(super) struct ConvInputGradKernel;

fn of(op: &dyn Op) -> Option<&ConvInputGrad> {
    op.as_any().downcast_ref()
}

impl Kernel for ConvInputGradKernel {
    fn name(&self) -> &'static str {
        "conv_input_grad"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let fixed = |d: &Dim| d.known().is_some_and(|n| n >= 0);
        of(op).is_some_and(|op| op.pads.iter().all(fixed))
            && inputs[0].dtype.is_float()
            && (3..=5).contains(&inputs[0].layout.rank())
    }

    fn accepts(&self, _op: &dyn Op, i: usize) -> Accepts {
        if i == 1 { Accepts::Contiguous } else { Accepts::Strided }
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        if let Some(conv) = of(op).and_then(|op| mirrored(op, inputs[1].shape(), inputs[0].dtype)) {
            let turned = turned(inputs[1].shape(), conv.group as usize);
            let infos = [inputs[0], ArgInfo::new(inputs[1].dtype, &turned)];
            return turned_bytes(&turned, inputs[1].dtype) + ConvKernel.workspace(&conv, &infos, outputs);
        }
        let geometry = |op| Geometry::new(op, inputs[0].layout, inputs[1].shape(), outputs[0].shape()).ok();
        let Some(g) = of(op).and_then(geometry) else { return 0 };
        floats!(inputs[0].dtype, E, S => {
            let narrow = !<S as Store<E>>::SAME || g.views.len() > 1;
            let frames = g.frame().map_or(0, |f| f.elements(g.frames())) * size_of::<E>();
            let bytes = |v: &Remainder| product_bytes::<E>(g.sizes(&v.axes), (g.groups, g.images * g.groups), false, narrow, Packs::Left);
            frames + g.views.iter().map(bytes).max().unwrap_or(0)
        }, _ => 0)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let op: &ConvInputGrad = launch.op()?;
        let (x, w, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        if let Some(conv) = mirrored(op, w.shape(), x.dtype) {
            return run_mirrored(&conv, launch);
        }
        let g = Geometry::new(op, x.layout, w.shape(), out.shape())?;
        let one = [Axis::ONE; 3];
        floats!(x.dtype, E, S => {
            let (mut scratch, mut room) = workspace::<E>(launch)?;
            let frames = scratch.cast_const();
            let frame = g.frame();
            if let (Some(frame), Some(first)) = (&frame, g.views.first()) {
                let used = frame.elements(g.frames());
                if used > room {
                    return Err(Error::internal("the workspace of a convolution is too small"));
                }
                let data = address::<S>(x)?.cast_const();
                let image = Image { data, batch: Batch::default(), channel: x.layout.strides[1], axes: first.axes };
                // SAFETY: the layout lies inside its memory, and the workspace has room for the frames.
                unsafe { frame.fill::<E, S>(&image, (g.images, x.layout.strides[0]), g.groups * g.channels, scratch) };
                (scratch, room) = (scratch.wrapping_add(used), room - used);
            }
            for view in &g.views {
                // A remainder that sees no taps gets zeros; its frame is never read.
                let seen = view.axes.iter().all(|a| a.taps > 0);
                let (frame, axes) = match &frame {
                    Some(frame) if seen => (*frame, view.axes),
                    _ => match Frame::new(&[one]) {
                        Some(frame) => (frame, one),
                        None => continue,
                    },
                };
                let next = (&[g.images, g.groups][..], &[g.groups * g.channels, g.channels][..]);
                let right = Framed::<E>::new(&frame, &axes, frames, next);
                let left = Weights::<S>::new(&g, view, address(w)?);
                let to = address::<S>(out)?;
                let spread = Spread::<S> {
                    to: Shared(to.cast()),
                    rows: g.rows,
                    output: g.output,
                    view,
                    marker: std::marker::PhantomData,
                };
                let product = Product {
                    sizes: g.sizes(&view.axes),
                    left: Side::Operand(&left),
                    right: Side::Operand(&right),
                    c: to,
                    alpha: 1.0,
                    start: None,
                    sink: if g.views.len() > 1 { Some(&spread) } else { None },
                    tail: None,
                    planes: None,
                };
                // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
                unsafe { multiply(&product, (scratch, room)) }?;
            }
        }, _ => {});
        Ok(())
    }
}
