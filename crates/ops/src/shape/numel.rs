//! How many elements a tensor has.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// The number of elements as an int64 number.
#[derive(Clone, Debug, Attrs)]
pub struct Numel;

/// The number of elements of `x`.
pub fn numel(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Numel, std::slice::from_ref(x))
}

impl Op for Numel {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let count = inputs[0].as_tensor()?.elements();
        Ok(common::one(TensorFact::new(DType::I64, []).with_known(Some([count].into()))))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::out(HostTensor::scalar(inputs[0].tensor()?.len() as i64))
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("the number of elements is an integer")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Size", 13))
    }
}

impl OpType for Numel {
    const NAME: &'static str = "numel";
    const DOC: &'static str = "How many elements a tensor has.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Size", 1, |_, b, inputs| Ok(smallvec![numel(b, &required(inputs, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &Numel, x(d, &[2, 3]))).collect();
        cases.push(Case::new("symbolic", &Numel, x(DType::F32, &[2, 3])).symbol(0, 0, "n"));
        cases.push(Case::new("scalar", &Numel, x(DType::F32, &[])));
        cases.push(Case::new("empty", &Numel, x(DType::F32, &[2, 0])));
        cases
    }
}
