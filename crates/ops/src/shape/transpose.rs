//! Axes in another order, as a view.

use lampyr_base::{DType, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, NodeId, Op, OpType, Patch, Rewrite, Rule, Saved,
    Saves, TensorFact, Var, Wires,
};
use smallvec::smallvec;

use crate::common;
use crate::shape::reshape::reshape;

/// Axis `i` of the result is axis `perm[i]` of the input. No copy.
#[derive(Clone, Debug, Attrs)]
pub struct Transpose {
    /// A permutation of the axes; negative ones count from the last.
    pub perm: Vec<i64>,
}

/// `x` with its axes in the order `perm`.
pub fn transpose(b: &mut dyn Builder, x: &Var, perm: &[i64]) -> Result<Var> {
    b.one(&Transpose { perm: perm.to_vec() }, std::slice::from_ref(x))
}

/// `x` with two axes exchanged.
pub fn swap_axes(b: &mut dyn Builder, x: &Var, first: i64, second: i64) -> Result<Var> {
    let rank = b.tensor_fact(x)?.rank();
    let (i, j) = (common::axis(first, rank)?, common::axis(second, rank)?);
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(i, j);
    transpose(b, x, &perm)
}

impl Transpose {
    fn order(&self, rank: usize) -> Result<Vec<usize>> {
        let fail = || {
            Error::value(format!("{:?} is not an order of the axes of a tensor of rank {rank}", self.perm))
                .with_expected("every axis once")
        };
        if self.perm.len() != rank {
            return Err(fail());
        }
        let order = self.perm.iter().map(|&a| common::axis(a, rank)).collect::<Result<Vec<_>>>()?;
        let mut seen = vec![false; rank];
        order.iter().for_each(|&a| seen[a] = true);
        if seen.contains(&false) { Err(fail()) } else { Ok(order) }
    }

    fn inverse(&self, rank: usize) -> Result<Vec<i64>> {
        let mut inverse = vec![0; rank];
        self.order(rank)?.into_iter().enumerate().for_each(|(i, a)| inverse[a] = i as i64);
        Ok(inverse)
    }
}

/// Two transposes behind each other are one.
fn merge(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let node = w.graph().node(id)?;
    let (Some(outer), [v], [result]) =
        (node.op.downcast::<Transpose>(), node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return Ok(Rewrite::No);
    };
    let Some((_, first, inner)) = w.op::<Transpose>(*v) else { return Ok(Rewrite::No) };
    let Some(rank) = w.shape(*v).map(<[_]>::len) else { return Ok(Rewrite::No) };
    let (outer, inner) = (outer.order(rank)?, inner.order(rank)?);
    let perm: Vec<i64> = outer.iter().map(|&a| inner[a] as i64).collect();
    let Some(x) = first.inputs.first() else { return Ok(Rewrite::No) };
    let x = patch.tap(w.graph(), *x)?;
    let y = if perm.iter().enumerate().all(|(i, a)| i as i64 == *a) { x } else { transpose(patch, &x, &perm)? };
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(vec![id]))
}

/// A transpose that moves only axes of size 1 is a reshape.
fn of_ones(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let node = w.graph().node(id)?;
    let (Some(op), [x], [result]) = (node.op.downcast::<Transpose>(), node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return Ok(Rewrite::No);
    };
    let (Some(from), Some(to)) = (w.shape(*x), w.shape(*result)) else { return Ok(Rewrite::No) };
    let moved: Vec<usize> = op.order(from.len())?.into_iter().filter(|&a| from[a].known() != Some(1)).collect();
    if !moved.is_sorted() {
        return Ok(Rewrite::No);
    }
    let x = patch.tap(w.graph(), *x)?;
    let y = reshape(patch, &x, to.to_vec())?;
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(vec![id]))
}

impl Op for Transpose {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let order = self.order(x.rank())?;
        let known = x.known.clone().filter(|_| x.rank() <= 1);
        Ok(common::one(TensorFact::new(x.dtype, order.iter().map(|&a| x.shape[a].clone())).with_known(known)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let layout = Layout::contiguous(x.shape()).permute(&self.order(x.shape().len())?);
        common::out(common::gather_layout(x, &layout)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let inverse = self.inverse(s.input_fact(0)?.rank())?;
        Ok(vec![Some(transpose(b, g, &inverse)?)])
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        Some(base.permute(&self.order(base.rank()).ok()?))
    }

    fn unview(&self, b: &mut dyn Builder, base: &Var, new: &Var) -> Option<Result<Var>> {
        Some(b.tensor_fact(base).and_then(|f| self.inverse(f.rank())).and_then(|inverse| transpose(b, new, &inverse)))
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let order = self.order(inputs.first()?.as_tensor().ok()?.rank()).ok()?;
        let perm = order.into_iter().map(|a| a as i64).collect();
        Some(OnnxExport::new("Transpose", 13).attr("perm", OnnxAttr::Ints(perm)))
    }
}

impl OpType for Transpose {
    const NAME: &'static str = "transpose";
    const DOC: &'static str = "Axes in another order, without a copy.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Transpose", 1, |node, b, inputs| {
            let x = required(inputs, 0)?;
            let perm = match node.ints("perm")? {
                Some(perm) => perm,
                None => (0..b.tensor_fact(&x)?.rank() as i64).rev().collect(),
            };
            Ok(smallvec![transpose(b, &x, &perm)?])
        })]
    }

    fn rules() -> Vec<Rule> {
        vec![
            Rule { name: "merge_transposes", roots: &["transpose"], recognises: false, run: merge },
            Rule { name: "transpose_of_ones", roots: &["transpose"], recognises: false, run: of_ones },
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |perm: &[i64]| Transpose { perm: perm.to_vec() };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .map(|&d| Case::new(format!("plain-{d}"), &op(&[2, 0, 1]), x(d, &[2, 3, 4])).symbol(0, 0, "n"))
            .collect();
        for (name, view) in [
            ("transposed", View::Transposed),
            ("strided", View::Strided),
            ("reversed", View::Reversed),
            ("expanded", View::Broadcast),
        ] {
            let input = CaseInput::new(DType::F32, &[3, 5]).view(view);
            cases.push(Case::new(name, &op(&[1, 0]), vec![input]).with_gradient());
        }
        cases.push(Case::new("negative", &op(&[0, -1, -2, 1]), x(DType::F64, &[2, 3, 1, 4])).with_gradient());
        cases.push(Case::new("scalar", &op(&[]), x(DType::F32, &[])).with_gradient());
        cases.push(Case::new("empty", &op(&[1, 2, 0]), x(DType::F32, &[2, 0, 3])).with_gradient());
        cases.push(Case::new("large", &op(&[1, 0]), x(DType::F32, &[257, 515])));
        cases
    }
}
