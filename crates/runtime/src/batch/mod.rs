//! Tensors that stand for many: `vmap` gives each argument a hidden axis, and ops are applied to all elements of it at
//! once. Shapes, layouts and the tape know only the other axes.

mod axes;
mod contraction;
mod fold;
mod index;
mod level;
mod run;

use lampyr_base::{Error, Layout, Result};
use smallvec::SmallVec;

use crate::tensor::Tensor;

pub(crate) use level::spread_to;
pub use level::{Randomness, check_random, draw, enter, has, leave, levels, pop_level, push_level, spread};
pub(crate) use run::compute;

/// A hidden axis: the level it belongs to, its size, and its step in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub level: u64,
    pub size: usize,
    pub stride: isize,
}

/// Levels with their sizes, the outermost first.
pub(crate) type Lead = SmallVec<[(u64, usize); 2]>;

/// Whether any of `inputs` stands for many.
#[inline]
pub(crate) fn any(inputs: &[&Tensor]) -> bool {
    inputs.iter().any(|t| t.is_batched())
}

/// The levels of all `inputs`.
///
/// # Errors
/// When a tensor left the `vmap` that made it and met another size.
pub(crate) fn lead(inputs: &[&Tensor]) -> Result<Lead> {
    let mut all = Lead::new();
    for axis in inputs.iter().flat_map(|t| t.hidden()) {
        match all.iter().find(|(level, _)| *level == axis.level) {
            Some((_, n)) if *n == axis.size => {}
            Some((_, n)) => {
                return Err(Error::internal(format!("{n} and {} elements of one vmap", axis.size)));
            }
            None => {
                let at = all.partition_point(|(level, _)| *level < axis.level);
                all.insert(at, (axis.level, axis.size));
            }
        }
    }
    Ok(all)
}

/// `fresh` as a tensor of its own for every element that `like` stands for.
///
/// # Errors
/// When there is no memory for it.
pub fn beside(fresh: Tensor, like: &Tensor) -> Result<Tensor> {
    if !like.is_batched() {
        return Ok(fresh);
    }
    let lead = like.own_lead();
    fresh.physical(&lead, fresh.rank(), true).copy_contiguous()?.hide(&lead)
}

impl Tensor {
    /// Whether this stands for many tensors inside of a `vmap`.
    #[inline]
    pub fn is_batched(&self) -> bool {
        self.0.batch.is_some()
    }

    pub(crate) fn hidden(&self) -> &[Axis] {
        self.0.batch.as_deref().unwrap_or_default()
    }

    /// The same memory and hidden axes under another layout.
    pub(crate) fn relaid(&self, layout: Layout) -> Tensor {
        Tensor::over_batch(self.storage().clone(), layout, self.dtype(), self.0.batch.clone())
    }

    /// The tensor of all elements: axes for `lead`, ones up to `rank`, and the own axes. A level that this tensor lacks
    /// has its size when `full`, else size 1.
    pub(crate) fn physical(&self, lead: &Lead, rank: usize, full: bool) -> Tensor {
        let own = self.layout();
        let mut layout = Layout::contiguous(&[]);
        layout.offset = own.offset;
        let mut push = |size: usize, stride: isize| {
            layout.shape.push(size);
            layout.strides.push(stride);
        };
        for (level, size) in lead {
            match self.hidden().iter().find(|a| a.level == *level) {
                Some(axis) => push(axis.size, axis.stride),
                None => push(if full { *size } else { 1 }, 0),
            }
        }
        (own.rank()..rank).for_each(|_| push(1, 0));
        own.shape.iter().zip(&own.strides).for_each(|(n, s)| push(*n, *s));
        Tensor::over(self.storage().clone(), layout, self.dtype())
    }

    /// The tensor whose first axes are the hidden axes of `lead`, with those hidden.
    ///
    /// # Errors
    /// When the axes do not fit, a defect of a rule.
    pub(crate) fn hide(&self, lead: &Lead) -> Result<Tensor> {
        let own = self.layout();
        let fits = own.rank() >= lead.len() && lead.iter().zip(&own.shape).all(|((_, n), d)| n == d);
        if !fits {
            return Err(Error::internal(format!("{:?} does not begin with the sizes of {lead:?}", self.shape())));
        }
        let axis =
            |(i, (level, size)): (usize, &(u64, usize))| Axis { level: *level, size: *size, stride: own.strides[i] };
        let batch: Box<[Axis]> = lead.iter().enumerate().map(axis).collect();
        let layout = Layout {
            shape: own.shape[lead.len()..].into(),
            strides: own.strides[lead.len()..].into(),
            offset: own.offset,
        };
        let batch = Some(batch).filter(|b| !b.is_empty());
        Ok(Tensor::over_batch(self.storage().clone(), layout, self.dtype(), batch))
    }

    /// The levels of this tensor.
    pub(crate) fn own_lead(&self) -> Lead {
        self.hidden().iter().map(|a| (a.level, a.size)).collect()
    }
}
