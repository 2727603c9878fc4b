use lampyr_base::pool::ThreadPool;

use super::micro::{Tile, kernels};
use super::rows::{Rows, addresses, copied, segments};
use super::{Plan, Shape};
use crate::gemm::{Epilogue, Shared, Slots};

/// What happens to finished sums.
#[derive(Clone, Copy, Default)]
pub struct After<'a> {
    /// Bounds of sums before a residual is added.
    pub inner: Option<(f32, f32)>,
    /// A tensor of the result's shape to add.
    pub residual: Option<*const f32>,
    /// Bounds of results, applied next.
    pub bounds: Option<(f32, f32)>,
    /// What follows, for blocks of positions and channels of one image.
    pub epilogue: Option<&'a dyn Epilogue>,
}

/// The operands of a [`Plan`].
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Images without gaps.
    pub x: *const f32,
    /// Weights packed for the plan's tier.
    pub weights: *const f32,
    /// First element of the bias, and elements from one to the next.
    pub bias: Option<(*const f32, isize)>,
    /// Result without gaps.
    pub out: *mut f32,
    /// What follows.
    pub after: After<'a>,
}

// SAFETY: operands are only read, and tasks write disjoint blocks of the result.
unsafe impl Sync for Call<'_> {}

/// Runs a convolution.
///
/// # Safety
/// All operands are valid for the shape of the plan, `out` overlaps none of them but an equal `residual`, and `workspace`
/// is valid for `room` elements, at least [`Plan::workspace`] of one thread, and aligned to 64 bytes.
pub unsafe fn run(plan: &Plan, call: &Call, pool: &ThreadPool, (workspace, room): (*mut f32, usize)) {
    let shape = &plan.shape;
    if shape.result_len() == 0 {
        return;
    }
    let zeros = workspace;
    let bias = zeros.wrapping_add(plan.zeros());
    let shifts = bias.wrapping_add(plan.bias_len()).cast::<isize>();
    // SAFETY: the workspace has these three parts; the bias has an element per output.
    let (segments, depth) = unsafe {
        zeros.write_bytes(0, plan.zeros() + plan.bias_len());
        if let Some((from, step)) = call.bias {
            for i in 0..shape.groups * shape.outputs {
                let (group, output) = (i / shape.outputs, i % shape.outputs);
                bias.add(group * plan.panels.columns() + output).write(*from.offset(i as isize * step));
            }
        }
        segments(plan, shifts)
    };
    let size = plan.scratch();
    let slots = Slots::new((room.saturating_sub(plan.shared())).checked_div(size).unwrap_or(64));
    let scratch = Shared(workspace.wrapping_add(plan.shared()));
    let task = Task { plan, call, zeros: Shared(zeros), bias: Shared(bias), shifts: Shared(shifts), segments, depth };
    let blocks = plan.blocks();
    pool.parallel_for(blocks * plan.parts(), &|i| {
        let slot = slots.take();
        // SAFETY: the caller's contract; every task has its own block of the result, and the slot its own scratch.
        unsafe { task.run(i % blocks, i / blocks, scratch.at(slot.index() * size)) };
    });
}

struct Task<'a> {
    plan: &'a Plan,
    call: &'a Call<'a>,
    zeros: Shared<f32>,
    bias: Shared<f32>,
    shifts: Shared<isize>,
    segments: usize,
    depth: usize,
}

impl Task<'_> {
    /// # Safety
    /// As for [`run`]; `scratch` is valid for [`Plan::scratch`] elements and used by no other task.
    unsafe fn run(&self, block: usize, part: usize, scratch: *mut f32) {
        let (plan, call) = (self.plan, self.call);
        let table = scratch.cast::<*const f32>();
        let copy = scratch.wrapping_add(plan.table_len());
        // SAFETY: the scratch has a table and a copy.
        let rows = unsafe {
            match plan.copies {
                true => copied(plan, block, call.x, copy, table),
                false => addresses(plan, block, call.x, self.zeros.0, table),
            }
        };
        let per_group = plan.panels.count();
        let all = per_group * plan.shape.groups;
        let panels = part * plan.across..((part + 1) * plan.across).min(all);
        for panel in panels {
            // SAFETY: the table was filled for the rows.
            unsafe { self.panel(&rows, panel, table) };
            // At once, while what was stored is in the first level.
            if let Some(epilogue) = call.after.epilogue {
                self.epilogue(epilogue, &rows, panel..panel + 1);
            }
        }
    }

    /// All positions of a block times one panel.
    unsafe fn panel(&self, rows: &Rows, panel: usize, table: *const *const f32) {
        let (plan, call) = (self.plan, self.call);
        let Shape { groups, outputs, channels, .. } = plan.shape;
        let (count, columns) = (plan.panels.count(), plan.panels.columns());
        let (group, within) = (panel / count, panel % count);
        let (first, vectors) = plan.panels.panel(within);
        let inner = self.segments * self.depth;
        let step = groups * outputs;
        let weights = call.weights.wrapping_add((group * columns + first) * inner);
        let bytes = inner * vectors * plan.panels.lanes;
        let kernels = kernels(plan.tier).by_width[vectors - 1];
        let tiles = rows.count.div_ceil(kernels.len());
        for tile in 0..tiles {
            let from = tile * rows.count / tiles;
            let height = (tile + 1) * rows.count / tiles - from;
            // A tile asks for a part of the next panel; lines of 16 elements, one for two elements of the contraction.
            let share = inner / 2 * 16;
            let ahead = weights.wrapping_add(bytes + tile * share);
            let needs = tile * share < bytes && panel + 1 < count * groups;
            let place = (rows.first + from) * step + group * outputs + first;
            let tile = Tile {
                rows: table.wrapping_add(from),
                rows_step: rows.step,
                start: (group * channels) as isize,
                shifts: self.shifts.0,
                segments: self.segments,
                depth: self.depth,
                weights,
                ahead: if needs { ahead } else { weights },
                ahead_step: if needs { 16 } else { 0 },
                bias: self.bias.at(group * columns + first),
                residual: call.after.residual.map_or(std::ptr::null(), |r| r.wrapping_add(place)),
                inner: call.after.inner,
                bounds: call.after.bounds,
                out: call.out.wrapping_add(place),
                out_step: step,
                columns: (outputs - first).min(vectors * plan.panels.lanes),
            };
            // SAFETY: the kernel has `height` rows, the table an address for each, and the panel is as wide.
            unsafe { kernels[height - 1](&tile) };
        }
    }

    fn epilogue(&self, epilogue: &dyn Epilogue, rows: &Rows, panels: std::ops::Range<usize>) {
        let plan = self.plan;
        let (area, outputs) = (plan.shape.area(), plan.shape.outputs);
        let (count, end) = (plan.panels.count(), rows.first + rows.count);
        let column = |panel: usize| match panel % count {
            0 => panel / count * outputs,
            within => panel / count * outputs + plan.panels.panel(within).0,
        };
        let mut at = rows.first;
        while at < end {
            let (image, from) = (at / area, at % area);
            let to = area.min(from + end - at);
            epilogue.apply(image, from..to, column(panels.start)..column(panels.end));
            at += to - from;
        }
    }
}
