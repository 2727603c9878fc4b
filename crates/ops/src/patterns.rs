//! What rewrites share: products, sums and powers as exporters write them, operands in either order.

use lampyr_base::Dim;
use lampyr_ir::{Node, NodeId, OpType, ValueId, Wires};

use crate::build::{Add, Div, Exp, Mul, Neg, Reshape, Sqrt, Sub};
use crate::common;

/// Deepest product that is taken apart.
const DEPTH: usize = 6;

/// A value as a number times values.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// The number.
    pub number: f64,
    /// The values, each as often as it occurs.
    pub values: Vec<ValueId>,
    /// Nodes that make the product.
    pub nodes: Vec<NodeId>,
}

impl Product {
    /// `v` taken apart. Values that several nodes read stay whole, except `v` itself.
    pub fn of(w: &Wires, v: ValueId) -> Product {
        let mut product = Product { number: 1.0, values: Vec::new(), nodes: Vec::new() };
        product.add(w, v, 0);
        product
    }

    fn add(&mut self, w: &Wires, v: ValueId, depth: usize) {
        if let Some(x) = w.number(v) {
            self.number *= x;
            return;
        }
        let inner = depth == 0 || (w.read_once(v) && depth < DEPTH);
        let Some((id, node)) = w.made_by(v).filter(|_| inner) else { return self.values.push(v) };
        match node.inputs.as_slice() {
            [a, b] if node.op.downcast::<Mul>().is_some() => {
                self.nodes.push(id);
                self.add(w, *a, depth + 1);
                self.add(w, *b, depth + 1);
            }
            [a, b] if node.op.downcast::<Div>().is_some() && w.number(*b).is_some_and(|x| x != 0.0) => {
                self.nodes.push(id);
                self.number /= w.number(*b).unwrap_or(1.0);
                self.add(w, *a, depth + 1);
            }
            [a] if node.op.downcast::<Neg>().is_some() => {
                self.nodes.push(id);
                self.number = -self.number;
                self.add(w, *a, depth + 1);
            }
            [a, _] => match power(w, node) {
                Some(n) if n == 2.0 || n == 3.0 => {
                    self.nodes.push(id);
                    self.values.extend(std::iter::repeat_n(*a, n as usize));
                }
                _ => self.values.push(v),
            },
            _ => self.values.push(v),
        }
    }

    /// The product without one occurrence of `v`.
    pub fn without(mut self, v: ValueId) -> Option<Product> {
        let at = self.values.iter().position(|x| *x == v)?;
        self.values.swap_remove(at);
        Some(self)
    }

    /// Whether the number is `want`, as near as constants of 32 bits come.
    pub fn is(&self, want: f64) -> bool {
        (self.number - want).abs() <= 2e-4 * want.abs()
    }
}

/// The constant exponent of a power.
pub(crate) fn power(w: &Wires, node: &Node) -> Option<f64> {
    if node.op.name() != "pow" {
        return None;
    }
    w.number(*node.inputs.get(1)?)
}

/// `v` as a sum of a number and a value: the number, the value, the node.
pub(crate) fn plus_number(w: &Wires, v: ValueId) -> Option<(f64, ValueId, NodeId)> {
    let (id, node, _) = w.op::<Add>(v)?;
    w.pairs(node).into_iter().flatten().find_map(|(a, b)| Some((w.number(a)?, b, id)))
}

/// `x` of `x * x` or `x ^ 2`, with the node.
pub(crate) fn square(w: &Wires, v: ValueId) -> Option<(ValueId, NodeId)> {
    let (id, node) = w.made_by(v)?;
    match node.inputs.as_slice() {
        [a, b] if a == b && node.op.downcast::<Mul>().is_some() => Some((*a, id)),
        [a, _] if power(w, node) == Some(2.0) => Some((*a, id)),
        [a] if node.op.name() == "square" => Some((*a, id)),
        _ => None,
    }
}

/// `x` of `1 / sqrt(x)` in its spellings, with the nodes.
pub(crate) fn inverse_root(w: &Wires, v: ValueId) -> Option<(ValueId, Vec<NodeId>)> {
    let (id, node) = w.made_by(v)?;
    match node.inputs.as_slice() {
        [a] if node.op.name() == "rsqrt" => Some((*a, vec![id])),
        [a] if node.op.name() == "reciprocal" => {
            let (root, s, _) = w.op::<Sqrt>(*a)?;
            Some((*s.inputs.first()?, vec![id, root]))
        }
        [one, a] if node.op.downcast::<Div>().is_some() && w.is_number(*one, 1.0) => {
            let (root, s, _) = w.op::<Sqrt>(*a)?;
            Some((*s.inputs.first()?, vec![id, root]))
        }
        [a, _] if power(w, node) == Some(-0.5) => Some((*a, vec![id])),
        _ => None,
    }
}

/// `x` and `s` of `x / sqrt(s)` in its spellings, with the nodes.
pub(crate) fn over_root(w: &Wires, v: ValueId) -> Option<(ValueId, ValueId, Vec<NodeId>)> {
    let (id, node) = w.made_by(v)?;
    if node.op.downcast::<Mul>().is_some() {
        return w.pairs(node).into_iter().flatten().find_map(|(x, r)| {
            let (s, mut nodes) = inverse_root(w, r)?;
            nodes.push(id);
            Some((x, s, nodes))
        });
    }
    node.op.downcast::<Div>()?;
    let [x, r] = node.inputs.as_slice() else { return None };
    let (root, s, _) = w.op::<Sqrt>(*r)?;
    Some((*x, *s.inputs.first()?, vec![id, root]))
}

/// The axes, from the front, of a reduction that keeps them, with its input and node.
pub(crate) fn reduced(w: &Wires, v: ValueId, name: &str) -> Option<(ValueId, Vec<usize>, NodeId)> {
    let (id, node) = w.made_by(v)?;
    if node.op.name() != name {
        return None;
    }
    let [x] = node.inputs.as_slice() else { return None };
    let rank = w.shape(*x)?.len();
    let (mut axes, mut keeps) = (None, false);
    for (name, value) in node.op.attrs() {
        match (name, value) {
            ("axes", lampyr_ir::AttrValue::Ints(a)) => axes = Some(a),
            ("keepdims", lampyr_ir::AttrValue::Bool(k)) => keeps = k,
            _ => {}
        }
    }
    let mut axes: Vec<usize> = axes?.iter().map(|a| common::axis(*a, rank).ok()).collect::<Option<_>>()?;
    axes.sort_unstable();
    (keeps && !axes.is_empty()).then_some((*x, axes, id))
}

/// The first of `axes`, when they are the last axes of a tensor of this rank.
pub(crate) fn trailing(axes: &[usize], rank: usize) -> Option<usize> {
    let first = *axes.first()?;
    (first + axes.len() == rank && axes.iter().enumerate().all(|(i, a)| *a == first + i)).then_some(first)
}

/// Whether `v` has the sizes `want`, axes of size 1 in front of them left aside.
pub(crate) fn has_sizes(w: &Wires, v: ValueId, want: &[Dim]) -> bool {
    let Some(shape) = w.shape(v) else { return false };
    shape.len() >= want.len() && {
        let (front, back) = shape.split_at(shape.len() - want.len());
        back == want && front.iter().all(|d| d.known() == Some(1))
    }
}

/// The node that makes `v`, when its op is called `name`.
pub(crate) fn named<'g>(w: &Wires<'g>, v: ValueId, name: &str) -> Option<(NodeId, &'g Node)> {
    w.made_by(v).filter(|(_, n)| n.op.name() == name)
}

/// `x - y` as its two values and the node.
pub(crate) fn difference(w: &Wires, v: ValueId) -> Option<(ValueId, ValueId, NodeId)> {
    let (id, node, _) = w.op::<Sub>(v)?;
    match node.inputs.as_slice() {
        [a, b] => Some((*a, *b, id)),
        _ => None,
    }
}

/// `x` of `e^x`, with the node.
pub(crate) fn exponential(w: &Wires, v: ValueId) -> Option<(ValueId, NodeId)> {
    let (id, node, _) = w.op::<Exp>(v)?;
    Some((*node.inputs.first()?, id))
}

/// Whether the node only gives its input another shape.
pub(crate) fn only_shape(node: &Node) -> bool {
    matches!(node.op.name(), Reshape::NAME | "flatten" | "squeeze" | "unsqueeze") && node.inputs.len() == 1
}
