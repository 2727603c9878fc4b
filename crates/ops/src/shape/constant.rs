//! A tensor known beforehand.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::shape::expand::expand;

/// A tensor that is part of the program. Graph builders keep constants as values without a node; this op stands for
/// one where a node is needed.
#[derive(Clone, Debug, Attrs)]
pub struct Constant {
    /// The tensor.
    pub value: HostTensor,
}

impl Op for Constant {
    fn arity(&self) -> Arity {
        Arity::exactly(0)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Facts> {
        Ok(common::one(TensorFact::of(&self.value)))
    }

    fn reference(&self, _inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::out(self.value.clone())
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("a constant depends on nothing")
    }

    fn decompose(&self, b: &mut dyn Builder, _inputs: &[Var]) -> Option<Result<Vars>> {
        Some(b.constant(self.value.clone()).map(|v| smallvec![v]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Constant", 13).attr("value", OnnxAttr::Tensor(self.value.clone())))
    }
}

fn value_of(node: &dyn OnnxNode) -> Result<HostTensor> {
    if let Some(OnnxAttr::Tensor(t)) = node.attr("value") {
        return Ok(t.clone());
    }
    match (node.attr("value_float"), node.attr("value_floats"), node.attr("value_int"), node.attr("value_ints")) {
        (Some(OnnxAttr::Float(v)), ..) => Ok(HostTensor::scalar(*v)),
        (_, Some(OnnxAttr::Floats(v)), ..) => HostTensor::from_slice(&[v.len()], v),
        (_, _, Some(OnnxAttr::Int(v)), _) => Ok(HostTensor::scalar(*v)),
        (.., Some(OnnxAttr::Ints(v))) => HostTensor::ints(v),
        _ => Err(Error::unsupported("a constant that is neither a dense tensor nor numbers")),
    }
}

impl OpType for Constant {
    const NAME: &'static str = "constant";
    const DOC: &'static str = "A tensor known beforehand.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("Constant", 1, |node, b, _| Ok(smallvec![b.constant(value_of(node)?)?])),
            OnnxMapping::new("ConstantOfShape", 9, |node, b, inputs| {
                let shape = b.dims(&required(inputs, 0)?)?;
                let value = match node.attr("value") {
                    Some(OnnxAttr::Tensor(t)) => HostTensor::copy_bytes(t.dtype(), &[], t.bytes())?,
                    _ => HostTensor::scalar(0f32),
                };
                // Small integer vectors are made whole, so that shape arithmetic can follow their elements.
                let count = match shape.as_slice() {
                    [n] => n.known().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= 64),
                    _ => None,
                };
                if let Some(n) = count.filter(|_| value.dtype().is_integer()) {
                    let bytes = value.bytes().repeat(n);
                    return Ok(smallvec![b.constant(HostTensor::copy_bytes(value.dtype(), &[n], &bytes)?)?]);
                }
                let value = b.constant(value)?;
                Ok(smallvec![expand(b, &value, shape)?])
            }),
            OnnxMapping::new("DFT", 17, crate::onnx_fourier::dft),
            OnnxMapping::new("STFT", 17, crate::onnx_fourier::stft),
            OnnxMapping::new("HannWindow", 17, crate::onnx_tables::hann),
            OnnxMapping::new("HammingWindow", 17, crate::onnx_tables::hamming),
            OnnxMapping::new("BlackmanWindow", 17, crate::onnx_tables::blackman),
            OnnxMapping::new("MelWeightMatrix", 17, crate::onnx_tables::mel_weights),
        ]
    }

    fn cases() -> Vec<Case> {
        let case = |name: String, value: Result<HostTensor>| {
            value.ok().map(|value| Case::new(name, &Constant { value }, Vec::new()))
        };
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .filter_map(|&d| case(format!("plain-{d}"), HostTensor::from_i64(d, &[2, 2], &[0, 1, 2, 3])))
            .collect();
        cases.extend(case("scalar".into(), HostTensor::scalar_of(DType::F32, 1.5)));
        cases.extend(case("empty".into(), HostTensor::zeros(DType::F32, &[0, 2])));
        cases
    }
}
