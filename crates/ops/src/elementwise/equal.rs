//! `x == y`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Compare, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var};
use smallvec::smallvec;

use crate::common;

/// `x == y` as `bool`, with broadcasting; false where an operand is NaN.
#[derive(Clone, Debug, Attrs)]
pub struct Equal;

/// `x == y`
pub fn equal(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Equal, &[x.clone(), y.clone()])
}

impl Op for Equal {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, Some(DType::Bool))?;
        Ok(common::known_elements(facts, inputs, |d| known_equal(d[0], d[1])))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_compare(dtypes[0], Compare::Eq, false))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_compare(inputs, |x, y| x == y, |x, y| x == y, |x, y| x == y)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Equal", 13))
    }
}

impl OpType for Equal {
    const NAME: &'static str = "equal";
    const DOC: &'static str = "Whether elements are equal.";
    const DTYPES: &'static [DType] = DType::ALL;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Equal", 7, |_, b, x| Ok(smallvec![equal(b, &required(x, 0)?, &required(x, 1)?)?]))]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Equal, 2, Self::DTYPES, false, (-2.0, 2.0))
    }
}

/// Whether two sizes are known to be equal (1) or different (0), where sizes are never negative.
fn known_equal(x: &Dim, y: &Dim) -> Option<Dim> {
    if x == y {
        return Some(Dim::Known(1));
    }
    let negative = |d: &Dim| d.known().is_some_and(|n| n < 0);
    let both = x.known().is_some() && y.known().is_some();
    let apart = (x.is_nonnegative() && negative(y)) || (negative(x) && y.is_nonnegative());
    (both || apart).then_some(Dim::Known(0))
}
