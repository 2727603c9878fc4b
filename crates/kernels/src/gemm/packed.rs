use lampyr_base::alloc::Aligned;
use lampyr_base::pool::ThreadPool;
use lampyr_base::{Error, ErrorKind, Result};

use super::driver::Shared;
use super::operand::{Operand, Panel};
use super::{Compute, depth};
use crate::simd::Tier;

/// Matrices packed once for one side of many products.
#[derive(Debug)]
pub struct PackedMatrix<E> {
    data: Aligned<E>,
    size: usize,
    count: usize,
    tier: Tier,
}

/// One side of a product.
#[derive(Clone, Copy)]
pub enum Side<'a, E> {
    /// To be packed, or read in place.
    Operand(&'a dyn Operand<E>),
    /// Packed before; matrix `batch` of a longer batch is `batch % count`.
    Packed(&'a PackedMatrix<E>),
}

impl<E: Compute> PackedMatrix<E> {
    /// Packs `count` left matrices of `m x k` elements.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn left(tier: Tier, operand: &dyn Operand<E>, count: usize, m: usize, k: usize) -> Result<PackedMatrix<E>> {
        let height = E::kernels(tier).height_for(m);
        Self::new(tier, operand, count, m * k, Panels { outer: m, k, panel: height, pad: false })
    }

    /// Packs `count` right matrices of `k x n` elements.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn right(tier: Tier, operand: &dyn Operand<E>, count: usize, n: usize, k: usize) -> Result<PackedMatrix<E>> {
        let width = E::kernels(tier).width;
        let size = n.next_multiple_of(width) * k;
        Self::new(tier, operand, count, size, Panels { outer: n, k, panel: width, pad: true })
    }

    fn new(tier: Tier, operand: &dyn Operand<E>, count: usize, size: usize, panels: Panels) -> Result<PackedMatrix<E>> {
        let data = count.checked_mul(size).and_then(Aligned::new).ok_or_else(|| {
            let bytes = count.saturating_mul(size).saturating_mul(size_of::<E>());
            let kind = ErrorKind::OutOfMemory { requested: bytes, active: 0, limit: None };
            Error::new(kind, format!("no memory for {bytes} bytes of packed weights"))
        })?;
        let to = Shared(data.as_ptr());
        let blocks = panels.k.div_ceil(depth(panels.k));
        let across = panels.outer.div_ceil(panels.panel.max(1));
        let grain = (64 * 1024 / (panels.panel * depth(panels.k)).max(1)).max(1);
        ThreadPool::global().parallel_ranges(count * blocks * across, grain, |range| {
            for i in range {
                let (batch, block, panel) = (i / (blocks * across), i / across % blocks, i % across);
                panels.pack(operand, batch, block * depth(panels.k), panel * panels.panel, to.at(batch * size));
            }
        });
        Ok(PackedMatrix { data, size, count, tier })
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.size * self.count * size_of::<E>()
    }

    /// The SIMD tier whose kernels take it.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The address of matrix `batch`.
    pub(super) fn matrix(&self, batch: usize) -> *const E {
        self.data.as_ptr().wrapping_add(batch % self.count.max(1) * self.size)
    }
}

/// How one matrix falls into panels.
#[derive(Clone, Copy)]
struct Panels {
    outer: usize,
    k: usize,
    panel: usize,
    /// Whether the last panel is as wide as the others.
    pad: bool,
}

impl Panels {
    /// Packs the block of one panel that begins at `k` and `at`; the matrix begins at `to`.
    fn pack<E: Compute>(&self, operand: &dyn Operand<E>, batch: usize, k: usize, at: usize, to: *mut E) {
        let padded = if self.pad { self.outer.next_multiple_of(self.panel) } else { self.outer };
        let depth = depth(self.k).min(self.k - k);
        let count = self.panel.min(self.outer - at);
        let stride = if self.pad { self.panel } else { count };
        // SAFETY: the ranges lie inside the matrix, and the block has `stride * depth` elements of its own in it.
        unsafe { operand.pack(Panel { batch, k, depth, at, count, stride }, to.wrapping_add(padded * k + at * depth)) };
    }
}
