//! A sequence with one more tensor.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::bodies::{check_single, single};
use crate::control::sequence_construct::holding;

/// The sequence (first input) with a tensor (second) put in before the element at a position (third; at the end when it
/// is left out). Negative positions count from the end.
#[derive(Clone, Debug, Attrs)]
pub struct SequenceInsert;

/// `sequence` with `item` put in at `position`, or at the end.
pub fn sequence_insert(b: &mut dyn Builder, sequence: &Var, item: &Var, position: Option<&Var>) -> Result<Var> {
    let inputs: Vec<Var> = [sequence, item].into_iter().chain(position).cloned().collect();
    b.one(&SequenceInsert, &inputs)
}

impl Op for SequenceInsert {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        if let Some(position) = inputs.get(2) {
            check_single("the position", position, &[DType::I32, DType::I64])?;
        }
        Ok(smallvec![Fact::Sequence(inputs[0].as_sequence()?.join(&holding(inputs[1].as_tensor()?))?)])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let mut items = inputs[0].sequence()?.to_vec();
        let n = items.len() as i64;
        let given = inputs.get(2).map(|p| single(p.tensor()?)).transpose()?.unwrap_or(n);
        let at = if given < 0 { given + n } else { given };
        if at < 0 || at > n {
            return Err(Error::index(format!("position {given} in a sequence of {n} tensors"))
                .with_expected(format!("{}..={n}", -n)));
        }
        items.insert(at as usize, inputs[1].tensor()?.clone());
        Ok(vec![HostValue::Sequence(items)])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through sequences")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("SequenceInsert", 11))
    }
}

impl OpType for SequenceInsert {
    const NAME: &'static str = "sequence_insert";
    const DOC: &'static str = "A sequence with one more tensor.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SequenceInsert", 11, |_, b, inputs| {
            let position = optional(inputs, 2);
            let (sequence, item) = (required(inputs, 0)?, required(inputs, 1)?);
            Ok(smallvec![sequence_insert(b, &sequence, &item, position.as_ref())?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |s: &[usize]| CaseInput::new(DType::F32, s);
        let at = |v: f64| CaseInput::new(DType::I64, &[]).values(&[v]);
        let two = || x(&[2, 3]).sequence(2);
        vec![
            Case::new("end", &SequenceInsert, vec![two(), x(&[4, 3])]),
            Case::new("front", &SequenceInsert, vec![two(), x(&[2, 3]), at(0.0)]),
            Case::new("negative", &SequenceInsert, vec![two(), x(&[2, 3]), at(-1.0)]),
            Case::new("first", &SequenceInsert, vec![x(&[3]).sequence(0), x(&[3])]),
        ]
    }
}
