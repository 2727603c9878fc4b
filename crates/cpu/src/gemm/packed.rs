use super::operand::{Operand, Panel};
use super::{Compute, DEPTH};
use crate::simd::Tier;

/// Matrices packed once for one side of many products.
#[derive(Clone, Debug)]
pub struct PackedMatrix<E> {
    data: Vec<E>,
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
    pub fn left(tier: Tier, operand: &dyn Operand<E>, count: usize, m: usize, k: usize) -> PackedMatrix<E> {
        let mut data = vec![E::ZERO; count * m * k];
        let height = E::kernels(tier).height_for(m);
        for (i, to) in data.chunks_exact_mut((m * k).max(1)).enumerate() {
            pack_all(operand, i, m, k, height, false, to);
        }
        PackedMatrix { data, size: m * k, count, tier }
    }

    /// Packs `count` right matrices of `k x n` elements.
    pub fn right(tier: Tier, operand: &dyn Operand<E>, count: usize, n: usize, k: usize) -> PackedMatrix<E> {
        let width = E::kernels(tier).width;
        let size = n.next_multiple_of(width) * k;
        let mut data = vec![E::ZERO; count * size];
        for (i, to) in data.chunks_exact_mut(size.max(1)).enumerate() {
            pack_all(operand, i, n, k, width, true, to);
        }
        PackedMatrix { data, size, count, tier }
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
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

fn pack_all<E: Compute>(
    operand: &dyn Operand<E>,
    batch: usize,
    outer: usize,
    k: usize,
    panel: usize,
    pad: bool,
    to: &mut [E],
) {
    let padded = if pad { outer.next_multiple_of(panel) } else { outer };
    for p in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - p);
        for at in (0..outer).step_by(panel) {
            let count = panel.min(outer - at);
            let stride = if pad { panel } else { count };
            let to = &mut to[padded * p + at * depth..][..stride * depth];
            // SAFETY: the ranges lie inside the matrix and `to` has `stride * depth` elements.
            unsafe { operand.pack(Panel { batch, k: p, depth, at, count, stride }, to.as_mut_ptr()) };
        }
    }
}
