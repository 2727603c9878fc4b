//! One tensor of a sequence.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, TensorFact, Var};
use smallvec::smallvec;

use crate::bodies::{check_single, fresh, single};
use crate::common;

/// The tensor of a sequence (first input) at a position (second). Negative positions count from the end.
#[derive(Clone, Debug, Attrs)]
pub struct SequenceAt;

/// The tensor of `sequence` at `position`.
pub fn sequence_at(b: &mut dyn Builder, sequence: &Var, position: &Var) -> Result<Var> {
    b.one(&SequenceAt, &[sequence.clone(), position.clone()])
}

impl Op for SequenceAt {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        check_single("the position", inputs[1], &[DType::I32, DType::I64])?;
        let sequence = inputs[0].as_sequence()?;
        let shape = sequence.shape.as_ref().ok_or_else(|| {
            Error::unsupported("a tensor out of a sequence whose tensors have an unknown number of axes")
        })?;
        let shape = shape.iter().map(|d| d.clone().unwrap_or_else(fresh));
        Ok(common::one(TensorFact::new(sequence.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let items = inputs[0].sequence()?;
        let at = common::element(single(inputs[1].tensor()?)?, items.len())?;
        common::out(items[at].clone())
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through sequences")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("SequenceAt", 11))
    }
}

impl OpType for SequenceAt {
    const NAME: &'static str = "sequence_at";
    const DOC: &'static str = "One tensor of a sequence.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SequenceAt", 11, |_, b, inputs| {
            Ok(smallvec![sequence_at(b, &required(inputs, 0)?, &required(inputs, 1)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let at = |v: f64| CaseInput::new(DType::I64, &[]).values(&[v]);
        let items = |d: DType| CaseInput::new(d, &[2, 3]).sequence(3);
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &SequenceAt, vec![items(d), at(1.0)])).collect();
        cases.push(Case::new("negative", &SequenceAt, vec![items(DType::F32), at(-1.0)]));
        cases
    }
}
