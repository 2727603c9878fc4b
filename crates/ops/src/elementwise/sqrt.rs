//! `sqrt(x)`.

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

/// The square root, element by element; NaN below 0.
#[derive(Clone, Debug, Attrs)]
pub struct Sqrt;

/// `sqrt(x)`
pub fn sqrt(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Sqrt, std::slice::from_ref(x))
}

impl Op for Sqrt {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Sqrt))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::sqrt)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let root = scale(b, s.output(0)?, 2.0)?;
        Ok(vec![Some(div(b, g, &root)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Sqrt", 13))
    }
}

impl OpType for Sqrt {
    const NAME: &'static str = "sqrt";
    const DOC: &'static str = "Square root.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Sqrt", 6, |_, b, x| Ok(smallvec![sqrt(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Sqrt, 1, Self::DTYPES, true, (0.3, 3.0))
    }
}
