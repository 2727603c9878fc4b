//! Places in sorted sequences, histograms and membership.

use std::collections::HashSet;

use lampyr_base::{DType, Error, Result};
use lampyr_ir::{HostTensor, Numbers};
use lampyr_runtime::{Operand, Tensor};

use super::operand::common;
use super::support::{described, floats, ints, shape_error};
use crate::names::{Entry, METHOD, TOP, give, name};

/// How [`searchsorted`] answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search<'a> {
    /// `int32` places.
    pub narrow: bool,
    /// Behind equal elements, not before them.
    pub right: bool,
    /// Positions that sort the sequence.
    pub sorter: Option<&'a Tensor>,
}

fn place(numbers: &Numbers, value: &Numbers, at: usize, n: usize, pick: impl Fn(usize) -> usize, right: bool) -> usize {
    let before = |i: usize| match (numbers, value) {
        (Numbers::F(s), Numbers::F(v)) => !if right { s[pick(i)] > v[at] } else { s[pick(i)] >= v[at] },
        (Numbers::I(s), Numbers::I(v)) => !if right { s[pick(i)] > v[at] } else { s[pick(i)] >= v[at] },
        (Numbers::U(s), Numbers::U(v)) => !if right { s[pick(i)] > v[at] } else { s[pick(i)] >= v[at] },
        _ => false,
    };
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Where each of `values` would go into `sequence`, sorted along its last axis, so that it stays sorted. A sequence of
/// several axes holds one row for every row of `values`.
pub fn searchsorted(sequence: &Tensor, values: Operand, search: Search) -> Result<Tensor> {
    let to = common(&[sequence.into(), values]);
    let values = match values {
        Operand::Tensor(t) => t.clone(),
        Operand::Scalar(s) => Tensor::scalar(s, to, sequence.device())?,
    };
    let Some((&n, rows)) = sequence.shape().split_last() else {
        return Err(shape_error("searchsorted", "the sequence has no axes", &[sequence, &values]));
    };
    let fits = rows.is_empty() || values.shape().split_last().is_some_and(|(_, lead)| lead == rows);
    if !fits {
        return Err(shape_error(
            "searchsorted",
            format!("rows {:?} for values {:?}", sequence.shape(), values.shape()),
            &[sequence, &values],
        )
        .with_expected("a vector, or equal sizes on all axes but the last"));
    }
    let sorter = match search.sorter {
        Some(s) if s.dtype() != DType::I64 || s.shape() != sequence.shape() => {
            return Err(shape_error("searchsorted", "the sorter does not fit the sequence", &[sequence, s])
                .with_expected("int64 positions of the shape of the sequence"));
        }
        Some(s) => Some(s.to_host()?.to_i64()),
        None => None,
    };
    if let Some(bad) = sorter.iter().flatten().find(|i| **i < 0 || **i >= n as i64) {
        return Err(
            Error::index(format!("sorter index {bad} is out of range for {n} elements")).with_op("searchsorted")
        );
    }
    let (from, wanted) = (sequence.to_dtype(to)?.to_host()?.numbers(), values.to_dtype(to)?.to_host()?.numbers());
    let width = values.shape().last().copied().unwrap_or(1).max(1);
    let found = (0..values.len()).map(|i| {
        let row = if rows.is_empty() { 0 } else { i / width * n };
        let pick = |k: usize| row + sorter.as_ref().map_or(k, |s| s[row + k] as usize);
        place(&from, &wanted, i, n, pick, search.right) as i64
    });
    let found = ints(&found.collect::<Vec<_>>(), values.shape(), values.device())?;
    if search.narrow { found.to_dtype(DType::I32) } else { Ok(found) }
}

/// How many elements lie in each of `bins` equal parts of `[min, max]`, or of the range of the elements when both are 0.
pub fn histc(x: &Tensor, bins: i64, min: f64, max: f64) -> Result<Tensor> {
    floats(x, "histc")?;
    if bins <= 0 {
        return Err(Error::value(format!("{bins} bins")).with_op("histc").with_expected("at least one"));
    }
    let count = super::support::sizes(&[bins])?[0];
    super::support::room(&[count])?;
    let values = x.to_host()?.to_f64();
    let (mut low, mut high) = (min, max);
    if low == high && !values.is_empty() {
        low = values.iter().copied().fold(f64::INFINITY, f64::min);
        high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    }
    if low == high {
        (low, high) = (low - 1.0, high + 1.0);
    }
    if !(low.is_finite() && high.is_finite()) || low > high {
        return Err(Error::value(format!("the range [{low}, {high}]"))
            .with_op("histc")
            .with_expected("finite bounds, the lower one first"));
    }
    let narrow = |v: f64| if x.dtype() == DType::F64 { v } else { f64::from(v as f32) };
    let mut counts = vec![0.0; count];
    for v in values.into_iter().filter(|v| *v >= low && *v <= high) {
        let bin = narrow(narrow(narrow(v - low) * bins as f64) / narrow(high - low));
        counts[(bin as usize).min(count - 1)] += 1.0;
    }
    Tensor::from_host(&HostTensor::from_f64(x.dtype(), &[count], &counts)?, x.device())
}

fn keys(numbers: &Numbers) -> Vec<Option<u64>> {
    match numbers {
        Numbers::F(v) => v.iter().map(|x| (!x.is_nan()).then(|| (x + 0.0).to_bits())).collect(),
        Numbers::I(v) => v.iter().map(|x| Some(*x as u64)).collect(),
        Numbers::U(v) => v.iter().map(|x| Some(*x)).collect(),
    }
}

/// Which of `elements` are among `tests` (or are not, when `invert`).
pub fn isin(elements: Operand, tests: Operand, invert: bool) -> Result<Tensor> {
    let to = common(&[elements, tests]);
    let tensor = |x: Operand| match x {
        Operand::Tensor(t) => t.to_dtype(to),
        Operand::Scalar(s) => Tensor::scalar(s, to, lampyr_base::Device::CPU),
    };
    let (elements, tests) = (tensor(elements)?, tensor(tests)?);
    let all: HashSet<u64> = keys(&tests.to_host()?.numbers()).into_iter().flatten().collect();
    let hits = keys(&elements.to_host()?.numbers());
    let hits: Vec<bool> = hits.into_iter().map(|k| k.is_some_and(|k| all.contains(&k)) != invert).collect();
    Tensor::from_host(&HostTensor::from_slice(elements.shape(), &hits)?, elements.device())
}

/// Between which of the sorted `boundaries` each of `values` lies.
pub fn bucketize(values: Operand, boundaries: &Tensor, narrow: bool, right: bool) -> Result<Tensor> {
    if boundaries.rank() != 1 {
        return Err(Error::shape(format!("boundaries {}", described(boundaries)))
            .with_op("bucketize")
            .with_expected("a vector"));
    }
    searchsorted(boundaries, values, Search { narrow, right, sorter: None })
}

/// Whether places behind equal elements are meant.
fn side(right: bool, side: Option<&str>, given: bool) -> Result<bool> {
    match side {
        None => Ok(right),
        Some("left") if !(given && right) => Ok(false),
        Some("right") => Ok(true),
        Some(other) => Err(Error::value(format!("side is `{other}`, right is {right}"))
            .with_op("searchsorted")
            .with_expected("side `left` or `right`, not against `right`")),
    }
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "searchsorted(Tensor sorted_sequence, Operand input, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None, Tensor? out=None) -> Tensor",
        TOP,
        "Where elements go into a sorted sequence.",
        |a| {
            let right = side(a.bool(3)?, a.str_or_none(4)?, a.given(3))?;
            give(searchsorted(
                a.tensor(0)?,
                a.operand(1)?,
                Search { narrow: a.bool(2)?, right, sorter: a.tensor_or_none(5)? },
            ))
        },
    ),
    name(
        "bucketize(Operand input, Tensor boundaries, *, bool out_int32=False, bool right=False, Tensor? out=None) -> Tensor",
        TOP,
        "Between which boundaries elements lie.",
        |a| give(bucketize(a.operand(0)?, a.tensor(1)?, a.bool(2)?, a.bool(3)?)),
    ),
    name(
        "histc(Tensor input, int bins=100, float min=0, float max=0, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "How many elements lie in each of equal parts of a range.",
        |a| give(histc(a.tensor(0)?, a.int(1)?, a.float(2)?, a.float(3)?)),
    ),
    name(
        "isin(Operand elements, Operand test_elements, *, bool assume_unique=False, bool invert=False, Tensor? out=None) -> Tensor",
        TOP,
        "Which elements are among others.",
        |a| give(isin(a.operand(0)?, a.operand(1)?, a.bool(3)?)),
    ),
];
