use std::any::Any;
use std::sync::Arc;

use lampyr_base::{DType, Error, Layout, Result};

use super::mode::saved_hooks;
use super::node::Edge;
use crate::batch::Axis;
use crate::storage::Storage;
use crate::tensor::Tensor;

/// What a hook made of a tensor that was to be kept.
pub type Packed = Box<dyn Any + Send + Sync>;

/// Replaces tensors that are kept for gradients by something else (a file, a recipe), and brings them back.
pub trait SavedHooks: Send + Sync {
    /// What is kept instead of `tensor`.
    fn pack(&self, tensor: &Tensor) -> Result<Packed>;
    /// The tensor, of equal shape, dtype and contents.
    fn unpack(&self, packed: &(dyn Any + Send + Sync)) -> Result<Tensor>;
}

enum Content {
    Plain { storage: Arc<Storage>, layout: Layout, dtype: DType, batch: Option<Box<[Axis]>>, version: u64 },
    Packed(Box<(Packed, Arc<dyn SavedHooks>)>),
}

/// A tensor kept for the gradient: its memory at a version, and its edge at that time.
pub(crate) struct SavedTensor {
    content: Content,
    pub edge: Option<Edge>,
}

impl SavedTensor {
    fn plain(tensor: &Tensor) -> Content {
        Content::Plain {
            storage: tensor.storage().clone(),
            layout: tensor.layout().clone(),
            dtype: tensor.dtype(),
            batch: tensor.0.batch.clone(),
            version: tensor.storage().version(),
        }
    }

    /// Keeps `tensor`, whose gradient goes to `edge`.
    pub fn of(tensor: &Tensor, edge: Option<Edge>) -> Result<SavedTensor> {
        let content = match saved_hooks() {
            None => SavedTensor::plain(tensor),
            Some(hooks) => {
                let shell = tensor.detach();
                shell.autograd().edge.clone_from(&edge);
                Content::Packed(Box::new((hooks.pack(&shell)?, hooks)))
            }
        };
        Ok(SavedTensor { content, edge })
    }

    /// Whether this is the memory `storage` as it is at present.
    pub fn is_current(&self, storage: &Arc<Storage>) -> bool {
        matches!(&self.content, Content::Plain { storage: s, version, .. }
            if Arc::ptr_eq(s, storage) && *version == storage.version())
    }

    /// Keeps a copy instead of the memory that is about to change.
    pub fn copy_out(&mut self) -> Result<()> {
        if let Content::Plain { storage, layout, dtype, batch, .. } = &self.content {
            let now = Tensor::over_batch(storage.clone(), layout.clone(), *dtype, batch.clone());
            let copy = now.copy_contiguous()?;
            self.content = SavedTensor::plain(&copy);
        }
        Ok(())
    }

    /// The tensor, unless it was changed since. `own` is its edge where it is an output of the node that kept it.
    pub fn unpack(&self, op: &str, own: Option<Edge>) -> Result<Tensor> {
        let tensor = match &self.content {
            Content::Packed(packed) => packed.1.unpack(&*packed.0)?.detach(),
            Content::Plain { storage, layout, dtype, batch, version } => {
                let now = storage.version();
                if now != *version {
                    return Err(Error::autograd(format!(
                        "one of the variables needed for gradient computation has been modified by an inplace \
                         operation: the {dtype}{:?} tensor that the gradient of this op needs was changed in place; it \
                         is at version {now}; expected version {version} instead",
                        layout.shape.as_slice(),
                    ))
                    .with_op(op)
                    .with_help("clone the tensor before changing it, or use the op that returns a new tensor"));
                }
                Tensor::over_batch(storage.clone(), layout.clone(), *dtype, batch.clone())
            }
        };
        tensor.autograd().edge = own.or_else(|| self.edge.clone());
        Ok(tensor)
    }
}
