//! Changes in place of what a tensor is: sizes, steps, element type, memory. A [`Tensor`] itself never changes; the
//! functions here make the tensor that takes the place of another, in whose handle the caller puts it.

use std::sync::Arc;

use lampyr_base::{Error, Layout, Result, num_elements};

use crate::recorder;
use crate::storage::Storage;
use crate::tape::recording;
use crate::tensor::Tensor;

impl Tensor {
    /// What takes the place of this tensor when `made` (a view of it, or a tensor over other memory) becomes its new
    /// form. A leaf stays a leaf with its gradient. `holders` says how many handles of this tensor the caller has;
    /// where there are no others, the old form is forgotten.
    ///
    /// # Errors
    /// When this is a leaf that requires a gradient, or a view of one, and recording is on.
    pub fn renewed(&self, made: Tensor, holders: usize) -> Result<Tensor> {
        if recording() {
            self.refuse_leaf()?;
        }
        // The recorder knows values by version, and the elements stay as they are.
        if !recorder::is_recording() {
            made.storage().bump();
        }
        if made.same(self) {
            return Ok(made);
        }
        let (leaf, plain) = {
            let a = self.autograd();
            (a.leaf && a.edge.is_none(), a.edge.is_none() && a.view.is_none())
        };
        if leaf {
            let out = made.detach();
            self.hand_over(&out);
            return Ok(out);
        }
        // Views of the old form hang on it; where there are none, it is not kept as the base of the new one.
        let by_view = made.autograd().view.as_ref().is_some_and(|v| v.base.same(self));
        let known = holders + usize::from(by_view);
        let alone = plain && !made.requires_grad() && Arc::strong_count(&self.0) <= known;
        Ok(if alone { made.detach() } else { made })
    }

    /// Gives `out` the place of this tensor in the tape.
    fn hand_over(&self, out: &Tensor) {
        let a = self.autograd();
        let (edge, cell, leaf) = (a.edge.clone(), a.cell.clone(), a.leaf);
        drop(a);
        if let Some(cell) = &cell {
            cell.give_to(out);
        }
        let mut b = out.autograd();
        (b.edge, b.cell, b.leaf) = (edge, cell, leaf);
    }

    /// The memory of this tensor with a count of changes of its own; a recorder has to know the memory again.
    fn memory_at(&self, version: u64) -> Arc<Storage> {
        if recorder::is_recording() { self.storage().clone() } else { Arc::new(self.storage().alias(version)) }
    }

    /// The same elements without history, whose changes in place the tape does not see.
    pub fn data(&self) -> Tensor {
        Tensor::over(self.memory_at(0), self.layout().clone(), self.dtype())
    }

    /// What takes the place of this tensor when its elements become those of `data`, whose memory it then shares. Its
    /// history, its gradient and its count of changes stay.
    ///
    /// # Errors
    /// When this tensor requires a gradient and `data` is of no float type.
    pub fn with_data(&self, data: &Tensor) -> Result<Tensor> {
        if self.requires_grad() && !data.dtype().is_float() {
            return Err(Error::autograd(format!(
                "data set to a tensor that requires gradients must be floating point or complex dtype, got {}",
                data.dtype()
            ))
            .with_expected("a floating point tensor"));
        }
        let out = Tensor::over(data.memory_at(self.storage().version()), data.layout().clone(), data.dtype());
        self.hand_over(&out);
        Ok(out)
    }

    /// A tensor over the memory of `source` under `layout`, with this tensor's count of changes.
    ///
    /// # Errors
    /// When the dtypes differ, `layout` reaches outside, or this tensor has a history.
    pub fn set_to(&self, source: &Tensor, layout: Layout) -> Result<Tensor> {
        if self.dtype() != source.dtype() {
            return Err(Error::dtype(format!(
                "could not set tensor of type {} to a tensor of type {}",
                source.dtype(),
                self.dtype()
            ))
            .with_expected("equal types"));
        }
        if !self.is_leaf() {
            return Err(Error::autograd("the memory of a tensor with a history cannot be replaced")
                .with_help("detach() the tensor first"));
        }
        let storage = source.memory_at(self.storage().version());
        Tensor::over(storage, Layout::contiguous(&[0]), self.dtype()).with_layout(layout)
    }

    /// This tensor with sizes `shape` in row-major order over the same memory, or, where that is too small, over larger
    /// memory that starts with the same bytes and goes on with arbitrary ones.
    ///
    /// # Errors
    /// When this tensor requires a gradient, or memory does not hold the elements.
    pub fn resized(&self, shape: &[usize]) -> Result<Tensor> {
        if self.requires_grad() {
            return Err(Error::autograd("cannot resize variables that require grad")
                .with_help("detach() the tensor first, or make a new one"));
        }
        if self.shape() == shape {
            return Ok(self.clone());
        }
        let too_large = || Error::shape(format!("a {} tensor of shape {shape:?} is too large", self.dtype()));
        let mut layout = Layout::contiguous(shape);
        layout.offset = self.layout().offset;
        let n = num_elements(shape)?.checked_add(layout.offset).ok_or_else(too_large)?;
        let bytes = self.dtype().bytes_for(n).ok_or_else(too_large)?;
        let here = self.storage_bytes();
        if bytes <= here {
            return Tensor::over(self.storage().clone(), Layout::contiguous(&[0]), self.dtype()).with_layout(layout);
        }
        recorder::refuse("resize_() to larger memory")?;
        let backend = self.backend()?;
        let storage = Storage::new(backend.allocate(bytes)?, 0).alias(self.storage().version());
        let out = Tensor::over(Arc::new(storage), layout, self.dtype());
        let kept = Layout::contiguous(&[here - here % self.dtype().size()]);
        if here > 0 {
            let bytes = lampyr_base::DType::U8;
            let (from, to) = (self.reinterpret_whole(bytes)?.with_layout(kept.clone())?, out.reinterpret_whole(bytes)?);
            backend.copy(&from.arg(), &to.with_layout(kept)?.arg())?;
        }
        Ok(out)
    }
}
