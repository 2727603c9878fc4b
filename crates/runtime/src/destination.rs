//! Where a result is wanted: an elementwise op then writes it there at once, which spares a copy and fresh memory.

use std::cell::RefCell;
use std::sync::Arc;

use lampyr_backend::DeviceMemory;
use lampyr_base::{DType, Layout};

use crate::tensor::Tensor;
use crate::{batch, recorder};

thread_local! {
    static WANTED: RefCell<Option<Tensor>> = const { RefCell::new(None) };
}

struct Restore(Option<Tensor>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = WANTED.try_with(|wanted| wanted.replace(before));
    }
}

/// Runs `f`. The first elementwise op in it whose result has the sizes and the type of `out` may write it into the
/// memory of `out`, and returns a tensor over that. Nothing that `f` reads may lie in that memory.
pub fn into_memory<T>(out: &Tensor, f: impl FnOnce() -> T) -> T {
    let plain = out.untouched() && out.dense().is_some() && !recorder::is_recording() && !batch::any(&[out]);
    let wanted = plain.then(|| out.detach());
    let _restore = Restore(WANTED.with(|w| w.replace(wanted)));
    f()
}

/// The tensor that a result of this layout and type should be.
pub(crate) fn take(layout: &Layout, dtype: DType) -> Option<Tensor> {
    WANTED.with(|wanted| {
        let mut wanted = wanted.try_borrow_mut().ok()?;
        let fits = |t: &Tensor| t.dtype() == dtype && t.shape() == &layout.shape[..] && t.dense().is_some();
        if wanted.as_ref().is_some_and(fits) { wanted.take() } else { None }
    })
}

impl Tensor {
    /// Whether two tensors are the same elements of the same memory.
    pub fn is_over(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(self.storage(), other.storage())
            && self.layout() == other.layout()
            && self.dtype() == other.dtype()
            && !batch::any(&[self, other])
    }

    /// Whether two tensors lie in one memory, or in memories that overlap, as arrays of other libraries may.
    pub fn shares_memory(&self, other: &Tensor) -> bool {
        let (a, b) = (&self.storage().memory, &other.storage().memory);
        let reach = |m: &Arc<dyn DeviceMemory>| m.host_ptr().map(|p| (p.addr().get(), m.len()));
        let overlap = match (reach(a), reach(b)) {
            (Some((x, n)), Some((y, m))) => x < y.saturating_add(m) && y < x.saturating_add(n),
            _ => false,
        };
        overlap || Arc::ptr_eq(a, b)
    }

    /// Notes a change in place of a tensor without history.
    pub fn note_written(&self) {
        self.storage().bump();
    }
}
