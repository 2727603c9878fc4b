//! Logical negation.

use lampyr_base::{DType, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::common;

/// Logical negation of a `bool` tensor.
#[derive(Clone, Debug, Attrs)]
pub struct Not;

/// `!x`
pub fn not(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Not, std::slice::from_ref(x))
}

impl Op for Not {
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
        Some(ScalarExpr::of_unary(dtypes[0], Unary::Not))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_numbers(inputs, |x| x, |x| i64::from(x == 0), |x| x)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Not", 1))
    }
}

impl OpType for Not {
    const NAME: &'static str = "not";
    const DOC: &'static str = "Logical negation.";
    const DTYPES: &'static [DType] = &[DType::Bool];

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Not", 1, |_, b, x| Ok(smallvec![not(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Not, 1, Self::DTYPES, false, (0.0, 2.0))
    }
}
