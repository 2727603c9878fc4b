//! A tensor cut into a sequence of parts.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, SequenceFact, Var,
};
use smallvec::{SmallVec, smallvec};

use crate::build::Split;
use crate::common;

/// Parts of a tensor (first input) along `axis`. The second input gives the size of every part (a number; the last part
/// may be smaller) or of each (a vector). Without it the parts have one element, and lose that axis unless `keepdims`.
#[derive(Clone, Debug, Attrs)]
pub struct SplitToSequence {
    /// The axis that is cut; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
    /// Whether parts of one element keep the axis.
    #[attr(default = true)]
    pub keepdims: bool,
}

/// `x` cut along `axis` into a sequence; see [`SplitToSequence`].
pub fn split_to_sequence(b: &mut dyn Builder, x: &Var, sizes: Option<&Var>, axis: i64, keepdims: bool) -> Result<Var> {
    let inputs: Vec<Var> = [x].into_iter().chain(sizes).cloned().collect();
    b.one(&SplitToSequence { axis, keepdims }, &inputs)
}

impl Op for SplitToSequence {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let axis = common::axis(self.axis, x.rank())?;
        let mut shape: SmallVec<[Option<Dim>; 4]> = x.shape.iter().cloned().map(Some).collect();
        match inputs.get(1) {
            Some(sizes) => {
                let sizes = sizes.as_tensor()?;
                if !matches!(sizes.dtype, DType::I32 | DType::I64) || sizes.rank() > 1 {
                    return Err(Error::dtype(format!("the sizes are {sizes}"))
                        .with_expected("an int32 or int64 number or vector"));
                }
                shape[axis] = None;
            }
            None if self.keepdims => shape[axis] = Some(Dim::Known(1)),
            None => {
                shape.remove(axis);
            }
        }
        Ok(smallvec![Fact::Sequence(SequenceFact { dtype: x.dtype, shape: Some(shape) })])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let axis = common::axis(self.axis, x.shape().len())?;
        let n = x.shape()[axis];
        let wrong = |v: i64| Error::value(format!("a part of {v} elements")).with_expected("no negative size");
        let sizes: Vec<usize> = match inputs.get(1) {
            None => vec![1; n],
            Some(sizes) => {
                let sizes = sizes.tensor()?;
                let list = sizes.to_i64();
                let list: Vec<usize> =
                    list.into_iter().map(|v| usize::try_from(v).map_err(|_| wrong(v))).collect::<Result<_>>()?;
                match (sizes.shape(), list.as_slice()) {
                    ([], [0]) => return Err(Error::value("parts of no elements").with_expected("a size of 1 or more")),
                    ([], [each]) => (0..n).step_by(*each).map(|start| (*each).min(n - start)).collect(),
                    _ => list,
                }
            }
        };
        let op = Split { axis: axis as i64, sizes: common::fixed_dims(&sizes) };
        let mut parts = Vec::with_capacity(sizes.len());
        for part in op.reference(&inputs[..1])? {
            let part = part.tensor()?.clone();
            let mut shape = part.shape().to_vec();
            if inputs.len() == 1 && !self.keepdims {
                shape.remove(axis);
            }
            parts.push(HostTensor::copy_bytes(part.dtype(), &shape, part.bytes())?);
        }
        Ok(vec![HostValue::Sequence(parts)])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("gradients do not flow through sequences")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let export = OnnxExport::new("SplitToSequence", 11).attr("axis", OnnxAttr::Int(self.axis));
        Some(export.attr("keepdims", OnnxAttr::Int(i64::from(self.keepdims))))
    }
}

impl OpType for SplitToSequence {
    const NAME: &'static str = "split_to_sequence";
    const DOC: &'static str = "A tensor cut into a sequence of parts.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SplitToSequence", 11, |node, b, inputs| {
            let sizes = optional(inputs, 1);
            let (axis, keepdims) = (node.int("axis", 0)?, node.int("keepdims", 1)? != 0);
            Ok(smallvec![split_to_sequence(b, &required(inputs, 0)?, sizes.as_ref(), axis, keepdims)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let op = |axis: i64, keepdims: bool| SplitToSequence { axis, keepdims };
        let x = |d: DType| CaseInput::new(d, &[3, 5]);
        let sizes = |shape: &[usize], v: &[f64]| CaseInput::new(DType::I64, shape).values(v);
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("ones-{d}"), &op(1, true), vec![x(d)])).collect();
        cases.push(Case::new("without-axis", &op(0, false), vec![x(DType::F32)]));
        cases.push(Case::new("number", &op(-1, true), vec![x(DType::F32), sizes(&[], &[2.0])]));
        cases.push(Case::new("vector", &op(1, true), vec![x(DType::F32), sizes(&[3], &[1.0, 0.0, 4.0])]));
        cases
    }
}
