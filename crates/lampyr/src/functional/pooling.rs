//! Pooling over windows.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::activation::power;
use super::convolution::{batched, per_axis, unbatched};
use super::operand::one;
use super::support::{floats, known, shape_error, two};
use crate::names::{Call, Entry, FUNCTIONAL, Output, TOP, give, name};

/// Size and steps of the windows of a pooling over `n` axes.
#[derive(Clone, Copy, Debug)]
pub struct Pooling<'a> {
    /// Number of spatial axes.
    pub n: usize,
    /// Sizes of the window.
    pub kernel: &'a [i64],
    /// Steps; the size of the window when empty.
    pub stride: &'a [i64],
    /// Elements put on both sides, at most half the window.
    pub padding: &'a [i64],
    /// Steps within the window.
    pub dilation: &'a [i64],
    /// Whether a last window may hang over the end.
    pub ceil: bool,
}

struct Ready {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    pads: Vec<i64>,
    dilations: Vec<i64>,
}

impl Pooling<'_> {
    fn ready(&self, name: &str) -> Result<Ready> {
        let kernel = per_axis(self.kernel, self.n, "kernel_size", 1)?;
        let strides = if self.stride.is_empty() { kernel.clone() } else { per_axis(self.stride, self.n, "stride", 1)? };
        let pads = per_axis(self.padding, self.n, "padding", 0)?;
        if pads.iter().zip(&kernel).any(|(p, k)| *p > k / 2) {
            return Err(Error::value(format!("padding {:?} for windows {:?}", self.padding, self.kernel))
                .with_op(name)
                .with_expected("at most half the window"));
        }
        let dilations = per_axis(self.dilation, self.n, "dilation", 1)?;
        Ok(Ready { kernel, strides, pads: [pads.clone(), pads].concat(), dilations })
    }
}

/// Largest elements in windows of `x` `[N, C, ..]` or `[C, ..]`, and their positions in the plane of their channel.
pub fn max_pooling(x: &Tensor, pooling: Pooling, with_indices: bool) -> Result<(Tensor, Option<Tensor>)> {
    let name = format!("max_pool{}d", pooling.n);
    if matches!(x.dtype(), DType::I16 | DType::I32 | DType::I64) {
        let (y, at) = max_pooling(&x.to_dtype(DType::F64)?, pooling, with_indices)?;
        return Ok((y.to_dtype(x.dtype())?, at));
    }
    let (wide, added) = batched(x, pooling.n, &name)?;
    if wide.shape()[1..].contains(&0) {
        return Err(shape_error(&name, "an axis behind the batch has no elements", &[x]));
    }
    let Ready { kernel, strides, pads, dilations } = pooling.ready(&name)?;
    let pool = op::MaxPool {
        kernel,
        strides,
        pads: known(&pads),
        dilations,
        ceil_mode: pooling.ceil,
        return_indices: with_indices,
        channels_last: false,
    };
    if !with_indices {
        return Ok((unbatched(one(&pool, &[&wide])?, added)?, None));
    }
    let (y, at) = two(&pool, &[&wide])?;
    Ok((unbatched(y, added)?, Some(unbatched(at, added)?)))
}

/// Means of windows of `x` `[N, C, ..]` or `[C, ..]`; sums are divided by `divisor` where one is given.
pub fn avg_pooling(x: &Tensor, pooling: Pooling, count_padding: bool, divisor: Option<i64>) -> Result<Tensor> {
    let name = format!("avg_pool{}d", pooling.n);
    if x.dtype() == DType::I64 {
        return whole_means(x, pooling, count_padding, divisor);
    }
    floats(x, &name)?;
    if divisor == Some(0) {
        return Err(Error::value("the divisor is zero").with_op(&name));
    }
    let (wide, added) = batched(x, pooling.n, &name)?;
    let Ready { kernel, strides, pads, dilations } = pooling.ready(&name)?;
    let pool = op::AvgPool {
        kernel,
        strides,
        pads: known(&pads),
        dilations,
        ceil_mode: pooling.ceil,
        count_include_pad: count_padding,
        divisor_override: divisor,
        channels_last: false,
    };
    unbatched(one(&pool, &[&wide])?, added)
}

/// Means of whole numbers, rounded towards zero.
fn whole_means(x: &Tensor, pooling: Pooling, count_padding: bool, divisor: Option<i64>) -> Result<Tensor> {
    let taps = pooling.kernel.iter().fold(1i64, |n, &k| n.saturating_mul(k));
    let parts = taps.max(divisor.map_or(1, i64::saturating_abs)).saturating_mul(taps) as f64;
    let mean = avg_pooling(&x.to_dtype(DType::F64)?, pooling, count_padding, divisor)?;
    // A quotient that is whole may lie just below; others are at least one part of the divisor away from the next.
    let up = one(&op::Sign, &[&mean])?.mul(0.5 / parts)?;
    one(&op::Trunc, &[&mean.add(&up)?])?.to_dtype(x.dtype())
}

/// `p` norms of windows of `x`, without padding.
pub fn lp_pooling(x: &Tensor, p: f64, pooling: Pooling) -> Result<Tensor> {
    let kernel = per_axis(pooling.kernel, pooling.n, "kernel_size", 1)?;
    let count: f64 = kernel.iter().map(|&k| k as f64).product();
    let mean = avg_pooling(&power(x, p)?, pooling, true, None)?;
    let sign = one(&op::Sign, &[&mean])?;
    power(&sign.mul(&one(&op::Abs, &[&mean])?.relu()?)?.mul(count)?, 1.0 / p)
}

/// Zeros with the elements of `x` at the positions that [`max_pooling`] gave. `sizes` is empty, or the sizes of the result.
pub fn max_unpooling(x: &Tensor, at: &Tensor, pooling: Pooling, sizes: &[i64]) -> Result<Tensor> {
    let (n, name) = (pooling.n, format!("max_unpool{}d", pooling.n));
    if x.shape() != at.shape() {
        return Err(shape_error(&name, "elements and positions have different shapes", &[x, at]));
    }
    super::support::index_tensor(at, &name)?;
    if let Some(bad) = at.peek()?.to_i64().into_iter().find(|&i| i < 0) {
        return Err(Error::index(format!("position {bad} is negative")).with_op(name.as_str()));
    }
    let (wide, added) = batched(x, n, &name)?;
    let (at, _) = batched(at, n, &name)?;
    let Ready { kernel, strides, pads, .. } = pooling.ready(&name)?;
    let wanted = if sizes.is_empty() {
        (0..n).map(|a| (wide.shape()[a + 2] as i64 - 1) * strides[a] - 2 * pads[a] + kernel[a]).collect()
    } else {
        let last = &sizes[sizes.len().saturating_sub(n)..];
        per_axis(last, n, "output_size", 0)?
    };
    super::support::sizes(&wanted)?;
    unbatched(one(&op::MaxUnpool { sizes: known(&wanted) }, &[&wide, &at])?, added)
}

fn max_named(n: usize, a: &Call) -> Result<Output> {
    let pooling = Pooling {
        n,
        kernel: a.ints(1)?,
        stride: a.ints_or_none(2)?.unwrap_or_default(),
        padding: a.ints(3)?,
        dilation: a.ints(4)?,
        ceil: a.bool(5)?,
    };
    match max_pooling(a.tensor(0)?, pooling, a.bool(6)?)? {
        (y, Some(at)) => Ok((y, at).into()),
        (y, None) => Ok(y.into()),
    }
}

fn avg_named(n: usize, a: &Call) -> Result<Output> {
    let stride = a.ints_or_none(2)?.unwrap_or_default();
    let pooling = Pooling { n, kernel: a.ints(1)?, stride, padding: a.ints(3)?, dilation: &[1], ceil: a.bool(4)? };
    let divisor = if n == 1 { None } else { a.int_or_none(6)? };
    give(avg_pooling(a.tensor(0)?, pooling, a.bool(5)?, divisor))
}

fn lp_named(n: usize, a: &Call) -> Result<Output> {
    let stride = a.ints_or_none(3)?.unwrap_or_default();
    let pooling = Pooling { n, kernel: a.ints(2)?, stride, padding: &[0], dilation: &[1], ceil: a.bool(4)? };
    give(lp_pooling(a.tensor(0)?, a.float(1)?, pooling))
}

fn unpool_named(n: usize, a: &Call) -> Result<Output> {
    let stride = a.ints_or_none(3)?.unwrap_or_default();
    let pooling = Pooling { n, kernel: a.ints(2)?, stride, padding: a.ints(4)?, dilation: &[1], ceil: false };
    give(max_unpooling(a.tensor(0)?, a.tensor(1)?, pooling, a.ints_or_none(5)?.unwrap_or_default()))
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "max_pool1d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, bool ceil_mode=False, bool return_indices=False) -> Tensor",
        FUNCTIONAL,
        "Largest elements in windows.",
        |a| max_named(1, a),
    )
    .cost(16.0),
    name(
        "max_pool1d_with_indices(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, bool ceil_mode=False, bool return_indices=True) -> (Tensor, Tensor)",
        FUNCTIONAL,
        "Largest elements in windows, and where they are.",
        |a| max_named(1, a),
    )
    .cost(16.0),
    name(
        "avg_pool1d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, bool ceil_mode=False, bool count_include_pad=True) -> Tensor",
        TOP | FUNCTIONAL,
        "Means of windows.",
        |a| avg_named(1, a),
    )
    .cost(16.0),
    name(
        "lp_pool1d(Tensor input, float norm_type, int[1] kernel_size, int[1]? stride=None, bool ceil_mode=False) -> Tensor",
        FUNCTIONAL,
        "Norms of windows.",
        |a| lp_named(1, a),
    )
    .cost(32.0),
    name(
        "max_unpool1d(Tensor input, Tensor indices, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[]? output_size=None) -> Tensor",
        FUNCTIONAL,
        "Elements put back where max pooling found them, the rest zero.",
        |a| unpool_named(1, a),
    ),
    name(
        "max_pool2d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, bool ceil_mode=False, bool return_indices=False) -> Tensor",
        TOP | FUNCTIONAL,
        "Largest elements in windows.",
        |a| max_named(2, a),
    )
    .cost(16.0),
    name(
        "max_pool2d_with_indices(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, bool ceil_mode=False, bool return_indices=True) -> (Tensor, Tensor)",
        FUNCTIONAL,
        "Largest elements in windows, and where they are.",
        |a| max_named(2, a),
    )
    .cost(16.0),
    name(
        "avg_pool2d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None, *, Tensor? out=None) -> Tensor",
        FUNCTIONAL,
        "Means of windows.",
        |a| avg_named(2, a),
    )
    .cost(16.0),
    name(
        "lp_pool2d(Tensor input, float norm_type, int[1] kernel_size, int[1]? stride=None, bool ceil_mode=False) -> Tensor",
        FUNCTIONAL,
        "Norms of windows.",
        |a| lp_named(2, a),
    )
    .cost(32.0),
    name(
        "max_unpool2d(Tensor input, Tensor indices, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[]? output_size=None) -> Tensor",
        FUNCTIONAL,
        "Elements put back where max pooling found them, the rest zero.",
        |a| unpool_named(2, a),
    ),
    name(
        "max_pool3d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, bool ceil_mode=False, bool return_indices=False) -> Tensor",
        FUNCTIONAL,
        "Largest elements in windows.",
        |a| max_named(3, a),
    )
    .cost(16.0),
    name(
        "max_pool3d_with_indices(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[1] dilation=1, bool ceil_mode=False, bool return_indices=True) -> (Tensor, Tensor)",
        FUNCTIONAL,
        "Largest elements in windows, and where they are.",
        |a| max_named(3, a),
    )
    .cost(16.0),
    name(
        "avg_pool3d(Tensor input, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None, *, Tensor? out=None) -> Tensor",
        FUNCTIONAL,
        "Means of windows.",
        |a| avg_named(3, a),
    )
    .cost(16.0),
    name(
        "lp_pool3d(Tensor input, float norm_type, int[1] kernel_size, int[1]? stride=None, bool ceil_mode=False) -> Tensor",
        FUNCTIONAL,
        "Norms of windows.",
        |a| lp_named(3, a),
    )
    .cost(32.0),
    name(
        "max_unpool3d(Tensor input, Tensor indices, int[1] kernel_size, int[1]? stride=None, int[1] padding=0, int[]? output_size=None) -> Tensor",
        FUNCTIONAL,
        "Elements put back where max pooling found them, the rest zero.",
        |a| unpool_named(3, a),
    ),
];
