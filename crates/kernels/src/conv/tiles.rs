//! Convolution by tiles: every tile of the image is transformed, products of tiles and weights are made point by point,
//! and transformed back.

use lampyr_base::alloc::Aligned;
use lampyr_base::pool::ThreadPool;

use super::micro::{Tile, kernels};
use super::packed::Panels;
use super::winograd::{Input, Output, POINTS, SEEN, TILE, transforms, weights as transformed};
use super::{Call, Shape};
use crate::gemm::{Shared, Slots};
use crate::simd::Tier;

/// Bytes of transformed weights up to which every task reads all of them.
const OWN_BYTES: usize = 1024 * 1024;
/// Bytes of tiles and products that tasks work on together at most.
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;
/// Tiles that are worth the way through the weights.
const LEAST_TILES: usize = 12;
/// Fewest channels on both sides.
const LEAST_CHANNELS: usize = 24;

/// How a convolution by tiles falls into blocks; it depends on the shape and the tier only.
#[derive(Clone, Debug)]
pub struct Tiles {
    shape: Shape,
    tier: Tier,
    panels: Panels,
    /// Tiles down and across an image.
    tiles: [usize; 2],
    /// Rows of tiles in a block, counted through all images.
    block: usize,
    /// Whether blocks run one after another, each on all threads.
    together: bool,
}

/// Weights of 3 x 3 taps transformed: for each point and panel of output channels, a row for each input
/// channel.
#[derive(Debug)]
pub struct TiledWeights {
    data: Aligned<f32>,
}

impl TiledWeights {
    /// Transforms packed weights; `None` where there is no memory for them.
    ///
    /// # Safety
    /// `weights` are packed for `outputs` and `channels` of one group and 3 x 3 taps.
    pub(super) unsafe fn new(tier: Tier, weights: *const f32, outputs: usize, channels: usize) -> Option<TiledWeights> {
        let panels = Panels::new(tier, outputs);
        let step = panels.columns().checked_mul(channels)?;
        let len = step.checked_mul(POINTS)?;
        let data = Aligned::<f32>::new(len)?;
        let (from, to) = (Shared(weights.cast_mut()), Shared(data.as_ptr()));
        ThreadPool::global().parallel_ranges(panels.count() * channels, 16, |range| {
            for i in range {
                let (panel, c) = (i / channels, i % channels);
                let (first, vectors) = panels.panel(panel);
                let width = vectors * panels.lanes;
                let from = from.at(first * 9 * channels + c * width);
                let to = to.at(first * channels + c * width);
                for j in 0..width {
                    // SAFETY: both forms have a row for each panel and channel, at each tap and at each point.
                    unsafe {
                        let taps = std::array::from_fn(|t| *from.add(t * channels * width + j));
                        let made = transformed(&taps);
                        (0..POINTS).for_each(|p| to.add(p * step + j).write(made[p]));
                    }
                }
            }
        });
        Some(TiledWeights { data })
    }

    /// The first element.
    pub fn data(&self) -> *const f32 {
        self.data.as_ptr()
    }
}

/// Whether weights of this kind can be transformed.
fn suits_weights(taps: &[usize], groups: usize, channels: usize, outputs: usize) -> bool {
    taps == [3, 3] && groups == 1 && channels >= LEAST_CHANNELS && outputs >= LEAST_CHANNELS
}

impl Tiles {
    /// Plans a convolution that is faster this way.
    pub fn new(tier: Tier, shape: &Shape) -> Option<Tiles> {
        let [depth, height, width] = shape.positions;
        let flat = depth == 1 && shape.taps[0] == 1 && shape.source[0] == 1 && shape.pads[0] == 0;
        let plain = shape.strides == [1; 3] && shape.dilations == [1; 3] && flat;
        let (channels, outputs) = (shape.channels, shape.outputs);
        if !plain || !suits_weights(&shape.taps[1..], shape.groups, channels, outputs) || tier == Tier::Scalar {
            return None;
        }
        let panels = Panels::new(tier, outputs);
        let tiles = [height.div_ceil(TILE), width.div_ceil(TILE)];
        let rows = shape.images * tiles[0];
        let count = rows.checked_mul(tiles[1])?;
        // Work in steps of one register: products, passes over the weights, transforms.
        let products = (channels * panels.vectors) as f64;
        let direct = (shape.images * shape.area() * 9) as f64 * products / 2.0;
        let passes = POINTS as f64 * products * f64::from(u32::try_from(7 * panels.lanes / 16).ok()?.max(1));
        let there = count as f64 * POINTS as f64 * products / 2.0;
        let transforms = count as f64 * ((channels + outputs).div_ceil(panels.lanes) * 220) as f64;
        if there.max(passes) + transforms > 0.9 * direct {
            return None;
        }
        let weights = POINTS * channels * panels.columns() * size_of::<f32>();
        let row = POINTS * tiles[1] * (channels + panels.columns()) * size_of::<f32>();
        let together = weights > OWN_BYTES;
        let block = match together {
            true => (TOGETHER_BYTES / row).max(LEAST_TILES.div_ceil(tiles[1])),
            false => LEAST_TILES.div_ceil(tiles[1]),
        };
        Some(Tiles { shape: shape.clone(), tier, panels, tiles, block: block.clamp(1, rows.max(1)), together })
    }

    fn rows(&self) -> usize {
        self.shape.images * self.tiles[0]
    }

    /// Elements from point to point of tiles and of products; apart from powers of two.
    fn steps(&self) -> [usize; 2] {
        let count = self.block * self.tiles[1];
        [(count * self.shape.channels).next_multiple_of(16) + 16, count * self.panels.columns() + 16]
    }

    fn table(&self) -> usize {
        (self.block * self.tiles[1] * size_of::<*const f32>() / size_of::<f32>()).next_multiple_of(16)
    }

    fn scratch(&self) -> usize {
        self.table() + POINTS * self.steps().iter().sum::<usize>()
    }

    /// Zeros for padding, zeros to start from, the bias, a shift.
    fn shared(&self) -> usize {
        self.shape.channels.next_multiple_of(16) + 2 * self.panels.columns().next_multiple_of(16) + 16
    }

    /// Elements of workspace for `threads` threads, 64-byte aligned.
    pub fn workspace(&self, threads: usize) -> usize {
        let blocks = self.rows().div_ceil(self.block);
        let areas = if self.together { 1 } else { threads.clamp(1, blocks.clamp(1, 64)) };
        self.shared() + areas * self.scratch()
    }
}

/// Runs a convolution by tiles.
///
/// # Safety
/// As for [`super::run`], with transformed weights.
pub unsafe fn run(tiles: &Tiles, call: &Call, pool: &ThreadPool, (workspace, room): (*mut f32, usize)) {
    let columns = tiles.panels.columns().next_multiple_of(16);
    let zeros = workspace;
    let start = zeros.wrapping_add(tiles.shape.channels.next_multiple_of(16));
    let bias = start.wrapping_add(columns);
    // SAFETY: the workspace has these parts; the bias has an element per output.
    unsafe {
        workspace.write_bytes(0, tiles.shared());
        if let Some((from, step)) = call.bias {
            (0..tiles.shape.outputs).for_each(|i| bias.add(i).write(*from.offset(i as isize * step)));
        }
    }
    let shift = bias.wrapping_add(columns).cast::<isize>();
    let task =
        Task { tiles, call, zeros: Shared(zeros), start: Shared(start), bias: Shared(bias), shift: Shared(shift) };
    let scratch = Shared(workspace.wrapping_add(tiles.shared()));
    let size = tiles.scratch();
    let blocks = tiles.rows().div_ceil(tiles.block);
    if tiles.together {
        // SAFETY: the caller's contract; one block at a time uses the scratch.
        (0..blocks).for_each(|b| unsafe { task.block(b, scratch, pool) });
        return;
    }
    let slots = Slots::new(room.saturating_sub(tiles.shared()).checked_div(size).unwrap_or(64));
    pool.parallel_for(blocks, &|b| {
        let slot = slots.take();
        // SAFETY: the caller's contract; every block has its own part of the result, and the slot its own scratch.
        unsafe { task.block(b, Shared(scratch.at(slot.index() * size)), pool) };
    });
}

struct Task<'a> {
    tiles: &'a Tiles,
    call: &'a Call<'a>,
    zeros: Shared<f32>,
    start: Shared<f32>,
    bias: Shared<f32>,
    shift: Shared<isize>,
}

impl Task<'_> {
    /// # Safety
    /// As for [`run`]; nobody else uses `scratch` meanwhile.
    unsafe fn block(&self, block: usize, scratch: Shared<f32>, pool: &ThreadPool) {
        let across = self.tiles.tiles[1];
        let first = block * self.tiles.block;
        let rows = self.tiles.block.min(self.tiles.rows() - first);
        let seen = Shared(scratch.at(self.tiles.table()));
        let products = Shared(seen.at(POINTS * self.tiles.steps()[0]));
        let table = || scratch.at(0).cast::<*const f32>();
        // SAFETY: the scratch has a table, tiles and products; tasks write disjoint parts.
        unsafe {
            for i in 0..rows * across {
                table().add(i).write(seen.at(i * self.tiles.shape.channels));
            }
            pool.parallel_for(rows, &|r| self.forward(first + r, seen.at(r * across * self.tiles.shape.channels)));
            pool.parallel_for(POINTS, &|point| self.multiply(point, rows * across, table(), products.at(0)));
            let halves = if self.tiles.panels.vectors >= 4 { 2 } else { 1 };
            pool.parallel_for(rows * halves, &|i| {
                let r = i / halves;
                let from = products.at(r * across * self.tiles.panels.columns());
                self.back(first + r, (i % halves, halves), from);
            });
        }
    }

    /// Transforms a row of tiles of the image.
    unsafe fn forward(&self, row: usize, to: *mut f32) {
        let (shape, [down, across]) = (&self.tiles.shape, self.tiles.tiles);
        let [_, height, width] = shape.source;
        let (image, y) = (row / down, row % down * TILE);
        let transform = transforms(self.tiles.tier).input;
        for column in 0..across {
            let mut pixels = [self.zeros.0.cast_const(); POINTS];
            for i in 0..SEEN {
                let at = (y + i).checked_sub(shape.pads[1]).filter(|&at| at < height);
                let Some(at) = at else { continue };
                for j in 0..SEEN {
                    let x = (column * TILE + j).checked_sub(shape.pads[2]).filter(|&x| x < width);
                    if let Some(x) = x {
                        pixels[i * SEEN + j] =
                            self.call.x.wrapping_add(((image * height + at) * width + x) * shape.channels);
                    }
                }
            }
            let to = to.wrapping_add(column * shape.channels);
            let tile = Input { pixels, channels: shape.channels, to, step: self.tiles.steps()[0] };
            // SAFETY: pixels lie in the image or are zeros; the tile has its own place.
            unsafe { transform(&tile) };
        }
    }

    /// Products of all tiles at one point.
    unsafe fn multiply(&self, point: usize, count: usize, table: *const *const f32, to: *mut f32) {
        let tiles = self.tiles;
        let (channels, columns) = (tiles.shape.channels, tiles.panels.columns());
        let [from, to_step] = tiles.steps();
        let to = to.wrapping_add(point * to_step);
        let point_weights = self.call.weights.wrapping_add(point * channels * columns);
        for panel in 0..tiles.panels.count() {
            let (first, vectors) = tiles.panels.panel(panel);
            let kernels = kernels(tiles.tier).by_width[vectors - 1];
            let weights = point_weights.wrapping_add(first * channels);
            let bytes = channels * vectors * tiles.panels.lanes;
            let parts = count.div_ceil(kernels.len());
            for part in 0..parts {
                let at = part * count / parts;
                let height = (part + 1) * count / parts - at;
                let share = channels / 2 * 16;
                let needs = part * share < bytes && (panel + 1 < tiles.panels.count() || point + 1 < POINTS);
                let tile = Tile {
                    rows: table.wrapping_add(at),
                    rows_step: 0,
                    start: (point * from) as isize,
                    shifts: self.shift.0,
                    segments: 1,
                    depth: channels,
                    weights,
                    ahead: if needs { weights.wrapping_add(bytes + part * share) } else { weights },
                    ahead_step: if needs { 16 } else { 0 },
                    bias: self.start.0,
                    residual: std::ptr::null(),
                    inner: None,
                    bounds: None,
                    out: to.wrapping_add(at * columns + first),
                    out_step: columns,
                    columns: vectors * tiles.panels.lanes,
                };
                // SAFETY: the kernel has `height` rows and the table an address for each; products have room for whole
                // panels.
                unsafe { kernels[height - 1](&tile) };
            }
        }
    }

    /// Transforms a part of the channels of a row of tiles back.
    unsafe fn back(&self, row: usize, (part, parts): (usize, usize), from: *const f32) {
        let (tiles, shape) = (self.tiles, &self.tiles.shape);
        let [_, height, width] = shape.positions;
        let (image, y) = (row / tiles.tiles[0], row % tiles.tiles[0] * TILE);
        let border = |i: usize| (tiles.panels.vectors * i / parts * tiles.panels.lanes).min(shape.outputs);
        let channels = border(part)..border(part + 1);
        let transform = transforms(tiles.tier).output;
        let sizes = |x: usize| [TILE.min(height - y), TILE.min(width - x)];
        for column in 0..tiles.tiles[1] {
            let x = column * TILE;
            let place = ((image * height + y) * width + x) * shape.outputs + channels.start;
            let tile = Output {
                from: from.wrapping_add(column * tiles.panels.columns() + channels.start),
                step: tiles.steps()[1],
                bias: self.bias.at(channels.start),
                channels: channels.len(),
                to: self.call.out.wrapping_add(place),
                residual: self.call.after.residual.map_or(std::ptr::null(), |r| r.wrapping_add(place)),
                steps: [width * shape.outputs, shape.outputs],
                sizes: sizes(x),
                inner: self.call.after.inner,
                bounds: self.call.after.bounds,
            };
            // SAFETY: the tile has its own part of the result, and products have whole registers of columns.
            unsafe { transform(&tile) };
        }
        if let Some(epilogue) = self.call.after.epilogue {
            epilogue.apply(image, y * width..(y + TILE).min(height) * width, channels);
        }
    }
}
