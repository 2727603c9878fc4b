use std::sync::{Arc, Mutex, OnceLock};

use lampyr_base::Result;
use lampyr_ir::{Gradient, Op, OpRef, Saves};
use lampyr_ops::build::Identity;
use smallvec::SmallVec;

use super::How;
use crate::tape::{
    Chained, Edge, GradCell, Inputs, Meta, Node, Rule, Saved, SavedSet, SavedTensor, note_place, recorded, recording,
    release,
};
use crate::tensor::{Autograd, Tensor, ViewOf};

pub(crate) type Edges = SmallVec<[Option<Edge>; 2]>;

/// The edges of the inputs, or `None` when nothing needs a gradient through `op`.
pub(super) fn edges(op: &dyn Op, inputs: &[&Tensor]) -> Result<Option<Edges>> {
    if inputs.iter().all(|t| t.untouched()) {
        return Ok(None);
    }
    let mut any = false;
    let mut all = Edges::new();
    for t in inputs {
        let edge = if t.dtype().is_float() { t.edge()? } else { None };
        any |= edge.is_some();
        all.push(edge);
    }
    Ok((any && !matches!(op.gradient(), Gradient::None(_))).then_some(all))
}

#[inline(never)]
fn keep(inputs: &[&Tensor], outputs: &[Option<Tensor>], edges: &[Option<Edge>], saves: Saves) -> Result<Saved> {
    let keep = |mask: u32, i: usize| mask >> i.min(31) & 1 == 1;
    let mut set = SavedSet { inputs: SmallVec::new(), outputs: SmallVec::new() };
    if saves.inputs != 0 {
        for (i, t) in inputs.iter().enumerate() {
            let edge = || edges.get(i).cloned().flatten();
            set.inputs.push(keep(saves.inputs, i).then(|| SavedTensor::of(t, edge())).transpose()?);
        }
    }
    if saves.outputs != 0 {
        for (k, t) in outputs.iter().enumerate() {
            let kept = t.as_ref().filter(|_| keep(saves.outputs, k)).map(|t| SavedTensor::of(t, None)).transpose()?;
            set.outputs.push(kept);
        }
    }
    Ok(Saved::Kept(Arc::new(set)))
}

/// Hangs a node for `op` on the outputs.
pub(super) fn record(
    op: &dyn Op,
    inputs: &[&Tensor],
    outputs: &[Option<Tensor>],
    edges: Edges,
    saves: Saves,
) -> Result<()> {
    record_as(op.to_ref(), inputs, outputs, edges, saves)
}

/// As [`record`].
pub(super) fn record_as(
    op: OpRef,
    inputs: &[&Tensor],
    outputs: &[Option<Tensor>],
    edges: Edges,
    saves: Saves,
) -> Result<()> {
    let saved = if saves == Saves::NOTHING { Saved::Nothing } else { keep(inputs, outputs, &edges, saves)? };
    let (single, inputs) = match outputs {
        [Some(out)] if inputs.iter().all(|t| t.dtype() == out.dtype() && t.shape() == out.shape()) => {
            (true, Inputs::AsOutput)
        }
        _ => (false, Inputs::Each(inputs.iter().map(|t| Meta::of(t)).collect())),
    };
    let mut metas = SmallVec::new();
    if let (true, Some(Some(out))) = (single, outputs.first()) {
        metas.push(Meta::of(out));
    } else {
        metas.extend(outputs.iter().map(|t| match t {
            Some(t) => Meta::of(t),
            None => Meta { dtype: lampyr_base::DType::Bool, shape: lampyr_base::Shape::new() },
        }));
    }
    let node = Arc::new(Node {
        rule: Rule::Op(op),
        age: Node::next_age(),
        edges,
        inputs,
        outputs: metas,
        saved: Mutex::new(saved),
        extra: OnceLock::new(),
    });
    note_place(&node);
    for (k, out) in outputs.iter().enumerate() {
        if let Some(out) = out.as_ref().filter(|o| o.dtype().is_float()) {
            out.autograd().edge = Some(Edge::Node(node.clone(), k));
        }
    }
    Ok(())
}

/// Makes `out`, which has the elements of `x`, part of the history of `x` where recording is on.
pub(crate) fn record_identity(x: &Tensor, out: &Tensor) -> Result<()> {
    if !recording() {
        return Ok(());
    }
    match edges(&Identity, &[x])? {
        None => Ok(()),
        Some(edges) => record(&Identity, &[x], &[Some(out.clone())], edges, Identity.saves()),
    }
}

/// Remembers that `out` is the view `op` of `base`.
pub(super) fn note_view(op: &dyn Op, base: &Tensor, out: &Tensor) {
    let base_generation = base.autograd().generation;
    let view = Arc::new(ViewOf { base: base.clone(), how: How::Op(op.to_ref()) });
    let mut a = out.autograd();
    a.view = Some(view);
    a.base_generation = base_generation;
    a.seen = base.storage().rebased();
}

/// A fresh history for the view `op` of `base`: the edge of its only output.
fn record_view(op: &OpRef, base: &Tensor, view: &Tensor) -> Result<Option<Edge>> {
    recorded(|| {
        let Some(edges) = edges(&**op, &[base])? else { return Ok(None) };
        let probe = view.detach();
        record(&**op, &[base], &[Some(probe.clone())], edges, op.saves())?;
        let edge = probe.autograd().edge.clone();
        Ok(edge)
    })
}

impl Autograd {
    fn own_edge(&self) -> Option<Edge> {
        match &self.edge {
            Some(edge) => Some(edge.clone()),
            None if self.leaf => self.cell.clone().map(Edge::Leaf),
            None => None,
        }
    }
}

impl Tensor {
    /// Where the gradient of this tensor goes, if anywhere. The history of a view whose base was changed in place is
    /// made anew.
    #[inline]
    pub(crate) fn edge(&self) -> Result<Option<Edge>> {
        if self.untouched() {
            return Ok(None);
        }
        {
            let a = self.autograd();
            if a.view.is_none() || a.seen == self.storage().rebased() {
                return Ok(a.own_edge());
            }
        }
        self.refresh()?;
        Ok(self.autograd().own_edge())
    }

    /// Brings the histories of this view and of the views it was made from up to date, outermost first.
    fn refresh(&self) -> Result<()> {
        let epoch = self.storage().rebased();
        let mut chain = Vec::new();
        let mut at = self.clone();
        loop {
            let base = {
                let a = at.autograd();
                a.view.as_ref().filter(|_| a.seen != epoch).map(|v| v.base.clone())
            };
            let Some(base) = base else { break };
            chain.push(std::mem::replace(&mut at, base));
        }
        for view in chain.iter().rev() {
            let Some(of) = view.autograd().view.clone() else { continue };
            let now = of.base.autograd().generation;
            let stale = view.autograd().base_generation != now;
            let fresh = if stale { record_view(&of.how.op(view.layout()), &of.base, view)? } else { None };
            let mut a = view.autograd();
            if stale {
                a.edge = fresh;
                a.generation += 1;
                a.base_generation = now;
            }
            a.seen = epoch;
        }
        Ok(())
    }

    /// Where `.grad` of this tensor is.
    pub(crate) fn cell(&self) -> Arc<GradCell> {
        let mut a = self.autograd();
        a.cell.get_or_insert_with(|| Arc::new(GradCell::of(self))).clone()
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
            return Err(lampyr_base::Error::autograd(format!(
                "only Tensors of floating point dtype can require gradients; a {} tensor cannot require a gradient",
                self.dtype()
            ))
            .with_expected("a floating point tensor"));
        }
        if matches!(self.edge()?, Some(Edge::Node(..))) {
            if on {
                return Ok(self);
            }
            return Err(lampyr_base::Error::autograd("only leaves can stop requiring a gradient")
                .with_help("use detach() to get a tensor without history"));
        }
        if on {
            self.cell();
        }
        self.autograd().leaf = on;
        Ok(self)
    }

    /// Cuts this tensor off its history, in place.
    ///
    /// # Errors
    /// When it is a view: its base would not know.
    pub fn detach_(&self) -> Result<&Tensor> {
        let mut a = self.autograd();
        if a.view.is_some() {
            return Err(lampyr_base::Error::autograd("Can't detach views in-place")
                .with_help("use detach(), which returns a new tensor"));
        }
        let edge = a.edge.take();
        a.leaf = false;
        a.cell = None;
        drop(a);
        if let Some(edge) = edge {
            release(Chained::Edge(edge));
        }
        Ok(self)
    }

    /// The gradient collected by backward passes.
    pub fn grad(&self) -> Option<Tensor> {
        let cell = self.autograd().cell.clone()?;
        let grad = cell.lock();
        grad.clone()
    }

    /// Replaces or clears the gradient.
    pub fn set_grad(&self, grad: Option<Tensor>) {
        let cell = match &grad {
            Some(_) => Some(self.cell()),
            None => self.autograd().cell.clone(),
        };
        if let Some(cell) = cell {
            let before = std::mem::replace(&mut *cell.lock(), grad);
            drop(before);
        }
    }
}
