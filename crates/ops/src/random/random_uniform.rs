//! Uniform random numbers.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxMapping, OnnxNode};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::philox::Key;

/// Uniform random numbers `0 <= u < 1`. Input: a random key (`uint64[2]`, see [`crate::philox`]).
#[derive(Clone, Debug, Attrs)]
pub struct RandomUniform {
    /// Sizes of the result.
    pub shape: Vec<Dim>,
    /// Float type of the result.
    #[attr(default = DType::F32)]
    pub dtype: DType,
}

/// Uniform random numbers `0 <= u < 1`.
pub fn random_uniform(b: &mut dyn Builder, key: &Var, shape: Vec<Dim>, dtype: DType) -> Result<Var> {
    b.one(&RandomUniform { shape, dtype }, std::slice::from_ref(key))
}

impl Op for RandomUniform {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Key::check(inputs[0])?;
        common::check_dtype(self.dtype, DType::FLOATS)?;
        if self.shape.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
            return Err(Error::shape(format!("[{}] is not a shape", Dim::join(&self.shape))));
        }
        Ok(common::one(TensorFact::new(self.dtype, self.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let key = Key::of(inputs[0].tensor()?)?;
        let shape = common::sizes(&self.shape)?;
        let n = lampyr_base::num_elements(&shape)? as u64;
        let values: Vec<f64> = (0..n).map(|i| key.uniform(i, self.dtype)).collect();
        common::out(HostTensor::from_f64(self.dtype, &shape, &values)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("random numbers depend on a key alone")
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, _inputs: &[Option<Var>]) -> Result<Vars> {
    let missing = || Error::format("attribute `shape` is missing").with_op(node.op_type());
    let shape = node.ints("shape")?.ok_or_else(missing)?;
    let dtype = node.dtype("dtype")?.unwrap_or(DType::F32);
    let seed = node.float("seed", 0.0)?;
    let key = b.constant(HostTensor::from_slice(&[2], &[seed.to_bits(), 0])?)?;
    let x = random_uniform(b, &key, shape.into_iter().map(Dim::from).collect(), dtype)?;
    let (low, high) = (node.float("low", 0.0)?, node.float("high", 1.0)?);
    let (factor, start) = (b.scalar(dtype, high - low)?, b.scalar(dtype, low)?);
    let y = mul(b, &x, &factor)?;
    Ok(smallvec![add(b, &y, &start)?])
}

impl OpType for RandomUniform {
    const NAME: &'static str = "random_uniform";
    const DOC: &'static str = "Uniform random numbers from 0 (included) to 1 (excluded).";
    const DTYPES: &'static [DType] = &[DType::U64];

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("RandomUniform", 1, import)]
    }

    fn cases() -> Vec<Case> {
        let key = CaseInput::new(DType::U64, &[2]).values(&[99.0, 4294967290.0]);
        let op = |shape: &[usize], dtype| RandomUniform { shape: shape.iter().map(|&d| Dim::from(d)).collect(), dtype };
        let mut cases = Vec::new();
        for &d in DType::FLOATS {
            for (name, shape) in [("plain", &[3, 7][..]), ("scalar", &[]), ("empty", &[0, 2])] {
                cases.push(Case::new(format!("{name}-{d}"), &op(shape, d), vec![key.clone()]));
            }
        }
        cases.push(Case::new("large", &op(&[61, 997], DType::F32), vec![key]));
        cases
    }
}
