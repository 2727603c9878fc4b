//! Scaled dot-product attention out of two matrix products around a softmax.

use lampyr_base::{Dim, Result};
use lampyr_ir::{NodeId, Patch, Rewrite, ValueId, Var, Wires};

use crate::build::{
    Add, Div, Expand, Matmul, Mul, Softmax, Transpose, Where, add, expand, reshape, scaled_dot_product_attention,
    swap_axes, transpose, where_,
};
use crate::common;
use crate::patterns::{named, only_shape};

/// Steps from the softmax to the product.
const DEPTH: usize = 8;

/// What is added to the scores, or chooses among them.
#[derive(Clone, Debug)]
enum Mask {
    /// Added.
    Sum(ValueId),
    /// Added, after its first axes (the second and third size) have become one, as those of the scores have.
    Windows(ValueId, Dim, Dim),
    /// Scores where it is true (or false), the number elsewhere.
    Pick(ValueId, bool, f64),
}

/// The way from the softmax to the product.
#[derive(Clone, Debug)]
struct Scores {
    q: ValueId,
    k: ValueId,
    scale: f64,
    masks: Vec<Mask>,
    nodes: Vec<NodeId>,
}

/// The value behind factors, the product of the factors, the nodes.
fn unscaled(w: &Wires, v: ValueId) -> (ValueId, f64, Vec<NodeId>) {
    let (mut at, mut scale, mut nodes) = (v, 1.0, Vec::new());
    while let Some((id, node)) = w.made_by(at).filter(|_| w.read_once(at) && nodes.len() < DEPTH) {
        let factor = match node.inputs.as_slice() {
            [a, b] if node.op.downcast::<Mul>().is_some() => {
                w.number(*b).map(|n| (*a, n)).or_else(|| w.number(*a).map(|n| (*b, n)))
            }
            [a, b] if node.op.downcast::<Div>().is_some() => w.number(*b).filter(|n| *n != 0.0).map(|n| (*a, 1.0 / n)),
            _ => None,
        };
        let Some((next, factor)) = factor else { break };
        nodes.push(id);
        (at, scale) = (next, scale * factor);
    }
    (at, scale, nodes)
}

/// Follows `v`, the argument of the softmax or a part of it, to the product; `scaled` is what follows on `v`.
fn scores(w: &Wires, v: ValueId, scaled: f64, depth: usize) -> Option<Scores> {
    if depth > DEPTH || (depth > 0 && !w.read_once(v)) {
        return None;
    }
    let (inner, factor, mut nodes) = unscaled(w, v);
    let scaled = scaled * factor;
    let (id, node) = w.made_by(inner)?;
    nodes.push(id);
    let finish = |mut s: Scores, mask: Option<Mask>| {
        s.nodes.extend(nodes.iter().copied());
        s.masks.extend(mask);
        s
    };
    let same = |a: ValueId| w.shape(a) == w.shape(inner);
    if node.op.downcast::<Matmul>().is_some() {
        let [q, k] = node.inputs.as_slice() else { return None };
        let ((q, a, more), (k, b, most)) = (unscaled(w, *q), unscaled(w, *k));
        nodes.extend(more.into_iter().chain(most));
        return Some(Scores { q, k, scale: scaled * a * b, masks: Vec::new(), nodes });
    }
    // What is added inside a factor would have to be scaled too.
    let whole = scaled == 1.0;
    if node.op.downcast::<Add>().is_some() {
        return w
            .pairs(node)
            .into_iter()
            .flatten()
            .filter(|(a, _)| whole && same(*a))
            .find_map(|(a, m)| Some(finish(scores(w, a, scaled, depth + 1)?, Some(Mask::Sum(m)))));
    }
    if let ([condition, a, b], true) = (node.inputs.as_slice(), node.op.downcast::<Where>().is_some()) {
        let picked = w.number(*b).map(|n| (*a, n, true)).or_else(|| w.number(*a).map(|n| (*b, n, false)));
        let (kept, fill, keep) = picked.filter(|(kept, fill, _)| whole && same(*kept) && *fill < -1e3)?;
        let mask = Mask::Pick(*condition, keep, fill);
        return Some(finish(scores(w, kept, scaled, depth + 1)?, Some(mask)));
    }
    if only_shape(node) && whole {
        return windows(w, *node.inputs.first()?, inner, depth).map(|(s, mask)| finish(s, Some(mask)));
    }
    None
}

/// Scores whose first axis was split in two, a mask added, and merged again.
fn windows(w: &Wires, v: ValueId, merged: ValueId, depth: usize) -> Option<(Scores, Mask)> {
    let (id, node, _) = w.op::<Add>(v).filter(|_| w.read_once(v))?;
    let shape = w.shape(v)?;
    w.pairs(node).into_iter().flatten().find_map(|(split, mask)| {
        let (reshape, r) = w.made_by(split).filter(|(_, n)| only_shape(n) && w.read_once(split))?;
        let inner = *r.inputs.first()?;
        let (first, rest) = shape.split_at_checked(2)?;
        let (front, back) = w.shape(inner)?.split_first()?;
        let mask_shape = w.shape(mask)?;
        let fits = w.shape(split)? == shape
            && w.shape(merged) == w.shape(inner)
            && back == rest
            && Dim::product(first) == *front
            && mask_shape.len() == shape.len();
        let mut s = scores(w, inner, 1.0, depth + 1).filter(|_| fits)?;
        s.nodes.extend([id, reshape]);
        Some((s, Mask::Windows(mask, first[0].clone(), first[1].clone())))
    })
}

/// Heads that were repeated: `[.., G, S, E]` of `[.., G * n, S, E]`.
fn unrepeated(w: &Wires, v: ValueId) -> Option<ValueId> {
    let (_, merge) = w.made_by(v).filter(|(_, n)| only_shape(n))?;
    let wide = *merge.inputs.first()?;
    let (_, e, _) = w.op::<Expand>(wide)?;
    let thin = *e.inputs.first()?;
    let (_, split) = w.made_by(thin).filter(|(_, n)| only_shape(n))?;
    let base = *split.inputs.first()?;
    let (from, wide, to) = (w.shape(base)?, w.shape(wide)?, w.shape(v)?);
    let heads = from.len().checked_sub(3)?;
    let mut want = from.to_vec();
    want.insert(heads + 1, Dim::Known(1));
    let mut spread = want.clone();
    spread[heads + 1] = wide.get(heads + 1)?.clone();
    let mut whole = from.to_vec();
    whole[heads] = Dim::product(&[from[heads].clone(), spread[heads + 1].clone()]);
    let known = from[heads].known().is_some() && spread[heads + 1].known().is_some();
    (known && w.shape(thin)? == want && wide == spread && to == whole).then_some(base)
}

/// The keys whose transpose is `v`.
fn keys(w: &Wires, v: ValueId, patch: &mut Patch) -> Result<(Var, Option<ValueId>)> {
    if let (Some((_, node, op)), Some(shape)) = (w.op::<Transpose>(v), w.shape(v))
        && let Some(base) = node.inputs.first()
    {
        let mut perm = op.perm.iter().map(|a| common::axis(*a, shape.len())).collect::<Result<Vec<_>>>()?;
        let n = perm.len();
        perm.swap(n - 1, n - 2);
        let from = patch.tap(w.graph(), *base)?;
        if perm.iter().enumerate().all(|(i, a)| i == *a) {
            return Ok((from, Some(*base)));
        }
        let perm: Vec<i64> = perm.into_iter().map(|a| a as i64).collect();
        return Ok((transpose(patch, &from, &perm)?, None));
    }
    let from = patch.tap(w.graph(), v)?;
    Ok((swap_axes(patch, &from, -1, -2)?, None))
}

/// One mask for all of `masks`, with which scores are made as before.
fn mask(w: &Wires, masks: &[Mask], result: ValueId, patch: &mut Patch) -> Result<Option<Var>> {
    let graph = w.graph();
    let dtype = graph.fact(result).dtype();
    let mut sum: Option<Var> = None;
    for m in masks {
        let next = match m {
            Mask::Sum(v) => match (masks.len(), w.op::<Where>(*v).map(|(_, n, _)| n.inputs.as_slice())) {
                (1, Some([c, zero, low]))
                    if w.number(*zero) == Some(0.0) && w.number(*low) == Some(f64::NEG_INFINITY) =>
                {
                    return patch.tap(graph, *c).map(Some);
                }
                _ => patch.tap(graph, *v)?,
            },
            Mask::Windows(v, first, second) => {
                let shape = w.shape(*v).unwrap_or_default().to_vec();
                let mut v = patch.tap(graph, *v)?;
                let mut wide = shape.clone();
                let mut front = Dim::product(&shape[..2]);
                if shape[0].known() != Some(1) || first.known() != Some(1) {
                    (wide[0], wide[1]) = (first.clone(), second.clone());
                    front = Dim::product(&wide[..2]);
                    v = expand(patch, &v, wide)?;
                }
                let merged: Vec<Dim> = [front].into_iter().chain(shape[2..].iter().cloned()).collect();
                reshape(patch, &v, merged)?
            }
            Mask::Pick(c, true, f64::NEG_INFINITY) if masks.len() == 1 => return patch.tap(graph, *c).map(Some),
            Mask::Pick(c, keep, fill) => {
                let c = patch.tap(graph, *c)?;
                let b: &mut dyn lampyr_ir::Builder = patch;
                let (zero, fill) = (b.scalar(dtype, 0.0)?, b.scalar(dtype, *fill)?);
                if *keep { where_(b, &c, &zero, &fill)? } else { where_(b, &c, &fill, &zero)? }
            }
        };
        sum = Some(match sum {
            Some(before) => add(patch, &before, &next)?,
            None => next,
        });
    }
    Ok(sum)
}

/// `softmax(scale * q k' + mask) v`.
pub(crate) fn recognise(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let node = graph.node(id)?;
    let ([weights, values], [result]) = (node.inputs.as_slice(), node.outputs.as_slice()) else {
        return Ok(Rewrite::No);
    };
    let mut nodes = vec![id];
    let mut weights = *weights;
    // Zeros where a row has nothing to take part: what attention gives anyway.
    if let Some((guard, n, _)) = w.op::<Where>(weights)
        && let [condition, zero, kept] = n.inputs.as_slice()
        && let Some((test, t)) = named(w, *condition, "isnan")
        && t.inputs.first() == Some(kept)
        && w.number(*zero) == Some(0.0)
    {
        nodes.extend([guard, test]);
        weights = *kept;
    }
    let Some((softmax, s, op)) = w.op::<Softmax>(weights) else { return Ok(Rewrite::No) };
    nodes.push(softmax);
    let (Some(argument), Some(rank)) = (s.inputs.first(), w.shape(weights).map(<[Dim]>::len)) else {
        return Ok(Rewrite::No);
    };
    let found = scores(w, *argument, 1.0, 0);
    let Some(found) = found.filter(|_| common::axis(op.axis, rank).is_ok_and(|a| a + 1 == rank)) else {
        return Ok(Rewrite::Refused(nodes, "the argument of the softmax is no product of queries and keys"));
    };
    nodes.extend(found.nodes.iter().copied());
    let shapes = (w.shape(found.q), w.shape(found.k), w.shape(*values));
    let fits = match shapes {
        (Some(q), Some(k), Some(v)) => {
            let n = q.len();
            n >= 3 && k.len() == n && v.len() == n && n == rank && q[..n - 2] == k[..n - 2] && q[..n - 2] == v[..n - 2]
        }
        _ => false,
    };
    if !fits {
        return Ok(Rewrite::Refused(nodes, "queries, keys and values have other shapes"));
    }
    if !w.closed(&nodes, *result) || !w.read_once(*argument) {
        return Ok(Rewrite::Refused(nodes, "a value inside is read elsewhere"));
    }
    let q = patch.tap(graph, found.q)?;
    let (mut k, base) = keys(w, found.k, patch)?;
    let mut v = patch.tap(graph, *values)?;
    if let (Some(a), Some(b)) = (base.and_then(|k| unrepeated(w, k)), unrepeated(w, *values)) {
        (k, v) = (patch.tap(graph, a)?, patch.tap(graph, b)?);
    }
    let mask = mask(w, &found.masks, *result, patch)?;
    let y = scaled_dot_product_attention(patch, &q, &k, &v, mask.as_ref(), Some(found.scale), false)?;
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(nodes))
}
