//! A sequence of given tensors.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, SequenceFact, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// The inputs as a sequence.
#[derive(Clone, Debug, Attrs)]
pub struct SequenceConstruct;

/// `items` as a sequence.
pub fn sequence_construct(b: &mut dyn Builder, items: &[Var]) -> Result<Var> {
    b.one(&SequenceConstruct, items)
}

/// The fact of a sequence that holds only this tensor.
pub(crate) fn holding(item: &TensorFact) -> SequenceFact {
    SequenceFact { dtype: item.dtype, shape: Some(item.shape.iter().cloned().map(Some).collect()) }
}

impl Op for SequenceConstruct {
    fn arity(&self) -> Arity {
        Arity::at_least(1)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let all = common::tensors(inputs)?;
        let mut fact = holding(all[0]);
        for item in &all[1..] {
            fact = fact.join(&holding(item))?;
        }
        Ok(smallvec![Fact::Sequence(fact)])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        Ok(vec![HostValue::Sequence(common::host(inputs)?.into_iter().cloned().collect())])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through sequences")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("SequenceConstruct", 11))
    }
}

impl OpType for SequenceConstruct {
    const NAME: &'static str = "sequence_construct";
    const DOC: &'static str = "A sequence of given tensors.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SequenceConstruct", 11, |_, b, inputs| {
            let items: Vec<Var> = inputs.iter().flatten().cloned().collect();
            Ok(smallvec![sequence_construct(b, &items)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .map(|&d| Case::new(format!("two-{d}"), &SequenceConstruct, vec![x(d, &[2, 3]), x(d, &[4, 3])]))
            .collect();
        cases.push(Case::new("one", &SequenceConstruct, vec![x(DType::F32, &[])]));
        cases
    }
}
