//! Names: what a sub-graph takes from outside, and an order in which every name is made before it is read.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use lampyr_base::{Error, Result};

use super::build::Values;
use crate::pb::{GraphProto, NodeProto};

/// The name of a node for messages; nodes without one are called after what they make.
pub fn node_name(node: &NodeProto, index: usize) -> String {
    if !node.name.is_empty() {
        return node.name.clone();
    }
    match node.output.iter().find(|o| !o.is_empty()) {
        Some(output) => output.clone(),
        None => format!("{}_{index}", node.op_type),
    }
}

/// Everything that a node reads, sub-graphs included.
pub fn reads(node: &NodeProto) -> impl Iterator<Item = &str> {
    let bodies = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).flat_map(free);
    node.input.iter().map(String::as_str).filter(|n| !n.is_empty()).chain(bodies)
}

/// Names that a sub-graph reads and does not make, in the order of their first use.
pub fn free(graph: &GraphProto) -> Vec<&str> {
    let mut own: HashSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
    own.extend(graph.initializer.iter().map(|t| t.name.as_str()));
    own.extend(graph.node.iter().flat_map(|n| &n.output).map(String::as_str));
    let mut found = Vec::new();
    let mut visit = |name| {
        if own.insert(name) {
            found.push(name);
        }
    };
    graph.node.iter().flat_map(reads).for_each(&mut visit);
    graph.output.iter().filter(|o| !o.name.is_empty()).for_each(|o| visit(&o.name));
    found
}

/// The positions of `nodes` so that every value is made before it is read; nodes stay in their order where they can.
///
/// # Errors
/// When a name is made twice, is read but never made, or depends on itself.
pub fn order<'m>(nodes: &'m [NodeProto], known: &Values<'m>) -> Result<Vec<usize>> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if known.contains_key(output.as_str()) || makers.insert(output, i).is_some() {
                return Err(Error::graph(format!("value `{output}` is made twice"))
                    .with_op(&node.op_type)
                    .with_node(&node_name(node, i)));
            }
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let mut missing = None;
        for name in reads(node).filter(|name| !known.contains_key(name)) {
            match makers.get(name) {
                Some(&maker) => {
                    waiting[i] += 1;
                    readers[maker].push(i);
                }
                None => missing = missing.or(Some(name)),
            }
        }
        if let Some(name) = missing {
            return Err(Error::not_found(format!("value `{name}` is read but never made"))
                .with_op(&node.op_type)
                .with_node(&node_name(node, i))
                .with_expected("the name of an input, an initializer or an output of a node"));
        }
    }
    let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match waiting.iter().position(|&n| n > 0) {
        None => Ok(order),
        Some(i) => {
            let made = nodes[i].output.iter().find(|o| !o.is_empty()).map_or("", String::as_str);
            Err(Error::graph(format!("value `{made}` depends on itself"))
                .with_op(&nodes[i].op_type)
                .with_node(&node_name(&nodes[i], i)))
        }
    }
}
