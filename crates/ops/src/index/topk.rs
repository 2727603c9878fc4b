//! The largest or smallest elements along an axis.

use std::cmp::Ordering;

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Saved, Saves,
    TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::index::scatter_add_elements::scatter_add_elements;

/// The `k` largest (or smallest) elements along `axis` and their int64 indices. Among equal elements the lower index
/// comes first; NaN counts as larger than every number.
#[derive(Clone, Debug, Attrs)]
pub struct Topk {
    /// How many.
    pub k: Dim,
    /// The axis; negative ones count from the last.
    #[attr(default = -1)]
    pub axis: i64,
    /// Largest, not smallest.
    #[attr(default = true)]
    pub largest: bool,
    /// Whether the result must be in order; otherwise it may be in any.
    #[attr(default = true)]
    pub sorted: bool,
}

/// The `k` largest elements of `x` along `axis` and their indices (the smallest when `largest` is false), in order.
pub fn topk(b: &mut dyn Builder, x: &Var, k: Dim, axis: i64, largest: bool) -> Result<(Var, Var)> {
    let all = b.apply(&Topk { k, axis, largest, sorted: true }, std::slice::from_ref(x))?;
    match all.as_slice() {
        [values, indices] => Ok((values.clone(), indices.clone())),
        _ => Err(Error::internal("topk has two outputs")),
    }
}

/// Ascending, NaN last.
fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl Op for Topk {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        let axis = common::axis(self.axis, x.rank())?;
        let n = &x.shape[axis];
        if let Some(k) = self.k.known()
            && (k < 0 || n.known().is_some_and(|n| k > n))
        {
            return Err(Error::value(format!("k is {k} for an axis of {n} elements"))
                .with_expected("k from 0 to the number of elements"));
        }
        let mut shape = x.shape.clone();
        shape[axis] = self.k.clone();
        let indices = TensorFact::new(DType::I64, shape.clone());
        Ok(smallvec![Fact::Tensor(TensorFact::new(x.dtype, shape)), Fact::Tensor(indices)])
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let axis = common::axis(self.axis, x.shape().len())?;
        let (n, k) = (x.shape()[axis], common::sizes(std::slice::from_ref(&self.k))?[0]);
        if k > n {
            return Err(Error::value(format!("k is {k} for an axis of {n} elements")));
        }
        let outer: usize = x.shape()[..axis].iter().product();
        let inner: usize = x.shape()[axis + 1..].iter().product();
        let numbers = x.numbers();
        let order = |i: usize, j: usize| match &numbers {
            Numbers::F(v) => compare(v[i], v[j]),
            Numbers::I(v) => v[i].cmp(&v[j]),
            Numbers::U(v) => v[i].cmp(&v[j]),
        };
        let mut shape = x.shape().to_vec();
        shape[axis] = k;
        let size = x.dtype().size();
        let total: usize = shape.iter().product();
        let (mut values, mut indices) = (vec![0u8; total * size], vec![0i64; total]);
        for o in 0..outer {
            for i in 0..inner {
                let at = |j: usize| (o * n + j) * inner + i;
                let mut ranked: Vec<usize> = (0..n).collect();
                ranked.sort_by(|&a, &b| {
                    let ascending = order(at(a), at(b));
                    if self.largest { ascending.reverse() } else { ascending }
                });
                for (r, &j) in ranked.iter().take(k).enumerate() {
                    let to = (o * k + r) * inner + i;
                    values[to * size..(to + 1) * size].copy_from_slice(&x.bytes()[at(j) * size..(at(j) + 1) * size]);
                    indices[to] = j as i64;
                }
            }
        }
        Ok(vec![
            HostTensor::copy_bytes(x.dtype(), &shape, &values)?.into(),
            HostTensor::from_slice(&shape, &indices)?.into(),
        ])
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0, outputs: 0b10 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let shape = s.input_fact(0)?.shape.to_vec();
        Ok(vec![Some(scatter_add_elements(b, s.output(1)?, g, self.axis, shape)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let flag = |v: bool| OnnxAttr::Int(i64::from(v));
        let mut export = OnnxExport::new("TopK", 11)
            .attr("axis", OnnxAttr::Int(self.axis))
            .attr("largest", flag(self.largest))
            .attr("sorted", flag(self.sorted))
            .input(HostTensor::ints(&[self.k.known()?]).ok()?);
        export.outputs = 2;
        Some(export)
    }
}

fn from_onnx(node: &dyn OnnxNode, b: &mut dyn Builder, x: Var, k: Dim) -> Result<Vars> {
    let (largest, sorted) = (node.int("largest", 1)? != 0, node.int("sorted", 1)? != 0);
    b.apply(&Topk { k, axis: node.int("axis", -1)?, largest, sorted }, &[x])
}

impl OpType for Topk {
    const NAME: &'static str = "topk";
    const DOC: &'static str = "The largest or smallest elements along an axis and their indices.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("TopK", 1, 9, |node, b, inputs| {
                let k = Dim::Known(node.int("k", 0)?);
                from_onnx(node, b, required(inputs, 0)?, k)
            }),
            OnnxMapping::new("TopK", 10, |node, b, inputs| {
                let k = b.dims(&required(inputs, 1)?)?;
                let k = k.into_iter().next().ok_or_else(|| Error::value("k is empty").with_expected("one number"))?;
                from_onnx(node, b, required(inputs, 0)?, k)
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |k: i64, axis, largest| Topk { k: Dim::Known(k), axis, largest, sorted: true };
        let distinct = |d: DType, s: &[usize]| vec![CaseInput::new(d, s).fill(Fill::Distinct(-20.0, 20.0, 5))];
        let mut cases = Vec::new();
        for &d in DType::NUMERIC {
            cases.push(Case::new(format!("largest-{d}"), &op(3, -1, true), vec![CaseInput::new(d, &[4, 7])]));
            cases.push(Case::new(format!("smallest-{d}"), &op(2, 0, false), vec![CaseInput::new(d, &[5, 3])]));
        }
        for v in [View::Transposed, View::Strided, View::Reversed] {
            let input = CaseInput::new(DType::F32, &[4, 5]).fill(Fill::Distinct(-3.0, 3.0, 9)).view(v);
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(2, 1, true), vec![input]).with_gradient());
        }
        let inner = Case::new("inner", &op(2, 1, false), distinct(DType::F64, &[2, 5, 3]));
        cases.push(inner.with_gradient().symbol(0, 0, "n"));
        let special = CaseInput::new(DType::F32, &[3, 12]).fill(Fill::Special(2));
        cases.push(Case::new("special", &op(6, 1, true), vec![special.clone()]));
        cases.push(Case::new("special-smallest", &op(12, 1, false), vec![special]));
        cases.push(Case::new("none", &op(0, 0, true), distinct(DType::F32, &[4])));
        cases.push(Case::new("all", &op(4, 0, true), distinct(DType::F64, &[4])).with_gradient());
        cases.push(Case::new("empty", &op(2, 1, true), distinct(DType::F32, &[0, 3])));
        cases.push(Case::new("large", &op(50, 1, true), distinct(DType::F32, &[17, 2003])));
        cases
    }
}
