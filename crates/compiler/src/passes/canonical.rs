//! Nodes that change nothing.

use lampyr_base::{Layout, Result};
use lampyr_ir::scalar::Instr;
use lampyr_ir::{Class, Fact, Graph, NodeId, OpType, Patch, Source, ValueId, Wires};
use lampyr_ops::build::{Add, Concat, Div, Dropout, Expand, Identity, Mul, Reshape, Sub};

/// Lets readers of a node's first output read its first input when both are equal; whether they are.
pub fn pass_through(wires: &Wires, id: NodeId, inference: bool, patch: &mut Patch) -> Result<bool> {
    let graph = wires.graph();
    let node = graph.node(id)?;
    let (Some(first), Some(to)) = (node.inputs.first().copied(), node.outputs.first().copied()) else {
        return Ok(false);
    };
    let from = match neutral(wires, id)? {
        Some(from) => from,
        None if changes_nothing(wires, id, inference)? => first,
        None => return Ok(false),
    };
    if !replaceable(graph, from, to) {
        return Ok(false);
    }
    let var = patch.tap(graph, from)?;
    patch.replace(to, &var)?;
    Ok(true)
}

/// The operand that a node of two operands gives back, because the other one is neutral. Sums of floats are left alone:
/// `-0 + 0` is `+0`.
fn neutral(wires: &Wires, id: NodeId) -> Result<Option<ValueId>> {
    let graph = wires.graph();
    let node = graph.node(id)?;
    let ([a, b], [to]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return Ok(None) };
    let exact = !graph.fact(*a).dtype().is_float();
    let (left, right): (Option<f64>, Option<f64>) = match node.op.name() {
        Mul::NAME => (Some(1.0), Some(1.0)),
        Div::NAME | "pow" => (None, Some(1.0)),
        Add::NAME if exact => (Some(0.0), Some(0.0)),
        Sub::NAME if exact => (None, Some(0.0)),
        _ => return Ok(None),
    };
    let same = |v: ValueId| match (wires.tensor(v), wires.tensor(*to)) {
        (Some(x), Some(y)) => x.dtype == y.dtype && x.shape == y.shape,
        _ => false,
    };
    Ok(match (wires.number(*a), wires.number(*b)) {
        (_, Some(n)) if right == Some(n) && same(*a) => Some(*a),
        (Some(n), _) if left == Some(n) && same(*b) => Some(*b),
        _ => None,
    })
}

/// An output of the graph keeps its producer when the input already has a name at the boundary.
fn replaceable(graph: &Graph, from: ValueId, to: ValueId) -> bool {
    let outputs = graph.outputs();
    !outputs.contains(&to) || (matches!(graph.value(from).source, Source::Node(..)) && !outputs.contains(&from))
}

fn changes_nothing(wires: &Wires, id: NodeId, inference: bool) -> Result<bool> {
    let graph = wires.graph();
    let node = graph.node(id)?;
    let (Some(from), Some(to)) = (node.inputs.first(), node.outputs.first()) else { return Ok(false) };
    if node.op.downcast::<Identity>().is_some() {
        return Ok(true);
    }
    if let Some(dropout) = node.op.downcast::<Dropout>() {
        let mask_unused = node.outputs[1..].iter().all(|v| wires.readers(*v).is_empty() && !wires.is_kept(*v));
        return Ok(mask_unused && (inference || !dropout.training || dropout.ratio == 0.0));
    }
    let (Fact::Tensor(a), Fact::Tensor(b)) = (graph.fact(*from), graph.fact(*to)) else { return Ok(false) };
    if a.dtype != b.dtype || a.shape != b.shape {
        return Ok(false);
    }
    Ok(match node.op.class() {
        Class::View if node.op.name() == Reshape::NAME || node.op.name() == Expand::NAME => true,
        Class::View => a.fixed_shape().is_some_and(|shape| {
            let plain = Layout::contiguous(&shape);
            node.op.view(&plain).is_some_and(|l| l == plain)
        }),
        Class::Elementwise if node.inputs.len() == 1 => node.op.scalar(&[a.dtype]).is_some_and(|e| {
            matches!(e.outputs.as_slice(), [(r, d)] if *d == a.dtype
                && e.steps.get(*r as usize).is_some_and(|s| s.instr == Instr::Input(0)))
        }),
        _ => node.inputs.len() == 1 && (node.op.downcast::<Concat>().is_some() || zero_pad(wires, id)?),
    })
}

/// Equal sizes alone do not tell: one side may give what the other takes.
fn zero_pad(wires: &Wires, id: NodeId) -> Result<bool> {
    let node = wires.graph().node(id)?;
    Ok(node.op.name() == "pad"
        && node.op.attrs().iter().any(|(name, v)| {
            *name == "pads"
                && match v {
                    lampyr_ir::AttrValue::Dims(d) => d.iter().all(|d| d.known() == Some(0)),
                    lampyr_ir::AttrValue::Ints(d) => d.iter().all(|d| *d == 0),
                    _ => false,
                }
        }))
}
