//! Samples: permutations, coins, categories and counts.

use lampyr_base::{DType, Device, Error, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::philox::Key;
use lampyr_runtime::batch::check_random;
use lampyr_runtime::{Tensor, check_readable};

use super::Generator;

/// The numbers `0..n` in random order.
///
/// # Errors
/// When memory does not hold them.
pub fn randperm(n: usize, dtype: DType, generator: &Generator) -> Result<Tensor> {
    crate::init();
    check_random(true)?;
    drop(Tensor::empty(&[n], DType::I64, Device::CPU)?);
    let key = generator.next();
    let mut order: Vec<i64> = (0..n as i64).collect();
    // Fisher and Yates, from the end.
    for i in (1..n).rev() {
        let bits = u64::from(key.word(2 * i as u64)) << 32 | u64::from(key.word(2 * i as u64 + 1));
        order.swap(i, ((u128::from(bits) * (i as u128 + 1)) >> 64) as usize);
    }
    Tensor::from_host(&HostTensor::from_slice(&[n], &order)?, Device::CPU)?.to_dtype(dtype)
}

fn probabilities(p: &Tensor, what: &str) -> Result<Vec<f64>> {
    if !p.dtype().is_float() {
        return Err(Error::dtype(format!("{} probabilities", p.dtype())).with_expected("a float type").with_op(what));
    }
    Ok(p.peek()?.to_f64())
}

/// Probabilities that numbers on the host are drawn from.
fn drawn_from(p: &Tensor, what: &str) -> Result<Vec<f64>> {
    check_random(true).and_then(|()| check_readable(p)).map_err(|e| e.with_op(what))?;
    probabilities(p, what)
}

/// 1 with the probability that each element of `p` says, else 0, in the type of `p`.
///
/// # Errors
/// When a probability is not between 0 and 1.
pub fn bernoulli(p: &Tensor, generator: &Generator) -> Result<Tensor> {
    if let Some(bad) = probabilities(p, "bernoulli")?.into_iter().find(|v| !(0.0..=1.0).contains(v)) {
        return Err(Error::value(format!("a probability of {bad}")).with_expected("0 to 1").with_op("bernoulli"));
    }
    let p = p.detach();
    let wide = if p.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let unit = super::rand(p.shape(), wide, generator)?;
    unit.less(&p.to_dtype(wide)?)?.to_dtype(p.dtype())
}

/// `count` categories (int64) for each row of the weights `p` (one row or a matrix); without replacement no category
/// comes twice.
///
/// # Errors
/// When weights are negative, not finite or sum to zero, or there are too few categories.
pub fn multinomial(p: &Tensor, count: usize, replacement: bool, generator: &Generator) -> Result<Tensor> {
    let fail = |text: String, want: &str| Error::value(text).with_expected(want.to_string()).with_op("multinomial");
    if !(1..=2).contains(&p.rank()) {
        return Err(Error::shape(format!("weights of {} axes", p.rank()))
            .with_expected("1 or 2")
            .with_op("multinomial"));
    }
    let weights = drawn_from(p, "multinomial")?;
    let categories = p.shape()[p.rank() - 1];
    if count == 0 || categories == 0 {
        return Err(fail(format!("{count} samples of {categories} categories"), "one or more of both"));
    }
    if weights.iter().any(|w| !w.is_finite() || *w < 0.0) {
        return Err(fail("a weight is negative or not finite".into(), "finite weights of 0 or more"));
    }
    let rows = weights.len() / categories;
    let mut shape = p.shape().to_vec();
    shape[p.rank() - 1] = count;
    drop(Tensor::empty(&shape, DType::I64, p.device())?);
    let key = generator.next();
    let mut picked = Vec::with_capacity(rows * count);
    for (r, row) in weights.chunks(categories).enumerate() {
        let possible = row.iter().filter(|w| **w > 0.0).count();
        if possible == 0 {
            return Err(fail("the weights of a row are all zero".into(), "a sum above 0"));
        }
        if replacement {
            with_replacement(row, &key, (r * count) as u64, count, &mut picked);
        } else if count > possible {
            return Err(fail(
                format!("{count} samples without replacement of {possible} categories with a weight above 0"),
                "at most as many samples",
            ));
        } else {
            without_replacement(row, &key, (r * categories) as u64, count, &mut picked);
        }
    }
    Tensor::from_host(&HostTensor::from_slice(&shape, &picked)?, Device::CPU)
}

fn with_replacement(row: &[f64], key: &Key, start: u64, count: usize, picked: &mut Vec<i64>) {
    let mut total = 0.0;
    let sums: Vec<f64> = row
        .iter()
        .map(|w| {
            total += w;
            total
        })
        .collect();
    let last = row.iter().rposition(|w| *w > 0.0).unwrap_or(0);
    for i in 0..count as u64 {
        let at = key.uniform(start + i, DType::F64) * total;
        picked.push(sums.partition_point(|s| *s <= at).min(last) as i64);
    }
}

/// The largest quotients of weights and exponential numbers (Efraimidis and Spirakis 2006).
fn without_replacement(row: &[f64], key: &Key, start: u64, count: usize, picked: &mut Vec<i64>) {
    let score = |(i, w): (usize, &f64)| {
        let time = -(1.0 - key.uniform(start + i as u64, DType::F64)).ln();
        (if *w > 0.0 { time / w } else { f64::INFINITY }, i)
    };
    let mut scores: Vec<(f64, usize)> = row.iter().enumerate().map(score).collect();
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    // A category without weight comes last even beside a quotient that overflowed.
    let kept = scores.into_iter().filter(|(_, i)| row[*i] > 0.0).take(count);
    picked.extend(kept.map(|(_, i)| i as i64));
}

/// How many events happen where each element of `rate` are expected, in the type of `rate`.
///
/// # Errors
/// When a rate is negative.
pub fn poisson(rate: &Tensor, generator: &Generator) -> Result<Tensor> {
    let rates = drawn_from(rate, "poisson")?;
    if let Some(bad) = rates.iter().find(|r| r.is_nan() || **r < 0.0) {
        return Err(Error::value(format!("a rate of {bad}")).with_expected("0 or more").with_op("poisson"));
    }
    let key = generator.next();
    let counts: Vec<f64> =
        rates.iter().enumerate().map(|(i, &r)| Events { key, i: i as u64, at: 0 }.count(r)).collect();
    Tensor::from_host(&HostTensor::from_f64(rate.dtype(), rate.shape(), &counts)?, Device::CPU)
}

/// Uniform numbers of one element: counters of other streams than those of whole tensors.
struct Events {
    key: Key,
    i: u64,
    at: u32,
}

impl Events {
    fn next(&mut self) -> f64 {
        let block = self.key.block(self.i, 2 + self.at / 2);
        let [high, low] = if self.at.is_multiple_of(2) { [block[0], block[1]] } else { [block[2], block[3]] };
        self.at += 1;
        ((u64::from(high) << 21 | u64::from(low >> 11)) as f64 + 0.5) * (-53f64).exp2()
    }

    fn count(mut self, rate: f64) -> f64 {
        if rate < 10.0 {
            // Knuth: products of uniform numbers until they fall below e^-rate.
            let (floor, mut product, mut n) = ((-rate).exp(), self.next(), 0.0);
            while product > floor {
                product *= self.next();
                n += 1.0;
            }
            return n;
        }
        if rate.is_infinite() {
            return rate;
        }
        // Transformed rejection with squeeze, PTRS (Hoermann 1993).
        let (b, log_rate) = (0.931 + 2.53 * rate.sqrt(), rate.ln());
        let a = -0.059 + 0.024_83 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let limit = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (u, v) = (self.next() - 0.5, self.next());
            let distance = 0.5 - u.abs();
            let k = ((2.0 * a / distance + b) * u + rate + 0.43).floor();
            if distance >= 0.07 && v <= limit {
                return k;
            }
            if k < 0.0 || (distance < 0.013 && v > distance) {
                continue;
            }
            let scaled = v.ln() + inverse_alpha.ln() - (a / (distance * distance) + b).ln();
            if scaled <= k * log_rate - rate - log_factorial(k) {
                return k;
            }
        }
    }
}

/// The logarithm of k! by Stirling's series, exact enough from 10 on; below, a product.
fn log_factorial(k: f64) -> f64 {
    if k < 10.0 {
        return (2..=k as u32).map(|i| f64::from(i).ln()).sum();
    }
    let (n, inverse) = (k + 1.0, 1.0 / (k + 1.0));
    let series = inverse * (1.0 / 12.0 - inverse * inverse * (1.0 / 360.0 - inverse * inverse / 1260.0));
    (n - 0.5) * n.ln() - n + 0.5 * std::f64::consts::TAU.ln() + series
}
