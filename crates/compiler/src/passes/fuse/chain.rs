use std::collections::HashSet;
use std::sync::Arc;

use lampyr_base::Result;
use lampyr_ir::{Graph, NodeId, Patch, ValueId};
use lampyr_ops::build::ElementwiseChain;

use super::{NODE_LIMIT, Proposal, Wires, body, elementwise_like, propose, refuse};
use crate::passes::Context;
use crate::passes::scalar::Joined;

const PATTERN: &str = "elementwise_chain";

/// Joins elementwise ops of one shape, each read only inside its chain, into one loop.
pub fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    if !context.options.fuse {
        return Ok(0);
    }
    let wires = Wires::of(graph)?;
    let mut taken: HashSet<NodeId> = HashSet::new();
    let mut patch = Patch::new(PATTERN);
    let mut count = 0;
    for root in wires.order.iter().rev() {
        let node = graph.node(*root)?;
        let Some(result) = node.outputs.first().copied() else { continue };
        if taken.contains(root) || !elementwise_like(graph, node, result) {
            continue;
        }
        let Some((nodes, joined)) = grow(graph, context, &wires, &taken, *root, result)? else { continue };
        taken.extend(nodes.iter().copied());
        let dtype = graph.fact(result).dtype();
        if nodes.len() < 2 {
            continue;
        }
        let Some((expr, inputs)) = joined.finish(result, dtype) else { continue };
        let body = body(graph, &nodes, &[], &inputs, result)?;
        let op = ElementwiseChain { expr: Arc::new(expr), body };
        let proposal = Proposal { pattern: PATTERN, nodes: &nodes, op: &op, inputs: &inputs, result };
        if propose(graph, context, &mut patch, proposal)? {
            count += 1;
        }
    }
    if count > 0 {
        graph.apply(patch)?;
    }
    Ok(count)
}

fn join(graph: &Graph, nodes: &[NodeId]) -> Result<Option<Joined>> {
    let mut joined = Joined::new();
    for id in nodes {
        if joined.append(graph, graph.node(*id)?).is_none() {
            return Ok(None);
        }
    }
    Ok(Some(joined))
}

/// The chain that ends in `root`, in execution order.
fn grow(
    graph: &Graph,
    context: &mut Context,
    wires: &Wires,
    taken: &HashSet<NodeId>,
    root: NodeId,
    result: ValueId,
) -> Result<Option<(Vec<NodeId>, Joined)>> {
    let mut nodes = vec![root];
    let Some(mut joined) = join(graph, &nodes)? else { return Ok(None) };
    let mut refused: HashSet<NodeId> = HashSet::new();
    loop {
        let mut candidate = None;
        for id in &nodes {
            for v in &graph.node(*id)?.inputs {
                let Some((p, _)) = graph.producer(*v) else { continue };
                let usable = !nodes.contains(&p) && !refused.contains(&p) && !taken.contains(&p);
                if usable && elementwise_like(graph, graph.node(p)?, result) && wires.internal(*v, &nodes) {
                    candidate = candidate.max(Some(p));
                }
            }
        }
        let Some(p) = candidate else { break };
        let mut next = nodes.clone();
        next.push(p);
        next.sort_by_key(|id| wires.position.get(id));
        match join(graph, &next)?.filter(|_| next.len() <= NODE_LIMIT) {
            Some(j) => (nodes, joined) = (next, j),
            None => {
                refused.insert(p);
                refuse(graph, context, PATTERN, [p, root], "too many inputs or instructions");
            }
        }
    }
    note_borders(graph, context, wires, &nodes, result)?;
    Ok(Some((nodes, joined)))
}

/// Says why elementwise producers stayed outside.
fn note_borders(graph: &Graph, context: &mut Context, wires: &Wires, nodes: &[NodeId], result: ValueId) -> Result<()> {
    let mut seen = HashSet::new();
    for id in nodes {
        for v in &graph.node(*id)?.inputs {
            let Some((p, _)) = graph.producer(*v) else { continue };
            let node = graph.node(p)?;
            if nodes.contains(&p) || node.op.class() != lampyr_ir::Class::Elementwise || !seen.insert(p) {
                continue;
            }
            let reason = if !elementwise_like(graph, node, result) {
                "its result is broadcast"
            } else if wires.kept.contains(v) {
                "its result leaves the graph"
            } else {
                "its result is read outside the chain"
            };
            refuse(graph, context, PATTERN, [p, *id], reason);
        }
    }
    Ok(())
}
