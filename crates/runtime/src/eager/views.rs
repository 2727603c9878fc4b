//! The short way for views whose layout the caller knows: an op is made only where a gradient asks for it.

use lampyr_base::{Dim, Layout, Result};
use lampyr_ir::{OpAttrs, OpRef};
use lampyr_ops::build::{AsStrided, Expand, Reshape, Slice, Transpose};
use smallvec::SmallVec;

use super::{apply_one, record};
use crate::tape::{is_watched_by_recorder, recording};
use crate::tensor::Tensor;

/// Elements `start..end` by `step` of axis `axis`: `0 <= start <= end <=` its size, and `step` is 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The axis.
    pub axis: usize,
    /// The first element.
    pub start: usize,
    /// Behind the last element.
    pub end: usize,
    /// From element to element.
    pub step: usize,
}

/// How a view came from its base.
pub(crate) enum How {
    Op(OpRef),
    Reshape,
    Expand,
    Permute(SmallVec<[u8; 8]>),
    Cut(SmallVec<[Cut; 2]>),
    /// Any strides over a row-major base, whose offset this is.
    Strided(usize),
}

impl How {
    /// The op that makes a view of layout `view`.
    pub(crate) fn op(&self, view: &Layout) -> OpRef {
        let shape = || view.shape.iter().map(|&d| Dim::from(d)).collect();
        match self {
            How::Op(op) => op.clone(),
            How::Reshape => Reshape { shape: shape() }.to_ref(),
            How::Expand => Expand { shape: shape() }.to_ref(),
            How::Permute(order) => Transpose { perm: order.iter().map(|&a| i64::from(a)).collect() }.to_ref(),
            How::Cut(cuts) => Slice {
                axes: cuts.iter().map(|c| c.axis as i64).collect(),
                starts: cuts.iter().map(|c| Dim::from(c.start)).collect(),
                ends: cuts.iter().map(|c| Dim::from(c.end)).collect(),
                steps: cuts.iter().map(|c| c.step as i64).collect(),
            }
            .to_ref(),
            How::Strided(start) => AsStrided {
                size: view.shape.iter().map(|&d| d as i64).collect(),
                stride: view.strides.iter().map(|&s| s as i64).collect(),
                offset: (view.offset - start) as i64,
            }
            .to_ref(),
        }
    }
}

/// The view of `base` with `layout`, whose elements are some of its own, where nothing records and `base` is row-major.
pub(crate) fn strided_view(base: &Tensor, layout: Layout) -> Result<Option<Tensor>> {
    if is_watched_by_recorder() || base.is_batched() || !base.is_contiguous() {
        return Ok(None);
    }
    if recording() && base.edge()?.is_some() {
        return Ok(None);
    }
    Ok(Some(Tensor::view_of(base, layout, How::Strided(base.layout().offset))))
}

/// The view of `base` with `layout`, which is what the op of `how` makes of the layout of `base`.
pub(crate) fn view_as(base: &Tensor, layout: Layout, how: How) -> Result<Tensor> {
    if is_watched_by_recorder() || base.is_batched() {
        return apply_one(&*how.op(&layout), &[base]);
    }
    if !recording() || base.edge()?.is_none() {
        return Ok(Tensor::view_of(base, layout, how));
    }
    let op = how.op(&layout);
    let out = Tensor::view_of(base, layout, How::Op(op.clone()));
    if let Some(edges) = record::edges(&*op, &[base])? {
        let saves = op.saves_for(&[true]);
        record::record_as(op, &[base], &[Some(out.clone())], edges, saves)?;
    }
    Ok(out)
}
