//! Whether elements are NaN.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Compare, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::common;

/// Whether elements are NaN, as `bool`.
#[derive(Clone, Debug, Attrs)]
pub struct IsNan;

/// whether elements are NaN
pub fn isnan(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&IsNan, std::slice::from_ref(x))
}

impl Op for IsNan {
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
        let same = e.compare(Compare::Eq, x, x);
        let y = e.unary(Unary::Not, same);
        Some(e.store(y, DType::Bool))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let values: Vec<bool> = x.to_f64().into_iter().map(f64::is_nan).collect();
        common::out(HostTensor::from_slice(x.shape(), &values)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("its result is a bool")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("IsNaN", 20))
    }
}

impl OpType for IsNan {
    const NAME: &'static str = "isnan";
    const DOC: &'static str = "Whether elements are NaN.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("IsNaN", 9, |_, b, x| Ok(smallvec![isnan(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&IsNan, 1, Self::DTYPES, false, (-2.0, 2.0))
    }
}
