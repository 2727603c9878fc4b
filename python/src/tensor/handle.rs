//! The tensor that a Python object stands for.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{Mutex, OnceLock, PoisonError};

use lampyr::Tensor;

use super::PyTensor;

/// The tensor of a Python object, for as long as a call works with it.
pub enum Handle<'a> {
    Of(&'a Tensor),
    Held(Tensor),
}

impl Deref for Handle<'_> {
    type Target = Tensor;
    #[inline]
    fn deref(&self) -> &Tensor {
        match self {
            Handle::Of(t) => t,
            Handle::Held(t) => t,
        }
    }
}

/// What a Python object holds. The first tensor stays while the object lives, since calls borrow it without a lock; the
/// tensors that took its place later are held by calls themselves.
pub struct Slot {
    first: ManuallyDrop<Tensor>,
    now: OnceLock<Box<Mutex<Tensor>>>,
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: nothing reads the field after `drop`.
        unsafe { ManuallyDrop::take(&mut self.first) }.recycle();
    }
}

impl PyTensor {
    #[inline]
    pub fn of(tensor: Tensor) -> PyTensor {
        PyTensor(Slot { first: ManuallyDrop::new(tensor), now: OnceLock::new() })
    }

    #[inline]
    pub fn t(&self) -> Handle<'_> {
        match self.0.now.get() {
            None => Handle::Of(&self.0.first),
            Some(now) => Handle::Held(now.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// The tensor that the object was made with; its address is the identity of the object.
    pub fn first(&self) -> &Tensor {
        &self.0.first
    }

    /// Makes the object stand for another tensor.
    pub fn put(&self, tensor: Tensor) {
        let mut tensor = Some(tensor);
        let now =
            self.0.now.get_or_init(|| Box::new(Mutex::new(tensor.take().unwrap_or_else(|| self.first().clone()))));
        if let Some(tensor) = tensor {
            let before = std::mem::replace(&mut *now.lock().unwrap_or_else(PoisonError::into_inner), tensor);
            drop(before);
        }
    }
}
