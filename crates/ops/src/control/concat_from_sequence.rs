//! The tensors of a sequence one after another.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var,
};
use smallvec::smallvec;

use crate::bodies::fresh;
use crate::build::Concat;
use crate::common;

/// The tensors of a sequence, of which there is at least one, joined along `axis`, or stacked along a new axis there.
#[derive(Clone, Debug, Attrs)]
pub struct ConcatFromSequence {
    /// The axis of the result along which they lie; negative ones count from the last.
    pub axis: i64,
    /// Whether that axis is a new one.
    #[attr(default = false)]
    pub new_axis: bool,
}

/// The tensors of `sequence` along `axis`; see [`ConcatFromSequence`].
pub fn concat_from_sequence(b: &mut dyn Builder, sequence: &Var, axis: i64, new_axis: bool) -> Result<Var> {
    b.one(&ConcatFromSequence { axis, new_axis }, std::slice::from_ref(sequence))
}

impl Op for ConcatFromSequence {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let sequence = inputs[0].as_sequence()?;
        let shape = sequence.shape.as_ref().ok_or_else(|| {
            Error::unsupported("a tensor out of a sequence whose tensors have an unknown number of axes")
        })?;
        let axis = common::axis(self.axis, shape.len() + usize::from(self.new_axis))?;
        let mut sizes: Vec<Dim> = shape.iter().map(|d| d.clone().unwrap_or_else(fresh)).collect();
        if self.new_axis {
            sizes.insert(axis, fresh());
        } else {
            sizes[axis] = fresh();
        }
        Ok(common::one(TensorFact::new(sequence.dtype, sizes)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let items = inputs[0].sequence()?;
        let Some(first) = items.first() else {
            return Err(Error::value("an empty sequence gives no tensor"));
        };
        let axis = common::axis(self.axis, first.shape().len() + usize::from(self.new_axis))?;
        let part = |t: &HostTensor| -> Result<HostValue> {
            let mut shape = t.shape().to_vec();
            if self.new_axis {
                shape.insert(axis.min(shape.len()), 1);
            }
            Ok(HostTensor::copy_bytes(t.dtype(), &shape, t.bytes())?.into())
        };
        Concat { axis: axis as i64 }.reference(&items.iter().map(part).collect::<Result<Vec<_>>>()?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through sequences")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let export = OnnxExport::new("ConcatFromSequence", 11).attr("axis", OnnxAttr::Int(self.axis));
        Some(export.attr("new_axis", OnnxAttr::Int(i64::from(self.new_axis))))
    }
}

impl OpType for ConcatFromSequence {
    const NAME: &'static str = "concat_from_sequence";
    const DOC: &'static str = "The tensors of a sequence joined along an axis.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ConcatFromSequence", 11, |node, b, inputs| {
            let (axis, new_axis) = (node.int("axis", 0)?, node.int("new_axis", 0)? != 0);
            Ok(smallvec![concat_from_sequence(b, &required(inputs, 0)?, axis, new_axis)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let op = |axis: i64, new_axis: bool| ConcatFromSequence { axis, new_axis };
        let x = |d: DType| vec![CaseInput::new(d, &[2, 3]).sequence(3)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("joined-{d}"), &op(1, false), x(d))).collect();
        cases.push(Case::new("stacked", &op(-1, true), x(DType::F32)));
        cases.push(Case::new("first", &op(0, true), x(DType::F32)));
        cases
    }
}
