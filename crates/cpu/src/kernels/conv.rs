use std::sync::Arc;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch, Packed};
use lampyr_base::pool::num_threads;
use lampyr_base::{Dim, Error, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::Conv;
use lampyr_ops::common::sizes;

use super::contraction::{
    Packs, Product, Sizes, address, floats, multiply, packed, product_bytes, scattered_bytes, workspace,
};
use super::conv_last;
use super::depthwise::{Depthwise, MOST_ROWS, MOST_TAPS, scratch as depthwise_scratch};
use super::image::{Axis, Image, Window};
use super::planes::Planes;
use super::tail::Tail;
use crate::gemm::{
    Batch, Compute, Dots, Epilogue, Operand, PackedMatrix, Panel, Side, Sink, Start, Store, Strided, dots, dots_suit,
};
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

    fn rows(&self, batch: usize) -> Option<*const E> {
        let at = batch % self.groups * self.rows;
        (S::SAME && self.step == 1).then(|| self.data.wrapping_add(at).cast())
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
        self.channels == 1 && self.rows <= MOST_ROWS && self.groups > 1 && taps <= MOST_TAPS
    }

    /// The image as a plain matrix, where every position sees one element.
    fn flat<S: Copy>(&self, data: *const S, x: &Layout) -> Option<Strided<S>> {
        self.image(data, x).as_strided()
    }

    /// Elements of type `E` that hold the offsets of all channels and taps.
    fn offsets<E>(&self) -> usize {
        (self.inner * size_of::<isize>()).div_ceil(size_of::<E>()).next_multiple_of(16)
    }

    /// Whether planes would hold mostly padding, as under wide dilations; the columns are then made panel by panel.
    fn is_sparse(&self, planes: &Planes) -> bool {
        2 * planes.places() > 3 * self.columns + 64
    }

    /// The columns of the product as they lie in planes.
    fn places(&self, planes: &Planes) -> Sizes {
        (self.images * self.groups, self.rows, planes.places(), self.inner)
    }

    pub fn image<S>(&self, data: *const S, x: &Layout) -> Image<S> {
        let batch = Batch::new(&[self.images, self.groups], &[x.strides[0], self.channels as isize * x.strides[1]]);
        Image { data, batch, channel: x.strides[1], axes: self.axes }
    }
}

/// The columns that weights are multiplied with: a row of planes for each channel and tap.
struct Columns<'a, E> {
    data: *const E,
    /// Elements from one matrix to the next.
    next: usize,
    offsets: &'a [isize],
}

// SAFETY: the pointer is only read while its workspace lives.
unsafe impl<E: Sync> Sync for Columns<'_, E> {}

impl<E: Compute> Operand<E> for Columns<'_, E> {
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        let Panel { batch, k, depth, at, count, stride } = panel;
        let from = self.data.wrapping_add(batch * self.next + at);
        for (p, &offset) in self.offsets[k..k + depth].iter().enumerate() {
            let (from, to) = (from.wrapping_offset(offset), to.wrapping_add(p * stride));
            // SAFETY: places of all rows lie in the planes, and `to` has `depth * stride` elements.
            unsafe {
                std::ptr::copy_nonoverlapping(from, to, count);
                (count..stride).for_each(|j| *to.add(j) = E::ZERO);
            }
        }
    }

    fn scattered(&self, batch: usize) -> Option<(*const E, &[isize])> {
        Some((self.data.wrapping_add(batch * self.next), self.offsets))
    }
}

/// Takes results at places and keeps those at positions.
struct Compact<'a, S> {
    planes: &'a Planes,
    out: *mut S,
    rows: usize,
    positions: usize,
}

// SAFETY: writes of different rows and places never meet.
unsafe impl<S: Sync> Sync for Compact<'_, S> {}

impl<E: Compute, S: Store<E>> Sink<E> for Compact<'_, S> {
    fn write(&self, batch: usize, row: usize, column: usize, values: &[E]) {
        // SAFETY: the result has `positions` elements for every row of every matrix.
        unsafe { self.planes.compact(column, values, self.out.add((batch * self.rows + row) * self.positions)) };
    }
}

/// A bias for each column.
struct ColumnBias<'a, S>(&'a Bias<S>);

impl<E: Compute, S: Store<E>> Start<E> for ColumnBias<'_, S> {
    fn fill(&self, batch: usize, _row: usize, column: usize, to: &mut [E]) {
        let first = batch % self.0.groups * self.0.rows + column;
        for (j, to) in to.iter_mut().enumerate() {
            // SAFETY: the bias has one element per column of each group.
            *to = unsafe { *self.0.data.offset((first + j) as isize * self.0.step) }.get();
        }
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
        of(op).is_some_and(|op| op.pads.iter().all(fixed) && (!op.channels_last || conv_last::supports(inputs)))
            && inputs[0].dtype.is_float()
            && (3..=5).contains(&inputs[0].layout.rank())
    }

    fn accepts(&self, op: &dyn Op, i: usize) -> Accepts {
        if i == 1 || i == 0 && of(op).is_some_and(|op| op.channels_last) {
            Accepts::Contiguous
        } else {
            Accepts::Strided
        }
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        if let Some(op) = of(op).filter(|op| op.channels_last) {
            return conv_last::workspace(op, inputs, outputs[0].shape());
        }
        let geometry = |op| Geometry::new(op, inputs[0].layout, inputs[1].shape(), outputs[0].shape()).ok();
        let Some(g) = of(op).and_then(geometry) else { return 0 };
        let packed = inputs[1].packed;
        let packs = if packed { Packs::LeftDone } else { Packs::Left };
        floats!(inputs[0].dtype, E, S => {
            if let Some(flat) = g.flat::<S>(std::ptr::null(), inputs[0].layout) {
                let direct = S::SAME && flat.outer == 1;
                return product_bytes::<E>(g.sizes(), (g.groups, g.images * g.groups), direct, !S::SAME, packs);
            }
            let Some(planes) = Planes::new(&g.axes) else { return 0 };
            if g.is_depthwise() {
                return depthwise_scratch(&planes) * num_threads().min(g.images * g.groups) * size_of::<E>();
            }
            if g.is_sparse(&planes) {
                return product_bytes::<E>(g.sizes(), (g.groups, g.images * g.groups), false, !S::SAME, Packs::Left);
            }
            let elements = planes.elements(g.images * g.groups * g.channels) + g.offsets::<E>();
            elements * size_of::<E>() + scattered_bytes::<E>(g.places(&planes), g.groups, packed)
        }, _ => 0)
    }

    fn pack(&self, op: &dyn Op, i: usize, input: &Arg) -> Option<Result<Packed>> {
        let op = of(op).filter(|_| i == 1 && input.layout.is_contiguous())?;
        if op.channels_last {
            return conv_last::pack(op, input);
        }
        let groups = op.group.max(1) as usize;
        let (rows, inner) = (input.shape()[0] / groups, input.shape()[1..].iter().product::<usize>());
        let taps: usize = input.shape()[2..].iter().product();
        if groups > 1 && inner == taps && rows <= MOST_ROWS && (2..=MOST_TAPS).contains(&taps) {
            // Depthwise convolution reads weights as they are.
            return None;
        }
        let pack = || -> Result<Option<Packed>> {
            Ok(floats!(input.dtype, E, S => {
                let weights = weights(address::<S>(input)?, 1, groups, rows, inner);
                let matrix = PackedMatrix::<E>::left(Tier::current(), &weights, groups, rows, inner)?;
                Some(Packed { bytes: matrix.bytes(), data: Arc::new(matrix) })
            }, _ => None))
        };
        pack().transpose()
    }

    fn packs_unaligned(&self, _op: &dyn Op, _i: usize) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        run(launch, None)
    }
}

/// Runs it, with a scalar expression behind.
pub(super) fn run(launch: &Launch, tail: Option<&Tail>) -> Result<()> {
    let op: &Conv = launch.op()?;
    if op.channels_last {
        return conv_last::run(op, launch, tail);
    }
    let (x, w, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
    let g = Geometry::new(op, x.layout, w.shape(), out.shape())?;
    let Some(planes) = Planes::new(&g.axes) else {
        return if out.layout.is_empty() { Ok(()) } else { Err(Error::internal("a convolution without taps")) };
    };
    floats!(x.dtype, E, S => {
        let image = g.image::<S>(address(x)?, x.layout);
        let flat = image.as_strided();
        let (scratch, room) = workspace::<E>(launch)?;
        let bias = match launch.inputs.get(2) {
            Some(b) => Some(Bias::<S> { data: address(b)?, step: b.layout.strides[0], rows: g.rows, groups: g.groups }),
            None => None,
        };
        let steps = (x.layout.strides[0], x.layout.strides[1]);
        if flat.is_none() && g.is_depthwise() {
            let bias = bias.map(|b| (b.data, b.step));
            let sizes = (g.images, g.groups * g.rows, g.columns, g.inner);
            let block = tail.map(|t| t.blockwise(sizes)).transpose()?.flatten();
            let depthwise = Depthwise::<E, S> {
                planes: &planes,
                images: g.images,
                groups: g.groups,
                rows: g.rows,
                x: address(x)?,
                steps,
                weights: address::<S>(w)?,
                bias,
                out: address::<S>(out)?,
                epilogue: block.as_ref().map(|b| b as &dyn Epilogue),
                workspace: (scratch, room),
            };
            if room < depthwise_scratch(&planes) {
                return Err(Error::internal("the workspace of a convolution is too small"));
            }
            // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
            unsafe { depthwise.run() };
            return tail.filter(|_| block.is_none()).map_or(Ok(()), Tail::whole);
        }
        let left = weights(address::<S>(w)?, g.images, g.groups, g.rows, g.inner);
        let side = packed::<E>(launch, 1).map_or(Side::Operand(&left as &dyn Operand<E>), Side::Packed);
        let c = address::<S>(out)?;
        let start = bias.as_ref().map(|b| b as &dyn Start<E>);
        if let Some(flat) = &flat {
            let one = Strided { outer: 0, ..flat.clone() };
            if g.columns == 1 && dots_suit(1, &one, &left) {
                let bias = bias.as_ref().map(ColumnBias);
                let start = bias.as_ref().map(|b| b as &dyn Start<E>);
                let sizes = (g.images * g.groups, 1, g.rows, g.inner);
                // SAFETY: as above.
                unsafe { dots::<E, S>(&Dots { sizes, left: &one, right: &left, c, alpha: 1.0, start }) };
                return tail.map_or(Ok(()), Tail::whole);
            }
            let right = Side::Operand(flat);
            let product =
                Product { sizes: g.sizes(), left: side, right, c, alpha: 1.0, start, sink: None, tail, planes: None };
            // SAFETY: as above.
            return unsafe { multiply(&product, (scratch, room)) };
        }
        if g.is_sparse(&planes) {
            let right = Side::Operand(&image);
            let product =
                Product { sizes: g.sizes(), left: side, right, c, alpha: 1.0, start, sink: None, tail, planes: None };
            // SAFETY: as above.
            return unsafe { multiply(&product, (scratch, room)) };
        }
        let count = g.images * g.groups * g.channels;
        let (used, table) = (planes.elements(count), g.offsets::<E>());
        if used + table > room {
            return Err(Error::internal("the workspace of a convolution is too small"));
        }
        let after = scratch.wrapping_add(used);
        // SAFETY: layouts lie inside their memories; the workspace has room for the planes and, aligned, for the offsets.
        let offsets = unsafe {
            planes.fill::<E, S>(address::<S>(x)?.cast_const(), (g.images, g.groups * g.channels), steps, scratch);
            let to = after.cast::<isize>();
            let taps = planes.tap_count();
            for t in 0..taps {
                let tap = planes.tap(t);
                (0..g.channels).for_each(|c| to.add(c * taps + t).write((c * planes.len()) as isize + tap));
            }
            std::slice::from_raw_parts(to, g.inner)
        };
        let columns = Columns { data: scratch, next: g.channels * planes.len(), offsets };
        let sink = Compact { planes: &planes, out: c, rows: g.rows, positions: g.columns };
        let gaps = planes.places() != g.columns;
        let product = Product {
            sizes: g.places(&planes),
            left: side,
            right: Side::Operand(&columns),
            c,
            alpha: 1.0,
            start,
            sink: gaps.then_some(&sink as &dyn Sink<E>),
            tail,
            planes: Some(&planes),
        };
        // SAFETY: as above.
        unsafe { multiply(&product, (after.wrapping_add(table), room - used - table)) }?;
    }, _ => {});
    Ok(())
}

/// Weights without gaps as left sides.
pub(super) fn weights<S>(data: *const S, images: usize, groups: usize, rows: usize, inner: usize) -> Strided<S> {
    let batch = Batch::new(&[images, groups], &[0, (rows * inner) as isize]);
    Strided { data, outer: inner as isize, inner: 1, batch }
}
