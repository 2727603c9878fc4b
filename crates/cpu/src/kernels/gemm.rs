use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch, Packed};
use lampyr_base::{DType, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::Gemm;

use super::contraction::{Product, address, floats, multiply, packed, workspace};
use super::matmul::{Geometry, integers, pack_right};
use super::tail::Tail;
use crate::gemm::{Compute, Dots, Side, Start, Store, dots, dots_suit};

/// `factor * C`, broadcast.
pub(super) struct Shift<S, E> {
    data: *const S,
    row: isize,
    column: isize,
    factor: E,
}

// SAFETY: the pointer is only read while its operand lives.
unsafe impl<S: Sync, E: Sync> Sync for Shift<S, E> {}

impl<E: Compute, S: Store<E>> Shift<S, E> {
    /// The operand `c`, which broadcasts to `rows x columns`.
    pub fn new(c: &Arg, rows: usize, columns: usize, factor: E) -> Result<Shift<S, E>> {
        let layout = c.layout.broadcast_to(&[rows, columns])?;
        Ok(Shift { data: address(c)?, row: layout.strides[0], column: layout.strides[1], factor })
    }
}

impl<E: Compute, S: Store<E>> Start<E> for Shift<S, E> {
    fn fill(&self, _batch: usize, row: usize, column: usize, to: &mut [E]) {
        let from = self.data.wrapping_offset(row as isize * self.row + column as isize * self.column);
        for (j, to) in to.iter_mut().enumerate() {
            // SAFETY: the index lies inside the broadcast operand.
            *to = self.factor * unsafe { *from.offset(j as isize * self.column) }.get();
        }
    }
}

pub(super) fn transposed(layout: &Layout, yes: bool) -> Layout {
    if yes { layout.permute(&[1, 0]) } else { layout.clone() }
}

pub(super) struct GemmKernel;

fn geometry(op: &Gemm, x: &Layout, y: &Layout) -> Result<Geometry> {
    Geometry::new(&transposed(x, op.trans_a), &transposed(y, op.trans_b))
}

fn of(op: &dyn Op) -> Option<&Gemm> {
    op.as_any().downcast_ref()
}

impl Kernel for GemmKernel {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        of(op).is_some() && inputs[0].dtype != DType::Bool
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        let geometry = of(op).and_then(|op| geometry(op, inputs[0].layout, inputs[1].layout).ok());
        geometry.map_or(0, |g| g.workspace(inputs[0].dtype, inputs[1].packed))
    }

    fn pack(&self, op: &dyn Op, i: usize, input: &Arg) -> Option<Result<Packed>> {
        let op = of(op).filter(|_| i == 1)?;
        pack_right(input, &transposed(input.layout, op.trans_b))
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
    let op: &Gemm = launch.op()?;
    let (x, y, out) = (&launch.inputs[0], &launch.inputs[1], launch.output(0)?);
    let g = geometry(op, x.layout, y.layout)?;
    let (first, second) = if g.swapped { (y, x) } else { (x, y) };
    floats!(x.dtype, E, S => {
        let left = g.left.strided(address::<S>(first)?.cast_const(), &g.batch);
        let right = g.right.strided(address::<S>(second)?.cast_const(), &g.batch);
        let ready = if g.swapped { None } else { packed::<E>(launch, 1) };
        let (rows, columns) = (out.layout.shape[0], out.layout.shape[1]);
        let c = launch.inputs.get(2).filter(|_| op.beta != 0.0);
        let mut shift = c.map(|c| Shift::<S, E>::new(c, rows, columns, op.beta as E)).transpose()?;
        if let Some(shift) = shift.as_mut().filter(|_| g.swapped) {
            std::mem::swap(&mut shift.row, &mut shift.column);
        }
        if ready.is_none() && dots_suit(g.m, &left, &right) {
            let (sizes, c, alpha) = (g.sizes(), address::<S>(out)?, op.alpha as E);
            // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
            unsafe { dots::<E, S>(&Dots { sizes, left: &left, right: &right, c, alpha, start: shift.as_ref().map(|s| s as &dyn Start<E>) }) };
            return tail.map_or(Ok(()), Tail::whole);
        }
        let product = Product {
            sizes: g.sizes(),
            left: Side::Operand(&left),
            right: ready.map_or(Side::Operand(&right), Side::Packed),
            c: address::<S>(out)?,
            alpha: op.alpha as E,
            start: shift.as_ref().map(|s| s as &dyn Start<E>),
            sink: None,
            tail,
            planes: None,
        };
        // SAFETY: layouts lie inside their memories and outputs overlap no input; sizes come from the layouts.
        unsafe { multiply(&product, workspace::<E>(launch)?) }?;
    }, _ => {
        integers(launch, &g)?;
        scale(launch, op)?;
        if let Some(tail) = tail {
            tail.whole()?;
        }
    });
    Ok(())
}

/// `alpha * result + beta * C` for integers, in place.
fn scale(launch: &Launch, op: &Gemm) -> Result<()> {
    let out = launch.output(0)?;
    let c = launch.inputs.get(2).filter(|_| op.beta != 0.0);
    if op.alpha == 1.0 && c.is_none() {
        return Ok(());
    }
    macro_rules! run {
        ($t:ty) => {{
            let to: *mut $t = address(out)?;
            let (alpha, beta) = (op.alpha as i64 as $t, op.beta as i64 as $t);
            // SAFETY: the result has `len` elements without gaps, and nobody else uses it now.
            let to = unsafe { std::slice::from_raw_parts_mut(to, out.layout.len()) };
            to.iter_mut().for_each(|x| *x = x.wrapping_mul(alpha));
            if let Some(c) = c {
                let from: *const $t = address(c)?;
                let layout = c.layout.broadcast_to(out.shape())?;
                let start = layout.offset as isize;
                for (x, i) in to.iter_mut().zip(layout.indices()) {
                    // SAFETY: the index lies inside the operand.
                    let c = unsafe { *from.offset(i as isize - start) };
                    *x = x.wrapping_add(c.wrapping_mul(beta));
                }
            }
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
