//! Levels of `vmap` and the ways into and out of them, which gradients go back through.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lampyr_base::{Dim, Error, Layout, Result};
use lampyr_ops::build::{Expand, Mul, ReduceSum};

use super::{Axis, Lead};
use crate::eager::apply_one;
use crate::promote::Scalar;
use crate::tape::{Function, Output, record_function};
use crate::tensor::Tensor;

/// What random ops do inside of a `vmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Randomness {
    /// They fail.
    Error,
    /// Every element gets numbers of its own.
    Different,
    /// All elements get the same numbers.
    Same,
}

thread_local! {
    static LEVELS: RefCell<Vec<(u64, usize, Randomness)>> = const { RefCell::new(Vec::new()) };
}

/// Begins a `vmap` over `size` elements on this thread; its level, larger than all before.
pub fn push_level(size: usize, randomness: Randomness) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let level = NEXT.fetch_add(1, Ordering::Relaxed);
    LEVELS.with(|l| l.borrow_mut().push((level, size, randomness)));
    level
}

/// Ends the `vmap` of this level and those begun since.
pub fn pop_level(level: u64) {
    LEVELS.with(|l| l.borrow_mut().retain(|(have, ..)| *have < level));
}

/// The levels of this thread, the outermost first.
pub fn levels() -> Vec<(u64, usize)> {
    LEVELS.with(|l| l.borrow().iter().map(|(level, size, _)| (*level, *size)).collect())
}

/// Whether `x` differs between the elements of `level`.
pub fn has(x: &Tensor, level: u64) -> bool {
    x.hidden().iter().any(|a| a.level == level)
}

/// Fails when random numbers may not be drawn on this thread, or when `host` numbers, equal for all elements, would
/// have to differ.
///
/// # Errors
/// By the randomness that the `vmap`s of this thread were given.
pub fn check_random(host: bool) -> Result<()> {
    let found = LEVELS.with(|l| {
        let l = l.borrow();
        let refused = |r: Randomness| r == Randomness::Error || host && r == Randomness::Different;
        l.iter().map(|(.., r)| *r).find(|r| refused(*r))
    });
    match found {
        None => Ok(()),
        Some(Randomness::Error) => Err(Error::autograd(
            "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' \
             randomness flags on vmap or perform the randomness operation outside of vmap",
        )),
        Some(_) => Err(Error::unsupported("this random operation with different numbers for the elements of a vmap")
            .with_help("use randomness='same', or draw the numbers outside and map over them")),
    }
}

/// A tensor of random numbers that `make` makes in the shape it is given.
///
/// # Errors
/// When random numbers may not be drawn inside of the `vmap` of this thread.
pub fn draw(shape: &[usize], make: impl FnOnce(&[usize]) -> Result<Tensor>) -> Result<Tensor> {
    check_random(false)?;
    let lead = draw_shape();
    if lead.is_empty() {
        return make(shape);
    }
    let whole: Vec<usize> = lead.iter().map(|(_, n)| *n).chain(shape.iter().copied()).collect();
    make(&whole)?.hide(&lead)
}

/// Sizes in front of those of a tensor of random numbers, for levels that want different ones.
pub(crate) fn draw_shape() -> Lead {
    LEVELS.with(|l| {
        let l = l.borrow();
        l.iter().filter(|(.., r)| *r == Randomness::Different).map(|(level, size, _)| (*level, *size)).collect()
    })
}

struct Enter {
    level: u64,
    axis: usize,
    size: usize,
}

struct Leave {
    level: u64,
    axis: usize,
}

struct Spread {
    level: u64,
    size: usize,
}

macro_rules! function {
    ($type:ty, $name:literal, |$self:ident, $grad:ident| $back:expr) => {
        impl Function for $type {
            fn name(&self) -> String {
                $name.to_string()
            }
            fn backward(&self, grads: &[Option<Tensor>], _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
                let $self = self;
                let back = |$grad: &Tensor| $back;
                Ok(vec![grads.first().and_then(Option::as_ref).map(back).transpose()?])
            }
            fn release(&self) {}
            fn as_any(&self) -> &dyn Any {
                self
            }
        }
    };
}

function!(Enter, "VmapEnterBackward", |this, g| leave(g, this.level, this.axis, this.size));
function!(Leave, "VmapLeaveBackward", |this, g| enter(g, this.level, this.axis));
function!(Spread, "VmapSpreadBackward", |this, g| accumulated(g, this.level, this.size));

/// The sum over the elements of `level` of a gradient; one that all elements share counts for each.
fn accumulated(g: &Tensor, level: u64, size: usize) -> Result<Tensor> {
    if g.hidden().iter().any(|a| a.level == level) {
        let all = leave(g, level, 0, size)?;
        return apply_one(&ReduceSum { axes: vec![0], keepdims: false }, &[&all]);
    }
    let times = Tensor::scalar(Scalar::Int(size as i64), g.dtype(), g.device())?;
    apply_one(&Mul, &[g, &times])
}

/// `x` with its axis `axis` hidden as `level`; a view.
///
/// # Errors
/// When there is no such axis, or `x` has the level already.
pub fn enter(x: &Tensor, level: u64, axis: usize) -> Result<Tensor> {
    let own = x.layout();
    if axis >= own.rank() || x.hidden().iter().any(|a| a.level == level) {
        return Err(Error::internal(format!("axis {axis} of {:?} cannot be hidden", x.shape())));
    }
    let mut layout = own.clone();
    let size = layout.shape.remove(axis);
    let stride = layout.strides.remove(axis);
    let made = with_axis(x, layout, Axis { level, size, stride });
    record_function(Arc::new(Enter { level, axis, size }), &[x], &[(&made, Output::Fresh)])?;
    Ok(made)
}

fn with_axis(x: &Tensor, layout: Layout, axis: Axis) -> Tensor {
    let mut all = x.hidden().to_vec();
    let at = all.partition_point(|a| a.level < axis.level);
    all.insert(at, axis);
    Tensor::over_batch(x.storage().clone(), layout, x.dtype(), Some(all.into()))
}

/// `x` with the `size` elements of `level` along axis `axis`; a view. Where `x` is the same for all it is expanded.
///
/// # Errors
/// When `axis` is behind the last one.
pub fn leave(x: &Tensor, level: u64, axis: usize, size: usize) -> Result<Tensor> {
    if axis > x.rank() {
        return Err(Error::index(format!("axis {axis} of a result of {} axes", x.rank())));
    }
    let Some(at) = x.hidden().iter().position(|a| a.level == level) else {
        let mut shape: Vec<Dim> = x.shape().iter().map(|&d| Dim::from(d)).collect();
        shape.insert(axis, Dim::Known(1));
        let one = apply_one(&lampyr_ops::build::Unsqueeze { axes: vec![axis as i64] }, &[x])?;
        if let Some(d) = shape.get_mut(axis) {
            *d = Dim::from(size);
        }
        return apply_one(&Expand { shape }, &[&one]);
    };
    let mut all = x.hidden().to_vec();
    let hidden = all.remove(at);
    let mut layout = x.layout().clone();
    layout.shape.insert(axis, hidden.size);
    layout.strides.insert(axis, hidden.stride);
    let batch = Some(all.into_boxed_slice()).filter(|b| !b.is_empty());
    let made = Tensor::over_batch(x.storage().clone(), layout, x.dtype(), batch);
    record_function(Arc::new(Leave { level, axis }), &[x], &[(&made, Output::Fresh)])?;
    Ok(made)
}

/// `x` as a tensor of `level` whose elements are all the same; a view.
fn spread_one(x: &Tensor, level: u64, size: usize) -> Result<Tensor> {
    let made = with_axis(x, x.layout().clone(), Axis { level, size, stride: 0 });
    record_function(Arc::new(Spread { level, size }), &[x], &[(&made, Output::Fresh)])?;
    Ok(made)
}

/// `x` with all levels of `lead`.
pub(crate) fn spread_to(x: &Tensor, lead: &Lead) -> Result<Tensor> {
    let mut x = x.clone();
    for (level, size) in lead {
        if x.hidden().iter().all(|a| a.level != *level) {
            x = spread_one(&x, *level, *size)?;
        }
    }
    Ok(x)
}

/// `x` with a place for each element of all levels of this thread, so that a gradient of it is one of each element.
pub fn spread(x: &Tensor) -> Result<Tensor> {
    spread_to(x, &levels().into_iter().collect())
}
