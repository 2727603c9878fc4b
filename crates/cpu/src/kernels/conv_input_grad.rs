use lampyr_backend::{Accepts, ArgInfo, Kernel, Launch};
use lampyr_base::{Dim, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::ConvInputGrad;
use lampyr_ops::common::sizes;

use super::contraction::{Packs, Product, Sizes, address, floats, multiply, product_bytes, workspace};
use super::image::{Axis, Folded, Image, Window};
use crate::gemm::{Batch, Operand, Side, Strided};

/// Transposed weights times columns of the gradient, in which strides leave gaps.
struct Geometry {
    axes: [Axis; 3],
    images: usize,
    groups: usize,
    /// Channels of the gradient in a group.
    channels: usize,
    /// Channels of the result in a group.
    rows: usize,
    taps: usize,
    columns: usize,
}

impl Geometry {
    fn new(op: &ConvInputGrad, g: &Layout, w: &[usize], out: &[usize]) -> Result<Geometry> {
        let pads = sizes(&op.pads)?;
        let window = Window { strides: &op.strides, pads: &pads, dilations: &op.dilations };
        let groups = op.group.max(1) as usize;
        Ok(Geometry {
            axes: window.adjoint(g, &w[2..], &out[2..])?,
            images: g.shape[0],
            groups,
            channels: w[0] / groups,
            rows: w[1],
            taps: w[2..].iter().product(),
            columns: out[2..].iter().product(),
        })
    }

    fn sizes(&self) -> Sizes {
        (self.images * self.groups, self.rows, self.columns, self.channels * self.taps)
    }

    fn image<S>(&self, data: *const S, g: &Layout) -> Image<S> {
        let batch = Batch::new(&[self.images, self.groups], &[g.strides[0], self.channels as isize * g.strides[1]]);
        Image { data, batch, channel: g.strides[1], axes: self.axes }
    }

    fn weights<S>(&self, data: *const S) -> Folded<S> {
        let next = self.rows * self.taps;
        let batch = Batch::new(&[self.images, self.groups], &[0, (self.channels * next) as isize]);
        let matrix = Strided { data, outer: self.taps as isize, inner: 1, batch };
        Folded { matrix, length: self.taps, next: next as isize }
    }
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
        let geometry = |op| Geometry::new(op, inputs[0].layout, inputs[1].shape(), outputs[0].shape()).ok();
        let Some(g) = of(op).and_then(geometry) else { return 0 };
        floats!(inputs[0].dtype, E, S => {
            let flat = g.image::<S>(std::ptr::null(), inputs[0].layout).as_strided();
            let direct = flat.is_some_and(|f| Operand::<E>::direct(&f, 0).is_some());
            product_bytes::<E>(g.sizes(), direct, !<S as crate::gemm::Store<E>>::SAME, Packs::Left)
        }, _ => 0)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let op: &ConvInputGrad = launch.op()?;
        let (x, w, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
        let g = Geometry::new(op, x.layout, w.shape(), out.shape())?;
        floats!(x.dtype, E, S => {
            let left = g.weights::<S>(address(w)?);
            let image = g.image::<S>(address(x)?, x.layout);
            let flat = image.as_strided();
            let right: &dyn Operand<E> = match &flat {
                Some(flat) => flat,
                None => &image,
            };
            let product = Product {
                sizes: g.sizes(),
                left: Side::Operand(&left),
                right: Side::Operand(right),
                c: address::<S>(out)?,
                alpha: 1.0,
                start: None,
                tail: None,
            };
            // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
            unsafe { multiply(&product, workspace::<E>(launch)?) }?;
        }, _ => {});
        Ok(())
    }
}
