//! `-x`.

use lampyr_base::{DType, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::common;

/// The negative, element by element. Integers wrap.
#[derive(Clone, Debug, Attrs)]
pub struct Neg;

/// `-x`
pub fn neg(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Neg, std::slice::from_ref(x))
}

impl Op for Neg {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Neg))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(inputs, |x| -x, i64::wrapping_neg, u64::wrapping_neg)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, _s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(neg(b, g)?)])
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let dtype = inputs.first()?.dtype();
        (dtype.is_float() || dtype.is_signed_integer()).then(|| OnnxExport::new("Neg", 13))
    }
}

impl OpType for Neg {
    const NAME: &'static str = "neg";
    const DOC: &'static str = "Negative of a tensor.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::No;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Neg", 6, |_, b, x| Ok(smallvec![neg(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Neg, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
