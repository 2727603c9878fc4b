use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyr_base::{DType, Error, Layout, Result, Shape};
use lampyr_ir::OpRef;
use smallvec::SmallVec;

use crate::storage::Storage;
use crate::tensor::Tensor;

/// Where the gradient of a leaf is collected.
#[derive(Default)]
pub(crate) struct GradCell {
    pub grad: Mutex<Option<Tensor>>,
}

impl GradCell {
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

/// A tensor kept for the gradient: its memory at a version, and its edge at that time.
pub(crate) struct SavedTensor {
    storage: Arc<Storage>,
    layout: Layout,
    dtype: DType,
    version: u64,
    edge: Option<Edge>,
}

impl SavedTensor {
    pub fn of(tensor: &Tensor, edge: Option<Edge>) -> SavedTensor {
        SavedTensor {
            storage: tensor.storage().clone(),
            layout: tensor.layout().clone(),
            dtype: tensor.dtype(),
            version: tensor.storage().version(),
            edge,
        }
    }

    /// The tensor, unless it was changed since.
    pub fn unpack(&self, op: &str, own: Option<Edge>) -> Result<Tensor> {
        let now = self.storage.version();
        if now != self.version {
            return Err(Error::autograd(format!(
                "a tensor of shape {:?} that the gradient of this op needs was changed in place (version {now}, saved \
                 at {})",
                self.layout.shape.as_slice(),
                self.version
            ))
            .with_op(op)
            .with_help("clone the tensor before changing it, or use the op that returns a new tensor"));
        }
        let tensor = Tensor::over(self.storage.clone(), self.layout.clone(), self.dtype);
        tensor.autograd().edge = own.or_else(|| self.edge.clone());
        Ok(tensor)
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
        Meta { dtype: tensor.dtype(), shape: Shape::from_slice(tensor.shape()) }
    }
}

pub(crate) struct SavedSet {
    pub inputs: SmallVec<[Option<SavedTensor>; 3]>,
    pub outputs: SmallVec<[Option<SavedTensor>; 2]>,
}

/// One recorded op.
pub(crate) struct Node {
    pub op: OpRef,
    /// Creation order: a node is older than every node that reads its outputs.
    pub age: u64,
    pub edges: SmallVec<[Option<Edge>; 3]>,
    pub inputs: SmallVec<[Meta; 3]>,
    pub outputs: SmallVec<[Meta; 2]>,
    /// `None` after a backward pass freed it.
    pub saved: Mutex<Option<SavedSet>>,
}

impl Node {
    pub fn next_age() -> u64 {
        static AGE: AtomicU64 = AtomicU64::new(0);
        AGE.fetch_add(1, Ordering::Relaxed)
    }

    pub fn saved(&self) -> MutexGuard<'_, Option<SavedSet>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    static PENDING: RefCell<Option<Vec<Edge>>> = const { RefCell::new(None) };
}

/// Drops an edge without recursion: nodes that die meanwhile queue their own edges.
pub(crate) fn release(edge: Edge) {
    let nested = PENDING.try_with(|pending| {
        let mut pending = pending.borrow_mut();
        match pending.as_mut() {
            Some(list) => {
                list.push(edge.clone());
                true
            }
            None => {
                *pending = Some(Vec::new());
                false
            }
        }
    });
    if nested != Ok(false) {
        return;
    }
    let mut next = Some(edge);
    while let Some(edge) = next {
        drop(edge);
        next = PENDING.with(|p| p.borrow_mut().as_mut().and_then(Vec::pop));
    }
    PENDING.with(|p| *p.borrow_mut() = None);
}

impl Drop for Node {
    fn drop(&mut self) {
        for edge in self.edges.drain(..).flatten() {
            release(edge);
        }
        if let Some(saved) = self.saved.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            for edge in saved.inputs.into_iter().chain(saved.outputs).flatten().filter_map(|s| s.edge) {
                release(edge);
            }
        }
    }
}
