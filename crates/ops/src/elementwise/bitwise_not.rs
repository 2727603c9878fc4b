//! Bitwise negation.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::common;

/// All bits of integers flipped; `bool` is negated.
#[derive(Clone, Debug, Attrs)]
pub struct BitwiseNot;

/// `!x`, bit by bit
pub fn bitwise_not(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&BitwiseNot, std::slice::from_ref(x))
}

impl Op for BitwiseNot {
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
        let f = if dtypes[0] == DType::Bool { Unary::Not } else { Unary::BitNot };
        Some(ScalarExpr::of_unary(dtypes[0], f))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        if inputs[0].tensor()?.dtype() == DType::Bool {
            return common::reference_numbers(inputs, |x| x, |x| 1 - x, |x| x);
        }
        common::reference_numbers(inputs, |x| x, |x| !x, |x| !x)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("it works on integers")
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        inputs.first().filter(|x| x.dtype() != DType::Bool).map(|_| OnnxExport::new("BitwiseNot", 18))
    }
}

impl OpType for BitwiseNot {
    const NAME: &'static str = "bitwise_not";
    const DOC: &'static str = "Bitwise negation.";
    const DTYPES: &'static [DType] = common::BITS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("BitwiseNot", 18, |_, b, x| Ok(smallvec![bitwise_not(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&BitwiseNot, 1, Self::DTYPES, false, (0.0, 2.0))
    }
}
