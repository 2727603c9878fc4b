//! New tensors: filled, counted, at equal distances, and like others.

use lampyr_base::{DType, Device, Error, Result, TypeKind};
use lampyr_ir::HostTensor;
use lampyr_ops::build::Diagonal;
use lampyr_runtime::batch::beside;
use lampyr_runtime::{Scalar, Tensor, default_dtype};

use super::operand::one;
use super::shape::{arange, full};
use super::support::room;
use super::views::formatted;
use crate::names::{Call, Entry, METHOD, TOP, give, name};

/// The dtype of what a call makes: `dtype`, else that of `out`, else `natural`.
///
/// # Errors
/// When `dtype` and `out` contradict each other.
pub(super) fn made_dtype(a: &Call, natural: DType) -> Result<DType> {
    let given = a.position("dtype").map_or(Ok(None), |at| a.dtype_or_none(at))?;
    let out = match a.position("out") {
        Some(at) => a.tensor_or_none(at)?.map(Tensor::dtype),
        None => None,
    };
    match (given, out) {
        (Some(given), Some(out)) if given != out => {
            Err(Error::dtype(format!("dtype {given} does not match dtype of out parameter ({out})"))
                .with_help("leave dtype away, or give an output of that type"))
        }
        _ => Ok(given.or(out).unwrap_or(natural)),
    }
}

/// Where a call makes its tensor.
pub(super) fn place(a: &Call) -> Result<Device> {
    let given = a.position("device").map_or(Ok(None), |at| a.device_or_none(at))?;
    Ok(given.unwrap_or(Device::CPU))
}

/// In the memory format that a call states.
fn in_order(a: &Call, made: Tensor) -> Result<Tensor> {
    let format = a.position("memory_format").map_or(Ok(None), |at| a.str_or_none(at))?;
    formatted(made, format)
}

/// # Errors
/// When a whole number does not fit a type of whole numbers; negative numbers wrap into unsigned types.
pub fn check_range(values: &[i64], dtype: DType) -> Result<()> {
    let bits = dtype.bits() as u32;
    let bounds = match dtype.kind() {
        TypeKind::Unsigned => 0..=((1i128 << bits) - 1),
        TypeKind::Signed => -(1i128 << (bits - 1))..=((1i128 << (bits - 1)) - 1),
        _ => return Ok(()),
    };
    let fits = |v: &i64| bounds.contains(&i128::from(*v)) || (*v < 0 && -i128::from(*v) <= *bounds.end());
    match values.iter().find(|v| !fits(v)) {
        None => Ok(()),
        Some(v) => Err(Error::value(format!("{v} does not fit {dtype}")).with_expected(format!(
            "{} to {}",
            bounds.start(),
            bounds.end()
        ))),
    }
}

fn filled(a: &Call, shape: &[usize], value: Scalar, natural: DType) -> Result<Tensor> {
    let dtype = made_dtype(a, natural)?;
    if let Scalar::Int(i) = value {
        check_range(&[i], dtype)?;
    }
    in_order(a, like_input(a, full(shape, value, dtype, place(a)?)?)?)
}

fn blank(a: &Call, shape: &[usize], natural: DType) -> Result<Tensor> {
    crate::init();
    in_order(a, like_input(a, Tensor::empty(shape, made_dtype(a, natural)?, place(a)?)?)?)
}

/// Inside of a `vmap`, what is made like a mapped tensor is mapped itself.
fn like_input(a: &Call, made: Tensor) -> Result<Tensor> {
    match a.position("input") {
        Some(at) => beside(made, a.tensor(at)?),
        None => Ok(made),
    }
}

/// `steps` numbers at equal distances from `start` to `end`, both included; whole ones for types of whole numbers.
///
/// # Errors
/// When `steps` is negative, or memory does not hold them.
fn spaced(start: f64, end: f64, steps: i64, dtype: DType) -> Result<Vec<f64>> {
    let n = usize::try_from(steps).map_err(|_| Error::value(format!("{steps} steps")).with_expected("0 or more"))?;
    room(&[n])?;
    let round = |v: f64| if dtype.is_float() { v } else { v.trunc() };
    let (start, end) = (round(start), round(end));
    let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
    // Both halves count from their own end, so that both ends are exact.
    let at = |i: usize| if n == 1 || i < n / 2 { start + step * i as f64 } else { end - step * (n - 1 - i) as f64 };
    Ok((0..n).map(|i| round(at(i))).collect())
}

/// `steps` numbers at equal distances from `start` to `end`, both included.
///
/// # Errors
/// When `steps` is negative, or memory does not hold them.
pub fn linspace(start: f64, end: f64, steps: i64, dtype: DType, device: Device) -> Result<Tensor> {
    crate::init();
    let values = spaced(start, end, steps, dtype)?;
    Tensor::from_host(&HostTensor::from_f64(dtype, &[values.len()], &values)?, device)
}

/// `base` to the power of `steps` numbers at equal distances from `start` to `end`, both included.
///
/// # Errors
/// As [`linspace`].
pub fn logspace(start: f64, end: f64, steps: i64, base: f64, dtype: DType, device: Device) -> Result<Tensor> {
    crate::init();
    // Exponents of whole numbers are at equal distances between whole ends.
    let end_of = |v: f64| if dtype.is_float() { v } else { v.trunc() };
    let powers = spaced(end_of(start), end_of(end), steps, DType::F64)?;
    let values: Vec<f64> = powers.into_iter().map(|p| base.powf(p)).collect();
    Tensor::from_host(&HostTensor::from_f64(dtype, &[values.len()], &values)?, device)
}

/// The identity matrix of `n` rows and `m` columns.
///
/// # Errors
/// When one is negative, or memory does not hold it.
pub fn eye(n: i64, m: i64, dtype: DType, device: Device) -> Result<Tensor> {
    let size = |n: i64| {
        usize::try_from(n)
            .map_err(|_| Error::value(format!("an identity of {n} rows or columns")).with_expected("0 or more"))
    };
    let made = full(&[size(n)?, size(m)?], Scalar::Int(0), dtype, device)?;
    let diagonal = one(&Diagonal { offset: 0, axis1: 0, axis2: 1 }, &[&made])?;
    super::binary::copy_(&diagonal, Scalar::Int(1).into(), false)?;
    Ok(made.detach())
}

fn counted(a: &Call, start: Scalar, end: Scalar, step: Scalar) -> Result<Tensor> {
    let floats = [start, end, step].iter().any(|s| matches!(s, Scalar::Float(_)));
    let dtype = made_dtype(a, if floats { default_dtype() } else { DType::I64 })?;
    place(a)?;
    let count = ((end.to_f64() - start.to_f64()) / step.to_f64()).ceil();
    if count > 0.0 && count.is_finite() {
        room(&[count as usize])?;
    }
    arange(start, end, step, dtype)
}

/// A signature that ends with the arguments of functions that make tensors.
macro_rules! new {
    ($head:literal) => {
        concat!(
            $head,
            "Tensor? out=None, dtype? dtype=None, layout? layout=None, device? device=None, bool pin_memory=False, \
             bool requires_grad=False) -> Tensor"
        )
    };
}

/// As `new`, without `out`.
macro_rules! own {
    ($head:literal) => {
        concat!(
            $head,
            "dtype? dtype=None, layout? layout=None, device? device=None, bool pin_memory=False, \
             bool requires_grad=False) -> Tensor"
        )
    };
}

/// As `own`, with a memory format.
macro_rules! like {
    ($head:literal) => {
        concat!(
            $head,
            "dtype? dtype=None, layout? layout=None, device? device=None, bool pin_memory=False, \
             bool requires_grad=False, memory_format? memory_format=None) -> Tensor"
        )
    };
}

pub(super) use {like, new};

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(new!("zeros(int[] size, *, "), TOP, "All zeros.", |a| {
        give(filled(a, &a.sizes(0)?, Scalar::Int(0), default_dtype()))
    }),
    name(new!("ones(int[] size, *, "), TOP, "All ones.", |a| {
        give(filled(a, &a.sizes(0)?, Scalar::Int(1), default_dtype()))
    }),
    name(
        "empty(int[] size, *, Tensor? out=None, dtype? dtype=None, layout? layout=None, device? device=None, bool pin_memory=False, bool requires_grad=False, memory_format? memory_format=None) -> Tensor",
        TOP,
        "Arbitrary contents.",
        |a| give(blank(a, &a.sizes(0)?, default_dtype())),
    ),
    name(new!("full(int[] size, Scalar fill_value, *, "), TOP, "All elements `fill_value`.", |a| {
        let value = a.scalar(1)?;
        give(filled(a, &a.sizes(0)?, value, value.dtype()))
    }),
    name(like!("zeros_like(Tensor input, *, "), TOP, "Zeros with the shape of `input`.", |a| {
        let x = a.tensor(0)?;
        give(filled(a, x.shape(), Scalar::Int(0), x.dtype()))
    }),
    name(like!("ones_like(Tensor input, *, "), TOP, "Ones with the shape of `input`.", |a| {
        let x = a.tensor(0)?;
        give(filled(a, x.shape(), Scalar::Int(1), x.dtype()))
    }),
    name(like!("empty_like(Tensor input, *, "), TOP, "Arbitrary contents with the shape of `input`.", |a| {
        let x = a.tensor(0)?;
        give(blank(a, x.shape(), x.dtype()))
    }),
    name(
        like!("full_like(Tensor input, Scalar fill_value, *, "),
        TOP,
        "All elements `fill_value`, with the shape of `input`.",
        |a| {
            let x = a.tensor(0)?;
            give(filled(a, x.shape(), a.scalar(1)?, x.dtype()))
        },
    ),
    name(
        own!("new_zeros(Tensor input, int[] size, *, "),
        METHOD,
        "All zeros, by default of this tensor's dtype.",
        |a| give(filled(a, &a.sizes(1)?, Scalar::Int(0), a.tensor(0)?.dtype())),
    ),
    name(own!("new_ones(Tensor input, int[] size, *, "), METHOD, "All ones, by default of this tensor's dtype.", |a| {
        give(filled(a, &a.sizes(1)?, Scalar::Int(1), a.tensor(0)?.dtype()))
    }),
    name(
        own!("new_empty(Tensor input, int[] size, *, "),
        METHOD,
        "Arbitrary contents, by default of this tensor's dtype.",
        |a| give(blank(a, &a.sizes(1)?, a.tensor(0)?.dtype())),
    ),
    name(
        own!("new_full(Tensor input, int[] size, Scalar fill_value, *, "),
        METHOD,
        "All elements `fill_value`, by default of this tensor's dtype.",
        |a| give(filled(a, &a.sizes(1)?, a.scalar(2)?, a.tensor(0)?.dtype())),
    ),
    name(
        "scalar_tensor(Scalar s, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=None, bool requires_grad=False) -> Tensor",
        TOP,
        "A 0-d tensor.",
        |a| give(filled(a, &[], a.scalar(0)?, default_dtype())),
    ),
    name(new!("arange(Scalar end, *, "), TOP, "Whole numbers from 0 up to but not including `end`.", |a| {
        give(counted(a, Scalar::Int(0), a.scalar(0)?, Scalar::Int(1)))
    }),
    name(
        new!("arange(Scalar start, Scalar end, Scalar step=1, *, "),
        TOP,
        "Numbers from `start` up to but not including `end` by `step`.",
        |a| give(counted(a, a.scalar(0)?, a.scalar(1)?, a.scalar(2)?)),
    ),
    name(
        new!("linspace(Scalar start, Scalar end, int steps, *, "),
        TOP,
        "`steps` numbers at equal distances from `start` to `end`, both included.",
        |a| {
            let dtype = made_dtype(a, default_dtype())?;
            give(linspace(a.scalar(0)?.to_f64(), a.scalar(1)?.to_f64(), a.int(2)?, dtype, place(a)?))
        },
    ),
    name(
        new!("logspace(Scalar start, Scalar end, int steps, float base=10.0, *, "),
        TOP,
        "`base` to the power of `steps` numbers at equal distances from `start` to `end`, both included.",
        |a| {
            let (dtype, base) = (made_dtype(a, default_dtype())?, a.float(3)?);
            give(logspace(a.scalar(0)?.to_f64(), a.scalar(1)?.to_f64(), a.int(2)?, base, dtype, place(a)?))
        },
    ),
    name(
        new!("eye(int n, int? m=None, *, "),
        TOP,
        "The identity matrix of `n` rows and `m` columns, by default as many.",
        |a| {
            let n = a.int(0)?;
            give(eye(n, a.int_or_none(1)?.unwrap_or(n), made_dtype(a, default_dtype())?, place(a)?))
        },
    ),
];
