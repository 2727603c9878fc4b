//! Rewrites that ops bring with them, applied to all nodes at once and repeated until nothing changes.

use std::collections::HashSet;

use lampyr_base::Result;
use lampyr_ir::{Builder, Graph, NodeId, Patch, Rewrite, Rule, Wires, passes};
use lampyr_ops::registry;

use super::{Context, canonical};
use crate::report::FusionRecord;

/// Rounds of rewriting; a rule that never ends is stopped here.
const ROUNDS: usize = 16;

/// Simple forms: nodes that change nothing, and rules that make no larger op.
pub fn simplify(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    run(graph, context, false)
}

/// Larger ops out of the primitive ones that exporters write, and simple forms of what is left.
pub fn recognise(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    if !context.options.fuse {
        return Ok(0);
    }
    let changes = run(graph, context, true)?;
    if changes > 0 {
        passes::common_subexpressions(graph)?;
    }
    Ok(changes)
}

/// Rules by the id of the op at which they begin.
fn table(recognise: bool) -> Vec<Vec<Rule>> {
    let entries = registry::all();
    let mut table: Vec<Vec<Rule>> = vec![Vec::new(); entries.len()];
    for rule in entries.iter().flat_map(|e| (e.rules)()).filter(|r| recognise || !r.recognises) {
        for (roots, _) in table.iter_mut().zip(&entries).filter(|(_, e)| rule.roots.contains(&e.name)) {
            roots.push(rule);
        }
    }
    table
}

fn run(graph: &mut Graph, context: &mut Context, recognise: bool) -> Result<usize> {
    let rules = table(recognise);
    let mut total = 0;
    for _ in 0..ROUNDS {
        let mut patch = Patch::new("rewriting");
        let mut taken: HashSet<NodeId> = HashSet::new();
        let mut refused: Vec<FusionRecord> = Vec::new();
        let mut changes = 0;
        {
            let wires = Wires::new(graph);
            // From the results backwards: the largest form of a pattern is met before its parts.
            for id in graph.order()?.into_iter().rev().filter(|id| graph.node(*id).is_ok()) {
                if taken.contains(&id) {
                    continue;
                }
                let node = graph.node(id)?;
                if canonical::pass_through(&wires, id, context.options.inference, &mut patch)? {
                    taken.insert(id);
                    changes += 1;
                    continue;
                }
                for rule in rules.get(node.op.id().0 as usize).map_or(&[][..], Vec::as_slice) {
                    patch.scope(&node.name);
                    let begin = patch.mark();
                    let made = (rule.run)(&wires, id, &mut patch)
                        .unwrap_or_else(|_| Rewrite::Refused(vec![id], "the new op does not take these operands"));
                    match made {
                        Rewrite::No => patch.rewind(begin),
                        Rewrite::Refused(nodes, reason) => {
                            patch.rewind(begin);
                            refused.push(record(graph, rule, &nodes, false, reason)?);
                        }
                        Rewrite::Done(nodes) if nodes.iter().any(|n| taken.contains(n)) => patch.rewind(begin),
                        Rewrite::Done(nodes) => {
                            if rule.recognises {
                                context.fusions.push(record(graph, rule, &nodes, true, "recognised")?);
                            }
                            taken.extend(nodes);
                            changes += 1;
                            break;
                        }
                    }
                }
            }
        }
        if changes == 0 {
            context.fusions.extend(refused);
            break;
        }
        graph.apply(patch)?;
        total += changes;
    }
    Ok(total)
}

fn record(graph: &Graph, rule: &Rule, nodes: &[NodeId], taken: bool, reason: &'static str) -> Result<FusionRecord> {
    let mut order = nodes.to_vec();
    order.sort_unstable();
    order.dedup();
    let nodes = order.iter().map(|id| graph.node(*id).map(|n| n.name.clone())).collect::<Result<_>>()?;
    Ok(FusionRecord { pattern: rule.name, nodes, fused_seconds: f64::NAN, unfused_seconds: f64::NAN, taken, reason })
}
