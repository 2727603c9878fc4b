//! `ln x`.

use lampyr_base::{DType, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// The natural logarithm, element by element: -inf at 0, NaN below.
#[derive(Clone, Debug, Attrs)]
pub struct Log;

/// `ln x`
pub fn log(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Log, std::slice::from_ref(x))
}

impl Op for Log {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Log))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, f64::ln)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(div(b, g, s.input(0)?)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Log", 13))
    }
}

impl OpType for Log {
    const NAME: &'static str = "log";
    const DOC: &'static str = "Natural logarithm.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Log", 6, |_, b, x| Ok(smallvec![log(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Log, 1, Self::DTYPES, true, (0.3, 3.0))
    }
}
