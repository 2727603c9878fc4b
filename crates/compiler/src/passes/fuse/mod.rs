//! Fusion: elementwise ops into one loop, and into the epilogue of a contraction.

mod chain;
mod epilogue;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lampyr_backend::backend;
use lampyr_base::Result;
use lampyr_ir::{Builder, Class, Cost, Fact, Graph, GraphBuilder, Node, NodeId, Op, Patch, ValueId, Var};

pub use chain::run as elementwise;
pub use epilogue::run as contraction;

use super::Context;
use crate::Options;
use crate::place;
use crate::report::FusionRecord;

/// Most nodes of one fusion.
const NODE_LIMIT: usize = 32;

/// What both fusions look up.
struct Wires {
    order: Vec<NodeId>,
    position: HashMap<NodeId, usize>,
    readers: HashMap<ValueId, Vec<NodeId>>,
    /// Values read from outside the graph's nodes: outputs and sources of sizes.
    kept: HashSet<ValueId>,
}

impl Wires {
    fn of(graph: &Graph) -> Result<Wires> {
        let order = graph.order()?;
        let position = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        let kept = graph.outputs().iter().copied().chain(graph.symbol_sources().map(|(_, v, _)| v)).collect();
        Ok(Wires { order, position, readers: graph.consumers(), kept })
    }

    fn readers(&self, v: ValueId) -> &[NodeId] {
        self.readers.get(&v).map_or(&[], Vec::as_slice)
    }

    /// Whether only nodes in `inside` read `v`.
    fn internal(&self, v: ValueId, inside: &[NodeId]) -> bool {
        !self.kept.contains(&v) && self.readers(v).iter().all(|n| inside.contains(n))
    }
}

/// Whether `node` is elementwise with one output of the shape of `like`.
fn elementwise_like(graph: &Graph, node: &Node, like: ValueId) -> bool {
    let [out] = node.outputs.as_slice() else { return false };
    let (Fact::Tensor(a), Fact::Tensor(b)) = (graph.fact(*out), graph.fact(like)) else { return false };
    node.op.class() == Class::Elementwise && a.shape == b.shape
}

/// The nodes as a graph of their own over `inputs`.
fn body(graph: &Graph, nodes: &[NodeId], first: &[ValueId], rest: &[ValueId], result: ValueId) -> Result<Arc<Graph>> {
    let mut b = GraphBuilder::new("fused");
    let mut vars: HashMap<ValueId, Var> = HashMap::new();
    let mut own = Vec::new();
    for v in first {
        own.push(b.input(&graph.value(*v).name, graph.fact(*v).clone()));
    }
    for v in rest {
        vars.insert(*v, b.input(&graph.value(*v).name, graph.fact(*v).clone()));
    }
    for (i, id) in nodes.iter().enumerate() {
        let node = graph.node(*id)?;
        let mut args = Vec::with_capacity(node.inputs.len());
        for (k, v) in node.inputs.iter().enumerate() {
            args.push(match (vars.get(v), graph.constant(*v)) {
                _ if i == 0 && !first.is_empty() => own[k].clone(),
                (Some(var), _) => var.clone(),
                (None, Some(t)) => b.constant(t.clone())?,
                (None, None) => return Err(lampyr_base::Error::internal("a fused node reads an unknown value")),
            });
        }
        b.scope(&node.name);
        let made = b.apply(&*node.op, &args)?;
        vars.extend(node.outputs.iter().copied().zip(made));
    }
    if let Some(var) = vars.get(&result) {
        b.output("", var)?;
    }
    Ok(Arc::new(b.finish()))
}

pub fn seconds(options: &Options, cost: Cost) -> f64 {
    match backend(options.policy.device) {
        Ok(b) => b.estimate(cost),
        Err(_) => (cost.bytes / 1e10).max(cost.flops / 1e11),
    }
}

fn node_cost(graph: &Graph, node: &Node) -> Cost {
    let inputs: Vec<&Fact> = node.inputs.iter().map(|v| graph.fact(*v)).collect();
    let outputs: Vec<Fact> = node.outputs.iter().map(|v| graph.fact(*v).clone()).collect();
    node.op.cost(&inputs, &outputs)
}

/// One op in place of several nodes.
struct Proposal<'a> {
    pattern: &'static str,
    nodes: &'a [NodeId],
    op: &'a dyn Op,
    inputs: &'a [ValueId],
    result: ValueId,
}

/// Weighs a fusion and puts it into the patch; whether it was taken.
fn propose(graph: &Graph, context: &mut Context, patch: &mut Patch, proposal: Proposal) -> Result<bool> {
    let Proposal { pattern, nodes, op, inputs, result } = proposal;
    let names = nodes.iter().map(|id| graph.node(*id).map(|n| n.name.clone())).collect::<Result<Vec<_>>>()?;
    let facts: Vec<&Fact> = inputs.iter().map(|v| graph.fact(*v)).collect();
    let out = [graph.fact(result).clone()];
    let mut unfused = 0.0;
    for id in nodes {
        unfused += seconds(context.options, node_cost(graph, graph.node(*id)?));
    }
    let fused = seconds(context.options, op.cost(&facts, &out));
    let reason = if fused > unfused {
        Some("the fused op is estimated to be slower")
    } else if !context.options.assume_kernels && !place::supported(context.options.policy.device, op, &facts, &out) {
        Some("the device has no kernel for the fused op")
    } else {
        None
    };
    if reason.is_none() {
        let name = match names.as_slice() {
            [first, .., last] => format!("{first}+{last}"),
            _ => names.concat(),
        };
        patch.scope(&name);
        let vars = inputs.iter().map(|v| patch.tap(graph, *v)).collect::<Result<Vec<_>>>()?;
        let made = (patch as &mut dyn Builder).one(op, &vars)?;
        patch.replace(result, &made)?;
    }
    context.fusions.push(FusionRecord {
        pattern,
        nodes: names,
        fused_seconds: fused,
        unfused_seconds: unfused,
        taken: reason.is_none(),
        reason: reason.unwrap_or("cheaper"),
    });
    Ok(reason.is_none())
}

/// Notes a fusion that was not tried.
fn refuse(graph: &Graph, context: &mut Context, pattern: &'static str, nodes: [NodeId; 2], reason: &'static str) {
    let nodes = nodes.iter().filter_map(|id| Some(graph.node(*id).ok()?.name.clone())).collect();
    context.fusions.push(FusionRecord {
        pattern,
        nodes,
        fused_seconds: f64::NAN,
        unfused_seconds: f64::NAN,
        taken: false,
        reason,
    });
}
