//! A sequence without elements.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, dtype_to_onnx};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

/// A sequence of tensors of type `dtype` without elements.
#[derive(Clone, Debug, Attrs)]
pub struct SequenceEmpty {
    /// Element type of the tensors to come.
    #[attr(default = DType::F32)]
    pub dtype: DType,
}

/// A sequence without elements.
pub fn sequence_empty(b: &mut dyn Builder, dtype: DType) -> Result<Var> {
    b.one(&SequenceEmpty { dtype }, &[])
}

impl Op for SequenceEmpty {
    fn arity(&self) -> Arity {
        Arity::exactly(0)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Facts> {
        Ok(smallvec![Fact::sequence(self.dtype)])
    }

    fn reference(&self, _inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        Ok(vec![HostValue::Sequence(Vec::new())])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through sequences")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let code = i64::from(dtype_to_onnx(self.dtype));
        Some(OnnxExport::new("SequenceEmpty", 11).attr("dtype", OnnxAttr::Int(code)))
    }
}

impl OpType for SequenceEmpty {
    const NAME: &'static str = "sequence_empty";
    const DOC: &'static str = "A sequence without elements.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SequenceEmpty", 11, |node, b, _| {
            Ok(smallvec![sequence_empty(b, node.dtype("dtype")?.unwrap_or(DType::F32))?])
        })]
    }

    fn cases() -> Vec<Case> {
        vec![Case::new("plain", &SequenceEmpty { dtype: DType::F32 }, Vec::new())]
    }
}
