use std::collections::{HashMap, HashSet};

use lampyr_base::{Dim, Result};

use crate::builder::Builder;
use crate::{AttrValue, Class, Fact, Graph, HostTensor, HostValue, Node, Patch, ValueId};

/// Replaces values that depend on constants only, and integer values whose elements follow from shapes, by constants of
/// at most `limit` bytes; the number of nodes that went.
pub fn fold_constants(graph: &mut Graph, limit: usize) -> Result<usize> {
    let mut made: HashMap<ValueId, HostTensor> = HashMap::new();
    let mut folded = HashSet::new();
    for id in graph.order()? {
        let node = graph.node(id)?;
        let known: Option<Vec<HostTensor>> = node.outputs.iter().map(|v| known(graph.fact(*v))).collect();
        let values = match known {
            Some(values) if node.op.deterministic() => Some(values),
            _ => evaluate(graph, node, &made, limit),
        };
        if let Some(values) = values {
            made.extend(node.outputs.iter().copied().zip(values));
            folded.insert(id);
        }
    }
    if folded.is_empty() {
        return Ok(0);
    }
    let mut needed: Vec<ValueId> = graph.outputs().iter().copied().filter(|v| made.contains_key(v)).collect();
    for (_, node) in graph.nodes().filter(|(id, _)| !folded.contains(id)) {
        needed.extend(node.inputs.iter().copied().filter(|v| made.contains_key(v)));
    }
    needed.extend(graph.symbol_sources().map(|(_, v, _)| v).filter(|v| made.contains_key(v)));
    needed.sort_unstable();
    needed.dedup();
    let before = graph.len();
    let mut patch = Patch::new("constant folding");
    for v in needed {
        if let Some(t) = made.remove(&v) {
            let var = patch.constant(t)?;
            patch.replace(v, &var)?;
        }
    }
    graph.apply(patch)?;
    Ok(before - graph.len())
}

fn known(fact: &Fact) -> Option<HostTensor> {
    let Fact::Tensor(fact) = fact else { return None };
    let numbers: Vec<i64> = fact.known.as_ref()?.iter().map(Dim::known).collect::<Option<_>>()?;
    let shape = fact.fixed_shape()?;
    if shape.iter().product::<usize>() != numbers.len() {
        return None;
    }
    HostTensor::from_i64(fact.dtype, &shape, &numbers).ok()
}

fn evaluate(graph: &Graph, node: &Node, made: &HashMap<ValueId, HostTensor>, limit: usize) -> Option<Vec<HostTensor>> {
    let symbolic = node.op.attrs().iter().any(|(_, v)| match v {
        AttrValue::Dim(d) => d.known().is_none(),
        AttrValue::Dims(ds) => ds.iter().any(|d| d.known().is_none()),
        _ => false,
    });
    if node.inputs.is_empty() || symbolic || !node.op.deterministic() || node.op.class() == Class::Control {
        return None;
    }
    for v in &node.outputs {
        let Fact::Tensor(fact) = graph.fact(*v) else { return None };
        let bytes = fact.fixed_shape()?.iter().try_fold(fact.dtype.size(), |n, d| n.checked_mul(*d))?;
        if bytes > limit {
            return None;
        }
    }
    let inputs: Vec<HostValue> = (node.inputs.iter())
        .map(|v| made.get(v).or_else(|| graph.constant(*v)).cloned().map(HostValue::Tensor))
        .collect::<Option<_>>()?;
    let values = node.op.reference(&inputs).ok()?;
    let fits = |v: &ValueId, t: &HostTensor| matches!(graph.fact(*v), Fact::Tensor(f) if f.dtype == t.dtype() && f.fixed_shape().as_deref() == Some(t.shape()));
    let values: Vec<HostTensor> = values.iter().map(|v| v.tensor().cloned()).collect::<Result<_>>().ok()?;
    (values.len() == node.outputs.len() && node.outputs.iter().zip(&values).all(|(v, t)| fits(v, t))).then_some(values)
}
