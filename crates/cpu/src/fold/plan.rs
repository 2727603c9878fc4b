use lampyr_base::{Layout, Shape, Strides};

use super::run::BLOCK;
use crate::tile::Nest;

/// Elements that one task folds; axes are split where there are more than twice as many.
const TASK: usize = 1 << 16;
/// Kept inner axes of at least this size are folded side by side.
const WIDE: usize = 16;
/// Shortest stretch that a split of a column fold takes.
const SHORTEST: usize = 128;

/// The order of a fold. Results are numbered row-major over the kept axes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Axes of the input in reading order: kept ones, folded ones, and with columns the innermost kept one.
    pub shape: Shape,
    /// Their steps in elements.
    pub strides: Strides,
    /// Number of results, or with columns of groups of `inner` results.
    pub outer: usize,
    /// Elements folded into each result.
    pub len: usize,
    /// Results side by side; 1 when each is folded on its own.
    pub inner: usize,
    /// Stretches into which the elements of a result are cut.
    pub splits: usize,
    /// Elements of each stretch but the last.
    pub split_len: usize,
}

impl Plan {
    /// The fold of the axes marked in `folded` of a tensor laid out so.
    pub(crate) fn new(layout: &Layout, folded: impl Fn(usize) -> bool) -> Plan {
        let part = |keep: bool| -> (Shape, Strides) {
            (0..layout.rank()).filter(|&a| folded(a) != keep).map(|a| (layout.shape[a], layout.strides[a])).unzip()
        };
        let (kept_shape, kept_strides) = part(true);
        let (fold_shape, fold_strides) = part(false);
        let kept = Nest::new(&kept_shape, [kept_strides.as_slice()].into_iter());
        let fold = Nest::new(&fold_shape, [fold_strides.as_slice()].into_iter());
        let (kept_strides, fold_strides) = (&kept.strides[0], &fold.strides[0]);
        let (outer, len) = (kept.len(), fold.len());

        let last = |s: &Strides| s.last().copied().unwrap_or(0);
        let side_by_side = last(kept_strides) == 1 && kept.inner() >= WIDE && (last(fold_strides) != 1 || len == 1);
        if side_by_side {
            let inner = kept.inner();
            let axes = kept.shape.len() - 1;
            let block = inner.min(BLOCK);
            let split_len = (TASK / block).max(SHORTEST);
            let splits = if len > 2 * split_len { len.div_ceil(split_len) } else { 1 };
            return Plan {
                shape: kept.shape[..axes].iter().chain(&fold.shape).copied().chain([inner]).collect(),
                strides: kept_strides[..axes].iter().chain(fold_strides).copied().chain([1]).collect(),
                outer: kept.shape[..axes].iter().product(),
                len,
                inner,
                splits,
                split_len: if splits == 1 { len } else { split_len },
            };
        }
        let splits = if len > 2 * TASK { len.div_ceil(TASK) } else { 1 };
        Plan {
            shape: kept.shape.iter().chain(&fold.shape).copied().collect(),
            strides: kept_strides.iter().chain(fold_strides).copied().collect(),
            outer,
            len,
            inner: 1,
            splits,
            split_len: if splits == 1 { len } else { TASK },
        }
    }

    /// Number of results.
    pub(crate) fn results(&self) -> usize {
        self.outer * self.inner
    }

    /// Bytes of workspace that the fold needs.
    pub(crate) fn workspace(&self) -> usize {
        if self.splits == 1 { 0 } else { self.results() * self.splits * 8 }
    }

    /// How many tasks of `elements` elements go into one chunk of a parallel loop.
    pub(super) fn tasks_per_chunk(elements: usize) -> usize {
        (TASK / elements.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_sorted() {
        let rows = Plan::new(&Layout::contiguous(&[5, 7, 300]), |a| a == 2);
        assert_eq!((rows.outer, rows.len, rows.inner, rows.splits), (35, 300, 1, 1));
        let columns = Plan::new(&Layout::contiguous(&[5, 7, 300]), |a| a == 1);
        assert_eq!((columns.outer, columns.len, columns.inner), (5, 7, 300));
        let all = Plan::new(&Layout::contiguous(&[1000, 1000]), |_| true);
        assert_eq!((all.results(), all.len, all.splits), (1, 1_000_000, 16));
        assert_eq!(all.workspace(), 16 * 8);
        let tall = Plan::new(&Layout::contiguous(&[100_000, 64]), |a| a == 0);
        assert_eq!((tall.outer, tall.inner, tall.splits), (1, 64, 98));
        let turned = Plan::new(&Layout::contiguous(&[64, 100]).permute(&[1, 0]), |a| a == 0);
        assert_eq!((turned.outer, turned.len, turned.inner), (64, 100, 1));
    }
}
