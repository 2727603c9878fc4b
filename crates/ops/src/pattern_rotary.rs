//! Rotary embedding out of slices, a negation and a concatenation.

use lampyr_base::{Dim, Result};
use lampyr_ir::{Class, HostTensor, NodeId, Patch, Rewrite, ValueId, Var, Wires};

use crate::build::{Add, Concat, Mul, Neg, Slice, narrow, rotary_embedding};
use crate::common;
use crate::patterns::only_shape;

/// Longest way from an angle to the concatenation that doubles it.
const DEPTH: usize = 12;

/// The part of the last axis of `x` that `v` is, as first element and one past the last, with the node.
fn part(w: &Wires, v: ValueId, x: ValueId, size: i64) -> Option<(i64, i64, NodeId)> {
    let (id, node, op) = w.op::<Slice>(v)?;
    let rank = w.shape(x)?.len();
    let ([axis], [start], [end], [1]) =
        (op.axes.as_slice(), op.starts.as_slice(), op.ends.as_slice(), op.steps.as_slice())
    else {
        return None;
    };
    if node.inputs.first() != Some(&x) || common::axis(*axis, rank).ok()? + 1 != rank {
        return None;
    }
    let front = |d: &Dim| d.known().map(|n| if n < 0 { n.saturating_add(size) } else { n.min(size) });
    Some((front(start)?, front(end)?, id))
}

/// `(-x[h..], x[..h])`: `x` and the nodes.
fn half_turned(w: &Wires, v: ValueId) -> Option<(ValueId, Vec<NodeId>)> {
    let (id, node, op) = w.op::<Concat>(v)?;
    let [first, second] = node.inputs.as_slice() else { return None };
    let rank = w.shape(v)?.len();
    let (minus, negated, _) = w.op::<Neg>(*first)?;
    let back = *negated.inputs.first()?;
    let (_, slice, _) = w.op::<Slice>(*second)?;
    let x = *slice.inputs.first()?;
    let size = w.shape(x)?.last()?.known()?;
    let (a, b, front) = part(w, *second, x, size)?;
    let (c, d, rear) = part(w, back, x, size)?;
    let fits =
        common::axis(op.axis, rank).ok()? + 1 == rank && size % 2 == 0 && (a, b, c, d) == (0, size / 2, size / 2, size);
    fits.then_some((x, vec![id, minus, front, rear]))
}

/// Whether the two halves of the last axis of `v` are equal.
fn doubled(w: &Wires, v: ValueId, depth: usize) -> bool {
    if let Some(t) = w.graph().constant(v) {
        return halves(t).is_some();
    }
    let Some((_, node)) = w.made_by(v).filter(|_| depth < DEPTH) else { return false };
    let last = |v: ValueId| w.shape(v).and_then(<[Dim]>::last).cloned();
    if let Some(op) = node.op.downcast::<Concat>() {
        let axis = w.shape(v).and_then(|s| common::axis(op.axis, s.len()).ok().map(|a| a + 1 == s.len()));
        return axis == Some(true) && matches!(node.inputs.as_slice(), [a, b] if a == b);
    }
    let mut tensors = node.inputs.iter().filter(|x| w.number(**x).is_none());
    let (Some(x), None) = (tensors.next(), tensors.next()) else { return false };
    let plain = only_shape(node) || node.op.class() == Class::Elementwise;
    plain && last(*x) == last(v) && doubled(w, *x, depth + 1)
}

/// The first half of the last axis of a constant whose halves are equal.
fn halves(t: &HostTensor) -> Option<HostTensor> {
    let (last, outer) = t.shape().split_last()?;
    let row = last * t.dtype().size();
    if last % 2 != 0 || row == 0 || t.bytes().chunks_exact(row).any(|r| r[..row / 2] != r[row / 2..]) {
        return None;
    }
    let bytes: Vec<u8> = t.bytes().chunks_exact(row).flat_map(|r| &r[..row / 2]).copied().collect();
    let shape: Vec<usize> = outer.iter().copied().chain([last / 2]).collect();
    HostTensor::copy_bytes(t.dtype(), &shape, &bytes).ok()
}

fn first_half(w: &Wires, v: ValueId, size: i64, patch: &mut Patch) -> Result<Var> {
    if let Some(half) = w.graph().constant(v).and_then(halves) {
        return lampyr_ir::Builder::constant(patch, half);
    }
    let v = patch.tap(w.graph(), v)?;
    narrow(patch, &v, -1, Dim::Known(0), Dim::Known(size / 2))
}

/// `x * cos + (-x[h..], x[..h]) * sin`.
pub(crate) fn recognise(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let node = graph.node(id)?;
    let Some(result) = node.outputs.first().copied() else { return Ok(Rewrite::No) };
    let found = w.pairs(node).into_iter().flatten().find_map(|(a, b)| {
        let ((left, plain, _), (right, turned, _)) = (w.op::<Mul>(a)?, w.op::<Mul>(b)?);
        let (x, sin, mut nodes) = w.pairs(turned).into_iter().flatten().find_map(|(t, sin)| {
            let (x, nodes) = half_turned(w, t)?;
            Some((x, sin, nodes))
        })?;
        let cos = w.pairs(plain).into_iter().flatten().find_map(|(p, cos)| (p == x).then_some(cos))?;
        nodes.extend([id, left, right]);
        Some((x, cos, sin, nodes))
    });
    let Some((x, cos, sin, nodes)) = found.filter(|_| node.op.downcast::<Add>().is_some()) else {
        return Ok(Rewrite::No);
    };
    let Some(size) = w.shape(x).and_then(<[Dim]>::last).and_then(Dim::known) else { return Ok(Rewrite::No) };
    if w.shape(result) != w.shape(x) || w.shape(cos) != w.shape(sin) {
        return Ok(Rewrite::Refused(nodes, "cosines and sines have other shapes"));
    }
    if !doubled(w, cos, 0) || !doubled(w, sin, 0) {
        return Ok(Rewrite::Refused(nodes, "the halves of cosines and sines may differ"));
    }
    if !w.closed(&nodes, result) {
        return Ok(Rewrite::Refused(nodes, "a value inside is read elsewhere"));
    }
    let (cos, sin) = (first_half(w, cos, size, patch)?, first_half(w, sin, size, patch)?);
    let x = patch.tap(graph, x)?;
    let y = rotary_embedding(patch, &x, &cos, &sin, false)?;
    patch.replace(result, &y)?;
    Ok(Rewrite::Done(nodes))
}
