//! Whether elements are finite.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::scalar::{Compare, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// Whether elements are neither infinite nor NaN, as `bool`.
#[derive(Clone, Debug, Attrs)]
pub struct IsFinite;

/// whether elements are neither infinite nor NaN
pub fn isfinite(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&IsFinite, std::slice::from_ref(x))
}

impl Op for IsFinite {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, Some(DType::Bool))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let size = e.unary(Unary::Abs, x);
        let bound = e.constant(f64::INFINITY, Compute::of(dtypes[0]));
        let y = e.compare(Compare::Lt, size, bound);
        Some(e.store(y, DType::Bool))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let values: Vec<bool> = x.to_f64().into_iter().map(f64::is_finite).collect();
        common::out(HostTensor::from_slice(x.shape(), &values)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let x = inputs.first()?;
        let same = isnan(b, x).and_then(|nan| Ok((nan, isinf(b, x, true, true)?)));
        let other = same.and_then(|(nan, inf)| logical_or(b, &nan, &inf));
        Some(other.and_then(|y| not(b, &y)).map(|y| smallvec![y]))
    }
}

impl OpType for IsFinite {
    const NAME: &'static str = "isfinite";
    const DOC: &'static str = "Whether elements are neither infinite nor NaN.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&IsFinite, 1, Self::DTYPES, false, (-2.0, 2.0))
    }
}
