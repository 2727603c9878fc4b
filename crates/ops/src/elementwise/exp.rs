//! `e^x`.

use lampyr_base::{DType, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// The natural exponential, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Exp;

/// `e^x`
pub fn exp(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Exp, std::slice::from_ref(x))
}

impl Op for Exp {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Exp))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::exp)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(mul(b, g, s.output(0)?)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Exp", 13))
    }
}

impl OpType for Exp {
    const NAME: &'static str = "exp";
    const DOC: &'static str = "Natural exponential.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Exp", 6, |_, b, x| Ok(smallvec![exp(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Exp, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
