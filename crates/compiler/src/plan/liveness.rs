//! How long the storage of each value is needed, and which storage leaves the run.

use lampyr_base::Result;
use lampyr_ir::{Class, Fact, Graph, NodeId};

/// Facts about values that hold for all shapes.
pub struct Liveness {
    /// Nodes in execution order.
    pub order: Vec<NodeId>,
    /// By value: the last position in `order` that may read its storage, views included; `usize::MAX` for outputs.
    pub end: Vec<usize>,
    /// By value: the last position that reads the value itself.
    pub last_read: Vec<usize>,
    /// By value: whether its storage is that of a graph output.
    pub escapes: Vec<bool>,
    /// By value: whether anything reads it.
    pub used: Vec<bool>,
}

impl Liveness {
    /// Follows `order` backwards.
    pub fn of(graph: &Graph, order: Vec<NodeId>) -> Result<Liveness> {
        let n = graph.value_count();
        let (mut end, mut last_read) = (vec![0; n], vec![0; n]);
        let (mut escapes, mut used) = (vec![false; n], vec![false; n]);
        for v in graph.outputs() {
            let i = v.0 as usize;
            end[i] = usize::MAX;
            last_read[i] = usize::MAX;
            escapes[i] = true;
            used[i] = true;
        }
        for (position, id) in order.iter().enumerate().rev() {
            let node = graph.node(*id)?;
            let view = node.op.class() == Class::View;
            for (k, v) in node.inputs.iter().enumerate() {
                let i = v.0 as usize;
                used[i] = true;
                end[i] = end[i].max(position);
                last_read[i] = last_read[i].max(position);
                if let (true, 0, Some(out)) = (view, k, node.outputs.first()) {
                    let o = out.0 as usize;
                    end[i] = end[i].max(end[o]);
                    if escapes[o] && same_count(graph.fact(*v), graph.fact(*out)) {
                        escapes[i] = true;
                    }
                }
            }
        }
        for (_, v, _) in graph.symbol_sources() {
            used[v.0 as usize] = true;
        }
        Ok(Liveness { order, end, last_read, escapes, used })
    }
}

fn same_count(a: &Fact, b: &Fact) -> bool {
    matches!((a, b), (Fact::Tensor(a), Fact::Tensor(b)) if a.elements() == b.elements())
}
