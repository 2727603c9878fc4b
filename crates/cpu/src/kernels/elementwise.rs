//! All elementwise ops, fused chains included, by the tile interpreter.

use std::sync::OnceLock;

use lampyr_backend::{Accepts, Arg, ArgInfo, Dense, Direct, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Layout, Result};
use lampyr_ir::scalar::{Instr, ScalarExpr};
use lampyr_ir::{Class, Listed, Op};
use lampyr_ops::build::{ElementwiseChain, Gelu};
use smallvec::SmallVec;

use super::operand::{Shared, start};
use crate::simd::Tier;
use crate::simd::prim::{Prim, Prims, is_native};
use crate::tile::{Form, Program, Tensor, compiled, execute, grain, work};

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
        let tier = Tier::current();
        if launch.op.id() == ElementwiseChain::ID
            && let Some(chain) = launch.op.as_any().downcast_ref::<ElementwiseChain>()
        {
            return general(launch, &chain.expr, tier);
        }
        let dtypes: SmallVec<[DType; 4]> = launch.inputs.iter().map(|a| a.dtype).collect();
        let expr = launch.op.scalar(&dtypes).ok_or_else(|| Error::internal("an elementwise op without expression"))?;
        if let [Some(output)] = launch.outputs
            && let Some(prim) = primitive(&expr, Prims::of(tier))
            && single((prim, work(&expr)), launch.inputs, output).is_some()
        {
            return Ok(());
        }
        general(launch, &expr, tier)
    }

    fn direct(&self, op: &dyn Op, dtype: DType) -> Option<&'static dyn Direct> {
        let entry = lampyr_ops::registry::builtin().get(op.id().0 as usize)?;
        let arity = op.arity();
        let plain = op.class() == Class::Elementwise && entry.attrs.is_empty() && entry.dtypes.contains(&dtype);
        if !plain || arity.min != arity.max || arity.max > 3 {
            return None;
        }
        let expr = op.scalar(&[dtype; 3][..arity.max])?;
        let [(_, output)] = expr.outputs[..] else { return None };
        if expr.inputs.len() != arity.max || expr.inputs.iter().any(|d| *d != dtype) {
            return None;
        }
        let prims = Prims::of(Tier::current());
        let prim = primitive(&expr, prims);
        let program = Program::compile(&expr, prims)?;
        // One for each op and dtype, for as long as the process lives.
        Some(Box::leak(Box::new(Plain { prim, program, inputs: arity.max, dtype, output })))
    }
}

/// An op without attributes over operands of one dtype.
struct Plain {
    /// Where it is one primitive.
    prim: Option<Prim>,
    program: Program,
    inputs: usize,
    dtype: DType,
    output: DType,
}

impl Direct for Plain {
    fn output(&self) -> DType {
        self.output
    }

    fn run(&self, inputs: &[Arg], output: &Arg) -> bool {
        if inputs.len() != self.inputs || inputs.iter().any(|a| a.dtype != self.dtype) || output.dtype != self.output {
            return false;
        }
        if let Some(prim) = self.prim
            && single((prim, self.program.weight), inputs, output).is_some()
        {
            return true;
        }
        if !inputs.iter().chain([output]).all(Arg::in_bounds) {
            return false;
        }
        let shape = &output.layout.shape;
        let Some((from, to)) = flat(shape, inputs.iter(), std::iter::once(output)) else { return false };
        // SAFETY: operands lie inside their memories and have as many elements as `shape`, or one; the caller's output
        // overlaps no input.
        unsafe { execute(&self.program, shape, &from, &to) };
        true
    }

    #[inline]
    fn run_dense(&self, inputs: &[Dense], output: Dense) -> bool {
        let n = output.len();
        if inputs.len() != self.inputs || n > grain(1) || inputs.iter().any(|x| x.len() != n) {
            return false;
        }
        let Some(prim) = self.prim else { return false };
        let at = |i: usize| inputs.get(i).map_or(std::ptr::null(), |x| x.start().cast_const());
        // SAFETY: operands hold `n` elements of these types, one after another and aligned, and the output's memory is
        // its own.
        unsafe { prim(output.start(), at(0), at(1), at(2), n) };
        true
    }
}

/// Runs `expr` over operands of one shape, or of one element.
#[inline(never)]
pub(super) fn general(launch: &Launch, expr: &ScalarExpr, tier: Tier) -> Result<()> {
    let Some(first) = launch.outputs.iter().flatten().next() else { return Ok(()) };
    let shape = &first.layout.shape;
    if launch.outputs.iter().flatten().any(|o| o.layout.shape != *shape) {
        return Err(Error::internal("outputs of an elementwise op have different shapes"));
    }
    let bad = || Error::internal("an expression that does not fit its launch");
    if expr.inputs.len() != launch.inputs.len()
        || expr.outputs.len() != launch.outputs.len()
        || expr.inputs.iter().zip(launch.inputs).any(|(d, a)| *d != a.dtype)
        || expr.outputs.iter().zip(launch.outputs).any(|((_, d), a)| a.as_ref().is_some_and(|a| *d != a.dtype))
    {
        return Err(bad());
    }
    let program = if launch.outputs.iter().all(Option::is_some) {
        compiled(expr, tier)
    } else {
        let mut wanted = expr.clone();
        wanted.outputs.clear();
        wanted
            .outputs
            .extend(expr.outputs.iter().zip(launch.outputs).filter(|(_, o)| o.is_some()).map(|(output, _)| *output));
        compiled(&wanted, tier)
    };
    let program = program.ok_or_else(bad)?;

    if let Some((inputs, outputs)) = flat(shape, launch.inputs.iter(), outputs_of(launch)) {
        // SAFETY: operands lie inside their memories (the backend has checked it) and have as many elements as `shape`,
        // or one; the launcher lets an output overlap an input only in place.
        unsafe { execute(&program, shape, &inputs, &outputs) };
        return Ok(());
    }
    let layouts: SmallVec<[Layout; 4]> =
        launch.inputs.iter().map(|a| a.layout.broadcast_to(shape)).collect::<Result<_>>()?;
    let inputs: SmallVec<[Tensor; 4]> = (launch.inputs.iter().zip(&layouts))
        .map(|(a, layout)| tensor(a, Form::Strided(&layout.strides)))
        .collect::<Result<_>>()?;
    let outputs: SmallVec<[Tensor; 1]> =
        outputs_of(launch).map(|a| tensor(a, Form::Strided(&a.layout.strides))).collect::<Result<_>>()?;
    // SAFETY: as above; layouts were broadcast to `shape`.
    unsafe { execute(&program, shape, &inputs, &outputs) };
    Ok(())
}

type Flat<'a> = (SmallVec<[Tensor<'a>; 4]>, SmallVec<[Tensor<'a>; 1]>);

/// Operands for the tile interpreter where all are row-major without gaps and of one shape, or inputs of one element;
/// `None` where one is not.
fn flat<'a>(
    shape: &[usize],
    mut inputs: impl Iterator<Item = &'a Arg<'a>>,
    mut outputs: impl Iterator<Item = &'a Arg<'a>>,
) -> Option<Flat<'a>> {
    let dense = |a: &Arg| a.layout.shape[..] == *shape && a.layout.is_contiguous();
    let mut made = Flat::default();
    inputs.try_for_each(|a| {
        let one = a.layout.len() == 1;
        let form = if one { Form::One } else { Form::Dense };
        (one || dense(a)).then(|| tensor(a, form).ok()).flatten().map(|t| made.0.push(t))
    })?;
    outputs.try_for_each(|a| dense(a).then(|| tensor(a, Form::Dense).ok()).flatten().map(|t| made.1.push(t)))?;
    Some(made)
}

fn outputs_of<'a>(launch: &Launch<'a>) -> impl Iterator<Item = &'a Arg<'a>> {
    launch.outputs.iter().flatten()
}

/// `arg` for the tile interpreter.
pub(super) fn tensor<'a>(arg: &Arg, form: Form<'a>) -> Result<Tensor<'a>> {
    let first = start(arg)?;
    let (low, high) = arg.layout.span();
    let zero = first as usize;
    let size = arg.dtype.size();
    let span =
        zero.wrapping_sub((arg.layout.offset - low) * size)..zero.wrapping_add((high - arg.layout.offset) * size);
    Ok(Tensor { start: first, size, form, span })
}

/// The primitive of an expression that is one function of all its inputs in order.
fn primitive(expr: &ScalarExpr, prims: &Prims) -> Option<Prim> {
    static GELU: OnceLock<Option<ScalarExpr>> = OnceLock::new();
    let gelu = GELU.get_or_init(|| Gelu { approximate: "none".to_string() }.scalar(&[DType::F32]));
    if gelu.as_ref().is_some_and(|gelu| gelu.steps.len() == expr.steps.len() && gelu == expr) {
        return Some(prims.gelu());
    }
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
        Instr::Unary(f, 0) => prims.unary(f, expr.ty(0)),
        Instr::Binary(f, 0, 1) => prims.binary(f, last.ty),
        Instr::Select(0, 1, 2) => Some(prims.select(last.ty)),
        _ => None,
    }
}

/// Address of a dense operand of `n` elements inside its memory that primitives can use as it is.
#[inline]
fn dense(a: &Arg, n: usize) -> Option<*mut u8> {
    let ptr = a.host_ptr()?;
    let inside = a.base + (a.layout.offset + n) * a.dtype.size() <= a.memory.len();
    (inside && ptr as usize & (a.dtype.size() - 1) == 0 && a.layout.is_contiguous()).then_some(ptr)
}

/// Runs one primitive, of so much work per element, on dense operands without interpretation; `None` when this call is
/// not of that kind.
#[inline]
fn single((prim, weight): (Prim, usize), inputs: &[Arg], output: &Arg) -> Option<()> {
    let n = output.layout.len();
    let to = dense(output, n)?;
    let size = output.dtype.size();
    let end = to as usize + n * size;
    let mut from = [Shared(to); 3];
    let mut sizes = [0; 3];
    for ((slot, bytes), input) in from.iter_mut().zip(&mut sizes).zip(inputs) {
        if input.layout.shape != output.layout.shape {
            return None;
        }
        let p = dense(input, n)?;
        *bytes = input.dtype.size();
        let apart = p as usize + n * *bytes <= to as usize || end <= p as usize;
        if !apart {
            return None;
        }
        *slot = Shared(p);
    }
    let to = Shared(to);
    let run = |first: usize, count: usize| {
        let [a, b, c]: [*const u8; 3] = std::array::from_fn(|i| from[i].at((first * sizes[i]) as isize).cast_const());
        // SAFETY: operands hold `n` elements of these types, one after another and aligned, and no input overlaps the
        // output.
        unsafe { prim(to.at((first * size) as isize), a, b, c, count) };
    };
    let grain = grain(weight);
    if n <= grain {
        run(0, n);
    } else {
        ThreadPool::global().parallel_ranges(n, grain, |r| run(r.start, r.len()));
    }
    Some(())
}
