//! `ln(1 + e^x)`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `ln(1 + e^x)`, without overflow, element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Softplus;

/// `ln(1 + e^x)`
pub fn softplus(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Softplus, std::slice::from_ref(x))
}

impl Op for Softplus {
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
        let ty = Compute::of(dtypes[0]);
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let zero = e.constant(0.0, ty);
        let size = e.unary(Unary::Abs, x);
        let size = e.unary(Unary::Neg, size);
        let power = e.unary(Unary::Exp, size);
        let rest = e.unary(Unary::Log1p, power);
        let most = e.binary(Binary::Max, x, zero);
        let y = e.binary(Binary::Add, most, rest);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x: f64| {
            x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let slope = sigmoid(b, s.input(0)?)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Softplus", 1))
    }
}

impl OpType for Softplus {
    const NAME: &'static str = "softplus";
    const DOC: &'static str = "Smooth rectifier `ln(1 + e^x)`.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Softplus", 1, |_, b, x| Ok(smallvec![softplus(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Softplus, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
