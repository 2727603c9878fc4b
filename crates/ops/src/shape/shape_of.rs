//! The sizes of a tensor as a tensor.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// Sizes of axes `start..end` as an int64 vector. Bounds count from the end when negative and are clamped.
#[derive(Clone, Debug, Attrs)]
pub struct ShapeOf {
    /// First axis.
    #[attr(default = 0)]
    pub start: i64,
    /// One past the last axis; none: all.
    pub end: Option<i64>,
}

/// The sizes of `x` as an int64 vector.
pub fn shape_of(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&ShapeOf { start: 0, end: None }, std::slice::from_ref(x))
}

impl ShapeOf {
    fn range(&self, rank: usize) -> std::ops::Range<usize> {
        let r = rank as i64;
        let at = |v: i64| (if v < 0 { v.saturating_add(r) } else { v }).clamp(0, r) as usize;
        let start = at(self.start);
        start..self.end.map_or(rank, at).max(start)
    }
}

impl Op for ShapeOf {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let sizes = &x.shape[self.range(x.rank())];
        let fact = TensorFact::new(DType::I64, [Dim::from(sizes.len())]);
        Ok(common::one(fact.with_known(Some(sizes.into()))))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let sizes: Vec<i64> = x.shape()[self.range(x.shape().len())].iter().map(|&d| d as i64).collect();
        common::out(HostTensor::ints(&sizes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("sizes are integers")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let export = OnnxExport::new("Shape", 15).attr("start", OnnxAttr::Int(self.start));
        Some(match self.end {
            Some(end) => export.attr("end", OnnxAttr::Int(end)),
            None => export,
        })
    }
}

impl OpType for ShapeOf {
    const NAME: &'static str = "shape_of";
    const DOC: &'static str = "The sizes of a tensor as an int64 vector.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Shape", 1, |node, b, inputs| {
            let end = node.attr("end").map(|_| node.int("end", 0)).transpose()?;
            let op = ShapeOf { start: node.int("start", 0)?, end };
            Ok(smallvec![b.one(&op, &[required(inputs, 0)?])?])
        })]
    }

    fn cases() -> Vec<Case> {
        let op = |start, end| ShapeOf { start, end };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &op(0, None), x(d, &[2, 3, 4]))).collect();
        cases.push(Case::new("symbolic", &op(0, None), x(DType::F32, &[2, 3])).symbol(0, 0, "n"));
        cases.push(Case::new("part", &op(1, Some(-1)), x(DType::F32, &[2, 3, 4, 5])));
        cases.push(Case::new("clamped", &op(-9, Some(9)), x(DType::F32, &[2, 3])));
        cases.push(Case::new("nothing", &op(2, Some(1)), x(DType::F32, &[2, 3])));
        cases.push(Case::new("scalar", &op(0, None), x(DType::F32, &[])));
        cases.push(Case::new("empty", &op(0, None), x(DType::F32, &[2, 0])));
        let view = CaseInput::new(DType::F32, &[2, 5]).view(View::Transposed);
        cases.push(Case::new("transposed", &op(0, None), vec![view]));
        cases
    }
}
