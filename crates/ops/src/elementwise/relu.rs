//! `max(x, 0)`.

use lampyr_base::{DType, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// The rectifier `max(x, 0)`, element by element. NaN stays NaN; the gradient at 0 is 0, as in PyTorch.
#[derive(Clone, Debug, Attrs)]
pub struct Relu;

/// `max(x, 0)`
pub fn relu(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Relu, std::slice::from_ref(x))
}

impl Op for Relu {
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
        let mut e = ScalarExpr::new(&dtypes[..1]);
        let x = e.load(0);
        let zero = e.constant(0.0, Compute::of(dtypes[0]));
        let y = e.binary(Binary::Max, x, zero);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(inputs, |x| if x < 0.0 { 0.0 } else { x }, |x| x.max(0), |x| x)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let (y, fact) = (s.output(0)?, s.output_fact(0)?);
        let zero = b.scalar(fact.dtype, 0.0)?;
        let off = equal(b, y, &zero)?;
        Ok(vec![Some(where_(b, &off, &zero, g)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Relu", 14))
    }
}

impl OpType for Relu {
    const NAME: &'static str = "relu";
    const DOC: &'static str = "Rectified linear unit.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::No;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Relu", 6, |_, b, x| Ok(smallvec![relu(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Relu, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
