use smallvec::{SmallVec, smallvec};

use crate::{Error, Result};

/// Sizes of the axes of a tensor, outermost first.
pub type Shape = SmallVec<[usize; 6]>;
/// Steps of the axes in elements; negative and zero steps are legal.
pub type Strides = SmallVec<[isize; 6]>;

/// Product of the sizes, or an error when it does not fit `usize`.
#[inline]
pub fn num_elements(shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d).filter(|&n| n <= isize::MAX as usize))
        .ok_or_else(|| Error::shape(format!("a tensor of shape {shape:?} has more elements than memory has addresses")))
}

/// Row-major strides of `shape`.
#[inline]
pub fn contiguous_strides(shape: &[usize]) -> Strides {
    let mut strides: Strides = smallvec![1; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1].wrapping_mul(shape[i + 1].max(1) as isize);
    }
    strides
}

/// The shape that two shapes broadcast to (NumPy rules).
///
/// # Errors
/// [`crate::ErrorKind::Shape`] when two sizes differ and neither is 1.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let mut out: Shape = smallvec![1; rank];
    for i in 0..rank {
        let da = if i + a.len() >= rank { a[i + a.len() - rank] } else { 1 };
        let db = if i + b.len() >= rank { b[i + b.len() - rank] } else { 1 };
        out[i] = match (da, db) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            (x, y) => {
                return Err(Error::shape(format!("shapes {a:?} and {b:?} do not broadcast: axis {i} has {x} and {y}"))
                    .with_expected("equal sizes, or 1 on one side, counted from the last axis"));
            }
        };
    }
    Ok(out)
}

/// Where the elements of a tensor lie in its storage: sizes, steps and offset, all in elements.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Sizes of the axes.
    pub shape: Shape,
    /// Steps of the axes, in elements.
    pub strides: Strides,
    /// Storage index of the element at index zero.
    pub offset: usize,
}

impl Clone for Layout {
    // `SmallVec::clone` goes element by element.
    #[inline]
    fn clone(&self) -> Layout {
        Layout {
            shape: Shape::from_slice(&self.shape),
            strides: Strides::from_slice(&self.strides),
            offset: self.offset,
        }
    }
}

impl Layout {
    /// Row-major layout at offset 0.
    #[inline]
    pub fn contiguous(shape: &[usize]) -> Layout {
        Layout { shape: Shape::from_slice(shape), strides: contiguous_strides(shape), offset: 0 }
    }

    /// Number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements. The shape of an existing layout has been checked against overflow.
    #[inline]
    pub fn len(&self) -> usize {
        if self.is_empty() { 0 } else { self.shape.iter().product() }
    }

    /// True when there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// True when the elements lie one after another in row-major order (the offset does not matter).
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1isize;
        let (shape, strides) = (&self.shape[..], &self.strides[..]);
        let rank = shape.len().min(strides.len());
        for i in (0..rank).rev() {
            let d = shape[i];
            if d == 0 {
                return true;
            }
            if d != 1 {
                if strides[i] != step {
                    return false;
                }
                // An outer size of 0 makes any inner sizes legal.
                step = step.wrapping_mul(d as isize);
            }
        }
        true
    }

    /// The lowest and one past the highest storage index touched.
    #[inline]
    pub fn span(&self) -> (usize, usize) {
        if self.is_empty() {
            return (self.offset, self.offset);
        }
        let (mut low, mut high) = (self.offset as isize, self.offset as isize);
        let (shape, strides) = (&self.shape[..], &self.strides[..]);
        for i in 0..shape.len().min(strides.len()) {
            let reach = (shape[i] as isize - 1) * strides[i];
            if reach < 0 { low += reach } else { high += reach }
        }
        (low as usize, high as usize + 1)
    }

    /// True when two different indices can never reach the same element, judged by strides alone.
    pub fn is_injective(&self) -> bool {
        let mut axes: SmallVec<[(usize, usize); 6]> = (self.shape.iter().zip(&self.strides))
            .filter(|&(&d, _)| d > 1)
            .map(|(&d, &s)| (s.unsigned_abs(), d))
            .collect();
        axes.sort_unstable();
        let mut reach = 0usize;
        for (s, d) in axes {
            if s <= reach {
                return false;
            }
            reach += s * (d - 1);
        }
        true
    }

    /// Axes reordered: axis `i` of the result is axis `order[i]` of this one. `order` must be a permutation.
    pub fn permute(&self, order: &[usize]) -> Layout {
        Layout {
            shape: order.iter().map(|&a| self.shape[a]).collect(),
            strides: order.iter().map(|&a| self.strides[a]).collect(),
            offset: self.offset,
        }
    }

    /// Broadcast view: new and size-1 axes get step 0.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Layout> {
        let fail = || {
            Error::shape(format!("shape {:?} does not broadcast to {shape:?}", self.shape.as_slice()))
                .with_expected("each size equal to the target's or 1, counted from the last axis")
        };
        if shape.len() < self.rank() {
            return Err(fail());
        }
        let lead = shape.len() - self.rank();
        let mut strides: Strides = smallvec![0; shape.len()];
        for i in 0..self.rank() {
            let (from, to) = (self.shape[i], shape[lead + i]);
            if from == to {
                strides[lead + i] = self.strides[i];
            } else if from != 1 {
                return Err(fail());
            }
        }
        Ok(Layout { shape: Shape::from_slice(shape), strides, offset: self.offset })
    }

    /// View of `count` elements of one axis from `start` by `step`; the caller has checked the range.
    pub fn slice(&self, axis: usize, start: usize, step: isize, count: usize) -> Layout {
        let mut out = self.clone();
        if count > 0 {
            out.offset = (self.offset as isize + start as isize * self.strides[axis]) as usize;
        }
        out.shape[axis] = count;
        out.strides[axis] = self.strides[axis] * step;
        out
    }

    /// The same elements under another shape without a copy, or `None` when the strides do not allow it. The number of
    /// elements must be equal.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_contiguous() {
            let mut out = Layout::contiguous(shape);
            out.offset = self.offset;
            return Some(out);
        }
        let old: SmallVec<[(usize, isize); 6]> =
            (self.shape.iter().copied().zip(self.strides.iter().copied())).filter(|&(d, _)| d != 1).collect();
        let mut strides: Strides = smallvec![0; shape.len()];
        let (mut oi, mut ni) = (0, 0);
        while oi < old.len() && ni < shape.len() {
            let (mut op, mut np) = (old[oi].0, shape[ni]);
            let (o_start, n_start) = (oi, ni);
            while op != np {
                if np < op {
                    ni += 1;
                    np *= *shape.get(ni)?;
                } else {
                    oi += 1;
                    op *= old.get(oi)?.0;
                }
            }
            for k in o_start..oi {
                if old[k].1 != old[k + 1].1 * old[k + 1].0 as isize {
                    return None;
                }
            }
            let mut step = old[oi].1;
            for k in (n_start..=ni).rev() {
                strides[k] = step;
                step *= shape[k] as isize;
            }
            oi += 1;
            ni += 1;
        }
        Some(Layout { shape: Shape::from_slice(shape), strides, offset: self.offset })
    }

    /// Storage indices of all elements in row-major order.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        let mut index: Shape = smallvec![0; self.rank()];
        let mut at = self.offset as isize;
        let total = self.len();
        (0..total).map(move |n| {
            let here = at as usize;
            if n + 1 < total {
                for axis in (0..self.shape.len()).rev() {
                    index[axis] += 1;
                    at += self.strides[axis];
                    if index[axis] < self.shape[axis] {
                        break;
                    }
                    at -= self.strides[axis] * self.shape[axis] as isize;
                    index[axis] = 0;
                }
            }
            here
        })
    }
}
