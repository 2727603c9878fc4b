//! Where a tensor is not zero.

use lampyr_base::{DType, Dim, Result, Symbol};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// Indices of the elements that are not zero, in row-major order, as an int64 tensor of shape `[rank, count]`.
#[derive(Clone, Debug, Attrs)]
pub struct Nonzero;

/// Indices of the elements of `x` that are not zero, `[rank, count]`.
pub fn nonzero(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Nonzero, std::slice::from_ref(x))
}

impl Op for Nonzero {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let count = match x.elements() {
            Dim::Known(0) => Dim::Known(0),
            _ => Dim::of(&Symbol::fresh("nonzero")),
        };
        Ok(common::one(TensorFact::new(DType::I64, [Dim::from(x.rank()), count])))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let hits: Vec<bool> = match x.numbers() {
            Numbers::F(v) => v.into_iter().map(|x| x != 0.0).collect(),
            Numbers::I(v) => v.into_iter().map(|x| x != 0).collect(),
            Numbers::U(v) => v.into_iter().map(|x| x != 0).collect(),
        };
        let flat: Vec<usize> = (0..hits.len()).filter(|&i| hits[i]).collect();
        let mut indices = Vec::with_capacity(flat.len() * x.shape().len());
        for axis in 0..x.shape().len() {
            indices.extend(flat.iter().map(|&i| common::unravel(i, x.shape())[axis] as i64));
        }
        common::out(HostTensor::from_slice(&[x.shape().len(), flat.len()], &indices)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("indices are integers")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("NonZero", 13))
    }
}

impl OpType for Nonzero {
    const NAME: &'static str = "nonzero";
    const DOC: &'static str = "Indices of the elements that are not zero.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("NonZero", 9, |_, b, inputs| Ok(smallvec![nonzero(b, &required(inputs, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s).values(&[0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &Nonzero, vec![x(d, &[2, 3, 4])])).collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &Nonzero, vec![x(DType::F32, &[4, 5]).view(v)]));
        }
        let special = CaseInput::new(DType::F32, &[2, 2]).values(&[f64::NAN, -0.0, f64::INFINITY, 0.0]);
        cases.push(Case::new("special", &Nonzero, vec![special]));
        cases.push(Case::new("scalar", &Nonzero, vec![x(DType::I64, &[])]));
        cases.push(Case::new("none", &Nonzero, vec![CaseInput::new(DType::I64, &[3]).values(&[0.0])]));
        cases.push(Case::new("empty", &Nonzero, vec![x(DType::F32, &[0, 3])]));
        cases.push(Case::new("symbolic", &Nonzero, vec![x(DType::F32, &[4, 3])]).symbol(0, 0, "n"));
        cases
    }
}
