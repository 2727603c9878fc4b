//! Rules every graph obeys, as a table; run between compiler passes in tests.

use std::collections::{BTreeSet, HashSet};

use lampyr_base::{Dim, Error, Result, ResultExt, Symbol};

use crate::op::checked_infer;
use crate::{AttrValue, Fact, Graph, NodeId, Source, ValueId};

/// One rule.
pub struct VerifyRule {
    /// Name in messages.
    pub name: &'static str,
    /// What it demands.
    pub doc: &'static str,
    /// The check; the set holds symbols of outer graphs.
    pub check: fn(&Graph, &BTreeSet<Symbol>) -> Result<()>,
}

/// All rules, in the order in which they are checked; later ones rely on earlier ones.
pub static RULES: &[VerifyRule] = &[
    VerifyRule { name: "ids", doc: "every wire names a value of the graph", check: ids },
    VerifyRule { name: "boundary", doc: "input i is the value whose source is input i", check: boundary },
    VerifyRule { name: "producers", doc: "every value has the one producer that its source names", check: producers },
    VerifyRule { name: "alive", doc: "nothing reads the output of a removed node", check: alive },
    VerifyRule { name: "order", doc: "there is an order in which producers come first", check: order },
    VerifyRule { name: "constants", doc: "the bytes of constants fit their facts", check: constants },
    VerifyRule { name: "arity", doc: "every op has as many inputs as it takes", check: arity },
    VerifyRule { name: "facts", doc: "facts agree with inference", check: facts },
    VerifyRule { name: "symbols", doc: "every symbol is bound by an input, a read or an output", check: symbols },
    VerifyRule { name: "bodies", doc: "sub-graphs obey all rules", check: bodies },
];

/// Checks all rules.
///
/// # Errors
/// The first broken rule, with the node that breaks it.
pub fn verify(graph: &Graph) -> Result<()> {
    verify_within(graph, &BTreeSet::new())
}

fn verify_within(graph: &Graph, outer: &BTreeSet<Symbol>) -> Result<()> {
    for rule in RULES {
        (rule.check)(graph, outer).map_err(|e| {
            Error::graph(format!("graph `{}` breaks rule `{}`: {}", graph.name, rule.name, e.message()))
                .with_expected(rule.doc)
                .with_node(e.node().unwrap_or(""))
                .with_source(e)
        })?;
    }
    Ok(())
}

fn in_range(graph: &Graph, v: ValueId) -> Result<()> {
    if (v.0 as usize) < graph.values.len() {
        return Ok(());
    }
    Err(Error::graph(format!("value %{} does not exist", v.0)))
}

fn ids(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    for v in graph.inputs.iter().chain(&graph.outputs) {
        in_range(graph, *v)?;
    }
    for (v, _) in graph.symbol_sources.values() {
        in_range(graph, *v)?;
    }
    for (_, node) in graph.nodes() {
        for v in node.inputs.iter().chain(&node.outputs) {
            in_range(graph, *v).node(&node.name)?;
        }
    }
    Ok(())
}

fn boundary(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    let wrong = graph.inputs.iter().enumerate().find(|(i, v)| graph.value(**v).source != Source::Input(*i));
    match wrong {
        Some((i, v)) => Err(Error::graph(format!("value %{} is not input {i}", v.0))),
        None => Ok(()),
    }
}

fn producers(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    let mut seen = HashSet::new();
    for (id, node) in graph.nodes() {
        for (k, v) in node.outputs.iter().enumerate() {
            if graph.value(*v).source != Source::Node(id, k) || !seen.insert(*v) {
                return Err(Error::graph(format!("value %{} has another producer", v.0)).with_node(&node.name));
            }
        }
    }
    Ok(())
}

fn is_alive(graph: &Graph, v: ValueId) -> Result<()> {
    let ok = match graph.value(v).source {
        Source::Input(i) => graph.inputs.get(i) == Some(&v),
        Source::Constant(_) => true,
        Source::Node(NodeId(n), k) => {
            let node = graph.nodes.get(n as usize).and_then(Option::as_ref);
            node.is_some_and(|n| n.outputs.get(k) == Some(&v))
        }
    };
    if ok { Ok(()) } else { Err(Error::graph(format!("value %{} is read, but nothing makes it", v.0))) }
}

fn alive(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    graph.outputs.iter().try_for_each(|v| is_alive(graph, *v))?;
    graph.symbol_sources.values().try_for_each(|(v, _)| is_alive(graph, *v))?;
    graph.nodes().try_for_each(|(_, node)| node.inputs.iter().try_for_each(|v| is_alive(graph, *v)).node(&node.name))
}

fn order(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    graph.order().map(drop)
}

fn constants(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    for info in &graph.values {
        let Source::Constant(t) = &info.source else { continue };
        let fact = info.fact.as_tensor()?;
        let sizes = fact.fixed_shape();
        if fact.dtype != t.dtype() || sizes.as_deref() != Some(t.shape()) {
            return Err(Error::graph(format!("constant `{}` is {}, not {fact}", info.name, t.describe())));
        }
        if t.dtype().bytes_for(t.len()) != Some(t.bytes().len()) {
            return Err(Error::graph(format!("constant `{}` has {} bytes", info.name, t.bytes().len())));
        }
    }
    Ok(())
}

fn arity(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    for (_, node) in graph.nodes() {
        let (a, n) = (node.op.arity(), node.inputs.len());
        if n < a.min || n > a.max {
            return Err(Error::graph(format!("{} has {n} inputs", node.op.name())).with_node(&node.name));
        }
    }
    Ok(())
}

/// Whether both facts can be true of one value.
pub fn compatible(a: &Fact, b: &Fact) -> bool {
    match (a, b) {
        (Fact::Tensor(a), Fact::Tensor(b)) => {
            let sizes = a.rank() == b.rank()
                && a.shape.iter().zip(&b.shape).all(|(x, y)| match (x.known(), y.known()) {
                    (Some(x), Some(y)) => x == y,
                    _ => true,
                });
            a.dtype == b.dtype && sizes
        }
        (Fact::Sequence(a), Fact::Sequence(b)) => a == b,
        (Fact::Optional(a), Fact::Optional(b)) => compatible(a, b),
        _ => false,
    }
}

fn facts(graph: &Graph, _: &BTreeSet<Symbol>) -> Result<()> {
    for id in graph.order()? {
        let node = graph.node(id)?;
        let inputs: Vec<&Fact> = node.inputs.iter().map(|v| graph.fact(*v)).collect();
        let inferred = checked_infer(&*node.op, &inputs).node(&node.name)?;
        if inferred.len() != node.outputs.len() {
            let message = format!("{} has {} outputs, not {}", node.op.name(), inferred.len(), node.outputs.len());
            return Err(Error::graph(message).with_node(&node.name));
        }
        for (v, want) in node.outputs.iter().zip(&inferred) {
            if !compatible(graph.fact(*v), want) {
                let message = format!("value %{} is {}, inference says {want}", v.0, graph.fact(*v));
                return Err(Error::graph(message).with_node(&node.name));
            }
        }
    }
    Ok(())
}

fn fact_symbols(fact: &Fact, into: &mut BTreeSet<Symbol>) {
    if let Fact::Tensor(t) = fact {
        t.shape.iter().for_each(|d| into.extend(d.symbols()));
    }
}

/// Symbols of attributes; those inside bodies are the business of the bodies.
fn attr_symbols(value: &AttrValue, into: &mut BTreeSet<Symbol>) {
    match value {
        AttrValue::Dim(d) => into.extend(d.symbols()),
        AttrValue::Dims(ds) => ds.iter().for_each(|d| into.extend(d.symbols())),
        AttrValue::Op(op) => op.attrs().iter().for_each(|(_, v)| attr_symbols(v, into)),
        _ => {}
    }
}

/// Symbols that have a value when the graph runs: those of inputs, of reads, and of data-dependent outputs.
fn bound_symbols(graph: &Graph, outer: &BTreeSet<Symbol>) -> BTreeSet<Symbol> {
    let mut bound = outer.clone();
    graph.inputs.iter().for_each(|v| fact_symbols(graph.fact(*v), &mut bound));
    bound.extend(graph.symbol_sources.keys().cloned());
    for (_, node) in graph.nodes() {
        for v in &node.outputs {
            if let Fact::Tensor(t) = graph.fact(*v) {
                bound.extend(t.shape.iter().filter_map(Dim::symbol).cloned());
            }
        }
    }
    bound
}

fn symbols(graph: &Graph, outer: &BTreeSet<Symbol>) -> Result<()> {
    let bound = bound_symbols(graph, outer);
    for (_, node) in graph.nodes() {
        let mut used = BTreeSet::new();
        node.op.attrs().iter().for_each(|(_, v)| attr_symbols(v, &mut used));
        node.outputs.iter().for_each(|v| fact_symbols(graph.fact(*v), &mut used));
        if let Some(s) = used.into_iter().find(|s| !bound.contains(s)) {
            return Err(Error::graph(format!("nothing binds symbol `{}`", s.name())).with_node(&node.name));
        }
    }
    for (symbol, (v, k)) in &graph.symbol_sources {
        let fact = graph.fact(*v).as_tensor()?;
        let outside = match fact.shape.first() {
            None => *k > 0,
            Some(d) => d.known().is_some_and(|n| *k as i64 >= n),
        };
        if !fact.dtype.is_integer() || fact.rank() > 1 || outside {
            return Err(Error::graph(format!("symbol `{}` cannot be element {k} of {fact}", symbol.name())));
        }
    }
    Ok(())
}

fn bodies(graph: &Graph, outer: &BTreeSet<Symbol>) -> Result<()> {
    let mut bound = None;
    for (_, node) in graph.nodes() {
        for body in node.op.bodies() {
            let bound = bound.get_or_insert_with(|| bound_symbols(graph, outer));
            verify_within(&body, bound).node(&node.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
