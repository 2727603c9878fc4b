//! Logical or.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::common;

/// Logical or of `bool` tensors, with broadcasting.
#[derive(Clone, Debug, Attrs)]
pub struct LogicalOr;

/// `x | y` of `bool` tensors
pub fn logical_or(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&LogicalOr, &[x.clone(), y.clone()])
}

impl Op for LogicalOr {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| Some(Dim::Known(x.known()? | y.known()?))))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Or))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(inputs, None, |x, _| x, |x, y| x | y, |x, y| x | y)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Or", 7))
    }
}

impl OpType for LogicalOr {
    const NAME: &'static str = "logical_or";
    const DOC: &'static str = "Logical or.";
    const DTYPES: &'static [DType] = &[DType::Bool];

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Or", 7, |_, b, x| Ok(smallvec![logical_or(b, &required(x, 0)?, &required(x, 1)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&LogicalOr, 2, Self::DTYPES, false, (0.0, 2.0))
    }
}
