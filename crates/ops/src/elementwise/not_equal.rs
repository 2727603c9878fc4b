//! `x != y`.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::scalar::{Compare, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// `x != y` as `bool`, with broadcasting; true where an operand is NaN.
#[derive(Clone, Debug, Attrs)]
pub struct NotEqual;

/// `x != y`
pub fn not_equal(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&NotEqual, &[x.clone(), y.clone()])
}

impl Op for NotEqual {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, Some(DType::Bool))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let mut e = ScalarExpr::new(dtypes);
        let (x, y) = (e.load(0), e.load(1));
        let same = e.compare(Compare::Eq, x, y);
        let other = e.unary(Unary::Not, same);
        Some(e.store(other, DType::Bool))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_compare(inputs, |x, y| x != y, |x, y| x != y, |x, y| x != y)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let same = equal(b, inputs.first()?, inputs.get(1)?);
        Some(same.and_then(|s| not(b, &s)).map(|y| smallvec![y]))
    }
}

impl OpType for NotEqual {
    const NAME: &'static str = "not_equal";
    const DOC: &'static str = "Whether elements differ.";
    const DTYPES: &'static [DType] = DType::ALL;
    const PROMOTE: Promote = Promote::Common;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&NotEqual, 2, Self::DTYPES, false, (-2.0, 2.0))
    }
}
