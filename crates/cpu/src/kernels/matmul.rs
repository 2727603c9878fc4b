use std::sync::Arc;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch, Packed};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Layout, Result, SmallVec, broadcast_shapes};
use lampyr_ir::Op;

use super::contraction::{Packs, Product, Sizes, address, floats, multiply, packed, product_bytes, workspace};
use super::tail::Tail;
use crate::gemm::{Batch, Dots, IntMatrix, PackedMatrix, Side, Store, Strided, dots, dots_suit, int_matmul};
use crate::simd::Tier;

/// One side of a product in memory.
#[derive(Clone, Debug)]
pub(super) struct Axes {
    pub outer: isize,
    pub inner: isize,
    pub batch: SmallVec<[isize; 4]>,
}

impl Axes {
    pub fn strided<S>(&self, data: *const S, batch: &[usize]) -> Strided<S> {
        Strided { data, outer: self.outer, inner: self.inner, batch: Batch::new(batch, &self.batch) }
    }
}

/// A product of strided matrices: `left` is `m x k`, `right` is `k x n`, each with batch axes.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub batch: SmallVec<[usize; 4]>,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub left: Axes,
    pub right: Axes,
    /// Whether the operands changed sides.
    pub swapped: bool,
}

fn batch_steps(layout: &Layout, own: usize, batch: &[usize]) -> SmallVec<[isize; 4]> {
    let lead = batch.len() - own;
    (0..batch.len())
        .map(|i| if i < lead || layout.shape[i - lead] == 1 { 0 } else { layout.strides[i - lead] })
        .collect()
}

impl Geometry {
    /// The product of operands with these layouts, whose shapes fit.
    pub fn new(x: &Layout, y: &Layout) -> Result<Geometry> {
        let (xr, yr) = (x.rank(), y.rank());
        let (x_own, y_own) = (xr.saturating_sub(2), yr.saturating_sub(2));
        let batch = broadcast_shapes(&x.shape[..x_own], &y.shape[..y_own])?;
        let (m, left_outer) = if xr > 1 { (x.shape[xr - 2], x.strides[xr - 2]) } else { (1, 0) };
        let (k, left_inner) = (x.shape[xr - 1], x.strides[xr - 1]);
        let (n, right_outer) = if yr > 1 { (y.shape[yr - 1], y.strides[yr - 1]) } else { (1, 1) };
        let right_inner = if yr > 1 { y.strides[yr - 2] } else { y.strides[0] };
        let left = Axes { outer: left_outer, inner: left_inner, batch: batch_steps(x, x_own, &batch) };
        let right = Axes { outer: right_outer, inner: right_inner, batch: batch_steps(y, y_own, &batch) };
        let mut g = Geometry { batch: batch.iter().copied().collect(), m, n, k, left, right, swapped: false };
        let count: usize = g.batch.iter().product();
        let rows = count * g.m;
        if count > 1
            && xr > 1
            && y.shape[..y_own].iter().product::<usize>() == 1
            && x.shape[..x_own].iter().product::<usize>() == count
            && let Some(flat) = x.reshape(&[rows, k])
        {
            g.batch.clear();
            g.m = rows;
            g.left = Axes { outer: flat.strides[0], inner: flat.strides[1], batch: SmallVec::new() };
            g.right.batch.clear();
        }
        if g.n == 1 && g.m > 1 {
            std::mem::swap(&mut g.left, &mut g.right);
            (g.m, g.n) = (1, g.m);
            g.swapped = true;
        }
        if g.n == 1 {
            g.right.outer = 1;
        }
        Ok(g)
    }

    pub fn count(&self) -> usize {
        self.batch.iter().product()
    }

    pub fn sizes(&self) -> Sizes {
        (self.count(), self.m, self.n, self.k)
    }

    /// Workspace bytes for elements of `dtype`.
    pub fn workspace(&self, dtype: DType, packed: bool) -> usize {
        let packs = if packed && !self.swapped { Packs::RightDone } else { Packs::Right };
        floats!(dtype, E, S => {
            let distinct = |axes: &Axes| Batch::new(&self.batch, &axes.batch).distinct();
            let distinct = (distinct(&self.left), distinct(&self.right));
            product_bytes::<E>(self.sizes(), distinct, S::SAME && self.right.outer == 1, !S::SAME, packs)
        }, _ => 0)
    }
}

/// The packed right side of products with the constant `y`, a matrix with these layouts.
pub(super) fn pack_right(y: &Arg, layout: &Layout) -> Option<Result<Packed>> {
    let &[k, n] = layout.shape.as_slice() else { return None };
    if n == 1 {
        // The sides change places: see `Geometry`.
        return None;
    }
    let axes = Axes { outer: layout.strides[1], inner: layout.strides[0], batch: SmallVec::new() };
    let pack = |y: &Arg| -> Result<Option<Packed>> {
        Ok(floats!(y.dtype, E, S => {
            let operand = axes.strided(address::<S>(y)?.cast_const(), &[]);
            let matrix = PackedMatrix::<E>::right(Tier::current(), &operand, 1, n, k)?;
            Some(Packed { bytes: matrix.bytes(), data: Arc::new(matrix) })
        }, _ => None))
    };
    pack(y).transpose()
}

pub(super) struct MatmulKernel;

impl Kernel for MatmulKernel {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs[0].dtype != DType::Bool
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn workspace(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        Geometry::new(inputs[0].layout, inputs[1].layout).map_or(0, |g| g.workspace(inputs[0].dtype, inputs[1].packed))
    }

    fn pack(&self, _op: &dyn Op, i: usize, input: &Arg) -> Option<Result<Packed>> {
        if i == 1 { pack_right(input, input.layout) } else { None }
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
    let (x, y, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
    let g = Geometry::new(x.layout, y.layout)?;
    let (first, second) = if g.swapped { (y, x) } else { (x, y) };
    floats!(x.dtype, E, S => {
        let left = g.left.strided(address::<S>(first)?.cast_const(), &g.batch);
        let right = g.right.strided(address::<S>(second)?.cast_const(), &g.batch);
        let ready = if g.swapped { None } else { packed::<E>(launch, 1) };
        if ready.is_none() && dots_suit(g.m, &left, &right) {
            let (sizes, c, alpha) = (g.sizes(), address::<S>(out)?, 1.0);
            // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
            unsafe { dots::<E, S>(&Dots { sizes, left: &left, right: &right, c, alpha, start: None }) };
            return tail.map_or(Ok(()), Tail::whole);
        }
        let product = Product {
            sizes: g.sizes(),
            left: Side::Operand(&left),
            right: ready.map_or(Side::Operand(&right), Side::Packed),
            c: address::<S>(out)?,
            alpha: 1.0,
            start: None,
            sink: None,
            tail,
            planes: None,
        };
        // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
        unsafe { multiply(&product, workspace::<E>(launch)?) }?;
    }, _ => {
        integers(launch, &g)?;
        if let Some(tail) = tail {
            tail.whole()?;
        }
    });
    Ok(())
}

/// A product of integers.
pub(super) fn integers(launch: &Launch, g: &Geometry) -> Result<()> {
    let out = launch.output(0)?;
    let (i, j) = if g.swapped { (1, 0) } else { (0, 1) };
    macro_rules! run {
        ($t:ty) => {{
            let matrix = |arg: &Arg, axes: &Axes, row, column| -> Result<IntMatrix<$t>> {
                Ok(IntMatrix { data: address(arg)?, row, column, batch: Batch::new(&g.batch, &axes.batch) })
            };
            let left = matrix(&launch.inputs[i], &g.left, g.left.outer, g.left.inner)?;
            let right = matrix(&launch.inputs[j], &g.right, g.right.inner, g.right.outer)?;
            // SAFETY: as for floats.
            unsafe { int_matmul::<$t>(g.sizes(), &left, &right, address(out)?, &ThreadPool::global()) };
        }};
    }
    match out.dtype.size() {
        1 => run!(u8),
        2 => run!(u16),
        4 => run!(u32),
        _ => run!(u64),
    }
    Ok(())
}
