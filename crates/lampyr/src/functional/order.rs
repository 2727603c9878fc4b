//! Sorting, ranking and what repeats.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::Numbers;
use lampyr_ops::build as op;
use lampyr_ops::common::axis;
use lampyr_runtime::{Tensor, apply};

use super::operand::one;
use super::shape::{reshape_to, squeeze};
use super::support::{ints, shape_error, two, with_axis};
use crate::names::{Entry, METHOD, Output, TOP, give, name};

/// The elements along axis `dim` in order, and where they were. Equal elements keep their order; NaN counts as larger
/// than every number.
pub fn sort(x: &Tensor, dim: i64, descending: bool) -> Result<(Tensor, Tensor)> {
    let wide = with_axis(x)?;
    let a = axis(dim, wide.rank())?;
    let k = Dim::from(wide.shape()[a]);
    let op = op::Topk { k, axis: a as i64, largest: descending, sorted: true };
    let (values, at) = if x.dtype() == DType::Bool {
        let (values, at) = two(&op, &[&wide.to_dtype(DType::U8)?])?;
        (values.to_dtype(DType::Bool)?, at)
    } else {
        two(&op, &[&wide])?
    };
    if x.rank() == 0 { Ok((reshape_to(&values, &[])?, reshape_to(&at, &[])?)) } else { Ok((values, at)) }
}

/// The positions that would sort `x` along axis `dim`.
pub fn argsort(x: &Tensor, dim: i64, descending: bool) -> Result<Tensor> {
    Ok(sort(&x.detach(), dim, descending)?.1)
}

/// The elements along the first axis in order.
pub fn msort(x: &Tensor) -> Result<Tensor> {
    Ok(sort(x, 0, false)?.0)
}

/// The `k` largest (or smallest) elements along axis `dim`, and where they were.
pub fn topk_along(x: &Tensor, k: i64, dim: i64, largest: bool, sorted: bool) -> Result<(Tensor, Tensor)> {
    let wide = with_axis(x)?;
    let a = axis(dim, wide.rank())?;
    let n = wide.shape()[a] as i64;
    if !(0..=n).contains(&k) {
        return Err(Error::index(format!("k is {k} for an axis of {n} elements")).with_op("topk"));
    }
    let (values, at) = two(&op::Topk { k: Dim::Known(k), axis: a as i64, largest, sorted }, &[&wide])?;
    if x.rank() == 0 && k == 1 { Ok((reshape_to(&values, &[])?, reshape_to(&at, &[])?)) } else { Ok((values, at)) }
}

/// The `k`-th smallest element along axis `dim`, counted from 1, and where it is.
pub fn kthvalue(x: &Tensor, k: i64, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
    let wide = with_axis(x)?;
    let a = axis(dim, wide.rank())?;
    let n = wide.shape()[a] as i64;
    if !(1..=n).contains(&k) {
        return Err(Error::index(format!("k is {k} for an axis of {n} elements"))
            .with_op("kthvalue")
            .with_expected(format!("1..={n}")));
    }
    let (values, at) = topk_along(&wide, k, a as i64, false, true)?;
    let last = |t: &Tensor| {
        let kept = t.slice(a as i64, k - 1, k, 1)?;
        match (x.rank(), keepdim) {
            (0, _) => reshape_to(&kept, &[]),
            (_, true) => Ok(kept),
            _ => squeeze(&kept, Some(a as i64)),
        }
    };
    Ok((last(&values)?, last(&at)?))
}

/// What [`unique`] and [`unique_consecutive`] find.
#[derive(Clone, Debug)]
pub struct Different {
    /// The different elements or slices.
    pub values: Tensor,
    /// Which of them each element is.
    pub inverse: Tensor,
    /// How often they appear.
    pub counts: Tensor,
}

/// The different elements in ascending order, or slices of axis `dim`.
pub fn unique(x: &Tensor, dim: Option<i64>) -> Result<Different> {
    let dim = dim.map(|d| axis(d, x.rank().max(1)).map(|a| a as i64)).transpose()?;
    let source = if dim.is_some() { with_axis(x)? } else { x.clone() };
    let made = apply(&op::Unique { axis: dim, sorted: true }, &[&source.detach()])?.into_vec();
    let [values, _, inverse, counts] =
        <[Tensor; 4]>::try_from(made).map_err(|_| Error::internal("four outputs were expected").with_op("unique"))?;
    let inverse = if dim.is_none() { reshape_to(&inverse, x.shape())? } else { inverse };
    Ok(Different { values, inverse, counts })
}

fn equal_at(numbers: &Numbers, i: usize, j: usize) -> bool {
    match numbers {
        Numbers::F(v) => v[i] == v[j],
        Numbers::I(v) => v[i] == v[j],
        Numbers::U(v) => v[i] == v[j],
    }
}

/// The elements (or slices of axis `dim`) without those that equal the one before.
pub fn unique_consecutive(x: &Tensor, dim: Option<i64>) -> Result<Different> {
    let source = match dim {
        None => reshape_to(x, &[x.len()])?,
        Some(_) => with_axis(x)?,
    };
    let a = axis(dim.unwrap_or(0), source.rank())?;
    let n = source.shape()[a];
    let inner: usize = source.shape()[a + 1..].iter().product();
    let outer: usize = source.shape()[..a].iter().product();
    let numbers = source.to_host()?.numbers();
    let same = |i: usize| {
        (0..outer).all(|o| (0..inner).all(|k| equal_at(&numbers, (o * n + i) * inner + k, (o * n + i - 1) * inner + k)))
    };
    let (mut first, mut inverse, mut counts) = (Vec::new(), Vec::new(), Vec::<i64>::new());
    for i in 0..n {
        match counts.last_mut() {
            Some(count) if same(i) => *count += 1,
            _ => {
                first.push(i as i64);
                counts.push(1);
            }
        }
        inverse.push(counts.len() as i64 - 1);
    }
    let at = ints(&first, &[first.len()], x.device())?;
    let values = one(&op::Gather { axis: a as i64 }, &[&source.detach(), &at])?;
    let inverse_shape = if dim.is_none() { x.shape().to_vec() } else { vec![n] };
    Ok(Different {
        values,
        inverse: ints(&inverse, &inverse_shape, x.device())?,
        counts: ints(&counts, &[counts.len()], x.device())?,
    })
}

/// How often each of 0, 1, ... appears in a vector, or the sums of their weights; at least `minlength` numbers.
pub fn bincount(x: &Tensor, weights: Option<&Tensor>, minlength: i64) -> Result<Tensor> {
    if x.dtype().is_float() || x.dtype() == DType::Bool {
        return Err(Error::dtype(format!("elements are {}", x.dtype())).with_op("bincount").with_expected("integers"));
    }
    if x.rank() != 1 || weights.is_some_and(|w| w.shape() != x.shape()) {
        let all: Vec<&Tensor> = [x].into_iter().chain(weights).collect();
        return Err(shape_error("bincount", "not a vector with weights of its shape", &all)
            .with_expected("a vector, and one weight per element"));
    }
    let values = x.to_host()?.to_i64();
    if minlength < 0 || values.iter().any(|v| *v < 0) {
        return Err(Error::value("elements and minlength must not be negative").with_op("bincount"));
    }
    let most = values.iter().copied().max().map_or(0, |m| m.saturating_add(1)).max(minlength);
    let n = super::support::sizes(&[most])?[0];
    let at = ints(&values, &[values.len()], x.device())?;
    let ones = match weights {
        Some(w) if w.dtype() == DType::F32 => w.detach(),
        Some(w) => w.detach().to_dtype(DType::F64)?,
        None => Tensor::full(x.shape(), 1.0, DType::I64, x.device())?,
    };
    one(&op::ScatterAddElements { axis: 0, shape: vec![Dim::from(n)] }, &[&at, &ones])
}

impl Different {
    fn output(self, inverse: bool, counts: bool) -> Output {
        let mut all = vec![self.values];
        all.extend(inverse.then_some(self.inverse));
        all.extend(counts.then_some(self.counts));
        match <[Tensor; 1]>::try_from(all) {
            Ok([only]) => only.into(),
            Err(all) => all.into(),
        }
    }
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "sort(Tensor input, int dim=-1, bool descending=False, bool stable=False, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        TOP | METHOD,
        "Elements in order along an axis, and where they were.",
        |a| give(sort(a.tensor(0)?, a.int(1)?, a.bool(2)?)),
    )
    .cost(40.0),
    name(
        "sort(Tensor input, *, bool? stable, int dim=-1, bool descending=False, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        TOP | METHOD,
        "Elements in order along an axis, and where they were.",
        |a| give(sort(a.tensor(0)?, a.int(2)?, a.bool(3)?)),
    )
    .cost(40.0),
    name("argsort(Tensor input, int dim=-1, bool descending=False, bool stable=False) -> Tensor", TOP | METHOD, "Positions that put elements in order.", |a| {
        give(argsort(a.tensor(0)?, a.int(1)?, a.bool(2)?))
    })
    .cost(40.0),
    name("msort(Tensor input, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Elements in order along the first axis.", |a| give(msort(a.tensor(0)?))).cost(40.0),
    name(
        "topk(Tensor input, int k, int dim=-1, bool largest=True, bool sorted=True, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        TOP | METHOD,
        "The largest or smallest elements along an axis, and where they were.",
        |a| give(topk_along(a.tensor(0)?, a.int(1)?, a.int(2)?, a.bool(3)?, a.bool(4)?)),
    )
    .cost(20.0),
    name(
        "kthvalue(Tensor input, int k, int dim=-1, bool keepdim=False, *, Tensor[]? out=None) -> (Tensor values, Tensor indices)",
        TOP | METHOD,
        "The k-th smallest element along an axis, and where it is.",
        |a| give(kthvalue(a.tensor(0)?, a.int(1)?, a.int(2)?, a.bool(3)?)),
    )
    .cost(20.0),
    name(
        "unique(Tensor input, bool sorted=True, bool return_inverse=False, bool return_counts=False, int? dim=None) -> Tensor[]",
        TOP | METHOD,
        "The different elements, which of them each is, and how often they appear.",
        |a| Ok(unique(a.tensor(0)?, a.int_or_none(4)?)?.output(a.bool(2)?, a.bool(3)?)),
    )
    .cost(40.0),
    name(
        "unique_consecutive(Tensor input, bool return_inverse=False, bool return_counts=False, int? dim=None) -> Tensor[]",
        TOP | METHOD,
        "The elements without those that equal the one before.",
        |a| Ok(unique_consecutive(a.tensor(0)?, a.int_or_none(3)?)?.output(a.bool(1)?, a.bool(2)?)),
    ),
    name("bincount(Tensor input, Tensor? weights=None, int minlength=0) -> Tensor", TOP | METHOD, "How often each number appears.", |a| {
        give(bincount(a.tensor(0)?, a.tensor_or_none(1)?, a.int(2)?))
    }),
];
