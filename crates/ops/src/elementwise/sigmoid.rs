//! `1 / (1 + e^-x)`.

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

/// The logistic function `1 / (1 + e^-x)`, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Sigmoid;

/// `1 / (1 + e^-x)`
pub fn sigmoid(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Sigmoid, std::slice::from_ref(x))
}

impl Op for Sigmoid {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Sigmoid))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, lampyr_ir::scalar::sigmoid)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let y = s.output(0)?;
        let square = mul(b, y, y)?;
        let slope = sub(b, y, &square)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Sigmoid", 13))
    }
}

impl OpType for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const DOC: &'static str = "Logistic function.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Sigmoid", 6, |_, b, x| Ok(smallvec![sigmoid(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Sigmoid, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
