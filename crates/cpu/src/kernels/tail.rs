use std::ops::Range;
use std::rc::Rc;

use lampyr_backend::Arg;
use lampyr_base::{DType, Error, Layout, Result, SmallVec};
use lampyr_ir::scalar::{Binary, Compute, Instr, ScalarExpr};

use super::contraction::{Sizes, address};
use super::operand::{Shared, start};
use crate::gemm::Epilogue;
use crate::simd::Tier;
use crate::tile::{Form, Program, Tensor, compiled, execute};

/// A scalar expression behind a contraction: input 0 is the result, further operands broadcast to it. The result has one
/// type before and after.
pub(super) struct Tail<'a> {
    program: Rc<Program>,
    expr: &'a ScalarExpr,
    operands: &'a [Arg<'a>],
    out: &'a Arg<'a>,
}

/// The elements of an operand for every matrix, row and column of a result.
struct View {
    start: Shared,
    size: isize,
    strides: [isize; 3],
}

impl View {
    fn tensor<'a>(&self, at: [usize; 3], strides: &'a [isize]) -> Tensor<'a> {
        let offset: isize = at.iter().zip(&self.strides).map(|(&i, &s)| i as isize * s).sum();
        // The result overlaps itself, which is known; other operands never overlap it.
        Tensor {
            start: self.start.at(offset * self.size),
            size: self.size as usize,
            form: Form::Strided(strides),
            span: 0..0,
        }
    }
}

impl<'a> Tail<'a> {
    /// The expression with `operands` in place on `out`.
    pub fn new(expr: &'a ScalarExpr, operands: &'a [Arg<'a>], out: &'a Arg<'a>) -> Result<Tail<'a>> {
        let program = compiled(expr, Tier::current()).ok_or_else(|| Error::internal("an expression with bad steps"))?;
        Ok(Tail { program, expr, operands, out })
    }

    /// What a store can do by itself, when that is the whole expression: an operand without gaps of the result's shape is
    /// added, then bounds are applied.
    pub fn at_store(&self) -> Result<Option<AtStore>> {
        let Some(Value::Result(residual, bounds)) = value(self.expr) else { return Ok(None) };
        let bounds = (bounds != UNBOUNDED).then_some(bounds);
        let Some(i) = residual else { return Ok(Some(AtStore { residual: None, bounds })) };
        let Some(arg) = self.operands.get(usize::from(i) - 1) else { return Ok(None) };
        let fits = arg.dtype == DType::F32 && arg.shape() == self.out.shape() && arg.layout.is_contiguous();
        Ok(if fits { Some(AtStore { residual: Some(address::<f32>(arg)?.cast_const()), bounds }) } else { None })
    }

    /// The expression for blocks of a result seen as matrices of these sizes; `None` when an operand does not fit that
    /// view.
    pub fn blockwise(&self, (batch, m, n, _): Sizes) -> Result<Option<Block<'_>>> {
        let mut views = SmallVec::new();
        for arg in std::iter::once(self.out).chain(self.operands) {
            let Some(layout) = arg.layout.broadcast_to(self.out.shape())?.reshape(&[batch, m, n]) else {
                return Ok(None);
            };
            let &[a, b, c] = layout.strides.as_slice() else { return Ok(None) };
            views.push(View { start: Shared(start(arg)?), size: arg.dtype.size() as isize, strides: [a, b, c] });
        }
        Ok(Some(Block { program: &self.program, views }))
    }

    /// Runs it over the whole result.
    pub fn whole(&self) -> Result<()> {
        let shape = self.out.shape();
        let args = || std::iter::once(self.out).chain(self.operands);
        let layouts: SmallVec<[Layout; 4]> = args().map(|a| a.layout.broadcast_to(shape)).collect::<Result<_>>()?;
        let mut tensors: SmallVec<[Tensor; 4]> = SmallVec::new();
        let everything = 0..usize::MAX;
        for (arg, layout) in args().zip(&layouts) {
            let (start, size) = (start(arg)?, arg.dtype.size());
            tensors.push(Tensor { start, size, form: Form::Strided(&layout.strides), span: everything.clone() });
        }
        let Some(first) = layouts.first() else { return Ok(()) };
        let out = Tensor {
            start: start(self.out)?,
            size: self.out.dtype.size(),
            form: Form::Strided(&first.strides),
            span: everything,
        };
        // SAFETY: operands lie inside their memories and were broadcast to the shape; the result is input 0 in place,
        // and other operands do not overlap it.
        unsafe { execute(&self.program, shape, &tensors, std::slice::from_ref(&out)) };
        Ok(())
    }
}

/// See [`Tail::at_store`].
pub(super) struct AtStore {
    pub residual: Option<*const f32>,
    pub bounds: Option<(f32, f32)>,
}

const UNBOUNDED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// What a step of a simple expression is.
#[derive(Clone, Copy)]
enum Value {
    /// Input 0, plus an operand, within bounds.
    Result(Option<u8>, (f32, f32)),
    Operand(u8),
    Constant(f32),
}

/// The value of an expression over `f32` that adds and bounds at most.
fn value(expr: &ScalarExpr) -> Option<Value> {
    if expr.inputs.iter().any(|&d| d != DType::F32) {
        return None;
    }
    let mut values: SmallVec<[Value; 8]> = SmallVec::new();
    for step in &expr.steps {
        let of = |i: u16| values.get(usize::from(i)).copied();
        let value = match step.instr {
            _ if step.ty != Compute::F32 => return None,
            Instr::Input(0) => Value::Result(None, UNBOUNDED),
            Instr::Input(i) => Value::Operand(i),
            Instr::Const(bits) if f64::from_bits(bits).is_nan() => return None,
            Instr::Const(bits) => Value::Constant(f64::from_bits(bits) as f32),
            Instr::Binary(f, x, y) => match (f, of(x)?, of(y)?) {
                (Binary::Add, Value::Result(None, UNBOUNDED), Value::Operand(i))
                | (Binary::Add, Value::Operand(i), Value::Result(None, UNBOUNDED)) => Value::Result(Some(i), UNBOUNDED),
                (Binary::Max, Value::Result(r, (low, high)), Value::Constant(c))
                | (Binary::Max, Value::Constant(c), Value::Result(r, (low, high)))
                    if c <= high =>
                {
                    Value::Result(r, (low.max(c), high))
                }
                (Binary::Min, Value::Result(r, (low, high)), Value::Constant(c))
                | (Binary::Min, Value::Constant(c), Value::Result(r, (low, high)))
                    if c >= low =>
                {
                    Value::Result(r, (low, high.min(c)))
                }
                _ => return None,
            },
            _ => return None,
        };
        values.push(value);
    }
    match expr.outputs.as_slice() {
        &[(r, DType::F32)] => values.get(usize::from(r)).copied(),
        _ => None,
    }
}

/// A [`Tail`] bound to a view of its result as matrices.
pub(super) struct Block<'a> {
    program: &'a Program,
    views: SmallVec<[View; 4]>,
}

impl Epilogue for Block<'_> {
    fn apply(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let shape = [rows.len(), columns.len()];
        let at = [batch, rows.start, columns.start];
        let mut tensors: SmallVec<[Tensor; 4]> = SmallVec::new();
        tensors.extend(self.views.iter().map(|v| v.tensor(at, &v.strides[1..])));
        let Some(first) = self.views.first() else { return };
        let everything = 0..usize::MAX;
        if let Some(input) = tensors.first_mut() {
            input.span = everything.clone();
        }
        let out = Tensor { span: everything, ..first.tensor(at, &first.strides[1..]) };
        // SAFETY: as in `Tail::whole`; blocks of one result do not overlap.
        unsafe { execute(self.program, &shape, &tensors, std::slice::from_ref(&out)) };
    }
}
