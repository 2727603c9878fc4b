//! Slices picked by number along an axis.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::to_shape;
use crate::index::index_add::index_add;
use crate::index::nonzero::nonzero;
use crate::shape::squeeze::squeeze;

/// Slices of the first input along `axis` at the indices of the second, whose shape takes the place of that axis.
/// Negative indices count from the end; others out of range are an error when the op runs.
#[derive(Clone, Debug, Attrs)]
pub struct Gather {
    /// The axis that is picked from; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
}

/// Slices of `x` at `indices` along `axis`.
pub fn gather(b: &mut dyn Builder, x: &Var, indices: &Var, axis: i64) -> Result<Var> {
    b.one(&Gather { axis }, &[x.clone(), indices.clone()])
}

/// # Errors
/// When the indices are not int32 or int64.
pub(crate) fn check_indices(fact: &TensorFact) -> Result<()> {
    if matches!(fact.dtype, DType::I32 | DType::I64) {
        return Ok(());
    }
    Err(Error::dtype(format!("indices are {}", fact.dtype)).with_expected("int32 or int64"))
}

impl Gather {
    fn known(&self, x: &TensorFact, indices: &TensorFact) -> Option<Vec<Dim>> {
        let (known, at) = (x.known.as_ref()?, indices.known.as_ref()?);
        if x.rank() != 1 || indices.rank() > 1 {
            return None;
        }
        at.iter().map(|i| known.get(common::element(i.known()?, known.len()).ok()?).cloned()).collect()
    }
}

impl Op for Gather {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, indices) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        check_indices(indices)?;
        let axis = common::axis(self.axis, x.rank())?;
        let shape = x.shape[..axis].iter().chain(&indices.shape).chain(&x.shape[axis + 1..]).cloned();
        let known = self.known(x, indices).map(Into::into);
        Ok(common::one(TensorFact::new(x.dtype, shape).with_known(known)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, indices) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let axis = common::axis(self.axis, x.shape().len())?;
        let (before, after) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
        let row = after.iter().product::<usize>() * x.dtype().size();
        let n = x.shape()[axis];
        let at = indices.to_i64().into_iter().map(|i| common::element(i, n)).collect::<Result<Vec<_>>>()?;
        let mut bytes = Vec::new();
        for outer in 0..before.iter().product::<usize>() {
            for i in &at {
                let start = (outer * n + i) * row;
                bytes.extend_from_slice(&x.bytes()[start..start + row]);
            }
        }
        common::out(HostTensor::copy_bytes(x.dtype(), &[before, indices.shape(), after].concat(), &bytes)?)
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
        Ok(vec![Some(index_add(b, s.input(1)?, g, self.axis, shape)?), None])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Gather", 13).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

/// ONNX Compress: the slices along an axis, or the elements, where a vector of `bool` holds.
fn compress(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let mut x = required(inputs, 0)?;
    let mut axis = node.int("axis", 0)?;
    if node.attr("axis").is_none() {
        let elements = b.tensor_fact(&x)?.elements();
        x = to_shape(b, &x, vec![elements])?;
        axis = 0;
    }
    let places = nonzero(b, &required(inputs, 1)?)?;
    let places = squeeze(b, &places, &[0])?;
    Ok(smallvec![gather(b, &x, &places, axis)?])
}

/// Indices `shape` of `dtype` into an axis of `n` elements, negative ones included.
pub(crate) fn case_indices(dtype: DType, shape: &[usize], n: usize) -> CaseInput {
    CaseInput::new(dtype, shape).fill(Fill::Uniform(-(n as f64), n as f64, 11))
}

impl OpType for Gather {
    const NAME: &'static str = "gather";
    const DOC: &'static str = "Slices picked by their numbers along an axis.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("Gather", 1, |node, b, inputs| {
                Ok(smallvec![gather(b, &required(inputs, 0)?, &required(inputs, 1)?, node.int("axis", 0)?)?])
            }),
            OnnxMapping::new("Compress", 9, compress),
        ]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |s: &[usize], n| case_indices(DType::I64, s, n);
        let op = |axis| Gather { axis };
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .map(|&d| Case::new(format!("rows-{d}"), &op(0), vec![x(d, &[5, 3]), at(&[2, 4], 5)]).symbol(1, 0, "n"))
            .collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![x(DType::F32, &[4, 5]).view(v), at(&[2, 3], 5).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(1), inputs).with_gradient());
        }
        let f = |s: &[usize]| x(DType::F64, s);
        cases.push(Case::new("inner", &op(-2), vec![f(&[2, 4, 3]), at(&[3], 4)]).with_gradient());
        cases.push(Case::new("one", &op(1), vec![f(&[2, 4, 3]), at(&[], 4)]).with_gradient());
        cases.push(Case::new("int32", &op(0), vec![f(&[4]), case_indices(DType::I32, &[6], 4)]).with_gradient());
        cases.push(Case::new("none", &op(0), vec![f(&[4, 2]), at(&[0], 4)]).with_gradient());
        cases.push(Case::new("empty", &op(1), vec![f(&[0, 4]), at(&[3], 4)]));
        cases.push(Case::new("large", &op(0), vec![x(DType::F32, &[301, 129]), at(&[700], 301)]));
        cases
    }
}
