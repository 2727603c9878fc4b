//! Functions with a gradient that a user wrote.

use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use lampyr_base::{Error, Result};

use super::node::{Edge, Inputs, Meta, Node, Rule, Saved, freed};
use super::saved::SavedTensor;
use super::{GradFn, recording};
use crate::tensor::Tensor;

/// The gradient of a function that the tape does not look into.
pub trait Function: Send + Sync + 'static {
    /// Its name on the tape, such as `CubeBackward`.
    fn name(&self) -> String;
    /// One gradient per input from those of the outputs; `None` is zero.
    fn backward(&self, grads: &[Option<Tensor>], needs: &[bool]) -> Result<Vec<Option<Tensor>>>;
    /// Drops what is kept: no second pass will come.
    fn release(&self);
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
}

/// A tensor, and which output it is.
type KeptTensor = (SavedTensor, Option<usize>);

/// Tensors that a function keeps between its forward and its backward pass, without keeping the tape alive.
#[derive(Default)]
pub struct Kept {
    saved: Mutex<Option<Vec<Option<KeptTensor>>>>,
    node: OnceLock<Weak<Node>>,
}

impl Kept {
    /// Keeps `tensors`; those that are among `outputs` are remembered as such.
    pub fn keep(&self, tensors: &[Option<Tensor>], outputs: &[Tensor]) -> Result<()> {
        let one = |t: &Tensor| {
            let output = outputs.iter().position(|o| o.same(t));
            let edge = if output.is_some() { None } else { t.edge()? };
            Ok::<_, Error>((SavedTensor::of(t, edge)?, output))
        };
        let made = tensors.iter().map(|t| t.as_ref().map(one).transpose()).collect::<Result<Vec<_>>>()?;
        *self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(made);
        Ok(())
    }

    /// The tensors, unless one was changed in place or [`Kept::release`] came before.
    pub fn get(&self, name: &str) -> Result<Vec<Option<Tensor>>> {
        let saved = self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = saved.as_ref().ok_or_else(|| freed(name))?;
        let own = |k: usize| self.node.get().and_then(Weak::upgrade).map(|n| Edge::Node(n, k));
        all.iter().map(|s| s.as_ref().map(|(s, k)| s.unpack(name, k.and_then(own))).transpose()).collect()
    }

    /// Drops the tensors.
    pub fn release(&self) {
        let set = self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        drop(set);
    }

    /// Tells which node on the tape keeps them.
    pub fn belongs_to(&self, node: &GradFn) {
        if let Edge::Node(node, _) = &node.0 {
            let _ = self.node.set(Arc::downgrade(node));
        }
    }
}

/// What becomes of an output of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Gradients flow through it.
    Fresh,
    /// It has no gradient.
    Constant,
    /// It is an input that the function has changed in place.
    Dirty,
}

/// Hangs `function` on `outputs`, which were computed from `inputs` without recording. `None` when nothing is recorded
/// or no input requires a gradient.
///
/// # Errors
/// When a leaf that requires a gradient was changed in place.
pub fn record_function(
    function: Arc<dyn Function>,
    inputs: &[&Tensor],
    outputs: &[(&Tensor, Output)],
) -> Result<Option<GradFn>> {
    if !recording() {
        return Ok(None);
    }
    let edges = inputs
        .iter()
        .map(|t| if t.dtype().is_float() { t.edge() } else { Ok(None) })
        .collect::<Result<smallvec::SmallVec<[_; 2]>>>()?;
    if edges.iter().all(Option::is_none) {
        return Ok(None);
    }
    for (t, _) in outputs.iter().filter(|o| o.1 == Output::Dirty) {
        t.refuse_leaf()?;
    }
    let node = Arc::new(Node {
        rule: Rule::Function(function),
        age: Node::next_age(),
        edges,
        inputs: Inputs::Each(inputs.iter().map(|t| Meta::of(t)).collect()),
        outputs: outputs.iter().map(|(t, _)| Meta::of(t)).collect(),
        saved: Mutex::new(Saved::Nothing),
        extra: OnceLock::new(),
    });
    super::note_place(&node);
    for (k, (t, kind)) in outputs.iter().enumerate() {
        let edge = Edge::Node(node.clone(), k);
        match kind {
            Output::Fresh if t.dtype().is_float() => t.autograd().edge = Some(edge),
            Output::Dirty => {
                let value = t.detach();
                value.autograd().edge = Some(edge);
                t.rebase(&value)?;
            }
            _ => {}
        }
    }
    Ok(Some(GradFn(Edge::Node(node, 0))))
}
