//! Whole part.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};

use crate::common;
use crate::gradient::full;

/// The whole part, element by element. Integers stay as they are.
#[derive(Clone, Debug, Attrs)]
pub struct Trunc;

/// `trunc(x)`
pub fn trunc(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Trunc, std::slice::from_ref(x))
}

impl Op for Trunc {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Trunc))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(inputs, f64::trunc, |x| x, |x| x)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        if grads[0].is_none() {
            return Ok(vec![None]);
        }
        let like = s.input_fact(0)?;
        Ok(vec![Some(full(b, like.dtype, &like.shape, 0.0)?)])
    }
}

impl OpType for Trunc {
    const NAME: &'static str = "trunc";
    const DOC: &'static str = "Whole part.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Trunc, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
