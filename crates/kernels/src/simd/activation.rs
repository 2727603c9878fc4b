//! Functions of one float behind sums, in place on contiguous runs.

use super::level::{Job, Level, run};
use super::{Tier, math};

/// A function of one `f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// The nearest value between two bounds; NaN stays NaN.
    Bounds(f32, f32),
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    Gelu,
    /// The approximation of `Gelu` by a hyperbolic tangent.
    GeluTanh,
    /// `alpha * x + beta` between 0 and 1.
    HardSigmoid(f32, f32),
    /// `x` times the `HardSigmoid` of `x`.
    HardSwish(f32, f32),
    /// `x`, times a factor where it is not above 0.
    LeakyRelu(f32),
}

/// Elements of the longest register.
const LANES: usize = 16;

struct Run {
    function: Activation,
    x: *mut f32,
    residual: *const f32,
    n: usize,
}

impl Run {
    /// # Safety
    /// As for [`activate`].
    #[inline(always)]
    unsafe fn each(&self, f: impl Fn(f32) -> f32) {
        let Run { x, residual, n, .. } = *self;
        let whole = n - n % LANES;
        // SAFETY: the caller's promise.
        unsafe {
            if residual.is_null() {
                for i in 0..whole {
                    *x.add(i) = f(*x.add(i));
                }
            } else {
                for i in 0..whole {
                    *x.add(i) = f(*x.add(i) + *residual.add(i));
                }
            }
            if whole < n {
                let mut last = [0.0; LANES];
                for (i, last) in last.iter_mut().enumerate().take(n - whole) {
                    let more = if residual.is_null() { 0.0 } else { *residual.add(whole + i) };
                    *last = *x.add(whole + i) + more;
                }
                last.iter_mut().for_each(|x| *x = f(*x));
                std::ptr::copy_nonoverlapping(last.as_ptr(), x.add(whole), n - whole);
            }
        }
    }
}

#[inline(always)]
fn bounded(x: f32, low: f32, high: f32) -> f32 {
    // Comparisons, so that NaN passes.
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

impl Job for Run {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        // SAFETY: the promise of `activate`.
        unsafe {
            match self.function {
                Activation::Bounds(low, high) => self.each(|x| bounded(x, low, high)),
                Activation::Sigmoid => self.each(math::sigmoid::<L>),
                Activation::Tanh => self.each(math::tanh::<L>),
                Activation::Silu => self.each(|x| x * math::sigmoid::<L>(x)),
                Activation::Gelu => {
                    self.each(|x| (x * 0.5) * (math::erf::<L>(x * std::f32::consts::FRAC_1_SQRT_2) + 1.0));
                }
                Activation::GeluTanh => self.each(|x| {
                    let sum = x + x * x * x * 0.044715;
                    (x * 0.5) * (math::tanh::<L>(sum * 0.797_884_6) + 1.0)
                }),
                Activation::HardSigmoid(alpha, beta) => self.each(|x| bounded(x * alpha + beta, 0.0, 1.0)),
                Activation::HardSwish(alpha, beta) => self.each(|x| x * bounded(x * alpha + beta, 0.0, 1.0)),
                Activation::LeakyRelu(factor) => self.each(|x| if x > 0.0 { x } else { x * factor }),
            }
        }
    }
}

/// Replaces the `n` elements at `x` by the function of them, or of their sums with the elements at `residual` when that
/// is not null.
///
/// # Safety
/// `x` is valid for `n` elements, and so is `residual` unless it is null; they do not overlap, or are equal.
pub unsafe fn activate(tier: Tier, function: Activation, x: *mut f32, residual: *const f32, n: usize) {
    run(tier, Run { function, x, residual, n });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(function: Activation, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match function {
            Activation::Bounds(low, high) => x.clamp(low.into(), high.into()),
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Silu => x * sigmoid(x),
            // Abramowitz and Stegun 7.1.26, to 1.5e-7.
            Activation::Gelu => {
                let z = x.abs() / 2f64.sqrt();
                let t = 1.0 / (1.0 + 0.3275911 * z);
                let coefficients = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
                let sum = coefficients.iter().fold(0.0, |sum, c| (sum + c) * t);
                x / 2.0 * (1.0 + x.signum() * (1.0 - sum * (-z * z).exp()))
            }
            Activation::GeluTanh => {
                x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Activation::HardSigmoid(a, b) => (x * f64::from(a) + f64::from(b)).clamp(0.0, 1.0),
            Activation::HardSwish(a, b) => x * (x * f64::from(a) + f64::from(b)).clamp(0.0, 1.0),
            Activation::LeakyRelu(a) => x * if x > 0.0 { 1.0 } else { f64::from(a) },
        }
    }

    #[test]
    fn every_tier_computes_every_function_on_every_length() {
        let functions = [
            Activation::Bounds(-1.0, 6.0),
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::HardSigmoid(0.2, 0.5),
            Activation::HardSwish(1.0 / 6.0, 0.5),
            Activation::LeakyRelu(0.1),
        ];
        for tier in Tier::available() {
            for function in functions {
                for n in [0, 1, 7, 16, 17, 40, 64] {
                    let start: Vec<f32> = (0..n + 1).map(|i| (i as f32 * 37.0) % 23.0 / 2.0 - 6.0).collect();
                    let more: Vec<f32> = (0..n).map(|i| i as f32 / 16.0).collect();
                    for with in [false, true] {
                        let mut x = start.clone();
                        let residual = if with { more.as_ptr() } else { std::ptr::null() };
                        // SAFETY: both have `n` elements at least.
                        unsafe { activate(tier, function, x.as_mut_ptr(), residual, n) };
                        assert_eq!(x[n], start[n], "elements behind the end stay");
                        for i in 0..n {
                            let want = exact(function, f64::from(start[i] + if with { more[i] } else { 0.0 }));
                            let error = (f64::from(x[i]) - want).abs();
                            assert!(error <= 1e-6 * want.abs().max(1.0), "{tier:?} {function:?} {n}: {} {want}", x[i]);
                        }
                    }
                }
                let mut x = [f32::NAN; 17];
                // SAFETY: as above.
                unsafe { activate(tier, function, x.as_mut_ptr(), std::ptr::null(), 17) };
                assert!(x.iter().all(|x| x.is_nan()), "{tier:?} {function:?}");
            }
        }
    }
}
