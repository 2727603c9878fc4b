//! Products of matrices: `c = alpha * a * b + start`, then an epilogue on each finished block.
//!
//! The contraction is cut into blocks of [`depth`] elements, always at the same places, and summed in order, one fused
//! multiply-add per element: the bits of a result do not depend on the number of threads, on the block it lies in, or on
//! the SIMD tier.

mod dots;
mod driver;
mod gates;
mod inner;
mod integer;
mod micro;
mod operand;
mod packed;
mod plan;
mod rows;
mod slots;
mod taps;
pub(crate) mod vector;

use std::ops::Range;

use crate::simd::Tier;

pub use dots::{Dots, dots, suits as dots_suit};
pub(crate) use driver::Shared;
pub use driver::{Problem, run};
pub use gates::GatesFn;
pub use inner::InnerFn;
pub use integer::{IntMatrix, Wrapping, int_matmul};
pub use micro::{Kernels, Tile};
pub use operand::copy_short;
pub use operand::{Batch, Operand, Panel, Store, Strided};
pub use packed::{PackedMatrix, Side};
pub use plan::{Plan, Ready};
pub use rows::{Channel, ChannelFn, suits as rows_suit};
pub use slots::Slots;
pub use taps::{TAPS_ROUND, Taps, TapsFn};
pub use vector::Real;

/// Most elements of the contraction between two additions to the result.
const DEPTH: usize = 512;

/// Length of the blocks that a contraction of `k` elements is cut into; the last one may be shorter. A multiple of the
/// edge of the squares that are packed at a time, where there is more than one block.
pub fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).next_multiple_of(16).clamp(1, k.max(1))
}

/// A compute type with inner kernels.
pub trait Compute: Real {
    /// Its kernels on a SIMD tier.
    fn kernels(tier: Tier) -> &'static Kernels<Self>;
    /// Its inner products on a SIMD tier that has any.
    fn inner(tier: Tier) -> Option<InnerFn<Self>>;
    /// Its sums of shifted rows on a SIMD tier.
    fn taps(tier: Tier) -> TapsFn<Self>;
    /// Its products of one row with several panels on a SIMD tier that has any.
    fn gates(tier: Tier) -> Option<GatesFn<Self>>;
    /// Its convolution of one channel by rows on a SIMD tier that has one.
    fn channel(tier: Tier) -> Option<ChannelFn<Self>>;
}

impl Compute for f32 {
    fn kernels(tier: Tier) -> &'static Kernels<f32> {
        micro::kernels_f32(tier)
    }

    fn inner(tier: Tier) -> Option<InnerFn<f32>> {
        inner::inner(tier).map(|f| f.0)
    }

    fn taps(tier: Tier) -> TapsFn<f32> {
        taps::taps(tier).0
    }

    fn gates(tier: Tier) -> Option<GatesFn<f32>> {
        gates::gates(tier).map(|f| f.0)
    }

    fn channel(tier: Tier) -> Option<ChannelFn<f32>> {
        rows::channel(tier)
    }
}

impl Compute for f64 {
    fn kernels(tier: Tier) -> &'static Kernels<f64> {
        micro::kernels_f64(tier)
    }

    fn inner(tier: Tier) -> Option<InnerFn<f64>> {
        inner::inner(tier).map(|f| f.1)
    }

    fn taps(tier: Tier) -> TapsFn<f64> {
        taps::taps(tier).1
    }

    fn gates(tier: Tier) -> Option<GatesFn<f64>> {
        gates::gates(tier).map(|f| f.1)
    }

    fn channel(_tier: Tier) -> Option<ChannelFn<f64>> {
        None
    }
}

/// What the result starts from: a bias, a scaled matrix.
pub trait Start<E>: Sync {
    /// Writes the values for one row from `column` on.
    fn fill(&self, batch: usize, row: usize, column: usize, to: &mut [E]);

    /// The values of all rows of matrix `batch`, when a row has one value.
    fn rows(&self, _batch: usize) -> Option<*const E> {
        None
    }
}

/// Takes finished rows of blocks in place of a result without gaps.
pub trait Sink<E>: Sync {
    /// Stores the values of one row from `column` on; no element comes twice.
    fn write(&self, batch: usize, row: usize, column: usize, values: &[E]);
}

/// What happens to a block of the result after it was written, while it is in cache.
pub trait Epilogue: Sync {
    /// Changes the block in place; blocks never overlap.
    fn apply(&self, batch: usize, rows: Range<usize>, columns: Range<usize>);
}
