use std::ops::Range;
use std::rc::Rc;

use lampyr_backend::Arg;
use lampyr_base::{DType, Error, Layout, Result, SmallVec};
use lampyr_ir::scalar::ScalarExpr;
use lampyr_kernels::simd::activation::Activation;

use super::activated::{Activated, Rows};
use super::contraction::{Sizes, address};
use super::operand::{Shared, start};
use crate::gemm::Epilogue;
use crate::simd::Tier;
use crate::tile::{Form, Known, Program, Tensor, compiled, execute};

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
    fn rows(&self) -> Rows {
        Rows { start: Shared(self.start.0.cast()), strides: [self.strides[0], self.strides[1]] }
    }

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

    /// What kernels of `f32` do while they store, when that is the whole expression: an operand without gaps of the
    /// result's shape is added to it, or to it within bounds, then a function follows.
    pub fn at_store(&self) -> Result<Option<AtStore>> {
        let Some(known) = self.program.known(self.expr) else { return Ok(None) };
        let Known { inner, function, .. } = known;
        let Some(i) = known.residual else { return Ok(Some(AtStore { inner: None, residual: None, function })) };
        let Some(arg) = self.operands.get(usize::from(i) - 1) else { return Ok(None) };
        let fits = arg.dtype == DType::F32 && arg.shape() == self.out.shape() && arg.layout.is_contiguous();
        Ok(if fits {
            Some(AtStore { inner, residual: Some(address::<f32>(arg)?.cast_const()), function })
        } else {
            None
        })
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
        Ok(Some(Block { program: &self.program, known: self.activated(&views), views }))
    }

    /// The expression as a function of contiguous rows, when it is one.
    fn activated(&self, views: &[View]) -> Option<Activated> {
        let known = self.program.known(self.expr).filter(|k| k.inner.is_none())?;
        let rows = |i: u8| views.get(usize::from(i)).filter(|v| v.strides[2] == 1).map(View::rows);
        let residual = match known.residual {
            Some(i) => Some(rows(i)?),
            None => None,
        };
        Some(Activated::new(known.function?, rows(0)?, residual))
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
    /// Bounds of sums before the residual is added.
    pub inner: Option<(f32, f32)>,
    pub residual: Option<*const f32>,
    pub function: Option<Activation>,
}

impl AtStore {
    /// Bounds, when these are the function.
    pub fn bounds(&self) -> Option<(f32, f32)> {
        match self.function {
            Some(Activation::Bounds(low, high)) => Some((low, high)),
            _ => None,
        }
    }

    /// What is to be done behind the store of `rows`, when the store applies bounds.
    pub fn behind(&self, rows: Rows) -> Option<Activated> {
        self.function.filter(|_| self.bounds().is_none()).map(|f| Activated::new(f, rows, None))
    }
}

/// A [`Tail`] bound to a view of its result as matrices.
pub(super) struct Block<'a> {
    program: &'a Program,
    known: Option<Activated>,
    views: SmallVec<[View; 4]>,
}

impl Epilogue for Block<'_> {
    fn apply(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        if let Some(known) = &self.known {
            return known.apply(batch, rows, columns);
        }
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
