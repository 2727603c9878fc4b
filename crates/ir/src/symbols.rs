//! Symbols in graphs: where they come from, who uses them, and replacing them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lampyr_base::{Dim, Symbol};

use crate::{AttrMap, AttrValue, Fact, Graph, Node, NodeId, OpRef};

fn fact_symbols(fact: &Fact, into: &mut Vec<Symbol>) {
    match fact {
        Fact::Tensor(t) => t.shape.iter().for_each(|d| into.extend(d.symbols())),
        Fact::Sequence(s) => s.shape.iter().flatten().flatten().for_each(|d| into.extend(d.symbols())),
        Fact::Optional(inner) => fact_symbols(inner, into),
    }
}

fn attr_symbols(value: &AttrValue, into: &mut Vec<Symbol>) {
    match value {
        AttrValue::Dim(d) => into.extend(d.symbols()),
        AttrValue::Dims(ds) => ds.iter().for_each(|d| into.extend(d.symbols())),
        AttrValue::Op(op) => op.attrs().iter().for_each(|(_, v)| attr_symbols(v, into)),
        AttrValue::Graph(g) => {
            g.values.iter().for_each(|v| fact_symbols(&v.fact, into));
            g.nodes().for_each(|(_, n)| n.op.attrs().iter().for_each(|(_, v)| attr_symbols(v, into)));
        }
        _ => {}
    }
}

fn map_attr(value: &AttrValue, f: &mut dyn FnMut(&Symbol) -> Dim) -> Option<AttrValue> {
    match value {
        AttrValue::Dim(d) => {
            let new = d.map_symbols(f);
            (new != *d).then_some(AttrValue::Dim(new))
        }
        AttrValue::Dims(ds) => {
            let new: Vec<Dim> = ds.iter().map(|d| d.map_symbols(f)).collect();
            (new != *ds).then_some(AttrValue::Dims(new))
        }
        AttrValue::Op(op) => op.map_symbols(f).map(AttrValue::Op),
        AttrValue::Graph(g) => g.map_symbols(f).map(|g| AttrValue::Graph(Arc::new(g))),
        _ => None,
    }
}

impl OpRef {
    /// This op with every symbol in its attributes, bodies included, replaced by what `f` gives for it; `None` when
    /// nothing changes.
    pub fn map_symbols(&self, f: &mut dyn FnMut(&Symbol) -> Dim) -> Option<OpRef> {
        let mut changed = false;
        let mut map = AttrMap::new();
        for (name, value) in self.attrs() {
            let new = map_attr(&value, f);
            changed |= new.is_some();
            map.insert(name.to_string(), new.unwrap_or(value));
        }
        if changed { self.remake(map) } else { None }
    }
}

impl Graph {
    /// This graph with every symbol in facts and attributes replaced by what `f` gives for it; `None` when nothing
    /// changes. Values of outer sizes reach a body in this way.
    pub fn map_symbols(&self, f: &mut dyn FnMut(&Symbol) -> Dim) -> Option<Graph> {
        let mut graph = self.clone();
        let mut changed = false;
        for value in &mut graph.values {
            let new = value.fact.map_symbols(f);
            if new != value.fact {
                value.fact = new;
                changed = true;
            }
        }
        for node in graph.nodes.iter_mut().flatten() {
            if let Some(op) = node.op.map_symbols(f) {
                node.op = op;
                changed = true;
            }
        }
        changed.then_some(graph)
    }

    /// Symbols that the attributes of a node (bodies included) and the facts of its outputs mention.
    pub fn node_symbols(&self, node: &Node) -> Vec<Symbol> {
        let mut all = Vec::new();
        node.op.attrs().iter().for_each(|(_, v)| attr_symbols(v, &mut all));
        node.outputs.iter().for_each(|v| fact_symbols(self.fact(*v), &mut all));
        all.sort();
        all.dedup();
        all
    }

    /// The node behind each symbol that is known only while the graph runs: one that makes the tensor it is read from,
    /// or whose output has a size that depends on data.
    pub fn symbol_producers(&self) -> HashMap<Symbol, NodeId> {
        let mut map: HashMap<Symbol, NodeId> =
            self.symbol_sources().filter_map(|(s, v, _)| Some((s.clone(), self.producer(v)?.0))).collect();
        let mut seen: HashSet<Symbol> = self.symbol_sources().map(|(s, ..)| s.clone()).collect();
        let mut mentioned = Vec::new();
        self.inputs.iter().for_each(|v| fact_symbols(self.fact(*v), &mut mentioned));
        seen.extend(mentioned.drain(..));
        for (id, node) in self.nodes() {
            for out in &node.outputs {
                let Fact::Tensor(t) = self.fact(*out) else { continue };
                for symbol in t.shape.iter().filter_map(Dim::symbol).filter(|s| !seen.contains(*s)) {
                    node.inputs.iter().for_each(|v| fact_symbols(self.fact(*v), &mut mentioned));
                    node.op.attrs().iter().for_each(|(_, v)| attr_symbols(v, &mut mentioned));
                    let own = !mentioned.contains(symbol);
                    mentioned.clear();
                    if own {
                        map.entry(symbol.clone()).or_insert(id);
                    }
                }
            }
        }
        map
    }
}
