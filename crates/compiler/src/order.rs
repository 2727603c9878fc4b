//! In which order nodes run: the one of several that is estimated to need the least memory at once.

use std::collections::BTreeSet;

use lampyr_base::{Bindings, Result};
use lampyr_ir::{Class, Fact, Graph, NodeId, ValueId};

use crate::report::OrderRecord;

/// Sizes that are not known count as this many elements.
const SAMPLE: i64 = 64;
/// Graphs with more nodes keep the order they came in.
const NODE_LIMIT: usize = 4096;
/// Another order is taken when it needs this much less.
const GAIN: f64 = 0.98;

/// What all orders share.
struct Work {
    nodes: Vec<NodeId>,
    /// By node: nodes it waits for.
    waits: Vec<Vec<usize>>,
    /// By node: nodes that wait for it.
    readers: Vec<Vec<usize>>,
    /// By node: storages it makes.
    makes: Vec<Vec<usize>>,
    /// By node: storages it reads.
    reads: Vec<Vec<usize>>,
    /// By storage: bytes.
    bytes: Vec<f64>,
    /// By storage: nodes that read it; one more when it leaves the graph.
    uses: Vec<usize>,
}

fn size(fact: &Fact) -> f64 {
    let Fact::Tensor(t) = fact else { return 0.0 };
    let mut bindings = Bindings::new();
    t.shape.iter().flat_map(|d| d.symbols()).for_each(|s| bindings.set(s, SAMPLE));
    let elements: f64 = t.shape.iter().map(|d| d.eval(&bindings).unwrap_or(SAMPLE).max(0) as f64).product();
    elements * t.dtype.size() as f64
}

impl Work {
    fn of(graph: &Graph, nodes: Vec<NodeId>) -> Result<Work> {
        let n = nodes.len();
        let mut work = Work {
            waits: vec![Vec::new(); n],
            readers: vec![Vec::new(); n],
            makes: vec![Vec::new(); n],
            reads: vec![Vec::new(); n],
            bytes: Vec::new(),
            uses: Vec::new(),
            nodes,
        };
        // By value: the node that makes it and the storage in which it lies.
        let mut made: Vec<Option<(usize, usize)>> = vec![None; graph.value_count()];
        for i in 0..n {
            let node = graph.node(work.nodes[i])?;
            for v in &node.inputs {
                if let Some((maker, storage)) = made[v.0 as usize] {
                    if !work.waits[i].contains(&maker) {
                        work.waits[i].push(maker);
                        work.readers[maker].push(i);
                    }
                    if !work.reads[i].contains(&storage) {
                        work.reads[i].push(storage);
                        work.uses[storage] += 1;
                    }
                }
            }
            let base = node.inputs.first().and_then(|v: &ValueId| made[v.0 as usize]);
            for v in &node.outputs {
                let storage = match base {
                    Some((_, storage)) if node.op.class() == Class::View => storage,
                    _ => {
                        work.bytes.push(size(graph.fact(*v)));
                        work.uses.push(0);
                        work.makes[i].push(work.bytes.len() - 1);
                        work.bytes.len() - 1
                    }
                };
                made[v.0 as usize] = Some((i, storage));
            }
        }
        for v in graph.outputs() {
            if let Some((_, storage)) = made[v.0 as usize] {
                work.uses[storage] += 1;
            }
        }
        Ok(work)
    }

    /// The most bytes at once.
    fn peak(&self, order: &[usize]) -> f64 {
        let mut left = self.uses.clone();
        let (mut live, mut most) = (0.0, 0.0f64);
        for &i in order {
            live += self.makes[i].iter().map(|&s| self.bytes[s]).sum::<f64>();
            most = most.max(live);
            live -= self.makes[i].iter().filter(|&&s| left[s] == 0).map(|&s| self.bytes[s]).sum::<f64>();
            for &s in &self.reads[i] {
                left[s] -= 1;
                if left[s] == 0 {
                    live -= self.bytes[s];
                }
            }
        }
        most
    }

    /// Each node as late as its first reader allows, operands in order.
    fn depth_first(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut state = vec![0u8; self.nodes.len()];
        for root in (0..self.nodes.len()).filter(|&i| self.readers[i].is_empty()) {
            let mut stack = vec![root];
            while let Some(&i) = stack.last() {
                if state[i] == 0 {
                    state[i] = 1;
                    stack.extend(self.waits[i].iter().rev().filter(|&&p| state[p] == 0));
                    continue;
                }
                stack.pop();
                if state[i] == 1 {
                    state[i] = 2;
                    order.push(i);
                }
            }
        }
        order
    }

    /// Of the nodes that can run, always the one that adds least.
    fn least_growth(&self) -> Vec<usize> {
        let mut left = self.uses.clone();
        let mut waiting: Vec<usize> = self.waits.iter().map(Vec::len).collect();
        let mut ready: BTreeSet<usize> = (0..self.nodes.len()).filter(|&i| waiting[i] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while !ready.is_empty() {
            let growth = |i: usize| {
                let freed: f64 = self.reads[i].iter().filter(|&&s| left[s] == 1).map(|&s| self.bytes[s]).sum();
                self.makes[i].iter().map(|&s| self.bytes[s]).sum::<f64>() - freed
            };
            let Some(next) = ready.iter().copied().min_by(|a, b| growth(*a).total_cmp(&growth(*b)).then(a.cmp(b)))
            else {
                break;
            };
            ready.remove(&next);
            order.push(next);
            self.reads[next].iter().for_each(|&s| left[s] -= 1);
            for &r in &self.readers[next] {
                waiting[r] -= 1;
                if waiting[r] == 0 {
                    ready.insert(r);
                }
            }
        }
        order
    }
}

/// Picks an order for `graph`.
pub fn choose(graph: &Graph) -> Result<(Vec<NodeId>, OrderRecord)> {
    let given = graph.order()?;
    let mut record = OrderRecord { chosen: "imported", peaks: Vec::new() };
    if given.len() > NODE_LIMIT || !graph.symbol_producers().is_empty() {
        return Ok((given, record));
    }
    let work = Work::of(graph, given)?;
    let plain: Vec<usize> = (0..work.nodes.len()).collect();
    let candidates = [("imported", plain), ("depth_first", work.depth_first()), ("least_growth", work.least_growth())];
    let mut best: Option<(f64, &'static str, Vec<usize>)> = None;
    for (name, order) in candidates {
        if order.len() != work.nodes.len() {
            continue;
        }
        let peak = work.peak(&order);
        record.peaks.push((name, peak));
        if best.as_ref().is_none_or(|(least, ..)| peak < least * GAIN) {
            best = Some((peak, name, order));
        }
    }
    let Some((_, name, order)) = best else { return Ok((work.nodes, record)) };
    record.chosen = name;
    Ok((order.into_iter().map(|i| work.nodes[i]).collect(), record))
}
