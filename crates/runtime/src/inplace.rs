//! Changes in place: the pure result is computed first, then written into the target's memory; the histories of the
//! target and of the tensors it is a view of are replaced.

use lampyr_base::{Error, Result};

use crate::eager::EagerBuilder;
use crate::tape::{Edge, is_grad_enabled};
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
        if !self.layout().is_injective() {
            return Err(Error::value("elements of this tensor share memory; writing to it in place is ambiguous")
                .with_help("clone() the expanded tensor before changing it"));
        }
        let old = self.edge()?;
        let root_leaf = is_grad_enabled() && self.bases().iter().any(|t| matches!(t.edge(), Ok(Some(Edge::Leaf(_)))));
        if root_leaf {
            return Err(Error::autograd("a leaf that requires a gradient cannot be changed in place while recording")
                .with_help("change it inside no_grad(), or work on a clone()"));
        }
        let tracked = is_grad_enabled() && (old.is_some() || value.requires_grad());
        // Histories are computed before any memory changes: `unview` reads the old base.
        let rebased = if tracked { self.rebased(value)? } else { Vec::new() };
        let source = if shares_memory(self, value) { value.copy_contiguous()? } else { value.detach() };
        if !self.is_empty() {
            self.backend()?.copy(&source.arg(), &self.arg())?;
        }
        self.storage().bump();
        for (tensor, edge) in rebased {
            let mut a = tensor.autograd();
            a.edge = edge;
            a.generation += 1;
        }
        if tracked {
            self.settle_views()?;
        }
        Ok(())
    }

    /// This tensor and the tensors it is a view of, innermost first.
    fn bases(&self) -> Vec<Tensor> {
        let mut all = vec![self.clone()];
        let mut at = self.clone();
        loop {
            let Some(view) = at.autograd().view.clone() else { return all };
            at = view.base.clone();
            all.push(at.clone());
        }
    }

    fn rebased(&self, value: &Tensor) -> Result<Vec<(Tensor, Option<Edge>)>> {
        let mut result = vec![(self.clone(), value.edge()?)];
        let (mut at, mut new) = (self.clone(), value.clone());
        loop {
            let Some(view) = at.autograd().view.clone() else { return Ok(result) };
            let missing = || {
                Error::autograd(format!(
                    "the gradient of writing into a view made by `{}` is not known",
                    view.op.name()
                ))
                .with_help("write into the base tensor by indexing, or clone() the view")
            };
            let mut b = EagerBuilder::on(self.device());
            let var = view.op.unview(&mut b, &view.base.var(), &new.var()).ok_or_else(missing)??;
            new = Tensor::from_var(&var)?;
            result.push((view.base.clone(), new.edge()?));
            at = view.base.clone();
        }
    }

    /// After its base got a new history, this view's own new edge already is the written value: note that it belongs to
    /// the base's new generation.
    fn settle_views(&self) -> Result<()> {
        let mut at = self.clone();
        loop {
            let Some(base) = at.autograd().view.as_ref().map(|v| v.base.clone()) else { return Ok(()) };
            let generation = base.autograd().generation;
            if let Some(v) = at.autograd().view.as_mut() {
                v.generation = generation;
            }
            at = base;
        }
    }
}

fn shares_memory(a: &Tensor, b: &Tensor) -> bool {
    std::sync::Arc::ptr_eq(&a.storage().memory, &b.storage().memory)
}
