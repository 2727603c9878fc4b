//! The same elements under another shape, as a view where strides allow.

use lampyr_base::{DType, Dim, Error, Layout, Result, num_elements};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, NodeId, Op, OpType, Patch, Rewrite,
    Rule, Saved, Saves, TensorFact, Var, Wires,
};
use smallvec::smallvec;

use crate::common;
use crate::patterns::only_shape;
use crate::shape::transpose::{Transpose, transpose};

/// The elements of the input in row-major order under another shape. No copy where the strides allow.
#[derive(Clone, Debug, Attrs)]
pub struct Reshape {
    /// Sizes of the result; their product is that of the input's sizes.
    pub shape: Vec<Dim>,
}

/// `x` under the shape `shape`, of which one size may be -1: whatever is left for it.
pub fn reshape(b: &mut dyn Builder, x: &Var, shape: Vec<Dim>) -> Result<Var> {
    let shape = resolve(&b.tensor_fact(x)?, shape)?;
    b.one(&Reshape { shape }, std::slice::from_ref(x))
}

/// `shape` with -1 replaced by the size that is left for it.
fn resolve(x: &TensorFact, mut shape: Vec<Dim>) -> Result<Vec<Dim>> {
    let open: Vec<usize> = (0..shape.len()).filter(|&i| shape[i] == Dim::Known(-1)).collect();
    let [at] = open.as_slice() else {
        if open.is_empty() {
            return Ok(shape);
        }
        return Err(Error::value(format!("shape [{}] leaves several sizes open", Dim::join(&shape)))
            .with_expected("at most one -1"));
    };
    shape[*at] = Dim::Known(1);
    let rest = Dim::product(&shape);
    if rest == Dim::Known(0) {
        return Err(Error::shape(format!("the open size is ambiguous: the others are [{}]", Dim::join(&shape)))
            .with_help("give every size when one of them is 0"));
    }
    let total = x.elements();
    if let (Dim::Known(n), Dim::Known(r)) = (&total, &rest)
        && n % r != 0
    {
        return Err(Error::shape(format!("{n} elements of shape [{}] do not divide by {r}", Dim::join(&x.shape))));
    }
    shape[*at] = total.floor_div(&rest);
    Ok(shape)
}

/// The layout of `base` under `shape`; `None` when that takes a copy or the sizes do not fit.
pub(crate) fn view_as(base: &Layout, shape: &[Dim]) -> Option<Layout> {
    let shape = common::sizes(shape).ok()?;
    if num_elements(&shape).ok()? != base.len() {
        return None;
    }
    base.reshape(&shape)
}

/// `x` under `shape` in plain memory.
pub(crate) fn reference_as(x: &HostTensor, shape: &[Dim]) -> Result<Vec<HostValue>> {
    let shape = common::sizes(shape)?;
    if num_elements(&shape)? != x.len() {
        return Err(Error::shape(format!("shape {shape:?} does not hold the {} elements of {:?}", x.len(), x.shape())));
    }
    common::out(HostTensor::copy_bytes(x.dtype(), &shape, x.bytes())?)
}

/// The fact of `x` under `shape`; elements that are known stay so.
pub(crate) fn fact_as(x: &TensorFact, shape: impl IntoIterator<Item = Dim>) -> TensorFact {
    let fact = TensorFact::new(x.dtype, shape);
    let known = x.known.clone().filter(|_| fact.rank() <= 1);
    fact.with_known(known)
}

/// `new` under the shape of `base`.
pub(crate) fn reshape_like(b: &mut dyn Builder, base: &Var, new: &Var) -> Result<Var> {
    let shape = b.tensor_fact(base)?.shape.to_vec();
    b.one(&Reshape { shape }, std::slice::from_ref(new))
}

/// The gradient of every op that only changes the shape.
pub(crate) fn vjp_as(b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
    let Some(g) = &grads[0] else { return Ok(vec![None]) };
    let shape = s.input_fact(0)?.shape.to_vec();
    Ok(vec![Some(b.one(&Reshape { shape }, std::slice::from_ref(g))?)])
}

/// Of two changes of shape behind each other only the last one counts.
fn merge(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let node = w.graph().node(id)?;
    let ([v], [result], true) = (node.inputs.as_slice(), node.outputs.as_slice(), only_shape(node)) else {
        return Ok(Rewrite::No);
    };
    let Some((_, first)) = w.made_by(*v).filter(|(_, n)| only_shape(n)) else { return Ok(Rewrite::No) };
    let (Some(x), Some(shape)) = (first.inputs.first(), w.shape(*result)) else { return Ok(Rewrite::No) };
    if w.tensor(*result).is_some_and(|t| t.known.is_some()) {
        return Ok(Rewrite::No);
    }
    let same = w.shape(*x) == Some(shape);
    let x = patch.tap(w.graph(), *x)?;
    let y = if same { x } else { (patch as &mut dyn Builder).one(&Reshape { shape: shape.to_vec() }, &[x])? };
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(vec![id]))
}

/// For a reshape that only merges neighbouring axes: how many input axes make each output axis.
fn merged(from: &[Dim], to: &[Dim]) -> Option<Vec<usize>> {
    let mut counts = Vec::with_capacity(to.len());
    let mut at = 0;
    for (i, size) in to.iter().enumerate() {
        let rest = to.len() - i - 1;
        let last = from.len().checked_sub(rest)?;
        let count = (1..=last.checked_sub(at)?).find(|n| Dim::product(&from[at..at + n]) == *size)?;
        counts.push(count);
        at += count;
    }
    (at == from.len()).then_some(counts)
}

/// Axes merged, transposed and split again: a transpose of the axes before.
fn through_transpose(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let node = w.graph().node(id)?;
    let ([v], [result], true) = (node.inputs.as_slice(), node.outputs.as_slice(), only_shape(node)) else {
        return Ok(Rewrite::No);
    };
    let Some((_, middle, op)) = w.op::<Transpose>(*v) else { return Ok(Rewrite::No) };
    let Some(inner) = middle.inputs.first().copied() else { return Ok(Rewrite::No) };
    let Some((_, first)) = w.made_by(inner).filter(|(_, n)| only_shape(n)) else { return Ok(Rewrite::No) };
    let Some(x) = first.inputs.first().copied() else { return Ok(Rewrite::No) };
    let (Some(from), Some(flat), Some(to)) = (w.shape(x), w.shape(inner), w.shape(*result)) else {
        return Ok(Rewrite::No);
    };
    let Some(counts) = merged(from, flat) else { return Ok(Rewrite::No) };
    let starts: Vec<usize> = counts.iter().scan(0, |at, n| Some(std::mem::replace(at, *at + n))).collect();
    let mut perm: Vec<i64> = Vec::with_capacity(from.len());
    for axis in op.perm.iter().map(|a| common::axis(*a, flat.len())) {
        let axis = axis?;
        perm.extend((starts[axis]..starts[axis] + counts[axis]).map(|a| a as i64));
    }
    let fits = perm.len() == to.len() && perm.iter().zip(to).all(|(a, d)| from[*a as usize] == *d);
    if !fits {
        return Ok(Rewrite::No);
    }
    let x = patch.tap(w.graph(), x)?;
    let y = transpose(patch, &x, &perm)?;
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(vec![id]))
}

/// What only gives another shape.
const SHAPE_OPS: &[&str] = &["reshape", "flatten", "squeeze", "unsqueeze"];

impl Op for Reshape {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let fits = match (x.elements(), Dim::product(&self.shape)) {
            (Dim::Known(a), Dim::Known(b)) => a == b,
            _ => true,
        };
        if !fits || self.shape.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
            return Err(Error::shape(format!(
                "cannot reshape [{}] to [{}]",
                Dim::join(&x.shape),
                Dim::join(&self.shape)
            ))
            .with_expected(format!("sizes with the product {}", x.elements())));
        }
        Ok(common::one(fact_as(x, self.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        reference_as(inputs[0].tensor()?, &self.shape)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        vjp_as(b, s, grads)
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        view_as(base, &self.shape)
    }

    fn unview(&self, b: &mut dyn Builder, base: &Var, new: &Var) -> Option<Result<Var>> {
        Some(reshape_like(b, base, new))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let shape: Option<Vec<i64>> = self.shape.iter().map(Dim::known).collect();
        let export = OnnxExport::new("Reshape", 14).attr("allowzero", OnnxAttr::Int(1));
        Some(export.input(HostTensor::ints(&shape?).ok()?))
    }
}

impl OpType for Reshape {
    const NAME: &'static str = "reshape";
    const DOC: &'static str = "The same elements under another shape.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        fn build(b: &mut dyn Builder, x: &Var, mut want: Vec<Dim>, zero_copies: bool) -> Result<lampyr_ir::Vars> {
            let have = b.tensor_fact(x)?;
            for (i, d) in want.iter_mut().enumerate() {
                if zero_copies && *d == Dim::Known(0) {
                    let missing =
                        || Error::shape(format!("size {i} is to be copied from a tensor of rank {}", have.rank()));
                    *d = have.shape.get(i).cloned().ok_or_else(missing)?;
                }
            }
            Ok(smallvec![reshape(b, x, want)?])
        }
        vec![
            OnnxMapping::range("Reshape", 1, 4, |node, b, inputs| {
                let want = node.ints("shape")?.unwrap_or_default().into_iter().map(Dim::Known).collect();
                build(b, &required(inputs, 0)?, want, true)
            }),
            OnnxMapping::new("Reshape", 5, |node, b, inputs| {
                let want = b.dims(&required(inputs, 1)?)?;
                build(b, &required(inputs, 0)?, want, node.int("allowzero", 0)? == 0)
            }),
        ]
    }

    fn rules() -> Vec<Rule> {
        vec![
            Rule { name: "merge_reshapes", roots: SHAPE_OPS, recognises: false, run: merge },
            Rule { name: "reshape_through_transpose", roots: SHAPE_OPS, recognises: false, run: through_transpose },
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |s: &[usize]| Reshape { shape: common::fixed_dims(s) };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("merge-{d}"), &op(&[6, 4]), x(d, &[2, 3, 4]))).collect();
        for (name, view) in [
            ("transposed", View::Transposed),
            ("strided", View::Strided),
            ("reversed", View::Reversed),
            ("expanded", View::Broadcast),
        ] {
            let input = CaseInput::new(DType::F32, &[4, 6]).view(view);
            cases.push(Case::new(name, &op(&[2, 2, 3, 2]), vec![input]).with_gradient());
        }
        cases.push(Case::new("split", &op(&[8, 3]), x(DType::F64, &[4, 6])).with_gradient().symbol(0, 0, "n"));
        cases.push(Case::new("to-scalar", &op(&[]), x(DType::F32, &[1, 1])).with_gradient());
        cases.push(Case::new("from-scalar", &op(&[1, 1]), x(DType::F64, &[])).with_gradient());
        cases.push(Case::new("empty", &op(&[0, 7]), x(DType::F32, &[2, 0, 3])).with_gradient());
        cases
    }
}
