//! `erf(x)`.

use lampyr_base::{DType, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

/// The error function `2/sqrt(pi) * integral of e^(-t^2) from 0 to x`, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Erf;

/// `erf(x)`
pub fn erf(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Erf, std::slice::from_ref(x))
}

impl Op for Erf {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Erf))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, lampyr_ir::scalar::erf)
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
        let square = neg(b, &square)?;
        let bell = exp(b, &square)?;
        let slope = scale(b, &bell, std::f64::consts::FRAC_2_SQRT_PI)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Erf", 13))
    }
}

impl OpType for Erf {
    const NAME: &'static str = "erf";
    const DOC: &'static str = "Error function.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Erf", 9, |_, b, x| Ok(smallvec![erf(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Erf, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
