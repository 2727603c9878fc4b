//! `x < y`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Compare, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var};
use smallvec::smallvec;

use crate::common;

/// `x < y` as `bool`, with broadcasting; false where an operand is NaN.
#[derive(Clone, Debug, Attrs)]
pub struct Less;

/// `x < y`
pub fn less(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Less, &[x.clone(), y.clone()])
}

impl Op for Less {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, Some(DType::Bool))?;
        Ok(common::known_binary(facts, inputs, |x, y| Some(Dim::Known(i64::from(x.known()? < y.known()?)))))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_compare(dtypes[0], Compare::Lt, false))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_compare(inputs, |x, y| x < y, |x, y| x < y, |x, y| x < y)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Less", 13))
    }
}

impl OpType for Less {
    const NAME: &'static str = "less";
    const DOC: &'static str = "Whether elements of the first tensor are less.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Less", 7, |_, b, x| Ok(smallvec![less(b, &required(x, 0)?, &required(x, 1)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Less, 2, Self::DTYPES, false, (-2.0, 2.0))
    }
}
