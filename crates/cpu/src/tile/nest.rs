use lampyr_base::{Shape, Strides};
use smallvec::SmallVec;

/// The loops over a shape with the steps of several operands, axes merged where all operands allow it.
pub(crate) struct Nest {
    /// Sizes of the merged axes, outermost first; at least one axis.
    pub shape: Shape,
    /// Per operand the steps of the merged axes, in its own unit.
    pub strides: SmallVec<[Strides; 4]>,
}

impl Nest {
    /// Merges the axes of `shape`, whose operands have these steps.
    pub(crate) fn new<'a>(shape: &[usize], strides: impl Iterator<Item = &'a [isize]>) -> Nest {
        let all: SmallVec<[&[isize]; 4]> = strides.collect();
        let mut nest = Nest { shape: Shape::new(), strides: all.iter().map(|_| Strides::new()).collect() };
        for (axis, &size) in shape.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let joins =
                !nest.shape.is_empty()
                    && nest.strides.iter().zip(&all).all(|(merged, s)| {
                        merged.last().is_some_and(|&last| last == s[axis].wrapping_mul(size as isize))
                    });
            if joins {
                if let Some(last) = nest.shape.last_mut() {
                    *last *= size;
                }
                for (merged, s) in nest.strides.iter_mut().zip(&all) {
                    if let Some(last) = merged.last_mut() {
                        *last = s[axis];
                    }
                }
            } else {
                nest.shape.push(size);
                nest.strides.iter_mut().zip(&all).for_each(|(merged, s)| merged.push(s[axis]));
            }
        }
        if nest.shape.is_empty() {
            nest.shape.push(1);
            nest.strides.iter_mut().for_each(|s| s.push(0));
        }
        nest
    }

    /// Size of the innermost axis.
    pub(crate) fn inner(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of points.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Walks the innermost runs of `shape` from point `start` on, `len` points in all: `f(position, points, offset)` with
/// the offset of the run's first point under `strides`.
pub(crate) fn runs(
    shape: &[usize],
    strides: &[isize],
    start: usize,
    len: usize,
    mut f: impl FnMut(usize, usize, isize),
) {
    let Some((&inner, outer)) = shape.split_last() else { return };
    let step = strides[outer.len()];
    let mut index: Shape = smallvec::smallvec![0; outer.len()];
    let (mut row, mut at) = (start / inner, start % inner);
    let mut base = 0isize;
    for (axis, &size) in outer.iter().enumerate().rev() {
        index[axis] = row % size;
        row /= size;
        base += index[axis] as isize * strides[axis];
    }
    let mut done = 0;
    while done < len {
        let points = (inner - at).min(len - done);
        f(done, points, base + at as isize * step);
        done += points;
        at = 0;
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            base += strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            base -= strides[axis] * outer[axis] as isize;
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyr_base::Layout;

    #[test]
    fn axes_merge_where_all_operands_allow() {
        let shape = [2, 3, 1, 4];
        let contiguous: &[isize] = &[12, 4, 4, 1];
        let inner_broadcast: &[isize] = &[0, 0, 0, 1];
        let nest = Nest::new(&shape, [contiguous, contiguous].into_iter());
        assert_eq!((nest.shape.as_slice(), nest.strides[0].as_slice()), ([24].as_slice(), [1].as_slice()));
        let nest = Nest::new(&shape, [contiguous, inner_broadcast].into_iter());
        assert_eq!(nest.shape.as_slice(), [6, 4]);
        assert_eq!(nest.strides[1].as_slice(), [0, 1]);
        let nest = Nest::new(&[], [[].as_slice()].into_iter());
        assert_eq!(nest.len(), 1);
    }

    #[test]
    fn runs_visit_points_in_order() {
        let layout = Layout::contiguous(&[4, 3, 5]).permute(&[1, 2, 0]);
        let want: Vec<usize> = layout.indices().collect();
        for (start, len) in [(0, 60), (7, 20), (59, 1), (13, 0)] {
            let mut got = Vec::new();
            runs(&layout.shape, &layout.strides, start, len, |at, n, offset| {
                assert_eq!(at, got.len());
                got.extend((0..n).map(|i| (offset + i as isize * layout.strides[2]) as usize));
            });
            assert_eq!(got, want[start..start + len]);
        }
    }
}
