//! A tensor repeated along its axes.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{expand, reshape};
use crate::common;

/// The input repeated `repeats[i]` times along axis `i`.
#[derive(Clone, Debug, Attrs)]
pub struct Tile {
    /// How often, for every axis.
    pub repeats: Vec<Dim>,
}

/// `x` repeated along its axes.
pub fn tile(b: &mut dyn Builder, x: &Var, repeats: Vec<Dim>) -> Result<Var> {
    let fact = b.tensor_fact(x)?;
    Tile { repeats: repeats.clone() }.shape(&fact.shape)?;
    let once = Dim::Known(1);
    if repeats.iter().all(|r| *r == once) {
        return Ok(x.clone());
    }
    let (mut apart, mut wide, mut merged) = (Vec::new(), Vec::new(), Vec::new());
    for (d, r) in fact.shape.iter().zip(&repeats) {
        merged.push(d.mul(r));
        if *r != once {
            apart.push(once.clone());
            wide.push(r.clone());
        }
        apart.push(d.clone());
        wide.push(d.clone());
    }
    let apart = reshape(b, x, apart)?;
    let wide = expand(b, &apart, wide)?;
    reshape(b, &wide, merged)
}

impl Tile {
    fn shape(&self, from: &[Dim]) -> Result<Vec<Dim>> {
        if self.repeats.len() != from.len() || self.repeats.iter().any(|r| r.known().is_some_and(|n| n < 0)) {
            return Err(Error::value(format!(
                "repeats [{}] for a tensor of shape [{}]",
                Dim::join(&self.repeats),
                Dim::join(from)
            ))
            .with_expected("one for every axis, none negative"));
        }
        Ok(from.iter().zip(&self.repeats).map(|(d, r)| d.mul(r)).collect())
    }
}

impl Op for Tile {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        Ok(common::one(TensorFact::new(x.dtype, self.shape(&x.shape)?)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let shape = common::sizes(&self.shape(&common::fixed_dims(x.shape()))?)?;
        let size = x.dtype().size();
        let count = lampyr_base::num_elements(&shape)?;
        let mut bytes = Vec::new();
        for flat in 0..count {
            let at = common::unravel(flat, &shape).iter().zip(x.shape()).fold(0, |at, (i, d)| at * d + i % d);
            bytes.extend_from_slice(&x.bytes()[at * size..(at + 1) * size]);
        }
        common::out(HostTensor::copy_bytes(x.dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(tile(b, inputs.first()?, self.repeats.clone()).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let repeats: Option<Vec<i64>> = self.repeats.iter().map(Dim::known).collect();
        Some(OnnxExport::new("Tile", 13).input(HostTensor::ints(&repeats?).ok()?))
    }
}

impl OpType for Tile {
    const NAME: &'static str = "tile";
    const DOC: &'static str = "A tensor repeated along its axes.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Tile", 1, 5, |_, b, inputs| {
                let x = required(inputs, 0)?;
                let count = b.dims(&required(inputs, 1)?)?;
                let axis = common::fixed_ints(b, &required(inputs, 2)?)?;
                let ([count], [axis]) = (count.as_slice(), axis.as_slice()) else {
                    return Err(Error::format("tiles and axis are not single numbers"));
                };
                let rank = b.tensor_fact(&x)?.rank();
                let mut repeats = vec![Dim::Known(1); rank];
                repeats[common::axis(*axis, rank)?] = count.clone();
                Ok(smallvec![tile(b, &x, repeats)?])
            }),
            OnnxMapping::new("Tile", 6, |_, b, inputs| {
                let repeats = b.dims(&required(inputs, 1)?)?;
                Ok(smallvec![tile(b, &required(inputs, 0)?, repeats)?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |r: &[usize]| Tile { repeats: common::fixed_dims(r) };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &op(&[2, 1, 3]), x(d, &[2, 2, 3]))).collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let input = CaseInput::new(DType::F32, &[3, 5]).view(v);
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(&[2, 2]), vec![input]).with_gradient());
        }
        cases.push(Case::new("symbolic", &op(&[3, 2]), x(DType::F64, &[2, 3])).symbol(0, 0, "n").with_gradient());
        cases.push(Case::new("scalar", &op(&[]), x(DType::F32, &[])));
        cases.push(Case::new("never", &op(&[0, 2]), x(DType::F32, &[2, 3])));
        cases.push(Case::new("empty", &op(&[2, 2]), x(DType::F32, &[0, 3])));
        cases.push(Case::new("large", &op(&[7, 5]), x(DType::F32, &[61, 97])));
        cases
    }
}
