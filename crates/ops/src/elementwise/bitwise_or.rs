//! Bitwise or.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var};
use smallvec::smallvec;

use crate::common;

/// Bitwise or of integers or `bool` tensors, with broadcasting.
#[derive(Clone, Debug, Attrs)]
pub struct BitwiseOr;

/// `x | y`, bit by bit
pub fn bitwise_or(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&BitwiseOr, &[x.clone(), y.clone()])
}

impl Op for BitwiseOr {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Or))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(inputs, None, |x, _| x, |x, y| x | y, |x, y| x | y)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("it works on integers")
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        inputs.first().filter(|x| x.dtype() != DType::Bool).map(|_| OnnxExport::new("BitwiseOr", 18))
    }
}

impl OpType for BitwiseOr {
    const NAME: &'static str = "bitwise_or";
    const DOC: &'static str = "Bitwise or.";
    const DTYPES: &'static [DType] = common::BITS;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("BitwiseOr", 18, |_, b, x| {
            Ok(smallvec![bitwise_or(b, &required(x, 0)?, &required(x, 1)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&BitwiseOr, 2, Self::DTYPES, false, (0.0, 2.0))
    }
}
