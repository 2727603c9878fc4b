//! Changes in place: the pure result is computed first, then written into the target's memory; the histories of the
//! target and of the tensors it is a view of are replaced.

use lampyr_base::{Error, Result};

use crate::eager::EagerBuilder;
use crate::recorder;
use crate::tape::{Edge, Rule, lock_extra, recording};
use crate::tensor::Tensor;

impl Tensor {
    /// Writes the elements of `value` (of equal shape and dtype, usually computed from this tensor) into this tensor's
    /// memory. Other views of the memory see them. Gradients flow to `value` from then on.
    ///
    /// # Errors
    /// When this is a leaf that requires a gradient and recording is on, when shapes or dtypes differ, or when elements
    /// of this tensor share memory with one another.
    pub fn assign_(&self, value: &Tensor) -> Result<()> {
        if self.shape() != value.shape() || self.dtype() != value.dtype() {
            return Err(Error::shape(format!(
                "cannot write {}{:?} into {}{:?}",
                value.dtype(),
                value.shape(),
                self.dtype(),
                self.shape()
            )));
        }
        let lead = crate::batch::lead(&[self, value])?;
        if lead.len() > self.hidden().len() {
            return Err(Error::autograd(
                "vmap: inplace arithmetic(self, *extra_args) is not possible: what is written differs between the \
                 elements of the vmap, and the tensor that is written to is one for all",
            )
            .with_help("use the op that returns a new tensor, or write into a tensor made from the mapped arguments"));
        }
        let (whole, source);
        let target = if lead.is_empty() {
            self
        } else {
            whole = self.physical(&lead, self.rank(), true);
            &whole
        };
        if !target.layout().is_injective() {
            return Err(Error::value("elements of this tensor share memory; writing to it in place is ambiguous")
                .with_help("clone() the expanded tensor before changing it"));
        }
        let tracked = recording() && {
            self.refuse_leaf()?;
            self.edge()?.is_some() || value.requires_grad()
        };
        // Histories are computed before any memory changes: `unview` reads the old base.
        let rebased = if tracked { self.rebased(value)? } else { Vec::new() };
        if tracked {
            self.keep_old(value)?;
        }
        let write = if recorder::is_recording() { Some(recorder::before_write(self, value)?) } else { None };
        source = if self.shares_storage(value) { value.copy_contiguous()? } else { value.detach() };
        if !target.is_empty() {
            let broad = if lead.is_empty() { source } else { source.physical(&lead, self.rank(), true) };
            self.backend()?.copy(&broad.arg(), &target.arg())?;
        }
        self.storage().bump();
        if let Some(write) = write {
            recorder::after_write(write)?;
        }
        self.take_histories(rebased);
        Ok(())
    }

    /// Gives this tensor, whose memory was changed already, the history of `value`.
    pub(crate) fn rebase(&self, value: &Tensor) -> Result<()> {
        let rebased = self.rebased(value)?;
        self.take_histories(rebased);
        Ok(())
    }

    /// Fails when this is a leaf that requires a gradient, or a view of one.
    pub(crate) fn refuse_leaf(&self) -> Result<()> {
        let mut at = self.clone();
        loop {
            if matches!(at.edge()?, Some(Edge::Leaf(_))) {
                return Err(Error::autograd(
                    "a leaf Variable that requires grad is being used in an in-place operation: a leaf that requires \
                     a gradient cannot be changed in place while recording",
                )
                .with_help("change it inside no_grad(), or work on a clone()"));
            }
            let Some(base) = at.autograd().view.as_ref().map(|v| v.base.clone()) else { return Ok(()) };
            at = base;
        }
    }

    /// The op that made `value` may keep this tensor, which is about to change, for its gradient.
    fn keep_old(&self, value: &Tensor) -> Result<()> {
        let Some(Edge::Node(node, _)) = value.edge()? else { return Ok(()) };
        node.keep_before_change(self.storage())?;
        // A conversion to this tensor's dtype stands behind the op that computed the value.
        if matches!(&node.rule, Rule::Op(op) if op.name() == "cast")
            && let Some(Some(Edge::Node(before, _))) = node.edges.first()
        {
            before.keep_before_change(self.storage())?;
        }
        Ok(())
    }

    fn take_histories(&self, rebased: Vec<(Tensor, Option<Edge>)>) {
        if rebased.is_empty() {
            return;
        }
        for (tensor, edge) in &rebased {
            let mut a = tensor.autograd();
            let old = std::mem::replace(&mut a.edge, edge.clone());
            a.generation += 1;
            let cell = a.cell.clone();
            drop(a);
            // A retained gradient follows the tensor to its new history.
            if let (Some(cell), Some(Edge::Node(old, k)), Some(Edge::Node(new, j))) = (cell, &old, edge)
                && old.extra.get().is_some()
            {
                let mut extra = lock_extra(&old.extra);
                let before = extra.retained.len();
                extra.retained.retain(|r| r.0 != *k || !std::sync::Arc::ptr_eq(&r.1, &cell));
                let moved = extra.retained.len() < before;
                drop(extra);
                if moved {
                    lock_extra(&new.extra).retained.push((*j, cell));
                }
            }
        }
        self.storage().note_rebased();
        self.settle_views();
    }

    fn rebased(&self, value: &Tensor) -> Result<Vec<(Tensor, Option<Edge>)>> {
        let mut result = vec![(self.clone(), value.edge()?)];
        let (mut at, mut new) = (self.clone(), value.clone());
        loop {
            let Some(view) = at.autograd().view.clone() else { return Ok(result) };
            let op = view.how.op(at.layout());
            let missing = || {
                Error::autograd(format!("the gradient of writing into a view made by `{}` is not known", op.name()))
                    .with_help("write into the base tensor by indexing, or clone() the view")
            };
            let mut b = EagerBuilder::on(self.device());
            let var = op.unview(&mut b, &view.base.var(), &new.var()).ok_or_else(missing)??;
            new = Tensor::from_var(&var)?;
            result.push((view.base.clone(), new.edge()?));
            at = view.base.clone();
        }
    }

    /// After its base got a new history, this view's own new edge already is the written value: note that it belongs to
    /// the base's new generation.
    fn settle_views(&self) {
        let mut at = self.clone();
        loop {
            let Some(base) = at.autograd().view.as_ref().map(|v| v.base.clone()) else { return };
            let generation = base.autograd().generation;
            at.autograd().base_generation = generation;
            at = base;
        }
    }
}
