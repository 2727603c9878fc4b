//! How many tensors a sequence has.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// The number of tensors of a sequence as an int64 number.
#[derive(Clone, Debug, Attrs)]
pub struct SequenceLength;

/// The number of tensors of `sequence`.
pub fn sequence_length(b: &mut dyn Builder, sequence: &Var) -> Result<Var> {
    b.one(&SequenceLength, std::slice::from_ref(sequence))
}

impl Op for SequenceLength {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        inputs[0].as_sequence()?;
        Ok(common::one(TensorFact::new(DType::I64, [])))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::out(HostTensor::scalar(inputs[0].sequence()?.len() as i64))
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("the length is an integer")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("SequenceLength", 11))
    }
}

impl OpType for SequenceLength {
    const NAME: &'static str = "sequence_length";
    const DOC: &'static str = "How many tensors a sequence has.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SequenceLength", 11, |_, b, inputs| {
            Ok(smallvec![sequence_length(b, &required(inputs, 0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = CaseInput::new(DType::F32, &[2]);
        vec![
            Case::new("three", &SequenceLength, vec![x.clone().sequence(3)]),
            Case::new("empty", &SequenceLength, vec![x.sequence(0)]),
        ]
    }
}
