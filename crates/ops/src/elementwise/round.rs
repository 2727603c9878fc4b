//! Nearest whole number; the even one of two.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

use crate::common;
use crate::gradient::full;

/// The nearest whole number, the even one of two, element by element. Integers stay as they are.
#[derive(Clone, Debug, Attrs)]
pub struct Round;

/// `round(x)`
pub fn round(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Round, std::slice::from_ref(x))
}

impl Op for Round {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Round))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(inputs, f64::round_ties_even, |x| x, |x| x)
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

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        inputs.first().filter(|x| x.dtype().is_float()).map(|_| OnnxExport::new("Round", 11))
    }
}

impl OpType for Round {
    const NAME: &'static str = "round";
    const DOC: &'static str = "Nearest whole number; the even one of two.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Round", 11, |_, b, x| Ok(smallvec![round(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Round, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
