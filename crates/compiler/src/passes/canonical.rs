//! Simple forms: rewrites that ops bring with them, and nodes that change nothing.

use lampyr_base::{Layout, Result};
use lampyr_ir::scalar::Instr;
use lampyr_ir::{Class, Fact, Graph, Node, NodeId, OpType, Patch, Rule, Source, ValueId};
use lampyr_ops::build::{Dropout, Expand, Identity, Reshape};
use lampyr_ops::registry;

use super::Context;

/// Rounds of rewriting; a rule that never ends is stopped here.
const ROUNDS: usize = 16;

/// Applies rules until none applies.
pub fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    let rules: Vec<Vec<Rule>> = registry::all().iter().map(|e| (e.rules)()).collect();
    let mut total = 0;
    for _ in 0..ROUNDS {
        let mut changes = 0;
        for id in graph.order()? {
            let Ok(node) = graph.node(id) else { continue };
            let own = rules.get(node.op.id().0 as usize).map_or(&[][..], Vec::as_slice);
            let mut patch = None;
            for rule in own {
                patch = (rule.run)(graph, id)?;
                if patch.is_some() {
                    break;
                }
            }
            let patch = match patch {
                None => pass_through(graph, id, context.options.inference)?,
                found => found,
            };
            if let Some(patch) = patch {
                graph.apply(patch)?;
                changes += 1;
            }
        }
        total += changes;
        if changes == 0 {
            break;
        }
    }
    Ok(total)
}

/// A patch that removes the node when its first output is its first input.
fn pass_through(graph: &Graph, id: NodeId, inference: bool) -> Result<Option<Patch>> {
    let node = graph.node(id)?;
    let (Some(from), Some(to)) = (node.inputs.first().copied(), node.outputs.first().copied()) else {
        return Ok(None);
    };
    if !changes_nothing(graph, node, inference) || !replaceable(graph, from, to) {
        return Ok(None);
    }
    let mut patch = Patch::new(format!("{} passes its input through", node.name));
    let var = patch.tap(graph, from)?;
    patch.replace(to, &var)?;
    Ok(Some(patch))
}

/// An output of the graph keeps its producer when the input already has a name at the boundary.
fn replaceable(graph: &Graph, from: ValueId, to: ValueId) -> bool {
    let outputs = graph.outputs();
    !outputs.contains(&to) || (matches!(graph.value(from).source, Source::Node(..)) && !outputs.contains(&from))
}

fn changes_nothing(graph: &Graph, node: &Node, inference: bool) -> bool {
    let (Some(from), Some(to)) = (node.inputs.first(), node.outputs.first()) else { return false };
    if node.op.downcast::<Identity>().is_some() {
        return true;
    }
    if let Some(dropout) = node.op.downcast::<Dropout>() {
        let mask_unused = node.outputs[1..]
            .iter()
            .all(|v| !graph.outputs().contains(v) && !graph.nodes().any(|(_, n)| n.inputs.contains(v)));
        return mask_unused && (inference || !dropout.training || dropout.ratio == 0.0);
    }
    let (Fact::Tensor(a), Fact::Tensor(b)) = (graph.fact(*from), graph.fact(*to)) else { return false };
    if a.dtype != b.dtype || a.shape != b.shape {
        return false;
    }
    match node.op.class() {
        Class::View if node.op.name() == Reshape::NAME || node.op.name() == Expand::NAME => true,
        Class::View => a.fixed_shape().is_some_and(|shape| {
            let plain = Layout::contiguous(&shape);
            node.op.view(&plain).is_some_and(|l| l == plain)
        }),
        Class::Elementwise if node.inputs.len() == 1 => node.op.scalar(&[a.dtype]).is_some_and(|e| {
            matches!(e.outputs.as_slice(), [(r, d)] if *d == a.dtype
                && e.steps.get(*r as usize).is_some_and(|s| s.instr == Instr::Input(0)))
        }),
        _ => false,
    }
}
