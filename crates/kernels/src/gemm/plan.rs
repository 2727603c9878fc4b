//! How a product is cut into tasks. Everything depends on shapes only, never on the number of threads.

use super::{Compute, depth};
use crate::simd::Tier;

/// What is known of an operand before packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It has to be packed.
    No,
    /// It can be read where it lies: a right side with contiguous columns.
    Direct,
    /// It can be read where it lies, row by row: a right side with contiguous columns and rows anywhere.
    Scattered,
    /// It was packed before.
    Packed,
}

/// Where an operand is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Nowhere: it is ready.
    Never,
    /// Whole, before all tasks.
    Before,
    /// By each task, block by block.
    PerTask,
    /// Each block of the contraction whole, before the tasks of that block.
    PerBlock,
}

/// A product cut into tasks.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) batch: usize,
    /// Different matrices on both sides.
    pub(super) distinct: (usize, usize),
    /// Rows and columns of the inner kernel.
    pub(super) height: usize,
    pub(super) width: usize,
    /// Rows and columns of a task at most; tasks of one column differ by a panel.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) left: Packing,
    pub(super) right: Packing,
    /// The right side is read where it lies.
    pub(super) direct: bool,
    /// The same, with rows anywhere.
    pub(super) scattered: bool,
    /// Tasks that run one after another as one chunk.
    pub(super) grain: usize,
    /// Whether tasks compute into a block of their own first (the result has another type).
    pub(super) narrow: bool,
    /// Whether all tasks of a block of the contraction come before those of the next block.
    pub(super) by_block: bool,
}

/// Elements of the result in a task: with both panels it stays in a second-level cache.
const BLOCK: usize = 96 * 1024;
/// Multiply-adds worth handing to another thread.
const GRAIN: usize = 256 * 1024;
/// Multiply-adds in the time that one element of the right side takes to arrive.
const READ: usize = 8;
/// Tasks that big products are cut into at least.
const TASKS: usize = 32;
/// Most elements of an operand packed whole, unless many tasks share it.
const SHARED: usize = 4 << 20;
/// Most columns of a result with short rows.
const SHORT: usize = 256;
/// Most columns of a task.
const WIDE: usize = 2048;
/// Elements that stay in a second-level cache beside panels of the other side.
const NEAR: usize = 256 * 1024;
/// Most rows of a task that is wide or as wide as the result.
const TALL: usize = 336;
/// Up to this many rows a packed right side is read by one task or two.
const ONCE: usize = 512;
/// Most rows for which reading the right side in place beats packing it.
const FEW: usize = 48;
/// Most elements of a right side of whole panels that is read in place whatever the number of rows.
const IN_PLACE: usize = 512 * 512;
/// Panels of rows from which tasks are rows of the result that pack their own part of the left side.
const MANY: usize = 8;
/// Most panels of rows of such a task: with a block of the contraction it stays in the second-level cache.
const PANELS: usize = 10;
/// Tasks that their number is a multiple of: so many threads have the same work.
const EVEN: usize = 4;

impl Plan {
    /// Cuts `batch` products of `m x k` and `k x n` matrices. `narrow`: the result is not stored in the compute type, or goes to a sink.
    pub fn new<E: Compute>(
        tier: Tier,
        (batch, m, n, k): (usize, usize, usize, usize),
        (left, right): (Ready, Ready),
        narrow: bool,
    ) -> Plan {
        let kernels = E::kernels(tier);
        let (height, width) = (kernels.height_for(m), kernels.width);
        let work = m.saturating_mul(n).saturating_mul(k);
        let aligned = n.is_multiple_of(width);
        let direct = right == Ready::Direct && (m <= FEW || aligned && n.saturating_mul(k) <= IN_PLACE);
        let scattered = right == Ready::Scattered;
        let ready = (left == Ready::Packed, right == Ready::Packed || direct || scattered);
        // With few rows the time goes into reading the right side.
        let cost = work.saturating_add(n.saturating_mul(k).saturating_mul(READ));
        let parts = (cost.saturating_mul(batch) / (4 * GRAIN)).clamp(1, TASKS).div_ceil(batch.max(1));
        let panels = m.div_ceil(height.max(1));
        let small = n.saturating_mul(k) <= IN_PLACE;
        let by_rows = left == Ready::No && !scattered && panels >= MANY && n <= WIDE && small;
        let by_block = left == Ready::No
            && !scattered
            && !narrow
            && !direct
            && if small { by_rows && !ready.1 && batch == 1 } else { m > TALL };
        if by_block || by_rows && ready.1 {
            let least = if !small { (panels / 6).min(16).max(panels.div_ceil(PANELS)) } else { parts.min(panels / 2) };
            let tasks = if least > 1 { least.next_multiple_of(EVEN).min(panels) } else { 1 };
            let per_task = (cost / tasks.max(1)).max(1);
            return Plan {
                m,
                n,
                k,
                batch,
                distinct: (batch, batch),
                height,
                width,
                rows: panels.div_ceil(tasks) * height,
                columns: n.next_multiple_of(width),
                left: Packing::PerTask,
                right: if ready.1 { Packing::Never } else { Packing::PerBlock },
                direct,
                scattered,
                grain: if by_block { 1 } else { (GRAIN / per_task).max(1) },
                narrow,
                by_block,
            };
        }
        let by_columns = match ready {
            // Results with short rows are cut into whole ones, which epilogues then pass over without gaps.
            (true, false) => n > SHORT || m < 2 * height || n.saturating_mul(k) > NEAR,
            // Each element of the right side is then read once; it may come from afar.
            (false, true) => m <= ONCE,
            _ => m <= n,
        };
        let (mut rows, mut columns);
        if by_columns {
            // Of equal height, so that the left panels of one block of the contraction stay in the second-level cache.
            rows = m.div_ceil(m.div_ceil(TALL).max(1));
            columns = (BLOCK / rows.max(1)).clamp(width, WIDE);
            let down = m.div_ceil(rows.max(1)).max(1);
            columns = columns.min(n.div_ceil(parts.div_ceil(down)).max(2 * width));
            let across = n.div_ceil(columns.max(1)).max(1);
            rows = rows.min(m.div_ceil(parts.div_ceil(across)).max(4 * height));
        } else {
            columns = n.min(WIDE);
            rows = (BLOCK / columns.max(1)).clamp(height, 40 * height);
            // A right side in the second-level cache is read again for every panel of rows.
            let least = if n.saturating_mul(k) <= NEAR { height } else { 4 * height };
            rows = rows.min(m.div_ceil(parts).max(least));
            let down = m.div_ceil(rows.max(1)).max(1);
            columns = columns.min(n.div_ceil(parts.div_ceil(down)).max(2 * width));
        }
        rows = rows.min(m).next_multiple_of(height);
        columns = columns.min(n).next_multiple_of(width);
        let packing = |ready: bool, outer: usize, repeats: usize| {
            let elements = outer.saturating_mul(k).saturating_mul(batch);
            match ready {
                true => Packing::Never,
                false if repeats > 1 && (elements <= SHARED || repeats > 8) => Packing::Before,
                false => Packing::PerTask,
            }
        };
        let per_task = (cost / (m.div_ceil(rows.max(1)) * n.div_ceil(columns.max(1))).max(1)).max(1);
        Plan {
            m,
            n,
            k,
            batch,
            distinct: (batch, batch),
            height,
            width,
            rows: rows.max(1),
            columns: columns.max(1),
            left: packing(ready.0, m, n.div_ceil(columns.max(1))),
            right: packing(ready.1, n, m.div_ceil(rows.max(1))),
            direct,
            scattered,
            grain: (GRAIN / per_task).max(1),
            narrow,
            by_block: false,
        }
    }

    /// The same for sides that repeat: matrix `i` equals matrix `i` modulo these numbers.
    pub fn repeating(mut self, left: usize, right: usize) -> Plan {
        self.distinct = (left.clamp(1, self.batch.max(1)), right.clamp(1, self.batch.max(1)));
        for (packing, distinct) in [(&mut self.left, self.distinct.0), (&mut self.right, self.distinct.1)] {
            if *packing == Packing::PerTask && distinct < self.batch {
                *packing = Packing::Before;
            }
        }
        self
    }

    pub(super) fn across(&self) -> usize {
        self.n.div_ceil(self.columns)
    }

    pub(super) fn down(&self) -> usize {
        self.m.div_ceil(self.rows)
    }

    /// Number of tasks.
    pub(super) fn tasks(&self) -> usize {
        self.batch * self.across() * self.down()
    }

    /// Elements of one packed left matrix.
    pub(super) fn left_size(&self) -> usize {
        self.m * self.k
    }

    /// Elements of one packed right matrix.
    pub(super) fn right_size(&self) -> usize {
        self.n.next_multiple_of(self.width) * self.k
    }

    /// First row and number of rows of task `i` from the top.
    pub(super) fn span(&self, i: usize) -> (usize, usize) {
        let (panels, down) = (self.m.div_ceil(self.height), self.down());
        let first = |i: usize| (i * panels / down * self.height).min(self.m);
        (first(i), first(i + 1) - first(i))
    }

    /// Length of the blocks of the contraction; the last one may be shorter.
    pub(super) fn depth(&self) -> usize {
        depth(self.k)
    }

    pub(super) fn left_scratch(&self) -> usize {
        if self.left == Packing::PerTask { (self.rows * self.depth()).next_multiple_of(16) } else { 0 }
    }

    pub(super) fn right_scratch(&self) -> usize {
        match self.right {
            Packing::PerTask => (self.columns * self.depth()).next_multiple_of(16),
            _ if self.direct => (self.width * self.depth()).next_multiple_of(16),
            _ => 0,
        }
    }

    /// Elements of scratch one task needs.
    pub(super) fn scratch(&self) -> usize {
        self.left_scratch() + self.right_scratch() + if self.narrow { self.rows * self.columns } else { 0 }
    }

    pub(super) fn shared_left(&self) -> usize {
        if self.left == Packing::Before { (self.left_size() * self.distinct.0).next_multiple_of(16) } else { 0 }
    }

    pub(super) fn shared_right(&self) -> usize {
        match self.right {
            Packing::Before => (self.right_size() * self.distinct.1).next_multiple_of(16),
            Packing::PerBlock => (self.n.next_multiple_of(self.width) * self.depth()).next_multiple_of(16),
            _ => 0,
        }
    }

    /// Elements of the compute type that [`super::run`] needs as workspace with this many threads.
    pub fn workspace(&self, threads: usize) -> usize {
        if self.m == 0 || self.n == 0 || self.batch == 0 {
            return 0;
        }
        let chunks = self.tasks().div_ceil(self.grain);
        self.shared_left() + self.shared_right() + self.scratch() * threads.min(chunks).max(1)
    }
}
