//! `acos(x)`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// Inverse cosine, in radians, element by element; NaN outside -1..=1.
#[derive(Clone, Debug, Attrs)]
pub struct Acos;

/// `acos(x)`
pub fn acos(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Acos, std::slice::from_ref(x))
}

impl Op for Acos {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Acos))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::acos)
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
        let root = sqrt(b, &under)?;
        let part = div(b, g, &root)?;
        Ok(vec![Some(neg(b, &part)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Acos", 7))
    }
}

impl OpType for Acos {
    const NAME: &'static str = "acos";
    const DOC: &'static str = "Inverse cosine.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Acos", 7, |_, b, x| Ok(smallvec![acos(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Acos, 1, Self::DTYPES, true, (-0.8, 0.8))
    }
}
