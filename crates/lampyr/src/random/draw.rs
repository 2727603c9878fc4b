//! Numbers of continuous distributions, and whole numbers.

use lampyr_base::{DType, Device, Dim, Error, Result, num_elements};
use lampyr_ir::HostTensor;
use lampyr_ops::build as op;
use lampyr_runtime::batch::{check_random, draw};
use lampyr_runtime::{Operand, Tensor, no_grad};

use super::Generator;
use crate::functional::one;

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::from(d)).collect()
}

/// Uniform in `[0, 1)`.
///
/// # Errors
/// When `dtype` is not a float type, or the shape is too large.
pub fn rand(shape: &[usize], dtype: DType, generator: &Generator) -> Result<Tensor> {
    num_elements(shape)?;
    draw(shape, |shape| one(&op::RandomUniform { shape: dims(shape), dtype }, &[&generator.next_key()?]))
}

/// Normal with mean 0 and variance 1.
///
/// # Errors
/// When `dtype` is not a float type, or the shape is too large.
pub fn randn(shape: &[usize], dtype: DType, generator: &Generator) -> Result<Tensor> {
    num_elements(shape)?;
    draw(shape, |shape| one(&op::RandomNormal { shape: dims(shape), dtype }, &[&generator.next_key()?]))
}

/// Uniform in `[low, high)`.
///
/// # Errors
/// When `low > high`, or they are not finite, or as [`rand`].
pub fn uniform(shape: &[usize], low: f64, high: f64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    if !(low <= high && (high - low).is_finite()) {
        return Err(Error::value(format!("uniform numbers from {low} to {high}")).with_expected("finite low <= high"));
    }
    let unit = rand(shape, dtype, generator)?;
    if (low, high) == (0.0, 1.0) { Ok(unit) } else { unit.mul(high - low)?.add(low) }
}

/// Normal with mean `mean` and standard deviation `deviation`.
///
/// # Errors
/// When `deviation` is negative, or as [`randn`].
pub fn rand_normal(shape: &[usize], mean: f64, deviation: f64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    if deviation.is_nan() || deviation < 0.0 {
        return Err(Error::value(format!("a standard deviation of {deviation}")).with_expected("0 or more"));
    }
    let unit = randn(shape, dtype, generator)?;
    if (mean, deviation) == (0.0, 1.0) { Ok(unit) } else { unit.mul(deviation)?.add(mean) }
}

/// Normal with means and standard deviations of their own for each element; at least one is a tensor.
///
/// # Errors
/// When a deviation is negative, or the shapes do not broadcast.
pub fn normal(mean: Operand, deviation: Operand, generator: &Generator) -> Result<Tensor> {
    no_grad(|| {
        let negative = match deviation {
            Operand::Tensor(t) => t.peek()?.to_f64().into_iter().any(|d| d < 0.0),
            Operand::Scalar(s) => s.to_f64() < 0.0,
        };
        if negative {
            return Err(Error::value("a standard deviation is negative").with_expected("0 or more").with_op("normal"));
        }
        let dtype = crate::functional::common(&[mean, deviation]);
        let shape = match (mean, deviation) {
            (Operand::Tensor(a), Operand::Tensor(b)) => lampyr_base::broadcast_shapes(a.shape(), b.shape())?.to_vec(),
            (Operand::Tensor(t), _) | (_, Operand::Tensor(t)) => t.shape().to_vec(),
            _ => vec![],
        };
        let unit = randn(&shape, dtype, generator)?;
        unit.mul(deviation)?.add(mean)?.to_dtype(dtype)
    })
}

/// Exponential with rate `rate`.
///
/// # Errors
/// When `rate` is not above 0, or as [`rand`].
pub fn exponential(shape: &[usize], rate: f64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    if rate.is_nan() || rate <= 0.0 {
        return Err(Error::value(format!("an exponential distribution of rate {rate}")).with_expected("above 0"));
    }
    negative_log(shape, dtype, generator)?.div(-rate)
}

/// The logarithm of uniform numbers in `(0, 1]`.
fn negative_log(shape: &[usize], dtype: DType, generator: &Generator) -> Result<Tensor> {
    rand(shape, dtype, generator)?.neg()?.add(1.0)?.log()
}

/// Cauchy distribution around `median`.
///
/// # Errors
/// When `sigma` is not above 0, or as [`rand`].
pub fn cauchy(shape: &[usize], median: f64, sigma: f64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    if sigma.is_nan() || sigma <= 0.0 {
        return Err(Error::value(format!("a Cauchy distribution of width {sigma}")).with_expected("above 0"));
    }
    let angle = rand(shape, dtype, generator)?.sub(0.5)?.mul(std::f64::consts::PI)?;
    one(&op::Tan, &[&angle])?.mul(sigma)?.add(median)
}

/// e to the power of normal numbers.
///
/// # Errors
/// As [`rand_normal`].
pub fn log_normal(shape: &[usize], mean: f64, deviation: f64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    if deviation.is_nan() || deviation <= 0.0 {
        return Err(Error::value(format!("a standard deviation of {deviation}")).with_expected("above 0"));
    }
    rand_normal(shape, mean, deviation, dtype, generator)?.exp()
}

/// How many trials of success probability `p` it takes to succeed: 1 or more.
///
/// # Errors
/// When `p` is not between 0 and 1.
pub fn geometric(shape: &[usize], p: f64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    if !(p > 0.0 && p < 1.0) {
        return Err(Error::value(format!("trials that succeed with probability {p}")).with_expected("above 0, below 1"));
    }
    let trials = negative_log(shape, DType::F64, generator)?.div((-p).ln_1p())?;
    let whole = one(&op::Ceil, &[&trials])?;
    let least = Tensor::full(&[], 1.0, DType::F64, Device::CPU)?;
    one(&op::Maximum, &[&whole, &least])?.to_dtype(dtype)
}

/// The widest range in which every whole number is a multiple of the steps of `float64` uniform numbers.
const EXACT: u64 = 1 << 53;

/// Whole numbers from `low` up to but not including `high`, each equally likely.
///
/// # Errors
/// When there is none, or `dtype` cannot hold them.
pub fn randint(shape: &[usize], low: i64, high: i64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    if low >= high {
        return Err(Error::value(format!("whole numbers from {low} to {high} (excluded)")).with_expected("low < high"));
    }
    let (least, most) = bounds(dtype);
    if i128::from(low) < least || i128::from(high) - 1 > most {
        return Err(Error::value(format!("numbers from {low} to {} do not fit {dtype}", high - 1))
            .with_expected(format!("{least} to {most}")));
    }
    random_integers(shape, low, high.wrapping_sub(low) as u64, dtype, generator)
}

/// Whole numbers that `dtype` holds exactly, without gaps.
fn bounds(dtype: DType) -> (i128, i128) {
    use lampyr_base::TypeKind::*;
    match (dtype.kind(), dtype) {
        (Bool, _) => (0, 1),
        (Unsigned, _) => (0, (1i128 << dtype.bits()) - 1),
        (Signed, _) => (-(1i128 << (dtype.bits() - 1)), (1i128 << (dtype.bits() - 1)) - 1),
        (Float, DType::F16) => (-(1 << 11), 1 << 11),
        (Float, DType::BF16) => (-(1 << 8), 1 << 8),
        (Float, DType::F32) => (-(1 << 24), 1 << 24),
        (Float, _) => (-(1 << 53), 1 << 53),
    }
}

/// One more than the largest whole number that `dtype` holds exactly, or the largest `i64`.
pub fn most(dtype: DType) -> i64 {
    i64::try_from(bounds(dtype).1 + 1).unwrap_or(i64::MAX)
}

/// The whole numbers that in-place `random_` without bounds draws from: how many there are from 0 on.
pub(super) fn natural(dtype: DType) -> u64 {
    (bounds(dtype).1 + 1) as u64
}

/// `count` whole numbers from `low` on (all 2^64 when `count` is 0), each equally likely; `low` 0 and `count` 0 for what
/// `dtype` holds.
pub fn random_integers(shape: &[usize], low: i64, count: u64, dtype: DType, generator: &Generator) -> Result<Tensor> {
    let count = if (low, count) == (0, 0) { natural(dtype) } else { count };
    if count != 0 && count <= EXACT {
        let unit = rand(shape, DType::F64, generator)?;
        let whole = one(&op::Floor, &[&unit.mul(count as f64)?])?.to_dtype(DType::I64)?;
        return if low == 0 { whole.to_dtype(dtype) } else { whole.add(low)?.to_dtype(dtype) };
    }
    check_random(true)?;
    let n = num_elements(shape)?;
    let key = generator.next();
    let draw = |i: u64| {
        let word = |stream: u32| u64::from(key.block(i / 4, stream)[(i % 4) as usize]);
        let bits = word(0) << 32 | word(1);
        let scaled = if count == 0 { bits } else { ((u128::from(bits) * u128::from(count)) >> 64) as u64 };
        low.wrapping_add(scaled as i64)
    };
    // The memory limit is asked before the host makes the numbers.
    drop(Tensor::empty(shape, DType::I64, Device::CPU)?);
    let values: Vec<i64> = (0..n as u64).map(draw).collect();
    Tensor::from_host(&HostTensor::from_slice(shape, &values)?, Device::CPU)?.to_dtype(dtype)
}
