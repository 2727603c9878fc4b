//! Callbacks on gradients, and the handle to a node that users hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use lampyr_base::{Error, Result};

use super::function::Function;
use super::node::{Edge, GradCell, Node, Rule};
use crate::tensor::Tensor;

/// Gradients of several tensors; `None` where none came.
pub type Grads = Vec<Option<Tensor>>;
/// Sees the gradient of a tensor and may replace it.
pub type TensorHook = Arc<dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync>;
/// Sees the gradients of a node's outputs and may replace them.
pub type PreHook = Arc<dyn Fn(&[Option<Tensor>]) -> Result<Option<Grads>> + Send + Sync>;
/// Sees the gradients of a node's inputs and of its outputs, and may replace the former.
pub type PostHook = Arc<dyn Fn(&[Option<Tensor>], &[Option<Tensor>]) -> Result<Option<Grads>> + Send + Sync>;
/// Called with a leaf after its gradient was added.
pub type LeafHook = Arc<dyn Fn(&Tensor) -> Result<()> + Send + Sync>;

/// What few nodes have.
#[derive(Default)]
pub(crate) struct Extra {
    pub tensor: Vec<(u64, usize, TensorHook)>,
    pub pre: Vec<(u64, PreHook)>,
    pub post: Vec<(u64, PostHook)>,
    /// Where the gradients of outputs are kept for users.
    pub retained: Vec<(usize, Arc<GradCell>)>,
    /// The place of the forward call, under anomaly mode.
    pub place: Option<Arc<str>>,
}

#[derive(Default)]
pub(crate) struct LeafHooks {
    pub tensor: Vec<(u64, TensorHook)>,
    pub after: Vec<(u64, LeafHook)>,
}

fn next_id() -> u64 {
    static ID: AtomicU64 = AtomicU64::new(0);
    ID.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn lock<T: Default>(slot: &OnceLock<Box<Mutex<T>>>) -> MutexGuard<'_, T> {
    slot.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
}

enum Target {
    Node(Weak<Node>),
    Leaf(Weak<GradCell>),
}

/// Removes a hook.
pub struct HookHandle {
    target: Target,
    id: u64,
}

impl HookHandle {
    /// Removes the hook; nothing happens when it is gone already.
    pub fn remove(&self) {
        match &self.target {
            Target::Node(node) => {
                if let Some(extra) = node.upgrade().as_ref().and_then(|n| n.extra.get()) {
                    let mut extra = extra.lock().unwrap_or_else(PoisonError::into_inner);
                    extra.tensor.retain(|h| h.0 != self.id);
                    extra.pre.retain(|h| h.0 != self.id);
                    extra.post.retain(|h| h.0 != self.id);
                }
            }
            Target::Leaf(cell) => {
                if let Some(hooks) = cell.upgrade().as_ref().and_then(|c| c.hooks.get()) {
                    let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
                    hooks.tensor.retain(|h| h.0 != self.id);
                    hooks.after.retain(|h| h.0 != self.id);
                }
            }
        }
    }

    /// A number that no other hook has.
    pub fn id(&self) -> u64 {
        self.id
    }
}

/// A node of the tape: a recorded op, or the end where the gradient of a leaf is collected.
#[derive(Clone)]
pub struct GradFn(pub(crate) Edge);

impl GradFn {
    /// PyTorch's kind of name: `MulBackward0`, `AccumulateGrad`.
    pub fn name(&self) -> String {
        match &self.0 {
            Edge::Node(node, _) => node.name(),
            Edge::Leaf(_) => "AccumulateGrad".to_string(),
        }
    }

    /// Where the gradients of the inputs go, and to which output there.
    pub fn next(&self) -> Vec<Option<(GradFn, usize)>> {
        match &self.0 {
            Edge::Leaf(_) => Vec::new(),
            Edge::Node(node, _) => node
                .edges
                .iter()
                .map(|e| {
                    e.as_ref().map(|e| match e {
                        Edge::Node(_, k) => (GradFn(e.clone()), *k),
                        Edge::Leaf(_) => (GradFn(e.clone()), 0),
                    })
                })
                .collect(),
        }
    }

    /// Equal for handles to one node.
    pub fn address(&self) -> usize {
        self.0.key().0
    }

    /// Creation order; `None` for leaves.
    pub fn age(&self) -> Option<u64> {
        match &self.0 {
            Edge::Node(node, _) => Some(node.age),
            Edge::Leaf(_) => None,
        }
    }

    /// The leaf, where this is its end.
    pub fn variable(&self) -> Option<Tensor> {
        match &self.0 {
            Edge::Leaf(cell) => cell.owner(),
            Edge::Node(..) => None,
        }
    }

    /// The function that a user wrote, where this is one.
    pub fn function(&self) -> Option<Arc<dyn Function>> {
        match &self.0 {
            Edge::Node(node, _) => match &node.rule {
                Rule::Function(f) => Some(f.clone()),
                Rule::Op(_) => None,
            },
            Edge::Leaf(_) => None,
        }
    }

    fn node(&self) -> Result<&Arc<Node>> {
        match &self.0 {
            Edge::Node(node, _) => Ok(node),
            Edge::Leaf(_) => Err(Error::autograd("the end of a leaf takes no hooks on nodes")
                .with_help("use register_hook() or register_post_accumulate_grad_hook() of the leaf")),
        }
    }

    /// Calls `hook` before the node computes.
    pub fn register_prehook(&self, hook: PreHook) -> Result<HookHandle> {
        let (node, id) = (self.node()?, next_id());
        lock(&node.extra).pre.push((id, hook));
        Ok(HookHandle { target: Target::Node(Arc::downgrade(node)), id })
    }

    /// Calls `hook` after the node has computed.
    pub fn register_hook(&self, hook: PostHook) -> Result<HookHandle> {
        let (node, id) = (self.node()?, next_id());
        lock(&node.extra).post.push((id, hook));
        Ok(HookHandle { target: Target::Node(Arc::downgrade(node)), id })
    }
}

impl Tensor {
    /// The node that made this tensor, or `None` for a leaf.
    pub fn grad_fn(&self) -> Result<Option<GradFn>> {
        Ok(self.edge()?.filter(|e| matches!(e, Edge::Node(..))).map(GradFn))
    }

    /// Where the gradient of this tensor goes: its node, or the end of a leaf.
    pub fn gradient_edge(&self) -> Result<Option<GradFn>> {
        Ok(self.edge()?.map(GradFn))
    }

    /// Which output of its node this tensor is.
    pub fn output_nr(&self) -> usize {
        match self.edge() {
            Ok(Some(Edge::Node(_, k))) => k,
            _ => 0,
        }
    }

    fn hookable(&self) -> Result<Edge> {
        self.edge()?.ok_or_else(|| {
            Error::autograd("cannot register a hook on a tensor that doesn't require gradient")
                .with_help("call requires_grad_() on it first")
        })
    }

    /// Calls `hook` with the whole gradient of this tensor in each backward pass.
    ///
    /// # Errors
    /// When this tensor does not require a gradient.
    pub fn register_hook(&self, hook: TensorHook) -> Result<HookHandle> {
        let id = next_id();
        let target = match self.hookable()? {
            Edge::Node(node, k) => {
                lock(&node.extra).tensor.push((id, k, hook));
                Target::Node(Arc::downgrade(&node))
            }
            Edge::Leaf(cell) => {
                lock(&cell.hooks).tensor.push((id, hook));
                Target::Leaf(Arc::downgrade(&cell))
            }
        };
        Ok(HookHandle { target, id })
    }

    /// Calls `hook` with this leaf after a backward pass has added to its gradient.
    ///
    /// # Errors
    /// When this is not a leaf that requires a gradient.
    pub fn register_post_accumulate_grad_hook(&self, hook: LeafHook) -> Result<HookHandle> {
        let Edge::Leaf(cell) = self.hookable()? else {
            return Err(Error::autograd("post accumulate grad hooks cannot be registered on non-leaf tensors"));
        };
        let id = next_id();
        lock(&cell.hooks).after.push((id, hook));
        Ok(HookHandle { target: Target::Leaf(Arc::downgrade(&cell)), id })
    }

    /// Keeps the gradient of this tensor, which need not be a leaf, in its `grad`.
    ///
    /// # Errors
    /// When this tensor does not require a gradient.
    pub fn retain_grad(&self) -> Result<()> {
        let edge =
            self.edge()?.ok_or_else(|| Error::autograd("can't retain_grad on Tensor that has requires_grad=False"))?;
        if let Edge::Node(node, k) = edge {
            let cell = self.cell();
            let mut extra = lock(&node.extra);
            if !extra.retained.iter().any(|r| r.0 == k && Arc::ptr_eq(&r.1, &cell)) {
                extra.retained.push((k, cell));
            }
        }
        Ok(())
    }

    /// Whether [`Tensor::retain_grad`] was called on this tensor, which is not a leaf.
    pub fn retains_grad(&self) -> bool {
        let Ok(Some(Edge::Node(node, k))) = self.edge() else { return false };
        let cell = self.cell();
        node.extra
            .get()
            .is_some_and(|_| lock(&node.extra).retained.iter().any(|r| r.0 == k && Arc::ptr_eq(&r.1, &cell)))
    }
}
