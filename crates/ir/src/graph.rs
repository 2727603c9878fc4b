use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

use lampyr_base::{Error, Result, Symbol};
use smallvec::SmallVec;

use crate::{Fact, HostTensor, OpRef};

/// Identity of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Identity of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Graph input with this position.
    Input(usize),
    /// A constant.
    Constant(HostTensor),
    /// Output `.1` of node `.0`.
    Node(NodeId, usize),
}

/// One value: what is known of it and where it comes from.
#[derive(Clone, Debug)]
pub struct ValueInfo {
    /// Name for messages; unique among graph inputs and outputs.
    pub name: String,
    /// What is known of it.
    pub fact: Fact,
    /// Where it comes from.
    pub source: Source,
}

/// One op in a graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name for messages and reports.
    pub name: String,
    /// The op.
    pub op: OpRef,
    /// Inputs.
    pub inputs: SmallVec<[ValueId; 3]>,
    /// Outputs, hidden ones included.
    pub outputs: SmallVec<[ValueId; 2]>,
}

/// A directed acyclic graph of ops. Values of an outer graph reach a body only through its inputs.
///
/// Graphs grow through [`crate::GraphBuilder`] and change through [`crate::Patch`].
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name for messages.
    pub name: String,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) symbol_sources: BTreeMap<Symbol, (ValueId, usize)>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Graph {
        Graph { name: name.to_string(), ..Graph::default() }
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The node `id`, which must be alive.
    pub fn node(&self, id: NodeId) -> Result<&Node> {
        let gone = || Error::internal(format!("node {} is not in graph `{}`", id.0, self.name));
        self.nodes.get(id.0 as usize).and_then(Option::as_ref).ok_or_else(gone)
    }

    /// The value `id`. Values are never removed, so every id this graph gave is good.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.values[id.0 as usize]
    }

    /// The fact of a value.
    pub fn fact(&self, id: ValueId) -> &Fact {
        &self.value(id).fact
    }

    /// The constant that `id` is, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&HostTensor> {
        match &self.value(id).source {
            Source::Constant(t) => Some(t),
            _ => None,
        }
    }

    /// The node that makes `id` and the output position.
    pub fn producer(&self, id: ValueId) -> Option<(NodeId, usize)> {
        match self.value(id).source {
            Source::Node(node, k) => Some((node, k)),
            _ => None,
        }
    }

    /// Symbols bound by the element of an integer tensor at run time: symbol, tensor, element.
    pub fn symbol_sources(&self) -> impl Iterator<Item = (&Symbol, ValueId, usize)> {
        self.symbol_sources.iter().map(|(s, &(v, i))| (s, v, i))
    }

    /// All live nodes, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(i, n)| Some((NodeId(i as u32), n.as_ref()?)))
    }

    /// Number of live nodes.
    pub fn len(&self) -> usize {
        self.nodes.iter().flatten().count()
    }

    /// True without nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of values ever made; value ids are below it.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Nodes that read each value, each node once, in node order.
    pub fn consumers(&self) -> HashMap<ValueId, Vec<NodeId>> {
        let mut map: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
        for (id, node) in self.nodes() {
            for input in &node.inputs {
                let list = map.entry(*input).or_default();
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        map
    }

    /// Live nodes so that producers come before consumers; equal graphs give equal orders.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::Graph`] when there is a cycle.
    pub fn order(&self) -> Result<Vec<NodeId>> {
        let mut waiting = vec![0usize; self.nodes.len()];
        let mut readers: Vec<Vec<u32>> = vec![Vec::new(); self.nodes.len()];
        let mut ready = std::collections::BinaryHeap::new();
        // A size that is read from a tensor, or made by an op, makes its users depend on that node.
        let symbol_producers = self.symbol_producers();
        for (id, node) in self.nodes() {
            let mut from: SmallVec<[NodeId; 8]> =
                node.inputs.iter().filter_map(|v| Some(self.producer(*v)?.0)).collect();
            if !symbol_producers.is_empty() {
                for symbol in self.node_symbols(node) {
                    if let Some(p) = symbol_producers.get(&symbol)
                        && *p != id
                    {
                        from.push(*p);
                    }
                }
            }
            from.sort_unstable();
            from.dedup();
            for p in from {
                waiting[id.0 as usize] += 1;
                readers[p.0 as usize].push(id.0);
            }
            if waiting[id.0 as usize] == 0 {
                ready.push(std::cmp::Reverse(id.0));
            }
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(std::cmp::Reverse(i)) = ready.pop() {
            order.push(NodeId(i));
            for &r in &readers[i as usize] {
                waiting[r as usize] -= 1;
                if waiting[r as usize] == 0 {
                    ready.push(std::cmp::Reverse(r));
                }
            }
        }
        if order.len() != self.len() {
            let stuck = self.nodes().find(|(id, _)| waiting[id.0 as usize] > 0);
            let name = stuck.map_or(String::new(), |(_, n)| n.name.clone());
            return Err(Error::graph(format!("graph `{}` has a cycle", self.name)).with_node(&name));
        }
        Ok(order)
    }

    /// The graph as text, one node per line.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        let value = |id: &ValueId| format!("%{} {}", id.0, self.fact(*id));
        let list = |ids: &[ValueId]| ids.iter().map(value).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "graph {}({}) {{", self.name, list(&self.inputs));
        for id in self.order().unwrap_or_default() {
            if let Ok(node) = self.node(id) {
                let inputs = node.inputs.iter().map(|v| format!("%{}", v.0)).collect::<Vec<_>>().join(", ");
                let _ = writeln!(out, "  {} = {:?}({inputs})  # {}", list(&node.outputs), node.op, node.name);
            }
        }
        let outputs = self.outputs.iter().map(|v| format!("%{}", v.0)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "  return {outputs}\n}}");
        out
    }

    fn canonical(&self) -> Vec<(OpRef, Vec<usize>, usize)> {
        let mut number: HashMap<ValueId, usize> = HashMap::new();
        for v in &self.inputs {
            let n = number.len();
            number.insert(*v, n);
        }
        let mut rows = Vec::new();
        for id in self.order().unwrap_or_default() {
            let Ok(node) = self.node(id) else { continue };
            let inputs = node
                .inputs
                .iter()
                .map(|v| {
                    let n = number.len();
                    *number.entry(*v).or_insert(n)
                })
                .collect();
            for v in &node.outputs {
                let n = number.len();
                number.insert(*v, n);
            }
            rows.push((node.op.clone(), inputs, node.outputs.len()));
        }
        rows
    }

    fn boundary(&self) -> Vec<&Fact> {
        self.inputs.iter().chain(&self.outputs).map(|v| self.fact(*v)).collect()
    }

    fn constants(&self) -> Vec<&HostTensor> {
        let mut all = Vec::new();
        for id in self.order().unwrap_or_default() {
            if let Ok(node) = self.node(id) {
                all.extend(node.inputs.iter().filter_map(|v| self.constant(*v)));
            }
        }
        all
    }
}

/// Structural: same ops on the same wires with the same constants and boundary facts; names do not count.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.boundary() == other.boundary()
            && self.canonical() == other.canonical()
            && self.constants() == other.constants()
    }
}

impl Eq for Graph {}

impl Hash for Graph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.boundary().hash(state);
        self.canonical().hash(state);
        self.constants().hash(state);
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dump())
    }
}
