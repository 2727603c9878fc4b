use std::ops::Range;

use lampyr_base::pool::ThreadPool;

use super::operand::{Panel, Store};
use super::packed::Side;
use super::plan::Packing;
use super::slots::Slots;
use super::{Compute, Epilogue, Plan, Sink, Start};
use crate::gemm::micro::{LINE, Tile};
use crate::simd::Tier;

/// The operands of a [`Plan`].
pub struct Problem<'a, E, S> {
    /// Left side, `m x k`.
    pub left: Side<'a, E>,
    /// Right side, `k x n`.
    pub right: Side<'a, E>,
    /// First element of the result, whose columns are contiguous.
    pub c: *mut S,
    /// Elements from one row of the result to the next.
    pub c_step: usize,
    /// Elements from one matrix of the result to the next.
    pub c_batch: usize,
    /// Factor of the product.
    pub alpha: E,
    /// What the product is added to; zero without one.
    pub start: Option<&'a dyn Start<E>>,
    /// Where finished blocks go instead of the result.
    pub sink: Option<&'a dyn Sink<E>>,
    /// What follows.
    pub epilogue: Option<&'a dyn Epilogue>,
}

/// A pointer that tasks share; they touch disjoint parts.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub *mut T);

// SAFETY: tasks write disjoint parts of what it points to.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}

/// Panels packed side by side when rows of the operand are contiguous: whole pieces of rows are read.
const GROUP: usize = 8;
/// Places along the contraction packed for one of them after another.
const ROWS: usize = 16;

struct Run<'a, E: 'static, S> {
    plan: &'a Plan,
    problem: &'a Problem<'a, E, S>,
    kernels: &'static super::Kernels<E>,
    c: Shared<S>,
    left: Shared<E>,
    right: Shared<E>,
}

// SAFETY: operands are `Sync`, the result is written in disjoint blocks, and packed panels are only read by tasks.
unsafe impl<E: Compute, S: Send> Sync for Run<'_, E, S> {}

/// Runs a product.
///
/// # Safety
/// `problem.c` is valid for all elements of the result and overlaps no operand; operands have the shapes that the plan
/// was made for, with the same readiness, on the same tier; `workspace` is valid for `workspace_len` elements, at least
/// [`Plan::workspace`] of one thread, and aligned to 64 bytes.
pub unsafe fn run<E: Compute, S: Store<E>>(
    tier: Tier,
    plan: &Plan,
    problem: &Problem<E, S>,
    pool: &ThreadPool,
    (workspace, workspace_len): (*mut E, usize),
) {
    if plan.m == 0 || plan.n == 0 || plan.batch == 0 {
        return;
    }
    let shared_right = workspace.wrapping_add(plan.shared_left());
    let run = Run {
        plan,
        problem,
        kernels: E::kernels(tier),
        c: Shared(problem.c),
        left: Shared(workspace),
        right: Shared(shared_right),
    };
    let scratch = Shared(shared_right.wrapping_add(plan.shared_right()));
    let size = plan.scratch();
    run.pack_before(pool);
    if plan.by_block {
        return run.by_block(pool, scratch, workspace_len);
    }
    let chunks = plan.tasks().div_ceil(plan.grain);
    let slots = run.slots(workspace_len);
    pool.parallel_for(chunks, &|i| {
        let slot = slots.take();
        for task in i * plan.grain..((i + 1) * plan.grain).min(plan.tasks()) {
            // SAFETY: the caller's contract; every task has its own block of the result, and the slot its own scratch.
            unsafe { run.task(task, 0..plan.k, scratch.at(slot.index() * size)) };
        }
    });
}

/// Where the panels of one block lie.
struct Panels<E> {
    first: *const E,
    /// Elements from one panel to the next.
    next: usize,
    step: isize,
    offsets: *const isize,
}

impl<E: Compute, S: Store<E>> Run<'_, E, S> {
    /// Scratch areas: threads beyond the room that was asked for wait for their turn.
    fn slots(&self, workspace_len: usize) -> Slots {
        let room = workspace_len.saturating_sub(self.plan.shared_left() + self.plan.shared_right());
        Slots::new(room.checked_div(self.plan.scratch()).unwrap_or(64))
    }

    /// One block of the contraction after another: its part of the right side is packed for all tasks, which then add
    /// their products.
    fn by_block(&self, pool: &ThreadPool, scratch: Shared<E>, workspace_len: usize) {
        let plan = self.plan;
        let (slots, down, depth) = (self.slots(workspace_len), plan.down() * plan.across(), plan.depth());
        for batch in 0..plan.batch {
            for k in (0..plan.k.max(1)).step_by(depth.max(1)) {
                let ks = k..plan.k.min(k + depth);
                self.pack_block(pool, batch, ks.clone());
                pool.parallel_for(down, &|i| {
                    let slot = slots.take();
                    // SAFETY: the caller's contract of [`run`]; every task has its own block of the result, and the slot
                    // its own scratch.
                    unsafe { self.task(batch * down + i, ks.clone(), scratch.at(slot.index() * plan.scratch())) };
                });
            }
        }
    }

    /// Packs a block of the contraction of the right side.
    fn pack_block(&self, pool: &ThreadPool, batch: usize, ks: Range<usize>) {
        let plan = self.plan;
        let (Packing::PerBlock, Side::Operand(operand)) = (plan.right, &self.problem.right) else { return };
        let (panels, depth) = (plan.n.div_ceil(plan.width), ks.len());
        let whole = operand.direct(batch).is_none();
        // A chunk packs about 32K elements.
        let step = if whole { depth } else { ROWS };
        pool.parallel_ranges(panels, GROUP.min((32 * 1024 / (plan.width * depth).max(1)).max(1)), |range| {
            for k in ks.clone().step_by(step.max(1)) {
                for j in range.clone() {
                    let (at, count) = (j * plan.width, plan.width.min(plan.n - j * plan.width));
                    let to = self.right.at(at * depth + (k - ks.start) * plan.width);
                    let panel = Panel { batch, k, depth: step.min(ks.end - k), at, count, stride: plan.width };
                    // SAFETY: the ranges lie inside the matrix; the shared area holds the block, and panels are disjoint.
                    unsafe { operand.pack(panel, to) };
                }
            }
        });
    }

    fn pack_before(&self, pool: &ThreadPool) {
        let plan = self.plan;
        let sides = [
            (&self.problem.left, plan.left, self.left, plan.m, plan.height, plan.left_size(), plan.distinct.0, false),
            (&self.problem.right, plan.right, self.right, plan.n, plan.width, plan.right_size(), plan.distinct.1, true),
        ];
        for (side, packing, to, outer, panel, size, count, pad) in sides {
            let (Packing::Before, Side::Operand(operand)) = (packing, side) else { continue };
            let (panels, depth) = (outer.div_ceil(panel), plan.depth());
            let padded = if pad { panels * panel } else { outer };
            // A chunk packs about 16K elements.
            let whole = operand.direct(0).is_none();
            let grain = if whole { (16 * 1024 / (panel * plan.k).max(1)).max(1) } else { GROUP };
            let (per_matrix, blocks) = (panels.div_ceil(grain), if whole { 1 } else { plan.k.div_ceil(depth) });
            pool.parallel_for(per_matrix * blocks * count, &|i| {
                let (batch, first) = (i / (per_matrix * blocks), i / blocks % per_matrix * grain);
                let (begin, end) =
                    if whole { (0, plan.k) } else { (i % blocks * depth, plan.k.min((i % blocks + 1) * depth)) };
                let step = if whole { depth } else { ROWS };
                for k in (begin..end).step_by(step) {
                    for j in first..(first + grain).min(panels) {
                        let (at, count) = (j * panel, panel.min(outer - j * panel));
                        let stride = if pad { panel } else { count };
                        // Where the block of the contraction begins, and how deep it is.
                        let block = k / depth * depth;
                        let all = depth.min(plan.k - block);
                        let depth = step.min(plan.k - k);
                        let to = to.at(batch * size + padded * block + at * all + (k - block) * stride);
                        // SAFETY: the ranges lie inside the matrix; the shared area has `size` elements per matrix, and
                        // panels are disjoint.
                        unsafe { operand.pack(Panel { batch, k, depth, at, count, stride }, to) };
                    }
                }
            });
        }
    }

    /// # Safety
    /// As [`run`]; `ks` is the whole contraction or one block of it; `scratch` is valid for `plan.scratch()` elements that
    /// nobody else uses.
    unsafe fn task(&self, task: usize, ks: Range<usize>, scratch: *mut E) {
        let (plan, problem) = (self.plan, self.problem);
        let (across, down) = (plan.across(), plan.down());
        let (batch, column) = (task / (down * across), task % across * plan.columns);
        let (row, rows) = plan.span(task / across % down);
        let columns = plan.columns.min(plan.n - column);
        let result = self.c.at(batch * problem.c_batch + row * problem.c_step + column);
        let own = scratch.wrapping_add(plan.left_scratch() + plan.right_scratch());
        let (c, c_step) = if !plan.narrow { (result.cast::<E>(), problem.c_step) } else { (own, plan.columns) };
        // SAFETY: `c` has `rows` rows of `columns` elements, in the result or in scratch; panels are those of the plan.
        unsafe {
            let bias = problem.start.filter(|_| plan.k > 0).and_then(|start| start.rows(batch));
            if let Some(start) = problem.start.filter(|_| bias.is_none() && ks.start == 0) {
                for i in 0..rows {
                    let to = c.add(i * c_step);
                    // The slice must not cover uninitialised memory.
                    std::ptr::write_bytes(to, 0, columns);
                    start.fill(batch, row + i, column, std::slice::from_raw_parts_mut(to, columns));
                }
            } else if plan.k == 0 {
                (0..rows).for_each(|i| std::ptr::write_bytes(c.add(i * c_step), 0, columns));
            }
            for k in ks.clone().step_by(plan.depth()) {
                let depth = plan.depth().min(ks.end - k);
                let left = self.left_panels(batch, k, depth, row, rows, scratch);
                let right_scratch = scratch.wrapping_add(plan.left_scratch());
                let right = self.right_panels(batch, k, depth, column, columns, right_scratch);
                let mut tile = Tile {
                    depth,
                    a: left.first,
                    b: right.first,
                    b_step: right.step,
                    offsets: right.offsets,
                    c,
                    c_step,
                    columns: plan.width,
                    alpha: problem.alpha,
                    accumulate: k > 0 || (problem.start.is_some() && bias.is_none()),
                    bias: std::ptr::null(),
                    next: std::ptr::null(),
                    lines: 0,
                };
                // The tiles of one panel ask for the next one, each for its share.
                let tiles = rows.div_ceil(plan.height);
                let line = LINE / size_of::<E>();
                if !plan.direct && !plan.scattered {
                    tile.lines = (4 * plan.width).div_ceil(tiles * line);
                }
                for (j, at) in (0..columns).step_by(plan.width).enumerate() {
                    tile.columns = plan.width.min(columns - at);
                    tile.b = right.first.wrapping_add(j * right.next);
                    tile.b_step = right.step;
                    if plan.direct && tile.columns < plan.width {
                        // Reading a whole panel would pass the end of the row: the last one is copied.
                        if let Side::Operand(o) = &problem.right {
                            let (at, count) = (column + at, tile.columns);
                            o.pack(Panel { batch, k, depth, at, count, stride: plan.width }, right_scratch);
                        }
                        (tile.b, tile.b_step) = (right_scratch, plan.width as isize);
                    }
                    // Behind the last panel of a task follows its first one of the next block of the contraction.
                    let past = plan.n.next_multiple_of(plan.width) * depth;
                    let next = if at + plan.width < columns { (j + 1) * right.next } else { past };
                    let kernels = self.kernels.of(tile.columns, plan.scattered);
                    for (i, down) in (0..rows).step_by(plan.height).enumerate() {
                        tile.a = left.first.wrapping_add(i * left.next);
                        tile.c = c.add(down * c_step + at);
                        tile.next = right.first.wrapping_add(next + i * tile.lines * (depth / 4) * line);
                        if let Some(bias) = bias.filter(|_| k == 0) {
                            tile.bias = bias.add(row + down);
                        }
                        (kernels[plan.height.min(rows - down) - 1])(&tile);
                    }
                }
            }
            if let Some(sink) = problem.sink {
                for i in 0..rows {
                    let values = std::slice::from_raw_parts(own.add(i * c_step), columns);
                    sink.write(batch, row + i, column, values);
                }
            } else if plan.narrow {
                for i in 0..rows {
                    let (from, to) = (own.add(i * c_step), result.add(i * problem.c_step));
                    (0..columns).for_each(|j| *to.add(j) = S::put(*from.add(j)));
                }
            }
        }
        if let Some(epilogue) = problem.epilogue.filter(|_| ks.end == plan.k) {
            epilogue.apply(batch, row..row + rows, column..column + columns);
        }
    }

    unsafe fn left_panels(
        &self,
        batch: usize,
        k: usize,
        depth: usize,
        row: usize,
        rows: usize,
        scratch: *mut E,
    ) -> Panels<E> {
        let plan = self.plan;
        let next = plan.height * depth;
        let inside = plan.m * k + row * depth;
        let first = match (plan.left, &self.problem.left) {
            (_, Side::Packed(p)) => p.matrix(batch).wrapping_add(inside),
            (Packing::PerTask, Side::Operand(o)) => {
                for (i, at) in (0..rows).step_by(plan.height).enumerate() {
                    let count = plan.height.min(rows - at);
                    // SAFETY: the rows lie inside the matrix and the scratch holds `rows * depth` elements.
                    unsafe {
                        o.pack(Panel { batch, k, depth, at: row + at, count, stride: count }, scratch.add(i * next))
                    };
                }
                scratch
            }
            _ => self.left.at(batch % plan.distinct.0 * plan.left_size() + inside),
        };
        Panels { first, next, step: 0, offsets: std::ptr::null() }
    }

    unsafe fn right_panels(
        &self,
        batch: usize,
        k: usize,
        depth: usize,
        column: usize,
        columns: usize,
        scratch: *mut E,
    ) -> Panels<E> {
        let plan = self.plan;
        let (next, step) = (plan.width * depth, plan.width as isize);
        let inside = plan.n.next_multiple_of(plan.width) * k + column * depth;
        let first = match (plan.right, &self.problem.right) {
            (_, Side::Packed(p)) => p.matrix(batch).wrapping_add(inside),
            (Packing::Never, Side::Operand(o)) if plan.scattered => {
                if let Some((data, offsets)) = o.scattered(batch) {
                    let offsets = offsets.get(k..k + depth).map_or(std::ptr::null(), <[isize]>::as_ptr);
                    return Panels { first: data.wrapping_add(column), next: plan.width, step: 0, offsets };
                }
                scratch
            }
            (Packing::Never, Side::Operand(o)) => {
                if let Some((data, step)) = o.direct(batch) {
                    let first = data.wrapping_offset(k as isize * step + column as isize);
                    return Panels { first, next: plan.width, step, offsets: std::ptr::null() };
                }
                scratch
            }
            (Packing::PerTask, Side::Operand(o)) => {
                let rows = if o.direct(batch).is_some() { ROWS } else { depth };
                for p in (0..depth).step_by(rows) {
                    for (j, at) in (0..columns).step_by(plan.width).enumerate() {
                        let count = plan.width.min(columns - at);
                        let (at, k, depth) = (column + at, k + p, rows.min(depth - p));
                        // SAFETY: the columns lie inside the matrix and the scratch holds whole panels.
                        unsafe {
                            let to = scratch.add(j * next + p * plan.width);
                            o.pack(Panel { batch, k, depth, at, count, stride: plan.width }, to);
                        }
                    }
                }
                scratch
            }
            (Packing::PerBlock, _) => self.right.at(column * depth),
            _ => self.right.at(batch % plan.distinct.1 * plan.right_size() + inside),
        };
        Panels { first, next, step, offsets: std::ptr::null() }
    }
}
