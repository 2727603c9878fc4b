use lampyr_base::Dim;

use crate::{Fact, Graph, Node, NodeId, Op, TensorFact, ValueId};

/// A graph with the questions that rewrites ask of it.
#[derive(Debug)]
pub struct Wires<'g> {
    graph: &'g Graph,
    readers: Vec<Vec<NodeId>>,
    kept: Vec<bool>,
}

impl<'g> Wires<'g> {
    /// Looks through `graph` once.
    pub fn new(graph: &'g Graph) -> Wires<'g> {
        let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); graph.value_count()];
        for (id, node) in graph.nodes() {
            for v in &node.inputs {
                let list = &mut readers[v.0 as usize];
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        let mut kept = vec![false; graph.value_count()];
        graph.outputs().iter().for_each(|v| kept[v.0 as usize] = true);
        graph.symbol_sources().for_each(|(_, v, _)| kept[v.0 as usize] = true);
        Wires { graph, readers, kept }
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Nodes that read `v`, each once.
    pub fn readers(&self, v: ValueId) -> &[NodeId] {
        self.readers.get(v.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether something other than nodes reads `v`: it is an output of the graph, or sizes are read from it.
    pub fn is_kept(&self, v: ValueId) -> bool {
        self.kept.get(v.0 as usize).copied().unwrap_or(false)
    }

    /// Whether exactly one node reads `v` and nothing else does.
    pub fn read_once(&self, v: ValueId) -> bool {
        self.readers(v).len() == 1 && !self.is_kept(v)
    }

    /// Whether only nodes in `inside` read what they make, `result` excepted.
    pub fn closed(&self, inside: &[NodeId], result: ValueId) -> bool {
        inside.iter().filter_map(|id| self.graph.node(*id).ok()).flat_map(|n| &n.outputs).all(|v| {
            *v == result || (!self.is_kept(*v) && self.readers(*v).iter().all(|reader| inside.contains(reader)))
        })
    }

    /// The node whose first output is `v`.
    pub fn made_by(&self, v: ValueId) -> Option<(NodeId, &'g Node)> {
        let (id, k) = self.graph.producer(v)?;
        let node = self.graph.node(id).ok()?;
        (k == 0).then_some((id, node))
    }

    /// The node whose first output is `v`, when its op is a `T`.
    pub fn op<T: Op>(&self, v: ValueId) -> Option<(NodeId, &'g Node, &'g T)> {
        let (id, node) = self.made_by(v)?;
        Some((id, node, node.op.downcast::<T>()?))
    }

    /// The tensor fact of `v`.
    pub fn tensor(&self, v: ValueId) -> Option<&'g TensorFact> {
        match self.graph.fact(v) {
            Fact::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// The sizes of `v`.
    pub fn shape(&self, v: ValueId) -> Option<&'g [Dim]> {
        self.tensor(v).map(|t| t.shape.as_slice())
    }

    /// The number that the constant `v` of one element is.
    pub fn number(&self, v: ValueId) -> Option<f64> {
        let t = self.graph.constant(v)?;
        if t.len() != 1 {
            return None;
        }
        t.to_f64().first().copied()
    }

    /// Whether `v` is a constant of one element near `want`: as near as its type allows.
    pub fn is_number(&self, v: ValueId, want: f64) -> bool {
        let Some(t) = self.graph.constant(v) else { return false };
        let slack = match t.dtype().size() {
            8 => 1e-6,
            4 => 1e-6,
            _ => 4e-3,
        };
        self.number(v).is_some_and(|x| (x - want).abs() <= slack * want.abs().max(1e-30))
    }

    /// The inputs of a node of two inputs, both ways round: `(a, b)` and `(b, a)`.
    pub fn pairs(&self, node: &Node) -> [Option<(ValueId, ValueId)>; 2] {
        match node.inputs.as_slice() {
            [a, b] => [Some((*a, *b)), Some((*b, *a))],
            _ => [None, None],
        }
    }
}
