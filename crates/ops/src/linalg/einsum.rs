//! Sums of products named by an equation (Einstein summation).

use std::collections::BTreeMap;

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, Promote,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::to_shape;

/// Products of elements summed over all axes that the result does not name, as in `ij,jk->ik`.
///
/// Letters name axes; one letter twice in an operand takes its diagonal; `...` stands for axes that broadcast; without
/// `->` the result has the axes of `...` and then those that occur once, in the order of the alphabet.
#[derive(Clone, Debug, Attrs)]
pub struct Einsum {
    /// The equation.
    pub equation: String,
}

/// Sums of products of `inputs` named by `equation`; see [`Einsum`].
pub fn einsum(b: &mut dyn Builder, equation: &str, inputs: &[Var]) -> Result<Var> {
    b.one(&Einsum { equation: equation.to_string() }, inputs)
}

/// Labels of axes: letters, and numbers from here on for the axes of `...`, counted from the last.
type Label = u32;
const DOTS: Label = 1 << 24;

/// The labels of all operands and of the result.
struct Equation {
    inputs: Vec<Vec<Label>>,
    output: Vec<Label>,
}

/// A term with `None` in the place of `...`.
fn term(text: &str) -> Result<Vec<Option<Label>>> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if labels.contains(&None) {
                return Err(Error::value(format!("`{text}` has two ellipses")));
            }
            labels.push(None);
            rest = after;
            continue;
        }
        if !c.is_ascii_alphabetic() {
            return Err(Error::value(format!("`{c}` in `{text}`")).with_expected("letters, commas, `...` and `->`"));
        }
        labels.push(Some(Label::from(c)));
        rest = &rest[c.len_utf8()..];
    }
    Ok(labels)
}

fn parse(equation: &str, ranks: &[usize]) -> Result<Equation> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left, Some(term(right)?)),
        None => (text.as_str(), None),
    };
    let terms = left.split(',').map(term).collect::<Result<Vec<_>>>()?;
    if terms.len() != ranks.len() {
        return Err(Error::value(format!("`{equation}` has {} operands", terms.len()))
            .with_expected(format!("{}, one per input", ranks.len())));
    }
    let mut inputs = Vec::new();
    let mut most = 0;
    for (term, &rank) in terms.iter().zip(ranks) {
        let named = term.iter().flatten().count();
        let dots = term.contains(&None);
        if rank < named || rank > named && !dots {
            return Err(Error::shape(format!("an operand of rank {rank} for {named} labels in `{equation}`"))
                .with_expected("as many axes as labels"));
        }
        let extra = rank - named;
        most = most.max(extra);
        let spread = |l: &Option<Label>| match l {
            Some(l) => vec![*l],
            None => (0..extra as Label).rev().map(|i| DOTS + i).collect(),
        };
        inputs.push(term.iter().flat_map(spread).collect::<Vec<Label>>());
    }
    let dots = (0..most as Label).rev().map(|i| DOTS + i);
    let output: Vec<Label> = match right {
        Some(right) => {
            let spread = |l: Option<Label>| match l {
                Some(l) => vec![l],
                None => dots.clone().collect(),
            };
            right.into_iter().flat_map(spread).collect()
        }
        None => {
            let mut counts: BTreeMap<Label, usize> = BTreeMap::new();
            inputs.iter().flatten().filter(|l| **l < DOTS).for_each(|l| *counts.entry(*l).or_default() += 1);
            dots.chain(counts.into_iter().filter(|(_, n)| *n == 1).map(|(l, _)| l)).collect()
        }
    };
    for (i, l) in output.iter().enumerate() {
        if output[..i].contains(l) || !inputs.iter().any(|t| t.contains(l)) {
            let name = char::from_u32(*l).filter(|_| *l < DOTS).map_or("...".to_string(), String::from);
            return Err(Error::value(format!("the result of `{equation}` names `{name}` twice, or no operand does")));
        }
    }
    Ok(Equation { inputs, output })
}

/// An operand on its way: a value and the labels of its axes.
struct Part {
    value: Var,
    labels: Vec<Label>,
}

impl Part {
    fn dim(&self, b: &dyn Builder, label: Label) -> Result<Option<Dim>> {
        let shape = b.tensor_fact(&self.value)?.shape;
        Ok(self.labels.iter().position(|l| *l == label).map(|i| shape[i].clone()))
    }

    /// With the axes in the order of `labels`, and ones where it has none.
    fn ordered(&self, b: &mut dyn Builder, labels: &[Label]) -> Result<Var> {
        let at = |l: &Label| self.labels.iter().position(|own| own == l);
        let perm: Vec<i64> = labels.iter().filter_map(at).map(|i| i as i64).collect();
        let still = perm.iter().enumerate().all(|(i, &p)| i as i64 == p);
        let value = if still { self.value.clone() } else { transpose(b, &self.value, &perm)? };
        let missing: Vec<i64> = (0..labels.len()).filter(|&i| at(&labels[i]).is_none()).map(|i| i as i64).collect();
        if missing.is_empty() { Ok(value) } else { unsqueeze(b, &value, &missing) }
    }

    /// The diagonals of labels that occur twice.
    fn diagonals(mut self, b: &mut dyn Builder) -> Result<Part> {
        while let Some((i, j)) = repeated(&self.labels) {
            let fact = b.tensor_fact(&self.value)?;
            let n = common::same_dim(&fact.shape[i], &fact.shape[j])?;
            let Some(size) = n.known() else {
                return Err(Error::unsupported(format!("the diagonal of an axis of {n} elements")));
            };
            let rest = (0..fact.rank()).filter(|&k| k != i && k != j);
            let perm: Vec<i64> = rest.clone().chain([i, j]).map(|k| k as i64).collect();
            let turned = transpose(b, &self.value, &perm)?;
            let mut shape: Vec<Dim> = rest.clone().map(|k| fact.shape[k].clone()).collect();
            shape.push(Dim::Known(size.saturating_mul(size)));
            let flat = reshape(b, &turned, shape)?;
            let end = Dim::Known(size.saturating_mul(size));
            let value = slice(b, &flat, &[-1], vec![Dim::Known(0)], vec![end], &[size.saturating_add(1)])?;
            let mut labels: Vec<Label> = rest.map(|k| self.labels[k]).collect();
            labels.push(self.labels[i]);
            self = Part { value, labels };
        }
        Ok(self)
    }

    /// Summed over the axes whose labels are not in `keep`.
    fn summed(self, b: &mut dyn Builder, keep: &[Label]) -> Result<Part> {
        let gone = |i: &usize| !keep.contains(&self.labels[*i]);
        let axes: Vec<i64> = (0..self.labels.len()).filter(gone).map(|i| i as i64).collect();
        if axes.is_empty() {
            return Ok(self);
        }
        let value = reduce_sum(b, &self.value, &axes, false)?;
        Ok(Part { value, labels: self.labels.into_iter().filter(|l| keep.contains(l)).collect() })
    }

    /// Without the axes of size 1 that `other` has with another size.
    fn without_ones(self, b: &mut dyn Builder, other: &Part) -> Result<Part> {
        let mut axes = Vec::new();
        for (i, &l) in self.labels.iter().enumerate() {
            let one = self.dim(b, l)? == Some(Dim::Known(1));
            if one && other.dim(b, l)?.is_some_and(|d| d != Dim::Known(1)) {
                axes.push(i as i64);
            }
        }
        if axes.is_empty() {
            return Ok(self);
        }
        let value = squeeze(b, &self.value, &axes)?;
        let kept = self.labels.iter().enumerate().filter(|(i, _)| !axes.contains(&(*i as i64)));
        Ok(Part { value, labels: kept.map(|(_, l)| *l).collect() })
    }
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|j| labels[..j].iter().position(|l| *l == labels[j]).map(|i| (i, j)))
}

/// The product of two operands, summed over the labels that are not in `keep`.
fn contract(b: &mut dyn Builder, x: Part, y: Part, keep: &[Label]) -> Result<Part> {
    let only = |own: &Part, other: &Part| -> Vec<Label> {
        own.labels.iter().copied().filter(|l| other.labels.contains(l) || keep.contains(l)).collect()
    };
    let (keep_x, keep_y) = (only(&x, &y), only(&y, &x));
    let (x, y) = (x.summed(b, &keep_x)?, y.summed(b, &keep_y)?);
    let x = x.without_ones(b, &y)?;
    let y = y.without_ones(b, &x)?;
    let shared: Vec<Label> = x.labels.iter().copied().filter(|l| y.labels.contains(l)).collect();
    let (batch, inner): (Vec<Label>, Vec<Label>) = shared.iter().partition(|l| keep.contains(l));
    let own = |p: &Part| p.labels.iter().copied().filter(|l| !shared.contains(l)).collect::<Vec<_>>();
    let (rows, columns) = (own(&x), own(&y));
    let labels: Vec<Label> = batch.iter().chain(&rows).chain(&columns).copied().collect();
    if inner.is_empty() {
        let (x, y) = (x.ordered(b, &labels)?, y.ordered(b, &labels)?);
        return Ok(Part { value: mul(b, &x, &y)?, labels });
    }
    let sizes = |b: &dyn Builder, list: &[Label]| -> Result<Vec<Dim>> {
        list.iter()
            .map(|&l| match (x.dim(b, l)?, y.dim(b, l)?) {
                (Some(a), Some(c)) => common::same_dim(&a, &c),
                (a, c) => a.or(c).ok_or_else(|| Error::internal("a label without an axis")),
            })
            .collect()
    };
    let (batch_sizes, inner_sizes) = (sizes(b, &batch)?, sizes(b, &inner)?);
    let (row_sizes, column_sizes) = (sizes(b, &rows)?, sizes(b, &columns)?);
    let flat = |d: &[Dim]| Dim::product(d);
    let order = |parts: [&[Label]; 3]| parts.concat();
    let left = x.ordered(b, &order([&batch, &rows, &inner]))?;
    let right = y.ordered(b, &order([&batch, &inner, &columns]))?;
    let whole = |m: Dim, n: Dim| batch_sizes.iter().cloned().chain([m, n]).collect::<Vec<Dim>>();
    let left = to_shape(b, &left, whole(flat(&row_sizes), flat(&inner_sizes)))?;
    let right = to_shape(b, &right, whole(flat(&inner_sizes), flat(&column_sizes)))?;
    let product = matmul(b, &left, &right)?;
    let shape = batch_sizes.iter().chain(&row_sizes).chain(&column_sizes).cloned().collect();
    Ok(Part { value: to_shape(b, &product, shape)?, labels })
}

impl Einsum {
    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let ranks = inputs.iter().map(|v| Ok(b.tensor_fact(v)?.rank())).collect::<Result<Vec<_>>>()?;
        let equation = parse(&self.equation, &ranks)?;
        let mut parts = Vec::new();
        for (value, labels) in inputs.iter().zip(&equation.inputs) {
            parts.push(Part { value: value.clone(), labels: labels.clone() }.diagonals(b)?);
        }
        let mut rest = parts.into_iter();
        let Some(mut total) = rest.next() else { return Err(Error::internal("no operand")) };
        while let Some(next) = rest.next() {
            let later = rest.as_slice().iter().flat_map(|p| &p.labels);
            let keep: Vec<Label> = equation.output.iter().chain(later).copied().collect();
            total = contract(b, total, next, &keep)?;
        }
        let total = total.summed(b, &equation.output)?;
        Ok(smallvec![total.ordered(b, &equation.output)?])
    }
}

impl Op for Einsum {
    fn arity(&self) -> Arity {
        Arity::at_least(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        common::check_dtype(f[0].dtype, Self::DTYPES)?;
        if let Some(other) = f.iter().find(|x| x.dtype != f[0].dtype) {
            return Err(Error::dtype(format!("inputs have different types: {} and {}", f[0].dtype, other.dtype))
                .with_expected("equal types"));
        }
        let ranks: Vec<usize> = f.iter().map(|x| x.rank()).collect();
        let equation = parse(&self.equation, &ranks)?;
        let mut sizes: BTreeMap<Label, Dim> = BTreeMap::new();
        for (labels, x) in equation.inputs.iter().zip(&f) {
            for (l, d) in labels.iter().zip(&x.shape) {
                let size = match sizes.get(l) {
                    None => d.clone(),
                    Some(Dim::Known(1)) => d.clone(),
                    Some(s) if *d == Dim::Known(1) => s.clone(),
                    Some(s) => common::same_dim(s, d)?,
                };
                sizes.insert(*l, size);
            }
        }
        common::infer_decomposed(self, inputs)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let ranks: Vec<usize> = t.iter().map(|x| x.shape().len()).collect();
        let equation = parse(&self.equation, &ranks)?;
        let mut sizes: BTreeMap<Label, usize> = BTreeMap::new();
        for (labels, x) in equation.inputs.iter().zip(&t) {
            for (l, &d) in labels.iter().zip(x.shape()) {
                let size = sizes.entry(*l).or_insert(d);
                *size = if *size == 1 { d } else { *size };
            }
        }
        let summed = sizes.keys().copied().filter(|l| !equation.output.contains(l));
        let order: Vec<Label> = equation.output.iter().copied().chain(summed).collect();
        let all: Vec<usize> = order.iter().map(|l| sizes[l]).collect();
        let shape = &all[..equation.output.len()];
        let (count, inner) = (shape.iter().product::<usize>(), all[shape.len()..].iter().product::<usize>());
        let place = |labels: &[Label], x: &HostTensor, index: &[usize]| {
            labels.iter().zip(x.shape()).fold(0, |at, (l, &d)| {
                let i = order.iter().position(|o| o == l).map_or(0, |k| index[k]);
                at * d + if d == 1 { 0 } else { i }
            })
        };
        let places = |flat: usize| {
            let index = common::unravel(flat, &all);
            equation.inputs.iter().zip(&t).map(|(labels, x)| place(labels, x, &index)).collect::<Vec<usize>>()
        };
        let numbers: Vec<Numbers> = t.iter().map(|x| x.numbers()).collect();
        let mut floats = Vec::new();
        let (mut signed, mut unsigned) = (Vec::new(), Vec::new());
        for i in 0..count {
            let (mut f, mut s, mut u) = (0.0, 0i64, 0u64);
            for j in 0..inner {
                let (mut pf, mut ps, mut pu) = (1.0, 1i64, 1u64);
                for (at, n) in places(i * inner + j).into_iter().zip(&numbers) {
                    match n {
                        Numbers::F(v) => pf *= v[at],
                        Numbers::I(v) => ps = ps.wrapping_mul(v[at]),
                        Numbers::U(v) => pu = pu.wrapping_mul(v[at]),
                    }
                }
                (f, s, u) = (f + pf, s.wrapping_add(ps), u.wrapping_add(pu));
            }
            floats.push(f);
            signed.push(s);
            unsigned.push(u);
        }
        let result = match numbers.first() {
            Some(Numbers::I(_)) => Numbers::I(signed),
            Some(Numbers::U(_)) => Numbers::U(unsigned),
            _ => Numbers::F(floats),
        };
        common::out(HostTensor::from_numbers(t[0].dtype(), shape, &result)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Einsum", 12).attr("equation", OnnxAttr::Str(self.equation.clone())))
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let all: Vec<Var> = inputs.iter().flatten().cloned().collect();
    Ok(smallvec![einsum(b, &node.text("equation", "")?, &all)?])
}

impl OpType for Einsum {
    const NAME: &'static str = "einsum";
    const DOC: &'static str = "Sums of products named by an equation.";
    const DTYPES: &'static [DType] =
        &[DType::F16, DType::BF16, DType::F32, DType::F64, DType::I32, DType::I64, DType::U32, DType::U64];
    const PROMOTE: Promote = Promote::Common;
    const AUTOCAST: Autocast = Autocast::Low;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Einsum", 12, import)]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let equations: [(&str, &str, &[&[usize]]); 22] = [
            ("product", "ij,jk->ik", &[&[3, 4], &[4, 2]]),
            ("implicit", "ij,jk", &[&[3, 4], &[4, 2]]),
            ("batched", "bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 2]]),
            ("heads", "bqhd,bkhd->bhqk", &[&[2, 3, 2, 4], &[2, 5, 2, 4]]),
            ("ellipsis", "...ij,...jk->...ik", &[&[2, 1, 3, 4], &[5, 4, 2]]),
            ("ellipsis-implicit", "...ij,jk", &[&[2, 3, 4], &[4, 2]]),
            ("ellipsis-behind", "i...,i->...", &[&[3, 4, 2], &[3]]),
            ("dot", "i,i->", &[&[5], &[5]]),
            ("outer", "i,j->ij", &[&[3], &[4]]),
            ("sum", "ij->i", &[&[3, 4]]),
            ("transpose", "ij->ji", &[&[3, 4]]),
            ("implicit-order", "ba", &[&[3, 4]]),
            ("diagonal", "ii->i", &[&[4, 4]]),
            ("trace", "ii", &[&[4, 4]]),
            ("diagonals", "iji->ji", &[&[3, 2, 3]]),
            ("diagonal-batched", "...ii->...i", &[&[2, 3, 3]]),
            ("bilinear", "bi,oij,bj->bo", &[&[2, 3], &[4, 3, 5], &[2, 5]]),
            ("chain", "ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 2]]),
            ("elementwise", "ij,ij->ij", &[&[3, 4], &[3, 4]]),
            ("own-sums", "ij,kl->ik", &[&[3, 4], &[2, 5]]),
            ("ones", "ij,ij->i", &[&[3, 1], &[3, 4]]),
            ("spaces", " i j , j k -> i k ", &[&[2, 3], &[3, 2]]),
        ];
        for (name, equation, shapes) in equations {
            let op = Einsum { equation: equation.to_string() };
            let inputs = shapes.iter().map(|s| CaseInput::new(DType::F32, s)).collect();
            cases.push(Case::new(name, &op, inputs).with_gradient());
        }
        let product = Einsum { equation: "ij,jk->ik".to_string() };
        for &d in Self::DTYPES {
            let inputs = vec![CaseInput::new(d, &[3, 4]), CaseInput::new(d, &[4, 2])];
            cases.push(Case::new(format!("product-{d}"), &product, inputs));
        }
        for (name, view) in crate::cases::VIEWS {
            let inputs = [[5, 4], [4, 3]].iter().map(|s| CaseInput::new(DType::F32, s).view(view)).collect();
            cases.push(Case::new(name, &product, inputs).with_gradient());
        }
        let empty = vec![CaseInput::new(DType::F32, &[3, 0]), CaseInput::new(DType::F32, &[0, 2])];
        cases.push(Case::new("empty", &product, empty));
        let large = vec![CaseInput::new(DType::F32, &[67, 90]), CaseInput::new(DType::F32, &[90, 70])];
        cases.push(Case::new("large", &product, large).tolerance(1e-4, 1e-5));
        let op = Einsum { equation: "bqhd,bkhd->bhqk".to_string() };
        let inputs = vec![CaseInput::new(DType::F32, &[2, 3, 2, 4]), CaseInput::new(DType::F32, &[2, 5, 2, 4])];
        let symbolic = Case::new("symbolic", &op, inputs).with_gradient();
        cases.push(symbolic.symbol(0, 0, "b").symbol(1, 0, "b").symbol(0, 1, "q").symbol(1, 1, "k"));
        cases
    }
}
