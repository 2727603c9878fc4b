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

/// Rows without gaps that lie apart.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The first element of the first row.
    pub x: *mut f32,
    /// Elements from row to row.
    pub step: isize,
    /// The first element that is added first; null: none.
    pub residual: *const f32,
    /// Elements from row to row of those.
    pub residual_step: isize,
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
}

impl Rows {
    fn row(&self, i: usize) -> (*mut f32, *const f32) {
        let i = i as isize;
        let residual = match self.residual.is_null() {
            true => self.residual,
            false => self.residual.wrapping_offset(i * self.residual_step),
        };
        (self.x.wrapping_offset(i * self.step), residual)
    }

    /// As one row, where nothing lies between rows.
    fn joined(self) -> Rows {
        let columns = self.columns as isize;
        if self.step == columns && (self.residual.is_null() || self.residual_step == columns) {
            return Rows { columns: self.rows * self.columns, rows: 1, ..self };
        }
        self
    }
}

/// Elements of the longest register.
const LANES: usize = 16;

struct Run {
    function: Activation,
    rows: Rows,
}

impl Run {
    /// # Safety
    /// As for [`activate`].
    #[inline(always)]
    unsafe fn each(&self, f: impl Fn(f32) -> f32) {
        let n = self.rows.columns;
        let whole = n - n % LANES;
        for row in 0..self.rows.rows {
            let (x, residual) = self.rows.row(row);
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Activation, LANES, Rows};
    use crate::simd::wide::{sigmoid, tanh};

    /// Functions that are worth registers instead of generic loops, since those divide.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn run(function: Activation, rows: &Rows) -> bool {
        let half = _mm512_set1_ps(0.5);
        // SAFETY: the caller's promise.
        unsafe {
            match function {
                Activation::Sigmoid => each(rows, |x| sigmoid(x)),
                Activation::Silu => each(rows, |x| _mm512_mul_ps(x, sigmoid(x))),
                Activation::Tanh => each(rows, |x| tanh(x)),
                Activation::GeluTanh => each(rows, |x| {
                    let cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
                    let sum = _mm512_add_ps(x, _mm512_mul_ps(cube, _mm512_set1_ps(0.044715)));
                    let t = tanh(_mm512_mul_ps(sum, _mm512_set1_ps(0.797_884_6)));
                    _mm512_mul_ps(_mm512_mul_ps(x, half), _mm512_add_ps(t, _mm512_set1_ps(1.0)))
                }),
                _ => return false,
            }
        }
        true
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn each(rows: &Rows, f: impl Fn(__m512) -> __m512) {
        let n = rows.columns;
        let rest = ((1u32 << (n % LANES)) - 1) as __mmask16;
        for row in 0..rows.rows {
            let (x, residual) = rows.row(row);
            // SAFETY: the caller's promise; masked lanes are neither read nor written.
            unsafe {
                for i in (0..n - n % LANES).step_by(LANES) {
                    let mut v = _mm512_loadu_ps(x.add(i));
                    if !residual.is_null() {
                        v = _mm512_add_ps(v, _mm512_loadu_ps(residual.add(i)));
                    }
                    _mm512_storeu_ps(x.add(i), f(v));
                }
                if rest != 0 {
                    let i = n - n % LANES;
                    let mut v = _mm512_maskz_loadu_ps(rest, x.add(i));
                    if !residual.is_null() {
                        v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(rest, residual.add(i)));
                    }
                    _mm512_mask_storeu_ps(x.add(i), rest, f(v));
                }
            }
        }
    }
}

/// Replaces elements by the function of them, or of their sums with residuals.
///
/// # Safety
/// All elements of the rows are valid; residuals do not overlap other elements, or are equal.
pub unsafe fn activate(tier: Tier, function: Activation, rows: Rows) {
    let rows = rows.joined();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the tier is available; the rest is the caller's promise.
    if tier == Tier::Avx512 && unsafe { x86::run(function, &rows) } {
        return;
    }
    run(tier, Run { function, rows });
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
                        let x_at = x.as_mut_ptr();
                        let rows = Rows { x: x_at, step: 0, residual, residual_step: 0, rows: 1, columns: n };
                        // SAFETY: both have `n` elements at least.
                        unsafe { activate(tier, function, rows) };
                        assert_eq!(x[n], start[n], "elements behind the end stay");
                        for i in 0..n {
                            let want = exact(function, f64::from(start[i] + if with { more[i] } else { 0.0 }));
                            let error = (f64::from(x[i]) - want).abs();
                            assert!(error <= 1e-6 * want.abs().max(1.0), "{tier:?} {function:?} {n}: {} {want}", x[i]);
                        }
                    }
                }
                let mut x = [f32::NAN; 51];
                let at = x.as_mut_ptr();
                let rows = Rows { x: at, step: 18, residual: std::ptr::null(), residual_step: 0, rows: 2, columns: 17 };
                // SAFETY: the second row ends in front of element 35.
                unsafe { activate(tier, function, rows) };
                assert!(x.iter().all(|x| x.is_nan()), "{tier:?} {function:?}");
                let mut x = [3.0f32; 38];
                x[..8].fill(f32::INFINITY);
                x[8..16].fill(f32::NEG_INFINITY);
                // SAFETY: as above.
                unsafe { activate(tier, function, Rows { x: x.as_mut_ptr(), ..rows }) };
                assert_eq!((x[17], x[35]), (3.0, 3.0), "between and behind rows");
                assert_eq!(x[16], x[34], "the same in every place of a row");
            }
        }
    }
}
