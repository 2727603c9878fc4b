//! Small tensors that nothing holds any more, kept by each thread with their memory for the next result of that size.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use lampyr_backend::{Backend, DeviceMemory};
use lampyr_base::{DType, Layout, Result};

use crate::storage::Storage;
use crate::tensor::{Inner, Tensor};

/// Bytes in one step of sizes.
const STEP: usize = 64;
/// Sizes that are kept: up to this many steps.
const STEPS: usize = 8;
/// Elements that a tensor which is kept has at most, whatever their type.
pub(crate) const MOST: usize = STEP * STEPS;
/// Tensors of one size that a thread keeps.
const KEPT: usize = 16;

/// Parked tensors by size.
struct Spare([Vec<Arc<Inner>>; STEPS]);

impl Drop for Spare {
    fn drop(&mut self) {
        for inner in self.0.iter_mut().flat_map(std::mem::take) {
            drop(unpark(inner, 0));
        }
    }
}

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare([const { Vec::new() }; STEPS])) };
}

#[inline]
fn step(bytes: usize) -> usize {
    bytes.wrapping_sub(1) / STEP
}

/// Whether nothing else holds a tensor, its storage or its memory.
#[inline]
fn is_alone(inner: &Arc<Inner>) -> bool {
    // The only holder cannot be joined by another meanwhile.
    fn once<T: ?Sized>(held: &Arc<T>) -> bool {
        Arc::strong_count(held) == 1 && Arc::weak_count(held) == 0
    }
    once(inner) && once(&inner.storage) && once(&inner.storage.memory)
}

/// A kept tensor counted as used again; `None` when that cannot be, and it is dropped.
#[inline]
fn unpark(inner: Arc<Inner>, bytes: usize) -> Option<Arc<Inner>> {
    inner.storage.renew();
    inner.storage.memory.unpark(bytes).then_some(inner)
}

/// Keeps the parts of a tensor of which this is the last handle, when they are plain and few; else gives them back.
#[inline]
pub(crate) fn keep(inner: Arc<Inner>) -> Option<Arc<Inner>> {
    let size = step(inner.storage.memory.len());
    if size >= STEPS || inner.storage.base != 0 || !inner.is_plain() || !is_alone(&inner) {
        return Some(inner);
    }
    let mut inner = Some(inner);
    // While the thread ends there is no place.
    let _ = SPARE.try_with(|spare| {
        let Ok(mut spare) = spare.try_borrow_mut() else { return };
        let list = &mut spare.0[size];
        if list.len() < KEPT && inner.as_ref().is_some_and(|i| i.storage.memory.park()) {
            list.extend(inner.take());
        }
    });
    inner
}

/// Gives small tensors kept by the calling thread back to the allocator; [`Tensor::recycle`] keeps them.
pub fn clear_recycled() {
    let kept =
        SPARE.try_with(|spare| std::mem::replace(&mut *spare.borrow_mut(), Spare([const { Vec::new() }; STEPS])));
    drop(kept);
}

/// What was kept for `bytes` bytes, counted as used again.
#[inline]
fn kept(bytes: usize) -> Option<Arc<Inner>> {
    let kept = SPARE.try_with(|s| s.try_borrow_mut().ok()?.0.get_mut(step(bytes))?.pop()).ok().flatten();
    unpark(kept?, bytes)
}

/// Whether two shapes are equal; a call to compare memory costs more than a few sizes.
#[inline]
pub(crate) fn same(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x == y)
}

/// A tensor of the shape of `x`, of type `dtype` and with arbitrary contents, where so small ones are kept.
#[inline]
pub(crate) fn like(host: &dyn Backend, x: &Tensor, dtype: DType) -> Result<Option<Tensor>> {
    let Some(bytes) = dtype.bytes_for(x.len()).filter(|b| step(*b) < STEPS) else { return Ok(None) };
    let fresh = match kept(bytes) {
        Some(inner) if inner.dtype == dtype && inner.is_dense_from_start() && same(&inner.layout.shape, x.shape()) => {
            return Ok(Some(Tensor(inner)));
        }
        Some(inner) => Fresh::Parts(inner),
        None => Fresh::Memory(host.allocate(bytes)?),
    };
    Ok(Some(fresh.tensor(Layout::contiguous(x.shape()), dtype)))
}

/// Memory for a result, with the parts of a tensor where some were kept.
pub(crate) enum Fresh {
    Parts(Arc<Inner>),
    Memory(Arc<dyn DeviceMemory>),
}

impl Fresh {
    /// `bytes` bytes of the host's memory.
    #[inline]
    pub(crate) fn new(host: &dyn Backend, bytes: usize) -> Result<Fresh> {
        match if step(bytes) < STEPS { kept(bytes) } else { None } {
            Some(inner) => Ok(Fresh::Parts(inner)),
            None => Ok(Fresh::Memory(host.allocate(bytes)?)),
        }
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Arc<dyn DeviceMemory> {
        match self {
            Fresh::Parts(inner) => &inner.storage.memory,
            Fresh::Memory(memory) => memory,
        }
    }

    /// The tensor of this layout from the start of the memory on.
    #[inline]
    pub(crate) fn tensor(self, layout: Layout, dtype: DType) -> Tensor {
        match self {
            Fresh::Parts(mut inner) => match Arc::get_mut(&mut inner) {
                Some(parts) => {
                    parts.layout = layout;
                    parts.dtype = dtype;
                    parts.dense = OnceLock::new();
                    Tensor(inner)
                }
                None => Tensor::over(inner.storage.clone(), layout, dtype),
            },
            Fresh::Memory(memory) => Tensor::over(Arc::new(Storage::new(memory, 0)), layout, dtype),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Result<Tensor> {
        lampyr_cpu::register();
        Tensor::from_slice(&[1.0f32, 2.0], &[2])
    }

    fn address(t: &Tensor) -> Option<*mut u8> {
        t.host_ptr()
    }

    #[test]
    fn the_memory_of_a_dropped_result_serves_the_next_one() -> Result<()> {
        let x = pair()?;
        let first = x.add(&x)?;
        let at = address(&first);
        first.recycle();
        let second = x.mul(&x)?;
        assert_eq!(address(&second), at);
        assert_eq!(second.to_vec::<f32>()?, [1.0, 4.0]);
        assert_eq!(second.storage().version(), 0);
        Ok(())
    }

    #[test]
    fn what_is_still_held_is_not_used_again() -> Result<()> {
        let x = pair()?;
        let first = x.add(&x)?;
        let (view, memory) = (first.reshape_to(&[2, 1])?, x.mul(&x)?.storage().memory.clone());
        first.recycle();
        for _ in 0..2 * KEPT {
            let other = x.sub(&x)?;
            assert_ne!(address(&other), address(&view));
            assert_ne!(address(&other), memory.host_ptr().map(|p| p.as_ptr()));
        }
        assert_eq!(view.to_vec::<f32>()?, [2.0, 4.0]);
        Ok(())
    }

    #[test]
    fn a_thread_keeps_few_and_gives_them_back() -> Result<()> {
        let kept = || SPARE.with(|s| s.borrow().0.iter().map(Vec::len).sum::<usize>());
        let x = pair()?;
        clear_recycled();
        let made: Vec<Tensor> = (0..KEPT + 3).map(|_| x.add(&x)).collect::<Result<_>>()?;
        made.into_iter().for_each(Tensor::recycle);
        assert_eq!(kept(), KEPT);
        Tensor::from_slice(&[0.0f32; STEP * STEPS], &[STEP * STEPS])?.recycle();
        assert_eq!(kept(), KEPT);
        clear_recycled();
        assert_eq!(kept(), 0);
        Ok(())
    }
}
