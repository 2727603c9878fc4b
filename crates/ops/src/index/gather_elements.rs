//! Elements picked one by one along an axis.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var,
};
use smallvec::smallvec;

use crate::common;
use crate::index::gather::{case_indices, check_indices};
use crate::index::scatter_add_elements::scatter_add_elements;

/// `y[i][j][k] = x[indices[i][j][k]][j][k]` for axis 0, and so on. The result has the shape of the indices, which are
/// at most as many as the input's elements on the other axes. Negative indices count from the end.
#[derive(Clone, Debug, Attrs)]
pub struct GatherElements {
    /// The axis that the indices count along; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
}

/// Elements of `x` at `indices` along `axis`.
pub fn gather_elements(b: &mut dyn Builder, x: &Var, indices: &Var, axis: i64) -> Result<Var> {
    b.one(&GatherElements { axis }, &[x.clone(), indices.clone()])
}

/// Flat positions in a tensor of shape `shape` that `indices` name along `axis`.
pub(crate) fn places(shape: &[usize], indices: &HostTensor, axis: usize) -> Result<Vec<usize>> {
    let strides = lampyr_base::contiguous_strides(shape);
    let misfit = indices.shape().len() != shape.len()
        || shape.iter().zip(indices.shape()).enumerate().any(|(a, (n, k))| a != axis && k > n);
    if misfit && !indices.is_empty() {
        return Err(Error::shape(format!("indices of shape {:?} do not fit {shape:?}", indices.shape())));
    }
    let mut all = Vec::with_capacity(indices.len());
    for (flat, i) in indices.to_i64().into_iter().enumerate() {
        let mut at = common::unravel(flat, indices.shape());
        at[axis] = common::element(i, shape[axis])?;
        all.push(at.iter().zip(&strides).map(|(&i, &s)| i * s as usize).sum());
    }
    Ok(all)
}

/// # Errors
/// When indices of shape `indices` do not lie inside `shape` apart from `axis`.
pub(crate) fn check_inside(shape: &[Dim], indices: &[Dim], axis: usize) -> Result<()> {
    let inside = shape.len() == indices.len()
        && shape.iter().zip(indices).enumerate().all(|(a, (n, k))| match (n.known(), k.known()) {
            (Some(n), Some(k)) => a == axis || k <= n,
            _ => true,
        });
    if inside {
        return Ok(());
    }
    Err(Error::shape(format!("indices have shape [{}]", Dim::join(indices)))
        .with_expected(format!("the rank of [{}], and at most its sizes on all axes but {axis}", Dim::join(shape))))
}

impl Op for GatherElements {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, indices) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        check_indices(indices)?;
        check_inside(&x.shape, &indices.shape, common::axis(self.axis, x.rank())?)?;
        Ok(common::one(TensorFact::new(x.dtype, indices.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, indices) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let size = x.dtype().size();
        let axis = common::axis(self.axis, x.shape().len())?;
        let mut bytes = Vec::with_capacity(indices.len() * size);
        for i in places(x.shape(), indices, axis)? {
            bytes.extend_from_slice(&x.bytes()[i * size..(i + 1) * size]);
        }
        common::out(HostTensor::copy_bytes(x.dtype(), indices.shape(), &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (Some(g), true) = (&grads[0], needs[0]) else { return Ok(vec![None, None]) };
        let shape = s.input_fact(0)?.shape.to_vec();
        Ok(vec![Some(scatter_add_elements(b, s.input(1)?, g, self.axis, shape)?), None])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("GatherElements", 13).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

impl OpType for GatherElements {
    const NAME: &'static str = "gather_elements";
    const DOC: &'static str = "Elements picked one by one along an axis.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("GatherElements", 11, |node, b, inputs| {
            let (x, indices) = (required(inputs, 0)?, required(inputs, 1)?);
            Ok(smallvec![gather_elements(b, &x, &indices, node.int("axis", 0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |s: &[usize], n| case_indices(DType::I64, s, n);
        let op = |axis| GatherElements { axis };
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .map(|&d| Case::new(format!("inner-{d}"), &op(-2), vec![x(d, &[2, 4, 3]), at(&[2, 5, 3], 4)]))
            .collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![x(DType::F32, &[4, 5]).view(v), at(&[4, 3], 5).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(1), inputs).with_gradient());
        }
        let f = |s: &[usize]| x(DType::F64, s);
        let part = Case::new("part", &op(0), vec![f(&[4, 3]), case_indices(DType::I32, &[6, 2], 4)]);
        cases.push(part.with_gradient().symbol(1, 0, "n"));
        cases.push(Case::new("empty", &op(0), vec![f(&[4, 3]), at(&[0, 3], 4)]).with_gradient());
        cases.push(Case::new("large", &op(1), vec![x(DType::F32, &[67, 501]), at(&[67, 333], 501)]));
        cases
    }
}
