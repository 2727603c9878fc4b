use std::sync::Arc;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch, Packed};
use lampyr_base::{Dim, Error, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::Conv;
use lampyr_ops::common::sizes;

use super::contraction::{Packs, Product, Sizes, address, floats, multiply, packed, product_bytes, workspace};
use super::depthwise::{Depthwise, MOST_STEP, MOST_TAPS};
use super::frames::{Frame, Framed};
use super::image::{Axis, Image, Window};
use super::tail::Tail;
use crate::gemm::{Batch, Compute, Epilogue, Operand, PackedMatrix, Side, Start, Store, Strided};
use crate::simd::Tier;

/// A bias for each row of each group.
pub(super) struct Bias<S> {
    pub data: *const S,
    pub step: isize,
    pub rows: usize,
    pub groups: usize,
}

// SAFETY: the pointer is only read while its operand lives.
unsafe impl<S: Sync> Sync for Bias<S> {}

impl<E: Compute, S: Store<E>> Start<E> for Bias<S> {
    fn fill(&self, batch: usize, row: usize, _column: usize, to: &mut [E]) {
        let at = batch % self.groups * self.rows + row;
        // SAFETY: the bias has one element per row of each group.
        to.fill(unsafe { *self.data.offset(at as isize * self.step) }.get());
    }
}

/// Geometry of a convolution as a batch of products: weights times columns of the image.
pub(super) struct Geometry {
    pub axes: [Axis; 3],
    pub images: usize,
    pub groups: usize,
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
    pub channels: usize,
}

impl Geometry {
    pub fn new(op: &Conv, x: &Layout, w: &[usize], y: &[usize]) -> Result<Geometry> {
        let pads = sizes(&op.pads)?;
        let window = Window { strides: &op.strides, pads: &pads, dilations: &op.dilations };
        let groups = op.group.max(1) as usize;
        Ok(Geometry {
            axes: window.forward(x, &w[2..], &y[2..])?,
            images: x.shape[0],
            groups,
            rows: w[0] / groups,
            inner: w[1..].iter().product(),
            columns: y[2..].iter().product(),
            channels: w[1],
        })
    }

    pub fn sizes(&self) -> Sizes {
        (self.images * self.groups, self.rows, self.columns, self.inner)
    }

    /// Whether results see one channel each, too few at a time for a matrix product.
    fn is_depthwise(&self) -> bool {
        let taps: usize = self.axes.iter().map(|a| a.taps).product();
        self.channels == 1
            && self.rows <= 4
            && self.groups > 1
            && taps <= MOST_TAPS
            && self.axes[2].step <= MOST_STEP
            && self.axes.iter().any(|a| a.taps > 1)
    }

    /// The image as a plain matrix, where every position sees one element.
    fn flat<S: Copy>(&self, data: *const S, x: &Layout) -> Option<Strided<S>> {
        self.image(data, x).as_strided()
    }

    fn frame(&self) -> Option<Frame> {
        Frame::new(&[self.axes])
    }

    /// Number of frames.
    fn frames(&self) -> usize {
        self.images * self.groups * self.channels
    }

    fn framed<E: Compute>(&self, frame: &Frame, data: *const E) -> Framed<E> {
        let next = self.groups * self.channels;
        Framed::new(frame, &self.axes, data, (&[self.images, self.groups], &[next, self.channels]))
    }

    pub fn image<S>(&self, data: *const S, x: &Layout) -> Image<S> {
        let batch = Batch::new(&[self.images, self.groups], &[x.strides[0], self.channels as isize * x.strides[1]]);
        Image { data, batch, channel: x.strides[1], axes: self.axes }
    }
}

pub(super) struct ConvKernel;

fn of(op: &dyn Op) -> Option<&Conv> {
    op.as_any().downcast_ref()
}

impl Kernel for ConvKernel {
    fn name(&self) -> &'static str {
        "conv"
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
        let geometry = |op| Geometry::new(op, inputs[0].layout, inputs[1].shape(), outputs[0].shape()).ok();
        let Some(g) = of(op).and_then(geometry) else { return 0 };
        floats!(inputs[0].dtype, E, S => {
            if g.flat::<S>(std::ptr::null(), inputs[0].layout).is_some() {
                return product_bytes::<E>(g.sizes(), (g.groups, g.images * g.groups), S::SAME, !S::SAME, Packs::Left);
            }
            let frames = g.frame().map_or(0, |f| f.elements(g.frames())) * size_of::<E>();
            frames + if g.is_depthwise() { 0 } else { product_bytes::<E>(g.sizes(), (g.groups, g.images * g.groups), false, !S::SAME, Packs::Left) }
        }, _ => 0)
    }

    fn pack(&self, op: &dyn Op, i: usize, input: &Arg) -> Option<Result<Packed>> {
        let op = of(op).filter(|_| i == 1 && input.layout.is_contiguous())?;
        let groups = op.group.max(1) as usize;
        let (rows, inner) = (input.shape()[0] / groups, input.shape()[1..].iter().product::<usize>());
        let pack = || -> Result<Option<Packed>> {
            Ok(floats!(input.dtype, E, S => {
                let weights = weights(address::<S>(input)?, 1, groups, rows, inner);
                let matrix = PackedMatrix::<E>::left(Tier::current(), &weights, groups, rows, inner);
                Some(Packed { bytes: matrix.bytes(), data: Arc::new(matrix) })
            }, _ => None))
        };
        pack().transpose()
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        run(launch, None)
    }
}

/// Runs it, with a scalar expression behind.
pub(super) fn run(launch: &Launch, tail: Option<&Tail>) -> Result<()> {
    let op: &Conv = launch.op()?;
    let (x, w, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
    let g = Geometry::new(op, x.layout, w.shape(), out.shape())?;
    let Some(frame) = g.frame() else { return Ok(()) };
    floats!(x.dtype, E, S => {
        let image = g.image::<S>(address(x)?, x.layout);
        let flat = image.as_strided();
        let (mut scratch, mut room) = workspace::<E>(launch)?;
        let framed = match &flat {
            Some(_) => None,
            None => {
                let used = frame.elements(g.frames());
                if used > room {
                    return Err(Error::internal("the workspace of a convolution is too small"));
                }
                // SAFETY: the layout lies inside its memory, and the workspace has room for the frames.
                unsafe { frame.fill::<E, S>(&image, (g.images, x.layout.strides[0]), g.groups * g.channels, scratch) };
                let framed = g.framed(&frame, scratch);
                (scratch, room) = (scratch.wrapping_add(used), room - used);
                Some(framed)
            }
        };
        let bias = match launch.inputs.get(2) {
            Some(b) => Some(Bias::<S> { data: address(b)?, step: b.layout.strides[0], rows: g.rows, groups: g.groups }),
            None => None,
        };
        if let Some(framed) = framed.as_ref().filter(|_| g.is_depthwise()) {
            let bias = bias.map(|b| (b.data, b.step));
            let block = tail.map(|t| t.blockwise(g.sizes())).transpose()?.flatten();
            let depthwise = Depthwise {
                framed,
                batch: g.images * g.groups,
                groups: g.groups,
                rows: g.rows,
                weights: address::<S>(w)?,
                bias,
                out: address::<S>(out)?,
                epilogue: block.as_ref().map(|b| b as &dyn Epilogue),
            };
            // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
            unsafe { depthwise.run() };
            return tail.filter(|_| block.is_none()).map_or(Ok(()), Tail::whole);
        }
        let left = weights(address::<S>(w)?, g.images, g.groups, g.rows, g.inner);
        let right: Option<&dyn Operand<E>> = match (&flat, &framed) {
            (Some(flat), _) => Some(flat),
            (None, Some(framed)) => Some(framed),
            (None, None) => None,
        };
        let Some(right) = right else { return Ok(()) };
        let product = Product {
            sizes: g.sizes(),
            left: packed::<E>(launch, 1).map_or(Side::Operand(&left), Side::Packed),
            right: Side::Operand(right),
            c: address::<S>(out)?,
            alpha: 1.0,
            start: bias.as_ref().map(|b| b as &dyn Start<E>),
            sink: None,
            tail,
        };
        // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
        unsafe { multiply(&product, (scratch, room)) }?;
    }, _ => {});
    Ok(())
}

/// Weights without gaps as left sides.
pub(super) fn weights<S>(data: *const S, images: usize, groups: usize, rows: usize, inner: usize) -> Strided<S> {
    let batch = Batch::new(&[images, groups], &[0, (rows * inner) as isize]);
    Strided { data, outer: inner as isize, inner: 1, batch }
}
