//! Which device runs each node, and why. Where a device has no kernel, the op is written out with others; the host
//! reference is what remains.

use std::collections::{BTreeMap, HashMap};

use lampyr_backend::{Backend, Reason, backend};
use lampyr_base::{Bindings, DType, Device, Layout, Result, Symbol};
use lampyr_ir::{Class, Cost, Fact, Graph, Node, NodeId, Op, Patch, Source};

use crate::passes::Context;
use crate::plan::choose;
use crate::tuning::Tuning;

/// Unknown sizes count as this many elements in estimates.
const SAMPLE: i64 = 16;
/// Rounds of writing ops out.
const ROUNDS: usize = 8;
/// Seconds of one transfer without data, and bytes per second.
const TRANSFER: (f64, f64) = (1e-5, 1e10);

/// Where a node runs, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Device.
    pub device: Device,
    /// Stable code: `policy`, `preferred`, `faster`, `only_kernel`, `view`, `control`, `no_kernel`, `kernel_refused`.
    pub reason: &'static str,
    /// Estimated or measured seconds of one call.
    pub seconds: f64,
    /// Whether the seconds were measured.
    pub measured: bool,
}

/// Placements by node.
pub type Placements = HashMap<NodeId, Placement>;

/// Sizes for unknown symbols, so that kernels can be asked about types and ranks before shapes are known.
fn sample(facts: &[&Fact]) -> Option<Vec<(DType, Layout)>> {
    let mut bindings = Bindings::new();
    for fact in facts {
        let Fact::Tensor(t) = fact else { return None };
        let symbols: Vec<Symbol> = t.shape.iter().flat_map(|d| d.symbols()).collect();
        for s in symbols {
            bindings.set(s, SAMPLE);
        }
    }
    (facts.iter())
        .map(|f| {
            let t = f.as_tensor().ok()?;
            let shape: Option<Vec<usize>> =
                t.shape.iter().map(|d| d.eval(&bindings).map(|n| n.max(1) as usize)).collect();
            Some((t.dtype, Layout::contiguous(&shape?)))
        })
        .collect()
}

fn find(backend: &dyn Backend, op: &dyn Op, inputs: &[&Fact], outputs: &[Fact]) -> Result<(), Reason> {
    let all: Vec<&Fact> = inputs.iter().copied().chain(outputs).collect();
    let Some(infos) = sample(&all) else { return Err(Reason::Control) };
    let (ins, outs) = infos.split_at(inputs.len());
    choose(backend, op, ins, outs).map(drop)
}

/// Whether `device` has a kernel for this call.
pub(crate) fn supported(device: Device, op: &dyn Op, inputs: &[&Fact], outputs: &[Fact]) -> bool {
    backend(device).is_ok_and(|b| find(&*b, op, inputs, outputs).is_ok())
}

fn facts<'a>(graph: &'a Graph, node: &Node) -> (Vec<&'a Fact>, Vec<Fact>) {
    let inputs = node.inputs.iter().map(|v| graph.fact(*v)).collect();
    (inputs, node.outputs.iter().map(|v| graph.fact(*v).clone()).collect())
}

/// Writes out ops that the preferred device has no kernel for, then places all nodes.
pub(crate) fn run(graph: &mut Graph, context: &mut Context) -> Result<usize> {
    let home = backend(context.options.policy.device)?;
    let mut changes = 0;
    if !context.options.assume_kernels {
        for _ in 0..ROUNDS {
            let written = write_out(graph, &*home)?;
            changes += written;
            if written == 0 {
                break;
            }
        }
    }
    let tuning = context.options.tuning.as_deref().map(Tuning::load).transpose()?.unwrap_or_default();
    let mut devices = vec![home];
    for device in &context.options.policy.candidates {
        if devices.iter().all(|b| b.device() != *device) {
            devices.push(backend(*device)?);
        }
    }
    let mut by_name: BTreeMap<Device, std::sync::Arc<dyn Backend>> = BTreeMap::new();
    for device in context.options.policy.nodes.values().chain(context.options.policy.ops.values()) {
        by_name.insert(*device, backend(*device)?);
    }
    for id in graph.order()? {
        let node = graph.node(id)?;
        let placement = place(graph, context, &devices, &tuning, node)?;
        context.placements.insert(id, placement);
    }
    Ok(changes)
}

fn write_out(graph: &mut Graph, home: &dyn Backend) -> Result<usize> {
    let mut count = 0;
    for id in graph.order()? {
        let Ok(node) = graph.node(id) else { continue };
        let (ins, outs) = facts(graph, node);
        if matches!(node.op.class(), Class::View | Class::Control) || find(home, &*node.op, &ins, &outs).is_ok() {
            continue;
        }
        let mut patch = Patch::new(format!("{} written out: no kernel on {}", node.name, home.device()));
        lampyr_ir::Builder::scope(&mut patch, &node.name);
        let vars = node.inputs.iter().map(|v| patch.tap(graph, *v)).collect::<Result<Vec<_>>>()?;
        let Some(made) = node.op.decompose(&mut patch, &vars) else { continue };
        let (made, outputs) = (made?, node.outputs.clone());
        for (old, new) in outputs.iter().zip(&made) {
            patch.replace(*old, new)?;
        }
        if made.len() >= outputs.len() {
            graph.apply(patch)?;
            count += 1;
        }
    }
    Ok(count)
}

fn place(
    graph: &Graph,
    context: &Context,
    devices: &[std::sync::Arc<dyn Backend>],
    tuning: &Tuning,
    node: &Node,
) -> Result<Placement> {
    let policy = &context.options.policy;
    let (ins, outs) = facts(graph, node);
    let cost = node.op.cost(&ins, &outs);
    let seconds = |b: &dyn Backend| match tuning.seconds(b.device(), &*node.op, &ins) {
        Some(s) => (s, true),
        None => (b.estimate(cost), false),
    };
    let chosen = policy.nodes.get(&node.name).or_else(|| policy.ops.get(node.op.name()));
    if let Some(device) = chosen {
        let (seconds, measured) = seconds(&*backend(*device)?);
        return Ok(Placement { device: *device, reason: "policy", seconds, measured });
    }
    let from = input_device(graph, context, node);
    match node.op.class() {
        Class::View => return Ok(Placement { device: from, reason: "view", seconds: 0.0, measured: false }),
        Class::Control => {
            return Ok(Placement { device: policy.device, reason: "control", seconds: 0.0, measured: false });
        }
        _ => {}
    }
    let mut best: Option<(Placement, f64)> = None;
    let mut missing = Reason::NoKernel;
    for b in devices {
        if let Err(reason) = find(&**b, &*node.op, &ins, &outs) {
            if b.device() == policy.device {
                missing = reason;
            }
            continue;
        }
        let (seconds, measured) = seconds(&**b);
        let total = seconds + transfers(graph, context, node, b.device(), &ins, &outs);
        let home = b.device() == policy.device;
        let reason = if home { "preferred" } else { "faster" };
        if best.as_ref().is_none_or(|(_, t)| total < *t) {
            best = Some((Placement { device: b.device(), reason, seconds, measured }, total));
        }
    }
    let home_has = devices.first().is_some_and(|b| find(&**b, &*node.op, &ins, &outs).is_ok());
    Ok(match best {
        Some((mut p, _)) => {
            if !home_has {
                p.reason = "only_kernel";
            }
            p
        }
        None => Placement { device: policy.device, reason: missing.code(), seconds: f64::INFINITY, measured: false },
    })
}

fn input_device(graph: &Graph, context: &Context, node: &Node) -> Device {
    let home = context.options.policy.device;
    let Some(v) = node.inputs.first() else { return home };
    match graph.value(*v).source {
        Source::Node(n, _) => context.placements.get(&n).map_or(home, |p| p.device),
        _ => home,
    }
}

/// Seconds to bring the inputs to `device`, and the outputs back to the preferred device when they leave the graph.
fn transfers(graph: &Graph, context: &Context, node: &Node, device: Device, ins: &[&Fact], outs: &[Fact]) -> f64 {
    let time = |fact: &Fact| {
        let bytes = fact.as_tensor().ok().and_then(|t| t.bytes().known()).unwrap_or(4096).max(0) as f64;
        TRANSFER.0 + bytes / TRANSFER.1
    };
    let home = context.options.policy.device;
    let mut total = 0.0;
    for (v, fact) in node.inputs.iter().zip(ins) {
        let from = match graph.value(*v).source {
            Source::Constant(_) => continue,
            Source::Input(_) => home,
            Source::Node(n, _) => context.placements.get(&n).map_or(home, |p| p.device),
        };
        if from != device {
            total += time(fact);
        }
    }
    if device != home {
        // Readers are placed later; that the result comes back is the safe assumption.
        total += outs.iter().map(time).sum::<f64>();
    }
    total
}

/// Work of a node, for reports.
pub(crate) fn cost(graph: &Graph, node: &Node) -> Cost {
    let (ins, outs) = facts(graph, node);
    node.op.cost(&ins, &outs)
}
