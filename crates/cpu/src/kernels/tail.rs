use std::ops::Range;
use std::rc::Rc;

use lampyr_backend::Arg;
use lampyr_base::{Error, Layout, Result, SmallVec};
use lampyr_ir::scalar::ScalarExpr;

use super::contraction::Sizes;
use super::operand::{Shared, start};
use crate::gemm::Epilogue;
use crate::simd::Tier;
use crate::tile::{Form, Program, Tensor, compiled, execute};

/// A scalar expression behind a contraction: input 0 is the result, further operands broadcast to it. The result has one
/// type before and after.
pub(super) struct Tail<'a> {
    program: Rc<Program>,
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
    pub fn new(expr: &ScalarExpr, operands: &'a [Arg<'a>], out: &'a Arg<'a>) -> Result<Tail<'a>> {
        let program = compiled(expr, Tier::current()).ok_or_else(|| Error::internal("an expression with bad steps"))?;
        Ok(Tail { program, operands, out })
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
