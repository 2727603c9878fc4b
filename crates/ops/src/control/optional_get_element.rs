//! The value of an optional.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

/// The value that an optional holds; any other value is handed on. An absent one is an error.
#[derive(Clone, Debug, Attrs)]
pub struct OptionalGetElement;

/// The value of `x`.
pub fn optional_get_element(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&OptionalGetElement, std::slice::from_ref(x))
}

impl Op for OptionalGetElement {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Ok(smallvec![match inputs[0] {
            Fact::Optional(inner) => (**inner).clone(),
            other => other.clone(),
        }])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        match &inputs[0] {
            HostValue::Optional(Some(inner)) => Ok(vec![(**inner).clone()]),
            HostValue::Optional(None) => Err(Error::value("the optional value is absent")),
            other => Ok(vec![other.clone()]),
        }
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through optionals")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("OptionalGetElement", 18))
    }
}

impl OpType for OptionalGetElement {
    const NAME: &'static str = "optional_get_element";
    const DOC: &'static str = "The value of an optional.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("OptionalGetElement", 15, |_, b, inputs| {
            let x = required(inputs, 0)?;
            Ok(smallvec![match b.fact(&x)? {
                Fact::Optional(_) => optional_get_element(b, &x)?,
                _ => x,
            }])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType| CaseInput::new(d, &[2, 3]);
        let op = OptionalGetElement;
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("tensor-{d}"), &op, vec![x(d)])).collect();
        cases.push(Case::new("sequence", &op, vec![x(DType::F32).sequence(2)]));
        cases
    }
}
