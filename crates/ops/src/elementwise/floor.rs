//! Largest whole number that is not above.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var};
use smallvec::smallvec;

use crate::common;
use crate::gradient::full;

/// The largest whole number that is not above, element by element. Integers stay as they are.
#[derive(Clone, Debug, Attrs)]
pub struct Floor;

/// `floor(x)`
pub fn floor(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Floor, std::slice::from_ref(x))
}

impl Op for Floor {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Floor))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(inputs, f64::floor, |x| x, |x| x)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        if grads[0].is_none() {
            return Ok(vec![None]);
        }
        let like = s.input_fact(0)?;
        Ok(vec![Some(full(b, like.dtype, &like.shape, 0.0)?)])
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        inputs.first().filter(|x| x.dtype().is_float()).map(|_| OnnxExport::new("Floor", 13))
    }
}

impl OpType for Floor {
    const NAME: &'static str = "floor";
    const DOC: &'static str = "Largest whole number that is not above.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Floor", 6, |_, b, x| Ok(smallvec![floor(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Floor, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}
