use std::collections::HashMap;

use lampyr_base::{Dim, Error, Result};

use crate::builder::{Builder, Var, Vars};
use crate::{Fact, Graph, GraphBuilder, HostTensor, NodeId, Op, Source, ValueId};

/// A change of a graph: new nodes, and old values that new ones replace. A patch is a [`Builder`] over taps into the
/// graph it will be applied to; nothing changes until [`Graph::apply`].
#[derive(Debug)]
pub struct Patch {
    builder: GraphBuilder,
    taps: HashMap<ValueId, ValueId>,
    outer: Vec<(ValueId, ValueId)>,
    replace: Vec<(ValueId, ValueId)>,
    log: String,
}

impl Patch {
    /// An empty change; `log` says what it does.
    pub fn new(log: impl Into<String>) -> Patch {
        Patch {
            builder: GraphBuilder::new("patch"),
            taps: HashMap::new(),
            outer: Vec::new(),
            replace: Vec::new(),
            log: log.into(),
        }
    }

    /// What it does.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// A value of the graph, for use in new nodes.
    pub fn tap(&mut self, graph: &Graph, value: ValueId) -> Result<Var> {
        if let Some(inner) = self.taps.get(&value) {
            return Ok(Var::Node(*inner));
        }
        let info = graph.value(value);
        let var = match &info.source {
            Source::Constant(t) => self.builder.constant(t.clone())?,
            _ => self.builder.input(&info.name, info.fact.clone()),
        };
        let inner = var.node()?;
        self.taps.insert(value, inner);
        self.outer.push((value, inner));
        Ok(var)
    }

    /// A place to [`Patch::rewind`] to.
    pub fn mark(&self) -> usize {
        self.replace.len()
    }

    /// Forgets the replacements made since `mark`; new nodes that nothing reads go when the patch is applied.
    pub fn rewind(&mut self, mark: usize) {
        self.replace.truncate(mark);
    }

    /// From now on readers of `old` read `new`.
    pub fn replace(&mut self, old: ValueId, new: &Var) -> Result<()> {
        self.replace.push((old, new.node()?));
        Ok(())
    }
}

impl Builder for Patch {
    fn apply(&mut self, op: &dyn Op, inputs: &[Var]) -> Result<Vars> {
        self.builder.apply(op, inputs)
    }
    fn fact(&self, var: &Var) -> Result<Fact> {
        self.builder.fact(var)
    }
    fn constant(&mut self, value: HostTensor) -> Result<Var> {
        self.builder.constant(value)
    }
    fn read(&mut self, var: &Var) -> Result<Option<HostTensor>> {
        self.builder.read(var)
    }
    fn dims(&mut self, var: &Var) -> Result<Vec<Dim>> {
        self.builder.dims(var)
    }
    fn scope(&mut self, name: &str) {
        self.builder.scope(name);
    }
}

impl Graph {
    /// Applies a change and removes the nodes that nothing reads any more. The graph is untouched when this fails.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::Graph`] when a replaced value would change its dtype or rank.
    pub fn apply(&mut self, patch: Patch) -> Result<()> {
        let inner = patch.builder.finish();
        for (old, new) in &patch.replace {
            let (was, is) = (self.fact(*old), inner.fact(*new));
            let same = match (was, is) {
                (Fact::Tensor(a), Fact::Tensor(b)) => {
                    let sizes_agree = a.rank() == b.rank()
                        && a.shape.iter().zip(&b.shape).all(|(x, y)| match (x.known(), y.known()) {
                            (Some(x), Some(y)) => x == y,
                            _ => true,
                        });
                    a.dtype == b.dtype && sizes_agree
                }
                (a, b) => a == b,
            };
            if !same {
                return Err(Error::graph(format!("`{}` would replace {was} by {is}", patch.log)));
            }
        }
        let mut map: HashMap<ValueId, ValueId> = patch.outer.iter().map(|&(outer, inner)| (inner, outer)).collect();
        for i in 0..inner.values.len() {
            let id = ValueId(i as u32);
            if let (Source::Constant(t), false) = (&inner.value(id).source, map.contains_key(&id)) {
                let info = inner.value(id);
                let new = self.add_value(info.name.clone(), info.fact.clone(), Source::Constant(t.clone()));
                map.insert(id, new);
            }
        }
        for id in inner.order()? {
            let node = inner.node(id)?;
            let inputs: Vec<ValueId> = node.inputs.iter().map(|v| map[v]).collect();
            let facts = node.outputs.iter().map(|v| inner.fact(*v).clone()).collect();
            let new = self.add_node(node.name.clone(), node.op.clone(), &inputs, facts);
            let outputs = self.node(new)?.outputs.clone();
            map.extend(node.outputs.iter().copied().zip(outputs));
        }
        for (symbol, (value, k)) in inner.symbol_sources {
            self.symbol_sources.entry(symbol).or_insert((map[&value], k));
        }
        let replaced: Vec<(ValueId, ValueId)> = patch.replace.iter().map(|(old, new)| (*old, map[new])).collect();
        self.redirect(&replaced);
        self.remove_dead();
        Ok(())
    }

    /// Makes readers of every first value read the second one, which may be replaced itself.
    fn redirect(&mut self, replaced: &[(ValueId, ValueId)]) {
        let next: HashMap<ValueId, ValueId> = replaced.iter().copied().filter(|(old, new)| old != new).collect();
        if next.is_empty() {
            return;
        }
        let resolve = |v: ValueId| {
            let mut at = v;
            // A cycle of replacements is longer than the map.
            for _ in 0..=next.len() {
                match next.get(&at) {
                    Some(to) => at = *to,
                    None => return at,
                }
            }
            v
        };
        for node in self.nodes.iter_mut().flatten() {
            node.inputs.iter_mut().for_each(|v| *v = resolve(*v));
        }
        for i in 0..self.outputs.len() {
            let old = self.outputs[i];
            let new = resolve(old);
            if new == old {
                continue;
            }
            let name = self.values[old.0 as usize].name.clone();
            // An output keeps its name: it never becomes a value that has one already.
            let target = match &self.values[new.0 as usize].source {
                Source::Node(..) if !self.outputs.contains(&new) => {
                    self.values[new.0 as usize].name = name;
                    new
                }
                Source::Constant(t) => {
                    let t = t.clone();
                    let fact = self.values[new.0 as usize].fact.clone();
                    self.add_value(name, fact, Source::Constant(t))
                }
                _ => continue,
            };
            self.outputs[i] = target;
        }
        for (value, _) in self.symbol_sources.values_mut() {
            *value = resolve(*value);
        }
    }

    /// Removes nodes whose outputs reach neither a graph output nor a used symbol; the number removed.
    pub fn remove_dead(&mut self) -> usize {
        let mut live = vec![false; self.nodes.len()];
        let mut stack: Vec<NodeId> = self.outputs.iter().filter_map(|v| Some(self.producer(*v)?.0)).collect();
        let mut used_symbols = std::collections::BTreeSet::new();
        let producers = self.symbol_producers();
        let by_symbol = !producers.is_empty() || !self.symbol_sources.is_empty();
        let note_fact = |fact: &Fact, into: &mut std::collections::BTreeSet<_>| {
            if let Fact::Tensor(t) = fact {
                t.shape.iter().for_each(|d| into.extend(d.symbols()));
            }
        };
        loop {
            while let Some(id) = stack.pop() {
                if std::mem::replace(&mut live[id.0 as usize], true) {
                    continue;
                }
                if let Some(node) = &self.nodes[id.0 as usize] {
                    if by_symbol {
                        used_symbols.extend(self.node_symbols(node));
                    }
                    stack.extend(node.inputs.iter().filter_map(|v| Some(self.producer(*v)?.0)));
                }
            }
            self.outputs.iter().for_each(|v| note_fact(self.fact(*v), &mut used_symbols));
            stack.extend(
                producers.iter().filter(|(s, p)| used_symbols.contains(*s) && !live[p.0 as usize]).map(|(_, p)| *p),
            );
            if stack.is_empty() {
                break;
            }
        }
        self.symbol_sources.retain(|s, _| used_symbols.contains(s));
        let mut removed = 0;
        for (i, keep) in live.iter().enumerate() {
            if !keep && self.nodes[i].take().is_some() {
                removed += 1;
            }
        }
        removed
    }
}
