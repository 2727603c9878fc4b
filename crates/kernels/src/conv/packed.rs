use std::sync::OnceLock;

use lampyr_base::alloc::Aligned;
use lampyr_base::pool::ThreadPool;
use lampyr_base::{Error, ErrorKind, Result};

use super::micro::kernels;
use super::tiles::TiledWeights;
use crate::gemm::Shared;
use crate::simd::Tier;

/// The panels of output channels that one group falls into: as few as possible, of two registers but for the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panels {
    /// Columns of one register.
    pub lanes: usize,
    /// Registers of all panels.
    pub vectors: usize,
}

impl Panels {
    pub fn new(tier: Tier, outputs: usize) -> Panels {
        let lanes = kernels(tier).lanes;
        Panels { lanes, vectors: outputs.div_ceil(lanes) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        if self.vectors == 1 { 1 } else { self.vectors / 2 }
    }

    /// First column and registers of panel `i`.
    pub fn panel(&self, i: usize) -> (usize, usize) {
        let last = i + 1 == self.count();
        (2 * i * self.lanes, if last { self.vectors - 2 * i } else { 2 })
    }

    /// Columns of all panels.
    pub fn columns(&self) -> usize {
        self.vectors * self.lanes
    }
}

/// Weights `[groups * outputs, channels, taps]` in the order in which the kernels of a tier read them: for each group and
/// panel of output channels, a row for each tap and input channel.
#[derive(Debug)]
pub struct PackedConv {
    data: Aligned<f32>,
    len: usize,
    tier: Tier,
    outputs: (usize, usize),
    inner: (usize, usize),
    tiled: OnceLock<Option<TiledWeights>>,
}

impl PackedConv {
    /// Packs weights without gaps.
    ///
    /// # Safety
    /// `weights` is valid for `groups * outputs * channels * taps` elements, aligned or not.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub unsafe fn new(
        tier: Tier,
        weights: *const f32,
        (groups, outputs): (usize, usize),
        (channels, taps): (usize, usize),
    ) -> Result<PackedConv> {
        let len = Self::elements(tier, (groups, outputs), channels * taps);
        let data = len.and_then(Aligned::new).ok_or_else(|| {
            let bytes = len.unwrap_or(usize::MAX).saturating_mul(size_of::<f32>());
            let kind = ErrorKind::OutOfMemory { requested: bytes, active: 0, limit: None };
            Error::new(kind, format!("no memory for {bytes} bytes of packed weights"))
        })?;
        // SAFETY: the caller's promise; the memory has as many elements.
        unsafe { pack(tier, weights, (groups, outputs), (channels, taps), data.as_ptr()) };
        let (outputs, inner) = ((groups, outputs), (channels, taps));
        Ok(PackedConv { data, len: len.unwrap_or_default(), tier, outputs, inner, tiled: OnceLock::new() })
    }

    /// Elements of the packed form.
    pub fn elements(tier: Tier, (groups, outputs): (usize, usize), inner: usize) -> Option<usize> {
        Panels::new(tier, outputs).columns().checked_mul(groups)?.checked_mul(inner)
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<f32>()
    }

    /// The SIMD tier whose kernels take it.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The weights for [`super::run_tiles`], made on first use; `None` where these are not 3 x 3 taps of one group or there
    /// is no memory.
    pub fn tiled(&self) -> Option<&TiledWeights> {
        let make = || match (self.outputs, self.inner) {
            // SAFETY: these are the sizes that the weights were packed for.
            ((1, outputs), (channels, 9)) => unsafe { TiledWeights::new(self.tier, self.data(), outputs, channels) },
            _ => None,
        };
        self.tiled.get_or_init(make).as_ref()
    }

    /// The first element.
    pub fn data(&self) -> *const f32 {
        self.data.as_ptr()
    }
}

/// Packs weights to `to`.
///
/// # Safety
/// As for [`PackedConv::new`]; `to` is valid for [`PackedConv::elements`].
pub unsafe fn pack(
    tier: Tier,
    weights: *const f32,
    (groups, outputs): (usize, usize),
    (channels, taps): (usize, usize),
    to: *mut f32,
) {
    let panels = Panels::new(tier, outputs);
    let (inner, count) = (channels * taps, panels.count());
    let (from, to) = (Shared(weights.cast_mut()), Shared(to));
    ThreadPool::global().parallel_for(groups * count, &|i| {
        let (group, panel) = (i / count, i % count);
        let (first, vectors) = panels.panel(panel);
        let width = vectors * panels.lanes;
        let to = to.at((group * panels.columns() + first) * inner);
        for j in 0..width {
            let output = first + j;
            let row = from.at((group * outputs + output) * inner);
            for c in 0..channels {
                for t in 0..taps {
                    // SAFETY: the panel has `width` elements per row, and the weights `inner` per output.
                    unsafe {
                        let x = if output < outputs { row.add(c * taps + t).read_unaligned() } else { 0.0 };
                        to.add((t * channels + c) * width + j).write(x);
                    }
                }
            }
        }
    });
}
