use super::Shape;
use super::micro::kernels;
use super::packed::Panels;
use crate::simd::Tier;

/// Bytes of an image that one block of positions should see at most.
const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes of weights that stay in the second level while blocks pass.
const WEIGHT_BYTES: usize = 1024 * 1024;
/// Floating-point operations that are worth a task.
const TASK_WORK: f64 = 1e6;
/// Tasks that balance well.
const TASKS: usize = 32;
/// Positions that are worth the way through a panel.
const LEAST_POSITIONS: usize = 48;
/// Addresses in the table of one block.
const MOST_ADDRESSES: usize = 64 * 1024;
/// Elements of the copy of an image for one block.
const MOST_COPIED: usize = 1024 * 1024;
/// Channels up to which taps of one row are summed as one segment, from a copy with padding.
const FEW_CHANNELS: usize = 12;

/// How a convolution falls into tasks; it depends on the shape and the tier only.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) shape: Shape,
    pub(super) tier: Tier,
    pub(super) panels: Panels,
    /// Whether taps of a row are summed as one segment, from a copy of the image with padding.
    pub(super) copies: bool,
    /// Positions of a block; with copies whole rows, or parts of one row.
    pub(super) block: usize,
    /// Panels of a task, of all groups one after another.
    pub(super) across: usize,
}

impl Plan {
    /// Plans a convolution.
    pub fn new(tier: Tier, shape: &Shape) -> Plan {
        let few = shape.groups == 1 && shape.channels <= FEW_CHANNELS;
        if few && shape.taps[2] > 1 && shape.dilations[2] == 1 {
            let plan = Plan::with(tier, shape, true);
            if plan.copy_len().is_some_and(|n| n <= MOST_COPIED) {
                return plan;
            }
        }
        Plan::with(tier, shape, false)
    }

    fn with(tier: Tier, shape: &Shape, copies: bool) -> Plan {
        let panels = Panels::new(tier, shape.outputs);
        let mut plan = Plan { shape: shape.clone(), tier, panels, copies, block: 1, across: 1 };
        let all_panels = panels.count() * shape.groups;
        let total = if copies { shape.area() } else { shape.images * shape.area() };
        let steps: usize = shape.strides.iter().product();
        let seen = (shape.channels * shape.groups * size_of::<f32>()).saturating_mul(steps).max(1);
        let wanted = (shape.floating_point_operations() / TASK_WORK).clamp(1.0, TASKS as f64) as usize;
        let most = (BLOCK_BYTES / seen).clamp(LEAST_POSITIONS, 480).min((MOST_ADDRESSES / plan.addresses(1)).max(1));
        let least_blocks = total.div_ceil(most.max(1)).max(1);
        let weights = panels.columns() * shape.groups * shape.inner() * size_of::<f32>();
        let fine = least_blocks.max(wanted.min(total.div_ceil(LEAST_POSITIONS)));
        let mut blocks = if weights > total.saturating_mul(seen) { least_blocks } else { fine };
        let mut parts = wanted.div_ceil(blocks).min(all_panels);
        if blocks * parts < wanted {
            blocks = fine;
        }
        if copies {
            parts = 1;
        } else if blocks > 1 {
            parts = parts.max((weights / WEIGHT_BYTES).min(all_panels));
        }
        plan.across = all_panels.div_ceil(parts.max(1)).max(1);
        plan.block = total.div_ceil(blocks.max(1)).max(1);
        let height = kernels(tier).by_width[1].len();
        if plan.block > 2 * height {
            plan.block = plan.block.next_multiple_of(height);
        }
        if copies {
            let width = shape.positions[2].max(1);
            plan.block = match plan.block >= width {
                true => plan.block / width * width,
                false if width <= most => width,
                false => plan.block,
            };
        }
        plan
    }

    /// Addresses in a table for `positions`.
    fn addresses(&self, positions: usize) -> usize {
        positions * if self.copies { 1 } else { self.shape.window().max(1) }
    }

    /// Blocks of positions.
    pub(super) fn blocks(&self) -> usize {
        let [depth, height, width] = self.shape.positions;
        let images = self.shape.images;
        match self.copies {
            false => (images * self.shape.area()).div_ceil(self.block),
            true if self.block >= width => images * depth * height.div_ceil(self.copied_rows()),
            true => images * depth * height * width.div_ceil(self.block),
        }
    }

    /// Rows of results in a block with copies, and columns.
    pub(super) fn copied_rows(&self) -> usize {
        (self.block / self.shape.positions[2].max(1)).max(1)
    }

    /// Columns of results in a block with copies.
    pub(super) fn copied_columns(&self) -> usize {
        self.block.min(self.shape.positions[2])
    }

    /// Tasks of one block.
    pub(super) fn parts(&self) -> usize {
        (self.panels.count() * self.shape.groups).div_ceil(self.across)
    }

    /// Rows and columns of the copy of an image for one block.
    pub(super) fn copy_sizes(&self) -> [usize; 2] {
        let Shape { strides, dilations, taps, .. } = &self.shape;
        let reach = |positions: usize, axis: usize| {
            let between = positions.saturating_sub(1).saturating_mul(strides[axis]);
            between.saturating_add(taps[axis].saturating_sub(1).saturating_mul(dilations[axis])).saturating_add(1)
        };
        [reach(self.copied_rows(), 1), reach(self.copied_columns(), 2)]
    }

    /// Elements of the copy, where they can be counted.
    fn copy_len(&self) -> Option<usize> {
        let [rows, columns] = self.copy_sizes();
        self.shape.taps[0].checked_mul(rows)?.checked_mul(columns)?.checked_mul(self.shape.channels)
    }

    /// Elements that a running task needs.
    pub(super) fn scratch(&self) -> usize {
        let copy = if self.copies { self.copy_len().unwrap_or_default() } else { 0 };
        self.table_len() + copy.next_multiple_of(16)
    }

    /// Elements of its table of addresses.
    pub(super) fn table_len(&self) -> usize {
        let addresses = self.addresses(self.block);
        (addresses * size_of::<*const f32>() / size_of::<f32>()).next_multiple_of(16)
    }

    /// Elements of what tasks share: zeros for padding, the bias in panels, and segments.
    pub(super) fn shared(&self) -> usize {
        self.zeros() + self.bias_len() + self.shifts_len()
    }

    pub(super) fn zeros(&self) -> usize {
        (self.shape.channels * self.shape.groups).next_multiple_of(16)
    }

    pub(super) fn bias_len(&self) -> usize {
        (self.shape.groups * self.panels.columns()).next_multiple_of(16)
    }

    fn shifts_len(&self) -> usize {
        (self.shape.window() * size_of::<isize>() / size_of::<f32>()).next_multiple_of(16)
    }

    /// Elements of workspace for `threads` threads, 64-byte aligned.
    pub fn workspace(&self, threads: usize) -> usize {
        self.shared() + threads.clamp(1, self.blocks().saturating_mul(self.parts()).clamp(1, 64)) * self.scratch()
    }
}
