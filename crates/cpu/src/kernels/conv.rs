use std::sync::Arc;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch, Packed};
use lampyr_base::{DType, Dim, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::Conv;
use lampyr_ops::common::sizes;

use super::contraction::{Packs, Product, Sizes, address, floats, multiply, packed, product_bytes, workspace};
use super::depthwise::Depthwise;
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
        self.channels == 1 && self.rows <= 4 && self.groups > 1
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
            let flat = g.image::<S>(std::ptr::null(), inputs[0].layout).as_strided();
            let direct = flat.is_some_and(|f| Operand::<E>::direct(&f, 0).is_some());
            product_bytes::<E>(g.sizes(), direct, !S::SAME, Packs::Left)
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
    if g.is_depthwise() {
        match x.dtype {
            DType::F32 => return depthwise::<f32>(launch, &g, tail),
            DType::F64 => return depthwise::<f64>(launch, &g, tail),
            _ => {}
        }
    }
    floats!(x.dtype, E, S => {
            let left = weights(address::<S>(w)?, g.images, g.groups, g.rows, g.inner);
            let image = g.image::<S>(address(x)?, x.layout);
            let flat = image.as_strided();
            let right: &dyn Operand<E> = match &flat {
                Some(flat) => flat,
                None => &image,
            };
            let bias = match launch.inputs.get(2) {
                Some(b) => {
                    Some(Bias::<S> { data: address(b)?, step: b.layout.strides[0], rows: g.rows, groups: g.groups })
                }
                None => None,
            };
            let product = Product {
                sizes: g.sizes(),
                left: packed::<E>(launch, 1).map_or(Side::Operand(&left), Side::Packed),
                right: Side::Operand(right),
                c: address::<S>(out)?,
                alpha: 1.0,
                start: bias.as_ref().map(|b| b as &dyn Start<E>),
                tail,
            };
            // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
            unsafe { multiply(&product, workspace::<E>(launch)?) }?;
        }, _ => {});
    Ok(())
}

/// Weights without gaps as left sides.
pub(super) fn weights<S>(data: *const S, images: usize, groups: usize, rows: usize, inner: usize) -> Strided<S> {
    let batch = Batch::new(&[images, groups], &[0, (rows * inner) as isize]);
    Strided { data, outer: inner as isize, inner: 1, batch }
}

fn depthwise<E: Compute>(launch: &Launch, g: &Geometry, tail: Option<&Tail>) -> Result<()> {
    let (x, w, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
    let image = g.image::<E>(address(x)?, x.layout);
    let bias = match launch.inputs.get(2) {
        Some(b) => Some((address::<E>(b)?.cast_const(), b.layout.strides[0])),
        None => None,
    };
    let block = match tail {
        Some(tail) => tail.blockwise(g.sizes())?,
        None => None,
    };
    let depthwise = Depthwise {
        image: &image,
        batch: g.images * g.groups,
        groups: g.groups,
        rows: g.rows,
        weights: address(w)?,
        bias,
        out: address(out)?,
        epilogue: block.as_ref().map(|b| b as &dyn Epilogue),
    };
    // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
    unsafe { depthwise.run() };
    match tail.filter(|_| block.is_none()) {
        Some(tail) => tail.whole(),
        None => Ok(()),
    }
}
