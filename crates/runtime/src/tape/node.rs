use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use lampyr_base::{DType, Error, Result, Shape};
use lampyr_ir::OpRef;
use smallvec::SmallVec;

use super::function::Function;
use super::hooks::{Extra, LeafHooks};
use super::release::{Chained, release};
use super::saved::SavedTensor;
use crate::tensor::{Inner, Tensor};

/// Where the gradient of a leaf is collected.
#[derive(Default)]
pub(crate) struct GradCell {
    pub grad: Mutex<Option<Tensor>>,
    /// The leaf itself.
    owner: Mutex<Weak<Inner>>,
    pub hooks: OnceLock<Box<Mutex<LeafHooks>>>,
}

impl GradCell {
    pub fn of(owner: &Tensor) -> GradCell {
        GradCell { owner: Mutex::new(Arc::downgrade(&owner.0)), ..GradCell::default() }
    }

    /// The leaf, while it lives.
    pub fn owner(&self) -> Option<Tensor> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).upgrade().map(Tensor)
    }

    /// Makes `owner` the leaf.
    pub fn give_to(&self, owner: &Tensor) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&owner.0);
    }

    pub fn lock(&self) -> MutexGuard<'_, Option<Tensor>> {
        self.grad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the gradient of a tensor goes.
#[derive(Clone)]
pub(crate) enum Edge {
    /// To output `.1` of a recorded op.
    Node(Arc<Node>, usize),
    /// To a leaf.
    Leaf(Arc<GradCell>),
}

impl Edge {
    /// Identity for lookups.
    pub fn key(&self) -> (usize, usize) {
        match self {
            Edge::Node(node, k) => (Arc::as_ptr(node) as usize, *k),
            Edge::Leaf(cell) => (Arc::as_ptr(cell) as usize, 0),
        }
    }
}

/// What one tensor of a node looked like.
#[derive(Clone)]
pub(crate) struct Meta {
    pub dtype: DType,
    pub shape: Shape,
}

impl Meta {
    pub fn of(tensor: &Tensor) -> Meta {
        Meta { dtype: tensor.dtype(), shape: tensor.layout().shape.clone() }
    }
}

/// Tensors kept for the gradient.
pub(crate) struct SavedSet {
    pub inputs: SmallVec<[Option<SavedTensor>; 2]>,
    pub outputs: SmallVec<[Option<SavedTensor>; 1]>,
}

/// What a node keeps.
pub(crate) enum Saved {
    /// The rule needs nothing.
    Nothing,
    /// Some inputs and outputs.
    Kept(Arc<SavedSet>),
    /// A backward pass freed it.
    Freed,
}

/// What the inputs of a node looked like.
pub(crate) enum Inputs {
    /// Each as the only output.
    AsOutput,
    /// One by one.
    Each(Box<[Meta]>),
}

/// How a node computes the gradients of its inputs.
pub(crate) enum Rule {
    /// By the rule of an op.
    Op(OpRef),
    /// By a function that a user wrote.
    Function(Arc<dyn Function>),
}

/// One recorded op.
pub(crate) struct Node {
    pub rule: Rule,
    /// Creation order: a node is older than every node that reads its outputs.
    pub age: u64,
    pub edges: SmallVec<[Option<Edge>; 2]>,
    pub inputs: Inputs,
    pub outputs: SmallVec<[Meta; 1]>,
    pub saved: Mutex<Saved>,
    /// Hooks and other things that few nodes have.
    pub extra: OnceLock<Box<Mutex<Extra>>>,
}

impl Node {
    pub fn next_age() -> u64 {
        static AGE: AtomicU64 = AtomicU64::new(0);
        AGE.fetch_add(1, Ordering::Relaxed)
    }

    /// What input `i` looked like.
    pub fn input(&self, i: usize) -> Option<&Meta> {
        match &self.inputs {
            Inputs::AsOutput => self.outputs.first(),
            Inputs::Each(all) => all.get(i),
        }
    }

    pub fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// PyTorch's kind of name: `AddBackward0`.
    pub fn name(&self) -> String {
        match &self.rule {
            Rule::Function(f) => f.name(),
            Rule::Op(op) => {
                let words = op.name().trim_start_matches("reduce_").split('_').filter(|w| !w.is_empty());
                let mut name = String::new();
                for word in words {
                    let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
                    name.push_str(&first.to_uppercase());
                    name.push_str(rest);
                }
                name + "Backward0"
            }
        }
    }

    /// Copies the inputs kept by this node out of memory that is about to change.
    pub fn keep_before_change(&self, storage: &Arc<crate::storage::Storage>) -> Result<()> {
        // A walk that reads the set at this moment finds the change by the version.
        if let Saved::Kept(set) = &mut *self.saved()
            && let Some(set) = Arc::get_mut(set)
        {
            for saved in set.inputs.iter_mut().flatten().filter(|s| s.is_current(storage)) {
                saved.copy_out()?;
            }
        }
        Ok(())
    }
}

/// The error of a second pass over what the first has freed.
pub(crate) fn freed(op: &str) -> Error {
    Error::autograd(
        "Trying to backward through the graph a second time: the values saved for the gradient were freed by an \
         earlier backward pass",
    )
    .with_op(op)
    .with_help("pass retain_graph=True to the first pass, or run the forward pass again")
}

impl Drop for Node {
    fn drop(&mut self) {
        for edge in self.edges.drain(..).flatten() {
            release(Chained::Edge(edge));
        }
        let saved = self.saved.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Saved::Kept(saved) = std::mem::replace(saved, Saved::Freed)
            && let Some(saved) = Arc::into_inner(saved)
        {
            for edge in saved.inputs.into_iter().chain(saved.outputs).flatten().filter_map(|s| s.edge) {
                release(Chained::Edge(edge));
            }
        }
    }
}
