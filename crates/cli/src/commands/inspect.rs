use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use lampyr::ir::{Graph, ValueId};
use lampyr::{DType, Port, Result};
use serde::Serialize;

use crate::model;
use crate::output::{Output, bytes};

/// Arguments of `lampyr inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file
    model: PathBuf,
    /// Show every node with the inferred types and shapes of what it makes
    #[arg(long)]
    nodes: bool,
}

#[derive(Serialize)]
struct PortInfo {
    name: String,
    dtype: String,
    shape: Vec<String>,
}

#[derive(Serialize)]
struct Inspection {
    model: String,
    producer: String,
    opset: u32,
    metadata: BTreeMap<String, String>,
    inputs: Vec<PortInfo>,
    outputs: Vec<PortInfo>,
    nodes: usize,
    ops: BTreeMap<&'static str, usize>,
    parameters: usize,
    parameter_bytes: usize,
    symbols: BTreeSet<String>,
    values: Vec<NodeInfo>,
}

/// A node and what shape inference says of its outputs.
#[derive(Serialize)]
struct NodeInfo {
    node: String,
    op: &'static str,
    outputs: Vec<ValueInfo>,
}

#[derive(Serialize)]
struct ValueInfo {
    name: String,
    fact: String,
}

/// Counts ops, and elements and bytes of the constants that are no shapes or indices, in bodies too.
fn count(graph: &Graph, found: &mut Inspection) {
    let mut seen = HashSet::new();
    for (_, node) in graph.nodes() {
        found.nodes += 1;
        *found.ops.entry(node.op.name()).or_default() += 1;
        for value in node.inputs.iter().filter(|v| seen.insert(**v)) {
            if let Some(constant) = graph.constant(*value).filter(|c| c.dtype() != DType::I64) {
                found.parameters += constant.len();
                found.parameter_bytes += constant.bytes().len();
            }
        }
        node.op.bodies().iter().for_each(|body| count(body, found));
    }
}

fn describe(port: &Port) -> PortInfo {
    PortInfo {
        name: port.name.clone(),
        dtype: port.dtype().to_string(),
        shape: port.dims().iter().map(ToString::to_string).collect(),
    }
}

/// Prints what is in a model.
pub fn run(args: &Args, output: Output) -> Result<String> {
    let model = model::read(&args.model)?;
    let ports = || model.inputs().iter().chain(model.outputs());
    let mut found = Inspection {
        model: args.model.display().to_string(),
        producer: model.producer().to_string(),
        opset: model.opset(),
        metadata: model.metadata().clone(),
        inputs: model.inputs().iter().map(describe).collect(),
        outputs: model.outputs().iter().map(describe).collect(),
        nodes: 0,
        ops: BTreeMap::new(),
        parameters: 0,
        parameter_bytes: 0,
        values: values(model.graph())?,
        symbols: ports().flat_map(Port::dims).flat_map(|d| d.symbols()).map(|s| s.name().to_string()).collect(),
    };
    count(model.graph(), &mut found);
    output.either(&found, || text(&found, args.nodes, output))
}

fn values(graph: &Graph) -> Result<Vec<NodeInfo>> {
    let describe = |id| {
        let node = graph.node(id)?;
        let value = |v: &ValueId| ValueInfo { name: graph.value(*v).name.clone(), fact: graph.fact(*v).to_string() };
        Ok(NodeInfo { node: node.name.clone(), op: node.op.name(), outputs: node.outputs.iter().map(value).collect() })
    };
    graph.order()?.into_iter().map(describe).collect()
}

fn text(found: &Inspection, nodes: bool, output: Output) -> String {
    let symbols: Vec<_> = found.symbols.iter().map(String::as_str).collect();
    let mut all = output.bold(&found.model) + "\n";
    let or_none = |text: String| if text.is_empty() { "none".to_string() } else { text };
    all += &output.pairs(&[
        ("producer", or_none(found.producer.clone())),
        ("opset", found.opset.to_string()),
        ("nodes", found.nodes.to_string()),
        ("parameters", format!("{} ({})", found.parameters, bytes(found.parameter_bytes))),
        ("symbolic sizes", or_none(symbols.join(", "))),
    ]);
    for (key, value) in &found.metadata {
        all += &format!("  {key}: {value}\n");
    }
    let ports = |title: &'static str, ports: &[PortInfo]| {
        let rows = ports.iter().map(|p| vec![p.name.clone(), p.dtype.clone(), format!("[{}]", p.shape.join(", "))]);
        format!("\n{}", output.table(&[title, "type", "shape"], &[], rows))
    };
    all += &ports("input", &found.inputs);
    all += &ports("output", &found.outputs);
    let mut ops: Vec<_> = found.ops.iter().collect();
    ops.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
    let rows = ops.into_iter().map(|(name, count)| vec![(*name).to_string(), count.to_string()]);
    all += &format!("\n{}", output.table(&["op", "count"], &[1], rows));
    if !nodes {
        return all + "\n --nodes shows the type and shape of every value\n";
    }
    let rows = found.values.iter().map(|n| {
        let facts: Vec<_> = n.outputs.iter().map(|v| v.fact.as_str()).collect();
        vec![n.node.clone(), n.op.to_string(), facts.join(", ")]
    });
    all + "\n" + &output.table(&["node", "op", "makes"], &[], rows)
}
