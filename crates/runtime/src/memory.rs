//! The memory behind tensors: other types and layouts over it.

use std::sync::Arc;

use lampyr_base::{DType, Error, Layout, Result};

use crate::tensor::Tensor;

impl Tensor {
    /// Bytes of the whole memory that this tensor looks at a part of.
    pub fn storage_bytes(&self) -> usize {
        self.storage().memory.len().saturating_sub(self.storage().base)
    }

    /// What tells the memory behind this tensor apart from others while it lives.
    pub fn storage_key(&self) -> usize {
        Arc::as_ptr(&self.storage().memory).cast::<()>() as usize
    }

    /// Whether both lie in the same memory.
    pub fn shares_storage(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.storage().memory, &other.storage().memory)
    }

    /// All elements of `dtype` that the memory holds, in order, without history.
    ///
    /// # Errors
    /// When the memory does not start where such an element may.
    pub fn reinterpret_whole(&self, dtype: DType) -> Result<Tensor> {
        crate::recorder::check_readable(self)?;
        let n = self.storage_bytes() / dtype.size();
        Tensor::over(self.storage().clone(), Layout::contiguous(&[0]), dtype).with_layout(Layout::contiguous(&[n]))
    }

    /// The same memory without history under another layout.
    ///
    /// # Errors
    /// When it reaches outside.
    pub fn with_layout(&self, layout: Layout) -> Result<Tensor> {
        let made = self.relaid(layout);
        if !made.is_empty() && !made.arg().in_bounds() {
            return Err(Error::shape(format!(
                "sizes {:?} and strides {:?} from element {} reach outside {} bytes of memory",
                made.shape(),
                &made.layout().strides[..],
                made.layout().offset,
                self.storage_bytes()
            )));
        }
        Ok(made)
    }

    /// The bytes of this tensor read as `dtype`, over the same memory and without history. Where the sizes of the types
    /// differ, the last axis is that many times longer or shorter.
    ///
    /// # Errors
    /// When the last axis is not contiguous or has no whole number of such elements.
    pub fn reinterpret(&self, dtype: DType) -> Result<Tensor> {
        crate::recorder::check_readable(self)?;
        let (old, new) = (self.dtype().size(), dtype.size());
        let mut layout = self.layout().clone();
        if old != new {
            let fail = |text: String| {
                Err(Error::shape(format!("{}{:?} read as {dtype}: {text}", self.dtype(), self.shape())).with_op("view"))
            };
            let (Some(&last), Some(&step)) = (layout.shape.last(), layout.strides.last()) else {
                return fail("a 0-d tensor has no axis to resize".into());
            };
            if step != 1 {
                return fail(format!("the last axis has the step {step}, and 1 is needed"));
            }
            let rank = layout.rank();
            let scale = |n: isize| if old > new { n.checked_mul((old / new) as isize) } else { exact(n, new / old) };
            let scaled: Option<Vec<isize>> = layout.strides[..rank - 1].iter().map(|&s| scale(s)).collect();
            let size = scale(last as isize);
            let offset = scale(layout.offset as isize);
            let (Some(scaled), Some(size), Some(offset)) = (scaled, size, offset) else {
                return fail(format!("sizes, strides and offset must be divisible by {}", new / old.max(1)));
            };
            layout.strides[..rank - 1].copy_from_slice(&scaled);
            layout.shape[rank - 1] = size as usize;
            layout.offset = offset as usize;
        }
        Ok(Tensor::over(self.storage().clone(), layout, dtype))
    }
}

fn exact(n: isize, by: usize) -> Option<isize> {
    let by = by as isize;
    (n % by == 0).then_some(n / by)
}
