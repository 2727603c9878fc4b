//! Slices picked by index tuples.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::full;
use crate::index::gather::check_indices;
use crate::index::scatter_nd::ScatterNd;

/// The last axis of the second input holds index tuples into the axes of the first input behind its first `batch_dims`
/// ones, which both share; the result has, for every tuple, the slice that it names. Negative indices count from the
/// end; others out of range are an error when the op runs.
#[derive(Clone, Debug, Attrs)]
pub struct GatherNd {
    /// Leading axes that both inputs share.
    #[attr(default = 0)]
    pub batch_dims: i64,
}

/// Slices of `x` that the tuples in `indices` name.
pub fn gather_nd(b: &mut dyn Builder, x: &Var, indices: &Var, batch_dims: i64) -> Result<Var> {
    b.one(&GatherNd { batch_dims }, &[x.clone(), indices.clone()])
}

/// The number of shared axes and of indices in a tuple.
///
/// # Errors
/// When tensors of shapes `x` and `indices` do not fit together.
pub(crate) fn check_tuples(x: &[Dim], indices: &[Dim], batch_dims: i64) -> Result<(usize, usize)> {
    let misfit = || {
        Error::shape(format!(
            "indices [{}] do not fit [{}] with {batch_dims} shared axes",
            Dim::join(indices),
            Dim::join(x)
        ))
        .with_expected("equal leading axes, then as many indices in a tuple as there are axes, or fewer")
    };
    let batch = usize::try_from(batch_dims).map_err(|_| misfit())?;
    let (Some((width, lead)), true) = (indices.split_last(), batch <= x.len()) else { return Err(misfit()) };
    let width = width.known().and_then(|k| usize::try_from(k).ok()).ok_or_else(misfit)?;
    let shared = batch <= lead.len() && x.iter().zip(lead).take(batch).all(|(a, b)| common::same_dim(a, b).is_ok());
    if shared && batch + width <= x.len() { Ok((batch, width)) } else { Err(misfit()) }
}

/// The flat index of the first element of the slice that every tuple names, and the number of elements of a slice.
pub(crate) fn starts(shape: &[usize], indices: &HostTensor, batch_dims: i64) -> Result<(Vec<usize>, usize)> {
    let dims = |s: &[usize]| s.iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
    let (batch, width) = check_tuples(&dims(shape), &dims(indices.shape()), batch_dims)?;
    let row = shape.iter().skip(batch + width).product::<usize>();
    let tuples: usize = indices.shape().iter().rev().skip(1).product();
    let batches: usize = shape.iter().take(batch).product();
    let values = indices.to_i64();
    let mut all = Vec::with_capacity(tuples);
    for t in 0..tuples {
        let mut at = t / (tuples / batches.max(1)).max(1);
        for (k, &i) in values.iter().skip(t * width).take(width).enumerate() {
            at = at * shape[batch + k] + common::element(i, shape[batch + k])?;
        }
        all.push(at * row);
    }
    Ok((all, row))
}

impl Op for GatherNd {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, indices) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        check_indices(indices)?;
        let (batch, width) = check_tuples(&x.shape, &indices.shape, self.batch_dims)?;
        let lead = indices.shape.iter().take(indices.rank() - 1);
        Ok(common::one(TensorFact::new(x.dtype, lead.chain(x.shape.iter().skip(batch + width)).cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, indices) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let (starts, row) = starts(x.shape(), indices, self.batch_dims)?;
        let size = x.dtype().size();
        let mut bytes = Vec::with_capacity(starts.len() * row * size);
        for start in starts {
            bytes.extend_from_slice(&x.bytes()[start * size..(start + row) * size]);
        }
        let width = indices.shape().last().copied().unwrap_or(0);
        let (lead, rest) = (indices.shape().len() - 1, self.batch_dims as usize + width);
        let shape = [&indices.shape()[..lead], &x.shape()[rest..]].concat();
        common::out(HostTensor::copy_bytes(x.dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (Some(g), true) = (&grads[0], needs[0]) else { return Ok(vec![None, None]) };
        let fact = s.input_fact(0)?;
        let zeros = full(b, fact.dtype, &fact.shape, 0.0)?;
        let op = ScatterNd { reduction: "add".to_string(), batch_dims: self.batch_dims };
        Ok(vec![Some(b.one(&op, &[zeros, s.input(1)?.clone(), g.clone()])?), None])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("GatherND", 13).attr("batch_dims", OnnxAttr::Int(self.batch_dims)))
    }
}

impl OpType for GatherNd {
    const NAME: &'static str = "gather_nd";
    const DOC: &'static str = "Slices picked by index tuples.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("GatherND", 11, |node, b, inputs| {
            let (x, indices) = (required(inputs, 0)?, required(inputs, 1)?);
            Ok(smallvec![gather_nd(b, &x, &indices, node.int("batch_dims", 0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |d: DType, s: &[usize]| CaseInput::new(d, s).fill(Fill::Uniform(-3.0, 3.0, 11));
        let op = |batch_dims| GatherNd { batch_dims };
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .map(|&d| Case::new(format!("slices-{d}"), &op(0), vec![x(d, &[3, 4, 2]), at(DType::I64, &[5, 2])]))
            .collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![x(DType::F32, &[4, 5]).view(v), at(DType::I64, &[6, 2]).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(0), inputs).with_gradient());
        }
        let f = |s: &[usize]| x(DType::F64, s);
        let i = |s: &[usize]| at(DType::I64, s);
        cases.push(Case::new("batch", &op(1), vec![f(&[2, 3, 4]), i(&[2, 5, 1])]).with_gradient());
        cases.push(Case::new("batches", &op(2), vec![f(&[2, 3, 4, 3]), i(&[2, 3, 2])]).with_gradient());
        cases.push(Case::new("one", &op(0), vec![f(&[3, 4]), at(DType::I32, &[2])]).with_gradient());
        let symbolic = Case::new("symbolic", &op(0), vec![f(&[3, 4]), i(&[2, 3, 1])]).with_gradient();
        cases.push(symbolic.symbol(0, 1, "m").symbol(1, 0, "n"));
        cases.push(Case::new("none", &op(0), vec![f(&[4, 2]), i(&[0, 1])]).with_gradient());
        cases.push(Case::new("empty", &op(0), vec![f(&[4, 0]), i(&[3, 1])]));
        cases.push(Case::new("large", &op(0), vec![x(DType::F32, &[301, 3, 129]), i(&[700, 2])]));
        cases
    }
}
