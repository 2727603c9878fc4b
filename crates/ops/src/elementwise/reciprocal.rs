//! `1 / x`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `1 / x`, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Reciprocal;

/// `1 / x`
pub fn reciprocal(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Reciprocal, std::slice::from_ref(x))
}

impl Op for Reciprocal {
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
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let one = e.constant(1.0, Compute::of(dtypes[0]));
        let y = e.binary(Binary::Div, one, x);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| 1.0 / x)
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
        let part = mul(b, g, &square)?;
        Ok(vec![Some(neg(b, &part)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Reciprocal", 13))
    }
}

impl OpType for Reciprocal {
    const NAME: &'static str = "reciprocal";
    const DOC: &'static str = "Reciprocal.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Reciprocal", 6, |_, b, x| Ok(smallvec![reciprocal(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Reciprocal, 1, Self::DTYPES, true, (0.5, 2.5))
    }
}
