//! A sequence with one tensor less.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::bodies::{check_single, single};
use crate::common;

/// The sequence (first input) without the tensor at a position (second; the last when it is left out). Negative
/// positions count from the end.
#[derive(Clone, Debug, Attrs)]
pub struct SequenceErase;

/// `sequence` without the tensor at `position`, or the last.
pub fn sequence_erase(b: &mut dyn Builder, sequence: &Var, position: Option<&Var>) -> Result<Var> {
    let inputs: Vec<Var> = [sequence].into_iter().chain(position).cloned().collect();
    b.one(&SequenceErase, &inputs)
}

impl Op for SequenceErase {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        if let Some(position) = inputs.get(1) {
            check_single("the position", position, &[DType::I32, DType::I64])?;
        }
        Ok(smallvec![Fact::Sequence(inputs[0].as_sequence()?.clone())])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let mut items = inputs[0].sequence()?.to_vec();
        let position = inputs.get(1).map(|p| single(p.tensor()?)).transpose()?.unwrap_or(-1);
        items.remove(common::element(position, items.len())?);
        Ok(vec![HostValue::Sequence(items)])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through sequences")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("SequenceErase", 11))
    }
}

impl OpType for SequenceErase {
    const NAME: &'static str = "sequence_erase";
    const DOC: &'static str = "A sequence with one tensor less.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SequenceErase", 11, |_, b, inputs| {
            let position = optional(inputs, 1);
            Ok(smallvec![sequence_erase(b, &required(inputs, 0)?, position.as_ref())?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = || CaseInput::new(DType::F32, &[2, 3]).sequence(3);
        let at = |v: f64| CaseInput::new(DType::I64, &[]).values(&[v]);
        vec![
            Case::new("last", &SequenceErase, vec![x()]),
            Case::new("first", &SequenceErase, vec![x(), at(0.0)]),
            Case::new("negative", &SequenceErase, vec![x(), at(-2.0)]),
        ]
    }
}
