use std::collections::HashSet;
use std::sync::Arc;

use lampyr_base::Result;
use lampyr_ir::{Class, Graph, Node, NodeId, Patch, ValueId};
use lampyr_ops::build::{Conv, FusedContraction, Gemm, Matmul};

use super::{NODE_LIMIT, Proposal, Wires, body, elementwise_like, propose, refuse};
use crate::passes::Context;
use crate::passes::scalar::Joined;

const PATTERN: &str = "contraction_epilogue";

fn is_main(node: &Node) -> bool {
    let op = &node.op;
    op.downcast::<Conv>().is_some() || op.downcast::<Gemm>().is_some() || op.downcast::<Matmul>().is_some()
}

/// A contraction with the ops behind it.
struct Group {
    nodes: Vec<NodeId>,
    result: ValueId,
    joined: Joined,
}

/// Moves elementwise ops into the contraction whose result they work on.
pub fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    if !context.options.fuse {
        return Ok(0);
    }
    let wires = Wires::of(graph)?;
    let mut taken: HashSet<NodeId> = HashSet::new();
    let mut patch = Patch::new(PATTERN);
    let mut count = 0;
    for main in &wires.order {
        let node = graph.node(*main)?;
        let float = node.outputs.first().is_some_and(|v| graph.fact(*v).dtype().is_float());
        if !is_main(node) || !float || node.op.class() != Class::Contraction {
            continue;
        }
        let Some(group) = grow(graph, &wires, &taken, *main)? else {
            note_border(graph, context, &wires, *main)?;
            continue;
        };
        let main_inputs = node.inputs.to_vec();
        let dtype = graph.fact(group.result).dtype();
        let Some((epilogue, values)) = group.joined.finish(group.result, dtype) else { continue };
        let extra = &values[1..];
        let body = body(graph, &group.nodes, &main_inputs, extra, group.result)?;
        let op = FusedContraction { main: node.op.clone(), epilogue: Arc::new(epilogue), body };
        let inputs: Vec<ValueId> = main_inputs.iter().chain(extra).copied().collect();
        let proposal =
            Proposal { pattern: PATTERN, nodes: &group.nodes, op: &op, inputs: &inputs, result: group.result };
        if propose(graph, context, &mut patch, proposal)? {
            taken.extend(group.nodes);
            count += 1;
        }
    }
    if count > 0 {
        graph.apply(patch)?;
    }
    Ok(count)
}

/// The longest run of elementwise readers that leaves one value to the outside.
fn grow(graph: &Graph, wires: &Wires, taken: &HashSet<NodeId>, main: NodeId) -> Result<Option<Group>> {
    let Some(start) = graph.node(main)?.outputs.first().copied() else { return Ok(None) };
    let mut nodes = vec![main];
    let mut values = vec![start];
    let mut joined = Joined::new();
    joined.load(start, graph.fact(start).dtype(), true);
    let mut best = None;
    while nodes.len() < NODE_LIMIT {
        let next = (values.iter().flat_map(|v| wires.readers(*v)))
            .filter(|id| !nodes.contains(id) && !taken.contains(id))
            .filter(|id| graph.node(**id).is_ok_and(|n| elementwise_like(graph, n, start)))
            .min_by_key(|id| wires.position.get(id));
        let Some(next) = next.copied() else { break };
        let node = graph.node(next)?;
        let mut longer = joined.clone();
        if longer.append(graph, node).is_none() {
            break;
        }
        joined = longer;
        nodes.push(next);
        values.extend(node.outputs.iter().copied());
        let Some((result, inner)) = values.split_last() else { break };
        if inner.iter().all(|v| wires.internal(*v, &nodes)) {
            best = Some(Group { nodes: nodes.clone(), result: *result, joined: joined.clone() });
        }
    }
    Ok(best)
}

/// Says why the first elementwise reader stayed outside.
fn note_border(graph: &Graph, context: &mut Context, wires: &Wires, main: NodeId) -> Result<()> {
    let Some(v) = graph.node(main)?.outputs.first().copied() else { return Ok(()) };
    for reader in wires.readers(v) {
        let node = graph.node(*reader)?;
        if node.op.class() != Class::Elementwise {
            continue;
        }
        let reason = if wires.kept.contains(&v) {
            "the result of the contraction leaves the graph"
        } else if wires.readers(v).len() > 1 {
            "the result of the contraction has other readers"
        } else if !elementwise_like(graph, node, v) {
            "the result of the contraction is broadcast"
        } else {
            "too many inputs or instructions"
        };
        refuse(graph, context, PATTERN, [main, *reader], reason);
    }
    Ok(())
}
