//! `atanh(x)`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// Inverse hyperbolic tangent, element by element; NaN outside -1..=1.
#[derive(Clone, Debug, Attrs)]
pub struct Atanh;

/// `atanh(x)`
pub fn atanh(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Atanh, std::slice::from_ref(x))
}

impl Op for Atanh {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Atanh))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::atanh)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let x = s.input(0)?;
        let square = mul(b, x, x)?;
        let one = b.scalar(s.input_fact(0)?.dtype, 1.0)?;
        let under = sub(b, &one, &square)?;
        Ok(vec![Some(div(b, g, &under)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Atanh", 9))
    }
}

impl OpType for Atanh {
    const NAME: &'static str = "atanh";
    const DOC: &'static str = "Inverse hyperbolic tangent.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Atanh", 9, |_, b, x| Ok(smallvec![atanh(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Atanh, 1, Self::DTYPES, true, (-0.8, 0.8))
    }
}
