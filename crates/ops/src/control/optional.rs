//! A value as an optional that is there.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, optional as maybe};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::control::optional_none::optional_none;

/// The input as an optional that holds it.
#[derive(Clone, Debug, Attrs)]
pub struct Optional;

/// `x` as an optional that holds it.
pub fn optional(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Optional, std::slice::from_ref(x))
}

impl Op for Optional {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Ok(smallvec![Fact::Optional(Box::new(inputs[0].clone()))])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        Ok(vec![HostValue::Optional(Some(Box::new(inputs[0].clone())))])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through optionals")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Optional", 15))
    }
}

impl OpType for Optional {
    const NAME: &'static str = "optional";
    const DOC: &'static str = "A value as an optional that is there.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Optional", 15, |node, b, inputs| {
            let made = match (maybe(inputs, 0), node.attr("type")) {
                (Some(x), _) => optional(b, &x)?,
                (None, Some(OnnxAttr::Type(fact))) => optional_none(b, fact)?,
                (None, _) => return Err(lampyr_base::Error::format("an absent value without a type")),
            };
            Ok(smallvec![made])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType| CaseInput::new(d, &[2, 3]);
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("tensor-{d}"), &Optional, vec![x(d)])).collect();
        cases.push(Case::new("sequence", &Optional, vec![x(DType::F32).sequence(2)]));
        cases
    }
}
