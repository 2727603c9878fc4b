use std::sync::{Arc, Mutex};

use lampyr_base::Result;
use lampyr_ir::{Gradient, Op, OpRef, Saves};
use smallvec::SmallVec;

use super::Outputs;
use crate::tape::{Edge, Node, SavedTensor};
use crate::tape::{GradCell, is_grad_enabled};
use crate::tensor::{Tensor, ViewOf};

pub(crate) type Edges = SmallVec<[Option<Edge>; 3]>;

/// The edges of the inputs, or `None` when nothing needs a gradient through `op`.
pub(super) fn edges(op: &dyn Op, inputs: &[&Tensor]) -> Result<Option<Edges>> {
    if matches!(op.gradient(), Gradient::None(_)) {
        return Ok(None);
    }
    let mut any = false;
    let mut all = Edges::new();
    for t in inputs {
        let edge = if t.dtype().is_float() { t.edge()? } else { None };
        any |= edge.is_some();
        all.push(edge);
    }
    Ok(any.then_some(all))
}

/// Hangs a node for `op` on the outputs.
pub(super) fn record(op: &dyn Op, inputs: &[&Tensor], outputs: &Outputs, edges: Edges, saves: Saves) {
    let keep = |mask: u32, i: usize| mask >> i.min(31) & 1 == 1;
    let saved = crate::tape::SavedSet {
        inputs: inputs
            .iter()
            .enumerate()
            .map(|(i, t)| keep(saves.inputs, i).then(|| SavedTensor::of(t, edges[i].clone())))
            .collect(),
        outputs: outputs
            .iter()
            .enumerate()
            .map(|(k, t)| t.as_ref().filter(|_| keep(saves.outputs, k)).map(|t| SavedTensor::of(t, None)))
            .collect(),
    };
    let node = Arc::new(Node {
        op: op.to_ref(),
        age: Node::next_age(),
        edges,
        inputs: inputs.iter().map(|t| crate::tape::Meta::of(t)).collect(),
        outputs: outputs
            .iter()
            .map(|t| match t {
                Some(t) => crate::tape::Meta::of(t),
                None => crate::tape::Meta { dtype: lampyr_base::DType::Bool, shape: lampyr_base::Shape::new() },
            })
            .collect(),
        saved: Mutex::new(Some(saved)),
    });
    for (k, out) in outputs.iter().enumerate() {
        if let Some(out) = out.as_ref().filter(|o| o.dtype().is_float()) {
            out.autograd().edge = Some(Edge::Node(node.clone(), k));
        }
    }
}

/// Remembers that `out` is the view `op` of `base`.
pub(super) fn note_view(op: &dyn Op, base: &Tensor, out: &Tensor) {
    let generation = base.autograd().generation;
    out.autograd().view = Some(Box::new(ViewOf { base: base.clone(), op: op.to_ref(), generation }));
}

/// A fresh history for the view `op` of `base`: the edge of its only output.
pub(crate) fn record_view(op: &OpRef, base: &Tensor, view: &Tensor) -> Result<Option<Edge>> {
    if !is_grad_enabled() {
        return Ok(None);
    }
    let Some(edges) = edges(&**op, &[base])? else { return Ok(None) };
    let probe = view.detach();
    record(&**op, &[base], &smallvec::smallvec![Some(probe.clone())], edges, op.saves());
    let edge = probe.autograd().edge.clone();
    Ok(edge)
}

impl Tensor {
    /// Where the gradient of this tensor goes, if anywhere. The history of a view whose base was changed in place is
    /// made anew.
    pub(crate) fn edge(&self) -> Result<Option<Edge>> {
        let (view, edge, leaf) = {
            let a = self.autograd();
            (a.view.clone(), a.edge.clone(), a.leaf.clone())
        };
        if let Some(view) = view {
            let now = view.base.history_generation()?;
            if now != view.generation {
                let fresh = record_view(&view.op, &view.base, self)?;
                let mut a = self.autograd();
                a.edge.clone_from(&fresh);
                a.generation += 1;
                if let Some(v) = a.view.as_mut() {
                    v.generation = now;
                }
                return Ok(fresh);
            }
        }
        Ok(edge.or(leaf.map(Edge::Leaf)))
    }

    /// The generation of this tensor's history, brought up to date with its bases.
    fn history_generation(&self) -> Result<u64> {
        self.edge()?;
        Ok(self.autograd().generation)
    }

    /// Whether gradients flow to or through this tensor.
    pub fn requires_grad(&self) -> bool {
        matches!(self.edge(), Ok(Some(_)))
    }

    /// Whether this tensor was not made by a recorded op.
    pub fn is_leaf(&self) -> bool {
        !matches!(self.edge(), Ok(Some(Edge::Node(..))))
    }

    /// Makes this tensor collect a gradient from now on (or stop).
    ///
    /// # Errors
    /// When it is not a float tensor, or not a leaf.
    pub fn requires_grad_(&self, on: bool) -> Result<&Tensor> {
        if on && !self.dtype().is_float() {
            return Err(lampyr_base::Error::autograd(format!("a {} tensor cannot require a gradient", self.dtype()))
                .with_expected("a floating point tensor"));
        }
        if matches!(self.edge()?, Some(Edge::Node(..))) {
            if on {
                return Ok(self);
            }
            return Err(lampyr_base::Error::autograd("only leaves can stop requiring a gradient")
                .with_help("use detach() to get a tensor without history"));
        }
        let mut a = self.autograd();
        match (on, a.leaf.is_some()) {
            (true, false) => a.leaf = Some(Arc::new(GradCell::default())),
            (false, _) => a.leaf = None,
            _ => {}
        }
        drop(a);
        Ok(self)
    }

    /// The gradient collected by backward passes.
    pub fn grad(&self) -> Option<Tensor> {
        let cell = self.autograd().leaf.clone()?;
        let grad = cell.lock();
        grad.clone()
    }

    /// Replaces or clears the gradient.
    pub fn set_grad(&self, grad: Option<Tensor>) {
        if let Some(cell) = self.autograd().leaf.clone() {
            *cell.lock() = grad;
        }
    }
}
