use std::ops::Range;

use lampyr_kernels::simd::activation::{self, Activation, activate};

use super::operand::Shared;
use crate::gemm::Epilogue;
use crate::simd::Tier;

/// Matrices of `f32` whose rows have no gaps: the first element, and elements from matrix to matrix and row to row.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub start: Shared,
    pub strides: [isize; 2],
}

impl Rows {
    fn at(&self, batch: usize, row: usize, column: usize) -> *mut f32 {
        let [a, b] = self.strides;
        let offset = batch as isize * a + row as isize * b + column as isize;
        self.start.at(offset * size_of::<f32>() as isize).cast()
    }
}

/// A function of finished sums, in place, or of these and an operand of their shape.
pub(super) struct Activated {
    function: Activation,
    tier: Tier,
    rows: Rows,
    residual: Option<Rows>,
}

impl Activated {
    /// A function of `rows`, or of their sums with those of `residual`; operands of one launch, which are valid for its
    /// shape.
    pub fn new(function: Activation, rows: Rows, residual: Option<Rows>) -> Activated {
        Activated { function, tier: Tier::current(), rows, residual }
    }
}

impl Epilogue for Activated {
    fn apply(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let at = |r: &Rows| r.at(batch, rows.start, columns.start);
        let run = activation::Rows {
            x: at(&self.rows),
            step: self.rows.strides[1],
            residual: self.residual.as_ref().map_or(std::ptr::null(), |r| at(r).cast_const()),
            residual_step: self.residual.map_or(0, |r| r.strides[1]),
            rows: rows.len(),
            columns: columns.len(),
        };
        // SAFETY: both are valid for the shape of the launch, and blocks of one result do not overlap.
        unsafe { activate(self.tier, self.function, run) };
    }
}
