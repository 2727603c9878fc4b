//! The walk over the tape from its roots, by age and without recursion.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError};

use lampyr_base::{Error, Result};
use lampyr_ir::{Fact, OpRef, Saved, TensorFact, Var, autodiff};
use lampyr_ops::build::{Add, Cast, SumToShape};
use lampyr_ops::gradient;
use smallvec::SmallVec;

use super::GradOptions;
use super::anomaly;
use super::hooks::{Extra, Grads, lock};
use super::node::{Edge, GradCell, Meta, Node, Rule, Saved as Kept, SavedSet, freed};
use crate::eager::EagerBuilder;
use crate::methods::one;
use crate::tensor::Tensor;

/// Hashes addresses.
#[derive(Default)]
pub(super) struct Address(u64);

impl Hasher for Address {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_usize(usize::from(*b));
        }
    }
    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0.rotate_left(5) ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type ByAddress<K, V> = HashMap<K, V, BuildHasherDefault<Address>>;
type Addresses<K> = HashSet<K, BuildHasherDefault<Address>>;
type Key = (usize, usize);

struct Aged(Arc<Node>);

impl PartialEq for Aged {
    fn eq(&self, other: &Aged) -> bool {
        self.0.age == other.0.age
    }
}
impl Eq for Aged {}
impl PartialOrd for Aged {
    fn partial_cmp(&self, other: &Aged) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Aged {
    fn cmp(&self, other: &Aged) -> std::cmp::Ordering {
        self.0.age.cmp(&other.0.age)
    }
}

/// Gradients of one node's outputs, as far as they came.
type Slot = SmallVec<[Option<Tensor>; 2]>;

/// What a walk brings back.
#[derive(Default)]
pub(super) struct Found {
    /// Gradients at the edges that were asked for.
    pub wanted: ByAddress<Key, Tensor>,
    /// Totals for leaves, and for tensors that retain their gradient.
    pub cells: Vec<(Arc<GradCell>, Tensor, bool)>,
}

pub(super) struct Walk {
    options: GradOptions,
    wanted: Addresses<Key>,
    /// Nodes on a path to what is wanted; `None` when everything is.
    needed: Option<ByAddress<usize, bool>>,
    slots: ByAddress<usize, Slot>,
    heap: BinaryHeap<Aged>,
    leaves: Vec<(Arc<GradCell>, Tensor)>,
    leaf_at: ByAddress<usize, usize>,
    found: Found,
}

fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    one(&Add, &[a, b])
}

fn fact(meta: &Meta) -> Fact {
    Fact::Tensor(TensorFact::fixed(meta.dtype, &meta.shape))
}

impl Walk {
    /// A walk to `wanted`, or to all leaves.
    pub fn new(options: GradOptions, roots: &[(Edge, Tensor)], wanted: Option<&[Edge]>) -> Walk {
        let keys: Addresses<Key> = wanted.into_iter().flatten().map(Edge::key).collect();
        Walk {
            options,
            needed: wanted.map(|_| paths(roots, &keys)),
            wanted: keys,
            slots: ByAddress::default(),
            heap: BinaryHeap::new(),
            leaves: Vec::new(),
            leaf_at: ByAddress::default(),
            found: Found::default(),
        }
    }

    fn leads(&self, edge: &Edge) -> bool {
        match &self.needed {
            None => true,
            Some(nodes) => {
                self.wanted.contains(&edge.key())
                    || matches!(edge, Edge::Node(n, _) if nodes.get(&(Arc::as_ptr(n) as usize)) == Some(&true))
            }
        }
    }

    fn send(&mut self, edge: &Edge, grad: Tensor) -> Result<()> {
        match edge {
            Edge::Leaf(cell) => match self.leaf_at.get(&(Arc::as_ptr(cell) as usize)) {
                Some(&i) => {
                    let total = sum(&self.leaves[i].1, &grad)?;
                    self.leaves[i].1 = total;
                }
                None => {
                    self.leaf_at.insert(Arc::as_ptr(cell) as usize, self.leaves.len());
                    self.leaves.push((cell.clone(), grad));
                }
            },
            Edge::Node(node, k) => {
                let slot = match self.slots.entry(Arc::as_ptr(node) as usize) {
                    std::collections::hash_map::Entry::Occupied(slot) => slot.into_mut(),
                    std::collections::hash_map::Entry::Vacant(slot) => {
                        self.heap.push(Aged(node.clone()));
                        slot.insert(smallvec::smallvec![None; node.outputs.len()])
                    }
                };
                if let Some(place) = slot.get_mut(*k) {
                    *place = Some(match place.take() {
                        Some(before) => sum(&before, &grad)?,
                        None => grad,
                    });
                }
            }
        }
        Ok(())
    }

    /// Walks from `roots` to the end.
    pub fn run(mut self, roots: Vec<(Edge, Tensor)>) -> Result<Found> {
        for (edge, seed) in roots {
            if self.leads(&edge) {
                self.send(&edge, seed)?;
            }
        }
        while let Some(Aged(node)) = self.heap.pop() {
            let Some(grads) = self.slots.remove(&(Arc::as_ptr(&node) as usize)) else { continue };
            let grads = self.arrived(&node, grads)?;
            if self.needed.as_ref().is_some_and(|n| n.get(&(Arc::as_ptr(&node) as usize)) != Some(&true)) {
                continue;
            }
            let needs: SmallVec<[bool; 4]> =
                node.edges.iter().map(|e| e.as_ref().is_some_and(|e| self.leads(e))).collect();
            let made = self.node(&node, grads, &needs).map_err(|e| anomaly::explain(&node, e))?;
            for ((edge, grad), need) in node.edges.iter().zip(made).zip(&needs) {
                if let (Some(edge), Some(grad), true) = (edge, grad, need) {
                    self.send(edge, grad)?;
                }
            }
        }
        for (cell, grad) in std::mem::take(&mut self.leaves) {
            let grad = match cell.hooks.get() {
                None => grad,
                Some(_) => {
                    let hooks: Vec<_> = lock(&cell.hooks).tensor.iter().map(|h| h.1.clone()).collect();
                    let mut grad = grad;
                    for hook in hooks {
                        grad = replaced(&grad, hook(&grad)?)?;
                    }
                    grad
                }
            };
            let key = (Arc::as_ptr(&cell) as usize, 0);
            if self.wanted.contains(&key) {
                self.found.wanted.insert(key, grad.clone());
            }
            self.found.cells.push((cell, grad, true));
        }
        Ok(self.found)
    }

    /// Hooks on the tensors that `node` made, and the gradients that are wanted there.
    fn arrived(&mut self, node: &Arc<Node>, mut grads: Slot) -> Result<Slot> {
        if let Some(extra) = node.extra.get() {
            let (hooks, retained) = {
                let extra = extra.lock().unwrap_or_else(PoisonError::into_inner);
                (extra.tensor.iter().map(|h| (h.1, h.2.clone())).collect::<Vec<_>>(), extra.retained.clone())
            };
            for (k, hook) in hooks {
                if let Some(Some(grad)) = grads.get_mut(k) {
                    *grad = replaced(grad, hook(grad)?)?;
                }
            }
            for (k, cell) in retained {
                if let Some(Some(grad)) = grads.get(k) {
                    self.found.cells.push((cell, grad.clone(), false));
                }
            }
        }
        if !self.wanted.is_empty() {
            for (k, grad) in grads.iter().enumerate() {
                let key = (Arc::as_ptr(node) as usize, k);
                if let Some(grad) = grad
                    && self.wanted.contains(&key)
                {
                    self.found.wanted.insert(key, grad.clone());
                }
            }
        }
        Ok(grads)
    }

    fn node(&self, node: &Arc<Node>, grads: Slot, needs: &[bool]) -> Result<Grads> {
        let mut grads = grads;
        let hooked = |pick: fn(&Extra) -> bool| {
            node.extra.get().is_some_and(|e| pick(&e.lock().unwrap_or_else(PoisonError::into_inner)))
        };
        if hooked(|e| !e.pre.is_empty()) {
            let hooks: Vec<_> = lock(&node.extra).pre.iter().map(|h| h.1.clone()).collect();
            for hook in hooks {
                if let Some(new) = hook(&grads)? {
                    grads = fitting(node, new, grads.len(), "pre-hook")?.into_iter().collect();
                }
            }
        }
        let keep = self.options.retain_graph || self.options.create_graph;
        let mut made = match &node.rule {
            Rule::Op(op) => {
                let saved = match &*node.saved() {
                    Kept::Nothing => None,
                    Kept::Freed => return Err(freed(op.name())),
                    Kept::Kept(set) => Some(set.clone()),
                };
                let made = by_op(node, op, saved.as_deref(), &grads, needs)?;
                if !keep && saved.is_some() {
                    *node.saved() = Kept::Freed;
                }
                made
            }
            Rule::Function(function) => {
                let made = function.backward(&grads, needs)?;
                let made = fit_function(node, made)?;
                if !keep {
                    function.release();
                }
                made
            }
        };
        anomaly::check(node, &made)?;
        if hooked(|e| !e.post.is_empty()) {
            let hooks: Vec<_> = lock(&node.extra).post.iter().map(|h| h.1.clone()).collect();
            for hook in hooks {
                if let Some(new) = hook(&made, &grads)? {
                    made = fitting(node, new, made.len(), "hook")?;
                }
            }
        }
        Ok(made)
    }
}

/// Which nodes lie on a path from `roots` to `wanted`.
fn paths(roots: &[(Edge, Tensor)], wanted: &Addresses<Key>) -> ByAddress<usize, bool> {
    let mut known: ByAddress<usize, bool> = ByAddress::default();
    let mut stack: Vec<(Arc<Node>, usize)> = Vec::new();
    for (edge, _) in roots {
        if let Edge::Node(node, _) = edge
            && !known.contains_key(&(Arc::as_ptr(node) as usize))
        {
            known.insert(Arc::as_ptr(node) as usize, false);
            stack.push((node.clone(), 0));
        }
        while let Some((node, at)) = stack.last_mut() {
            let here = Arc::as_ptr(node) as usize;
            let Some(next) = node.edges.get(*at) else {
                let leads = known.get(&here) == Some(&true);
                stack.pop();
                if let (true, Some((above, _))) = (leads, stack.last()) {
                    known.insert(Arc::as_ptr(above) as usize, true);
                }
                continue;
            };
            *at += 1;
            let Some(next) = next else { continue };
            if wanted.contains(&next.key()) {
                known.insert(here, true);
            }
            if let Edge::Node(next, _) = next {
                match known.get(&(Arc::as_ptr(next) as usize)) {
                    Some(true) => {
                        known.insert(here, true);
                    }
                    Some(false) => {}
                    None => {
                        known.insert(Arc::as_ptr(next) as usize, false);
                        let next = next.clone();
                        stack.push((next, 0));
                    }
                }
            }
        }
    }
    known
}

fn by_op(
    node: &Arc<Node>,
    op: &OpRef,
    saved: Option<&SavedSet>,
    grads: &[Option<Tensor>],
    needs: &[bool],
) -> Result<Grads> {
    let mut b = EagerBuilder::on(grads.iter().flatten().next().map_or(lampyr_base::Device::CPU, Tensor::device));
    let name = op.name();
    let mut inputs: SmallVec<[Option<Var>; 4]> = SmallVec::new();
    let mut outputs: SmallVec<[Option<Var>; 2]> = SmallVec::new();
    if let Some(set) = saved {
        for s in &set.inputs {
            inputs.push(s.as_ref().map(|s| s.unpack(name, None).map(|t| t.var())).transpose()?);
        }
        for (k, s) in set.outputs.iter().enumerate() {
            let own = || Some(Edge::Node(node.clone(), k));
            outputs.push(s.as_ref().map(|s| s.unpack(name, own()).map(|t| t.var())).transpose()?);
        }
    }
    inputs.resize(node.edges.len(), None);
    outputs.resize(node.outputs.len(), None);
    let input_facts: SmallVec<[Fact; 2]> = (0..node.edges.len()).filter_map(|i| node.input(i)).map(fact).collect();
    let output_facts: SmallVec<[Fact; 1]> = node.outputs.iter().map(fact).collect();
    let saved = Saved { inputs: &inputs, outputs: &outputs, input_facts: &input_facts, output_facts: &output_facts };
    let vars: SmallVec<[Option<Var>; 2]> = grads.iter().map(|g| g.as_ref().map(Tensor::var)).collect();
    let made = autodiff::vjp(&mut b, gradient::OPS, &**op, &saved, &vars, needs)?;
    let made: Grads = made.into_iter().map(|g| g.map(|g| Tensor::from_var(&g)).transpose()).collect::<Result<_>>()?;
    for (i, grad) in made.iter().enumerate() {
        if let (Some(have), Some(want)) = (grad, node.input(i))
            && (have.shape() != want.shape.as_slice() || have.dtype() != want.dtype)
        {
            return Err(Error::autograd(format!("the gradient of input {i} is {}{:?}", have.dtype(), have.shape()))
                .with_expected(format!("{}{:?}, as the input", want.dtype, &want.shape[..]))
                .with_op(name));
        }
    }
    Ok(made)
}

/// Gradients that a user's function returned, brought to the shapes and dtypes of its inputs where that is plain.
fn fit_function(node: &Node, made: Grads) -> Result<Grads> {
    let mut made = fitting(node, made, node.edges.len(), "backward")?;
    for (i, grad) in made.iter_mut().enumerate() {
        let (Some(have), Some(want)) = (grad.as_mut(), node.input(i)) else { continue };
        if have.shape() != want.shape.as_slice() {
            let wide = lampyr_base::broadcast_shapes(&want.shape, have.shape());
            if wide.ok().as_deref() != Some(have.shape()) {
                return Err(Error::autograd(format!(
                    "Function {} returned an invalid gradient at index {i} - got {:?} but expected shape compatible \
                     with {:?}",
                    node.name(),
                    have.shape(),
                    &want.shape[..]
                )));
            }
            let shape = want.shape.iter().map(|&d| lampyr_base::Dim::from(d)).collect();
            *have = one(&SumToShape { shape }, &[have])?;
        }
        if have.dtype() != want.dtype {
            *have = one(&Cast { to: want.dtype }, &[have])?;
        }
    }
    Ok(made)
}

fn fitting(node: &Node, made: Grads, count: usize, what: &str) -> Result<Grads> {
    if made.len() != count {
        return Err(Error::autograd(format!("a {what} of {} returned {} gradients", node.name(), made.len()))
            .with_expected(format!("{count}")));
    }
    Ok(made)
}

fn replaced(before: &Tensor, new: Option<Tensor>) -> Result<Tensor> {
    match new {
        None => Ok(before.clone()),
        Some(new) if new.shape() == before.shape() && new.dtype() == before.dtype() => Ok(new),
        Some(new) => Err(Error::autograd(format!("a hook returned a gradient of {}{:?}", new.dtype(), new.shape()))
            .with_expected(format!("{}{:?}, as the gradient given to it", before.dtype(), before.shape()))),
    }
}
