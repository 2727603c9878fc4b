//! All elementwise ops, fused chains included, by the tile interpreter.

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Layout, Result};
use lampyr_ir::scalar::{Instr, ScalarExpr};
use lampyr_ir::{Class, Op};
use smallvec::SmallVec;

use super::operand::{Shared, start};
use crate::simd::Tier;
use crate::simd::prim::{Prim, Prims, is_native};
use crate::tile::{Program, Tensor, execute, grain};

/// Work in additions from which one operation is worth no separate path.
const WEIGHT: usize = 4;

/// Any op of class [`Class::Elementwise`] whose inputs broadcast to the shape of its outputs.
pub(crate) struct ElementwiseKernel;

impl Kernel for ElementwiseKernel {
    fn name(&self) -> &'static str {
        "cpu_elementwise"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> bool {
        if op.class() != Class::Elementwise || inputs.len() > 200 {
            return false;
        }
        // Built-in ops always have an expression (a test says so), a user's own may have none.
        let builtin = (op.id().0 as usize) < lampyr_ops::registry::builtin().len();
        builtin && outputs.len() == 1 || {
            let dtypes: SmallVec<[DType; 8]> = inputs.iter().map(|a| a.dtype).collect();
            let same = outputs.windows(2).all(|w| w[0].shape() == w[1].shape());
            let fits = |e: ScalarExpr| e.inputs[..] == dtypes[..] && e.outputs.len() == outputs.len();
            same && op.scalar(&dtypes).is_some_and(fits)
        }
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn in_place(&self, _op: &dyn Op, _input: usize, _output: usize) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let dtypes: SmallVec<[DType; 4]> = launch.inputs.iter().map(|a| a.dtype).collect();
        let expr = launch.op.scalar(&dtypes).ok_or_else(|| Error::internal("an elementwise op without expression"))?;
        let prims = Prims::of(Tier::current());
        if let Some(done) = single(&expr, prims, launch) {
            return done;
        }
        let shape = match launch.outputs.iter().flatten().next() {
            Some(output) => &output.layout.shape,
            None => return Ok(()),
        };
        let needed: ScalarExpr;
        let expr = if launch.outputs.iter().all(Option::is_some) {
            &expr
        } else {
            let mut some = expr.clone();
            some.outputs =
                expr.outputs.iter().zip(launch.outputs).filter(|(_, o)| o.is_some()).map(|(r, _)| *r).collect();
            needed = some;
            &needed
        };
        let program = Program::compile(expr, prims).ok_or_else(|| Error::internal("an expression with bad steps"))?;
        let layouts: SmallVec<[Option<Layout>; 4]> = (launch.inputs.iter())
            .map(|a| if a.layout.shape == *shape { Ok(None) } else { a.layout.broadcast_to(shape).map(Some) })
            .collect::<Result<_>>()?;
        let mut inputs: SmallVec<[Tensor; 4]> = SmallVec::new();
        for (arg, layout) in launch.inputs.iter().zip(&layouts) {
            inputs.push(tensor(arg, layout.as_ref().unwrap_or(arg.layout))?);
        }
        let mut outputs: SmallVec<[Tensor; 1]> = SmallVec::new();
        for arg in launch.outputs.iter().flatten() {
            if arg.layout.shape != *shape {
                return Err(Error::internal("outputs of an elementwise op have different shapes"));
            }
            outputs.push(tensor(arg, arg.layout)?);
        }
        // SAFETY: operands lie inside their memories (the backend has checked it), layouts were broadcast to `shape`, and
        // the launcher lets an output overlap an input only in place.
        unsafe { execute(&program, shape, &inputs, &outputs) };
        Ok(())
    }
}

pub(super) fn tensor<'a>(arg: &Arg<'a>, layout: &'a Layout) -> Result<Tensor<'a>> {
    let first = start(arg)?;
    let (low, high) = arg.layout.span();
    let zero = first as usize;
    let size = arg.dtype.size();
    let span =
        zero.wrapping_sub((arg.layout.offset - low) * size)..zero.wrapping_add((high - arg.layout.offset) * size);
    Ok(Tensor { start: first, size, strides: &layout.strides, span })
}

/// The primitive of an expression that is one function of all its inputs in order.
fn primitive(expr: &ScalarExpr, prims: &Prims) -> Option<Prim> {
    let [(result, dtype)] = expr.outputs[..] else { return None };
    let (last, loads) = expr.steps.split_last()?;
    let plain = result as usize == loads.len()
        && expr.inputs.len() == loads.len()
        && loads.iter().enumerate().all(|(i, s)| s.instr == Instr::Input(i as u8))
        && expr.inputs.iter().all(|&d| is_native(d))
        && is_native(dtype)
        && lampyr_ir::scalar::Compute::of(dtype) == last.ty;
    if !plain {
        return None;
    }
    match last.instr {
        Instr::Unary(f, 0) => Some(prims.unary(f, expr.ty(0))),
        Instr::Binary(f, 0, 1) => Some(prims.binary(f, last.ty)),
        Instr::Select(0, 1, 2) => Some(prims.select(last.ty)),
        _ => None,
    }
}

/// Runs one primitive on dense operands without interpretation; `None` when this call is not of that kind.
fn single(expr: &ScalarExpr, prims: &Prims, launch: &Launch) -> Option<Result<()>> {
    let [Some(output)] = launch.outputs else { return None };
    let prim = primitive(expr, prims)?;
    let plain =
        |a: &Arg| a.layout.is_contiguous() && a.host_ptr().is_some_and(|p| (p as usize).is_multiple_of(a.dtype.size()));
    let n = output.layout.len();
    let to = output.host_ptr()?;
    let bytes = n * output.dtype.size();
    if !plain(output) {
        return None;
    }
    let mut from = [Shared(to); 3];
    for (slot, input) in from.iter_mut().zip(launch.inputs) {
        let p = input.host_ptr()?;
        let (a, b) = (p as usize, to as usize);
        let apart = a + n * input.dtype.size() <= b || b + bytes <= a;
        if input.layout.shape != output.layout.shape || !plain(input) || !apart {
            return None;
        }
        *slot = Shared(p);
    }
    let sizes: [usize; 3] = std::array::from_fn(|i| launch.inputs.get(i).map_or(0, |a| a.dtype.size()));
    let (to, size) = (Shared(to), output.dtype.size());
    let run = |first: usize, count: usize| {
        let [a, b, c]: [*const u8; 3] = std::array::from_fn(|i| from[i].at((first * sizes[i]) as isize).cast_const());
        // SAFETY: operands hold `n` elements of these types, one after another and aligned, and no input overlaps the
        // output.
        unsafe { prim(to.at((first * size) as isize), a, b, c, count) };
    };
    let grain = grain(WEIGHT) * 4;
    if n <= grain {
        run(0, n);
    } else {
        ThreadPool::global().parallel_ranges(n, grain, |r| run(r.start, r.len()));
    }
    Some(Ok(()))
}
