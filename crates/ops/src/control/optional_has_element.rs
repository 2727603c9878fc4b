//! Whether an optional is there.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, optional};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// Whether an optional holds a value, as a 0-d `bool`; true for any other value.
#[derive(Clone, Debug, Attrs)]
pub struct OptionalHasElement;

/// Whether `x` is there.
pub fn optional_has_element(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&OptionalHasElement, std::slice::from_ref(x))
}

impl Op for OptionalHasElement {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Facts> {
        Ok(common::one(TensorFact::new(DType::Bool, [])))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::out(HostTensor::scalar(!matches!(&inputs[0], HostValue::Optional(None))))
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("the result is a truth value")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("OptionalHasElement", 18))
    }
}

impl OpType for OptionalHasElement {
    const NAME: &'static str = "optional_has_element";
    const DOC: &'static str = "Whether an optional is there.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("OptionalHasElement", 15, |_, b, inputs| {
            let known = match optional(inputs, 0) {
                None => false,
                Some(x) => match b.fact(&x)? {
                    Fact::Optional(_) => return Ok(smallvec![optional_has_element(b, &x)?]),
                    _ => true,
                },
            };
            Ok(smallvec![b.constant(HostTensor::scalar(known))?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType| CaseInput::new(d, &[2, 3]);
        let op = OptionalHasElement;
        vec![Case::new("tensor", &op, vec![x(DType::F32)]), Case::new("sequence", &op, vec![x(DType::F32).sequence(2)])]
    }
}
