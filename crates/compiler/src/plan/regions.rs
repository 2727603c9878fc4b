//! Parts of concatenations that are made where they will lie, so that joining them moves nothing.

use std::collections::{HashMap, HashSet};

use lampyr_base::{Bindings, Layout, Shape, num_elements};
use lampyr_ir::{Class, Fact, Graph, Node, ValueId};
use lampyr_ops::build::Concat;
use lampyr_ops::common;

use super::liveness::Liveness;

/// A piece of the storage of another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The value whose storage it is.
    pub base: ValueId,
    /// First element.
    pub offset: usize,
}

/// Values that lie in the storage of others.
#[derive(Debug, Default)]
pub struct Regions {
    parts: HashMap<ValueId, Region>,
    /// By base: shape of the base and the last position that reads any of its parts.
    bases: HashMap<ValueId, (Shape, usize)>,
}

fn sizes(graph: &Graph, v: ValueId, bindings: &Bindings) -> Option<Shape> {
    match graph.fact(v) {
        Fact::Tensor(t) => {
            t.shape.iter().map(|d| d.eval(bindings).and_then(|n| usize::try_from(n).ok())).collect::<Option<Shape>>()
        }
        _ => None,
    }
}

/// Whether the elements follow from shapes alone: such values may never be stored.
fn is_known(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.fact(v), Fact::Tensor(t) if t.known.is_some())
}

/// The value whose bytes `v` shows in the same order, and whether a node makes it.
fn root(graph: &Graph, v: ValueId, bindings: &Bindings) -> Option<ValueId> {
    let mut at = v;
    loop {
        let (id, k) = graph.producer(at)?;
        let node = graph.node(id).ok()?;
        match node.op.class() {
            Class::Control => return None,
            Class::View => {
                let from = *node.inputs.first()?;
                let (a, b) = (sizes(graph, from, bindings)?, sizes(graph, at, bindings)?);
                let op = node.op.substitute(bindings).unwrap_or_else(|| node.op.clone());
                if k != 0 || op.view(&Layout::contiguous(&a))? != Layout::contiguous(&b) {
                    return None;
                }
                at = from;
            }
            _ => return (!is_known(graph, at)).then_some(at),
        }
    }
}

/// The sizes of the parts of a concatenation whose parts are contiguous in its result.
fn joined(graph: &Graph, node: &Node, bindings: &Bindings) -> Option<(Shape, Vec<usize>)> {
    let op = node.op.downcast::<Concat>()?;
    let out = *node.outputs.first()?;
    let shape = sizes(graph, out, bindings)?;
    let axis = common::axis(op.axis, shape.len()).ok()?;
    if is_known(graph, out) || shape[..axis].iter().any(|d| *d != 1) || num_elements(&shape).ok()? == 0 {
        return None;
    }
    let lengths = node.inputs.iter().map(|v| num_elements(&sizes(graph, *v, bindings)?).ok()).collect::<Option<_>>()?;
    Some((shape, lengths))
}

impl Regions {
    /// Decides for all concatenations, the last one first: it has the first word on where its parts lie.
    pub fn of(graph: &Graph, live: &Liveness, bindings: &Bindings) -> Regions {
        let mut regions = Regions::default();
        for id in live.order.iter().rev() {
            let Ok(node) = graph.node(*id) else { continue };
            if let Some((shape, lengths)) = joined(graph, node, bindings) {
                regions.join(graph, live, bindings, node, shape, &lengths);
            }
        }
        regions
    }

    fn join(
        &mut self,
        graph: &Graph,
        live: &Liveness,
        bindings: &Bindings,
        node: &Node,
        shape: Shape,
        lengths: &[usize],
    ) {
        let Some(out) = node.outputs.first().copied() else { return };
        let roots: Vec<Option<ValueId>> = node.inputs.iter().map(|v| root(graph, *v, bindings)).collect();
        let end = live.end[out.0 as usize];
        if !self.parts.contains_key(&out)
            && !live.escapes[out.0 as usize]
            && let Some(first) = self.consecutive(&roots, lengths)
        {
            self.parts.insert(out, first);
            self.extend(first.base, end);
            return;
        }
        let at = self.parts.get(&out).copied().unwrap_or(Region { base: out, offset: 0 });
        let mut seen: HashSet<ValueId> = HashSet::new();
        let mut offset = at.offset;
        let mut placed = false;
        for (root, length) in roots.into_iter().zip(lengths) {
            if let Some(v) = root
                && seen.insert(v)
                && !live.escapes[v.0 as usize]
                && !self.parts.contains_key(&v)
                && !self.bases.contains_key(&v)
                && graph.fact(v).dtype() == graph.fact(out).dtype()
            {
                self.parts.insert(v, Region { base: at.base, offset });
                self.bases.entry(at.base).or_insert_with(|| (shape.clone(), end));
                self.extend(at.base, live.end[v.0 as usize]);
                placed = true;
            }
            offset += length;
        }
        if placed {
            self.extend(at.base, end);
        }
    }

    fn extend(&mut self, base: ValueId, end: usize) {
        if let Some((_, last)) = self.bases.get_mut(&base) {
            *last = (*last).max(end);
        }
    }

    /// Where the parts begin, when they lie one behind another already.
    fn consecutive(&self, roots: &[Option<ValueId>], lengths: &[usize]) -> Option<Region> {
        let first = *self.parts.get(roots.first()?.as_ref()?)?;
        let mut offset = first.offset;
        for (root, length) in roots.iter().zip(lengths) {
            if *self.parts.get(root.as_ref()?)? != (Region { base: first.base, offset }) {
                return None;
            }
            offset += length;
        }
        Some(first)
    }

    /// Where `v` lies, when that is in the storage of another value.
    pub fn part(&self, v: ValueId) -> Option<Region> {
        self.parts.get(&v).copied()
    }

    /// Shape and last use of a value in whose storage others lie.
    pub fn base(&self, v: ValueId) -> Option<(&Shape, usize)> {
        self.bases.get(&v).map(|(shape, end)| (shape, *end))
    }
}

/// The part of `whole` that begins at element `offset`.
pub fn part_layout(whole: &Layout, offset: usize, shape: &[usize]) -> Layout {
    let mut layout = Layout::contiguous(shape);
    layout.offset = whole.offset + offset;
    layout
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyr_base::{DType, Dim};
    use lampyr_ir::GraphBuilder;
    use lampyr_ops::build::{concat, relu, tanh};

    #[test]
    fn growing_concatenations_share_one_storage() {
        let mut g = GraphBuilder::new("dense");
        let x = g.input("x", Fact::tensor(DType::F32, [Dim::Known(1), Dim::named("n"), Dim::Known(4)]));
        let a = relu(&mut g, &x).unwrap();
        let b = tanh(&mut g, &a).unwrap();
        let first = concat(&mut g, &[a.clone(), b.clone()], 1).unwrap();
        let c = relu(&mut g, &first).unwrap();
        let second = concat(&mut g, &[a.clone(), b.clone(), c.clone()], 1).unwrap();
        let y = tanh(&mut g, &second).unwrap();
        g.output("y", &y).unwrap();
        let graph = g.finish();
        let live = Liveness::of(&graph, graph.order().unwrap()).unwrap();
        let mut bindings = Bindings::new();
        let region = |bindings: &Bindings, v: &lampyr_ir::Var| {
            Regions::of(&graph, &live, bindings).part(v.node().unwrap()).map(|r| r.offset)
        };
        assert_eq!(region(&bindings, &a), None);
        bindings.set(lampyr_base::Symbol::new("n"), 3);
        let places = [&a, &b, &first, &c, &second].map(|v| region(&bindings, v));
        assert_eq!(places, [Some(0), Some(12), Some(0), Some(24), None]);
    }
}
