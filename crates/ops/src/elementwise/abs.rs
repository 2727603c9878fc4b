//! `|x|`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// Absolute value, element by element. That of the smallest signed integer wraps to itself; the gradient at 0 is 0.
#[derive(Clone, Debug, Attrs)]
pub struct Abs;

/// `|x|`
pub fn abs(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Abs, std::slice::from_ref(x))
}

impl Op for Abs {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_elements(facts, inputs, |d| match d[0].known() {
            Some(n) => n.checked_abs().map(Dim::Known),
            None => d[0].is_nonnegative().then(|| d[0].clone()),
        }))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Abs))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(inputs, f64::abs, i64::wrapping_abs, |x| x)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let slope = sign(b, s.input(0)?)?;
        Ok(vec![Some(mul(b, g, &slope)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Abs", 13))
    }
}

impl OpType for Abs {
    const NAME: &'static str = "abs";
    const DOC: &'static str = "Absolute value.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Abs", 6, |_, b, x| Ok(smallvec![abs(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Abs, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
