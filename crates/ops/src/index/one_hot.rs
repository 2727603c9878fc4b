//! One-hot vectors.

use lampyr_base::{DType, Dim, Error, Result, Symbol};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{to_dtype, to_shape};
use crate::index::arange::counting;

/// A new axis of `depth` elements that are `values[1]` where the index says and `values[0]` elsewhere. Inputs: indices,
/// depth (one element), values (two). Negative indices count from the end; those out of range pick nothing.
#[derive(Clone, Debug, Attrs)]
pub struct OneHot {
    /// Where the new axis goes; negative ones count from behind the last.
    #[attr(default = -1)]
    pub axis: i64,
}

/// One-hot vectors of `depth` elements for `indices` along a new axis `axis`.
pub fn one_hot(b: &mut dyn Builder, indices: &Var, depth: &Var, values: &Var, axis: i64) -> Result<Var> {
    b.one(&OneHot { axis }, &[indices.clone(), depth.clone(), values.clone()])
}

impl OneHot {
    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Var> {
        let [indices, depth, values] = inputs else { return Err(Error::internal("one_hot takes three inputs")) };
        let rank = b.tensor_fact(indices)?.rank();
        let axis = common::axis(self.axis, rank + 1)?;
        let indices = to_dtype(b, indices, DType::I64)?;
        let depth = to_dtype(b, depth, DType::I64)?;
        let depth = to_shape(b, &depth, Vec::new())?;
        let zero = b.constant(HostTensor::scalar(0i64))?;
        let below = less(b, &indices, &zero)?;
        let wrapped = add(b, &indices, &depth)?;
        let indices = where_(b, &below, &wrapped, &indices)?;
        let indices = unsqueeze(b, &indices, &[axis as i64])?;
        let line = counting(b, &depth)?;
        let behind: Vec<i64> = (1..=(rank - axis) as i64).collect();
        let line = unsqueeze(b, &line, &behind)?;
        let hit = equal(b, &indices, &line)?;
        let one = b.constant(HostTensor::scalar(1i64))?;
        let (off, on) = (gather(b, values, &zero, 0)?, gather(b, values, &one, 0)?);
        where_(b, &hit, &on, &off)
    }
}

impl Op for OneHot {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let [indices, depth, values] = [inputs[0].as_tensor()?, inputs[1].as_tensor()?, inputs[2].as_tensor()?];
        common::check_dtype(indices.dtype, Self::DTYPES)?;
        common::check_dtype(depth.dtype, DType::NUMERIC)?;
        if depth.rank() > 1 || depth.elements().known().is_some_and(|n| n != 1) {
            return Err(Error::shape(format!("depth is {depth}")).with_expected("one element"));
        }
        if values.rank() != 1 || values.shape[0].known().is_some_and(|n| n != 2) {
            return Err(Error::shape(format!("values are {values}")).with_expected("two elements"));
        }
        let size = match depth.known.as_deref() {
            Some([d]) => d.maximum(&Dim::Known(0)),
            _ => Dim::of(&Symbol::fresh("depth")),
        };
        let mut shape = indices.shape.to_vec();
        shape.insert(common::axis(self.axis, indices.rank() + 1)?, size);
        Ok(common::one(TensorFact::new(values.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let [indices, depth, values] = [inputs[0].tensor()?, inputs[1].tensor()?, inputs[2].tensor()?];
        let (Some(&depth), 2) = (depth.to_i64().first(), values.len()) else {
            return Err(Error::shape("one depth and two values are needed"));
        };
        let depth = usize::try_from(depth).unwrap_or(0);
        let axis = common::axis(self.axis, indices.shape().len() + 1)?;
        let mut shape = indices.shape().to_vec();
        shape.insert(axis, depth);
        let inner: usize = indices.shape()[axis..].iter().product();
        let at = indices.to_i64();
        let size = values.dtype().size();
        let (off, on) = values.bytes().split_at(size);
        let made = HostTensor::build(values.dtype(), &shape, |to| {
            for (i, to) in to.chunks_exact_mut(size).enumerate() {
                let k = (i / inner % depth) as i64;
                let index = at[i / inner / depth * inner + i % inner];
                to.copy_from_slice(if index == k || index == k - depth as i64 { on } else { off });
            }
        })?;
        common::out(made)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("indices are integers")
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("OneHot", 11).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let mut depth = required(inputs, 1)?;
    if let Some(value) = b.read(&depth)? {
        depth = b.constant(value.cast(DType::I64)?)?;
    }
    Ok(smallvec![one_hot(b, &required(inputs, 0)?, &depth, &required(inputs, 2)?, node.int("axis", -1)?)?])
}

impl OpType for OneHot {
    const NAME: &'static str = "one_hot";
    const DOC: &'static str = "One-hot vectors along a new axis.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("OneHot", 9, import)]
    }

    fn cases() -> Vec<Case> {
        let at = |d: DType, s: &[usize]| {
            CaseInput::new(d, s).fill(Fill::Uniform(
                if d.is_float() || d.is_signed_integer() { -6.0 } else { 0.0 },
                7.0,
                5,
            ))
        };
        let depth = |d: DType, n: f64| CaseInput::new(d, &[]).values(&[n]);
        let values = |d: DType| CaseInput::new(d, &[2]).values(&[0.0, 1.0]);
        let op = |axis| OneHot { axis };
        let mut cases = Vec::new();
        for &d in DType::NUMERIC {
            let inputs = vec![at(d, &[2, 3]), depth(DType::I64, 5.0), values(DType::F32)];
            cases.push(Case::new(format!("indices-{d}"), &op(-1), inputs));
        }
        for &d in DType::ALL {
            let inputs = vec![at(DType::I64, &[2, 3]), depth(DType::I32, 5.0), values(d)];
            cases.push(Case::new(format!("values-{d}"), &op(1), inputs));
        }
        let other = |s: &[usize]| vec![at(DType::I64, s), depth(DType::I64, 4.0), values(DType::F32)];
        cases.push(Case::new("first", &op(0), other(&[2, 3])));
        cases.push(Case::new("scalar", &op(0), other(&[])));
        cases.push(Case::new("empty", &op(-1), other(&[0, 3])));
        cases.push(Case::new("symbolic", &op(-2), other(&[4, 3])).symbol(0, 0, "n"));
        let none = vec![at(DType::I64, &[3]), depth(DType::I64, 0.0), values(DType::F32)];
        cases.push(Case::new("no-depth", &op(-1), none));
        let vector = CaseInput { shape: vec![1], ..depth(DType::I64, 4.0) };
        cases.push(Case::new("vector", &op(-1), vec![at(DType::I64, &[3]), vector, values(DType::F32)]));
        cases
    }
}
