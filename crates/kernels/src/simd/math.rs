//! Elementary functions of one `f32` in straight-line code that compilers turn into vector code. Polynomials: log and erf
//! after N. Juffa's published minimax approximations, that of exp is an own fit.

use super::level::{Level, fma32, fma64};

/// 1.5 * 2^23: adding it rounds a float to a whole number, which the lowest bits then hold.
const ROUND: f32 = 12582912.0;

/// `x` as `n ln 2 + r` with `|r| <= ln 2 / 2`: bits whose lowest ones are `n`, and `r`.
#[inline(always)]
fn split<L: Level>(x: f32) -> (u32, f32) {
    let shifted = fma32::<L>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma32::<L>(n, -6.931_457_5e-1, x);
    (shifted.to_bits(), fma32::<L>(n, -1.428_606_8e-6, r))
}

/// `(e^r - 1 - r) / r^2` given `r` as of [`split`] and its square; own fit, e^r - 1 to 1.5e-8 of itself.
///
/// Independent terms are added in pairs, since loops over [`exp`] wait for results and not for units.
#[inline(always)]
fn tail<L: Level>(r: f32, square: f32) -> f32 {
    let low = fma32::<L>(r, 0.166_665_48, 0.5);
    let high = fma32::<L>(r, 8.366_167e-3, 4.166_685_8e-2);
    let high = fma32::<L>(square, 1.389_810_3e-3, high);
    fma32::<L>(high, square, low)
}

/// e^r for `r` as of [`split`].
#[inline(always)]
fn near_one<L: Level>(r: f32) -> f32 {
    fma32::<L>(fma32::<L>(tail::<L>(r, r * r), r, 1.0), r, 1.0)
}

/// 2^n for the bits of [`split`], where that is a normal number.
#[inline(always)]
fn power_of_two(bits: u32) -> f32 {
    f32::from_bits((bits << 23).wrapping_add(1.0f32.to_bits()))
}

/// e^x for `x <= 0`, within 1 ulp; NaN stays NaN.
#[inline(always)]
fn exp_below<L: Level>(x: f32) -> f32 {
    // A comparison, not `max`: NaN must pass.
    let x = if x < -104.0 { -104.0 } else { x };
    let (bits, r) = split::<L>(x);
    let tiny = x < -87.0;
    let bits = if tiny { bits.wrapping_add(24) } else { bits };
    let y = near_one::<L>(r) * power_of_two(bits);
    if tiny { y * 5.960_464_5e-8 } else { y }
}

/// e^x, within 1 ulp (1.5 without fused multiply-add); subnormal results are rounded twice.
#[inline(always)]
pub fn exp<L: Level>(x: f32) -> f32 {
    let a = if x < -104.0 { -104.0 } else { x };
    let (bits, r) = split::<L>(a);
    let tiny = a < -87.0;
    let bits = if tiny { bits.wrapping_add(24) } else { bits };
    // Adding to the exponent, since 2^n itself may be too large.
    let y = f32::from_bits(near_one::<L>(r).to_bits().wrapping_add(bits << 23));
    let y = if tiny { y * 5.960_464_5e-8 } else { y };
    if x < 88.722_84 { y } else { x + f32::INFINITY }
}

/// Natural logarithm, within 1 ulp.
#[inline(always)]
pub fn log<L: Level>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let a = if tiny { x * 8388608.0 } else { x };
    let i = if tiny { -23.0 } else { 0.0 };
    let e = (a.to_bits() as i32).wrapping_sub((2.0f32 / 3.0).to_bits() as i32) & 0xff80_0000u32 as i32;
    let m = f32::from_bits((a.to_bits() as i32).wrapping_sub(e) as u32);
    let i = fma32::<L>(e as f32, 1.192_092_9e-7, i);
    let m = m - 1.0;
    let s = m * m;
    let r = -0.130_310_06;
    let t = 0.140_869_14;
    let r = fma32::<L>(r, s, -0.121_483_51);
    let t = fma32::<L>(t, s, 0.139_814_85);
    let r = fma32::<L>(r, s, -0.166_846_13);
    let t = fma32::<L>(t, s, 0.200_120_34);
    let r = fma32::<L>(r, s, -0.249_996_2);
    let r = fma32::<L>(t, m, r);
    let r = fma32::<L>(r, m, 0.333_331_97);
    let r = fma32::<L>(r, m, -0.5);
    let r = fma32::<L>(r, s, m);
    let r = fma32::<L>(i, std::f32::consts::LN_2, r);
    let r = if x < f32::INFINITY { r } else { x + x };
    let r = if x < 0.0 { f32::NAN } else { r };
    if x == 0.0 { f32::NEG_INFINITY } else { r }
}

/// Hyperbolic tangent, within 2 ulp.
#[inline(always)]
pub fn tanh<L: Level>(x: f32) -> f32 {
    let a = x.abs();
    let a = a + a;
    let a = if a > 20.0 { 20.0 } else { a };
    let (bits, r) = split::<L>(a);
    let square = r * r;
    let below = fma32::<L>(tail::<L>(r, square), square, r);
    let power = power_of_two(bits);
    // e^2a - 1
    let t = fma32::<L>(below, power, power - 1.0);
    let y = t / (t + 2.0);
    // The same with less weight on the rounding of the sum.
    let half = 0.5 * t;
    let y = if a < 0.9 { fma32::<L>(-half, y, half) } else { y };
    y.copysign(x)
}

/// Error function, within 2 ulp.
#[inline(always)]
pub fn erf<L: Level>(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let r = fma32::<L>(-1.728_534_7e-5, t, 3.831_972_6e-4);
    let u = fma32::<L>(-3.883_964_4e-3, t, 2.425_462_2e-2);
    let r = fma32::<L>(r, s, u);
    let r = fma32::<L>(r, t, -1.067_778_8e-1);
    let r = fma32::<L>(r, t, -6.348_467e-1);
    let r = fma32::<L>(r, t, -1.287_175_1e-1);
    let r = fma32::<L>(r, t, -t);
    // Beyond 4 the result is 1; the polynomial is not meant for such arguments.
    let r = if t > 4.0 { -20.0 } else { r };
    let (bits, z) = split::<L>(r);
    let far = (1.0 - near_one::<L>(z) * power_of_two(bits)).copysign(x);
    let v = s * s;
    let p = fma32::<L>(-5.967_617e-4, s, 4.991_194_2e-3);
    let q = fma32::<L>(-2.676_813_5e-2, s, 1.128_199_25e-1);
    let w = fma32::<L>(-3.761_253_4e-1, s, 1.283_791_7e-1);
    let q = fma32::<L>(fma32::<L>(p, v, q), v, w);
    let near = fma32::<L>(q, x, x);
    if t > 0.927_734_4 { far } else { near }
}

/// `1 / (1 + e^-x)`, within 2 ulp.
#[inline(always)]
pub fn sigmoid<L: Level>(x: f32) -> f32 {
    let e = exp_below::<L>(-x.abs());
    let y = e / (1.0 + e);
    // `1 - y` or `e * (1 - y)`: the rounding of the sum weighs little.
    let scale = if x < 0.0 { e } else { 1.0 };
    fma32::<L>(-scale, y, scale)
}

/// 1.5 * 2^52: adding it rounds a double to a whole number, which the lowest bits then hold.
const WHOLE: f64 = 6755399441055744.0;

/// Logarithm to base 2 of a positive normal double, to 2^-38 of the result.
#[inline(always)]
fn log2_wide<L: Level>(x: f64) -> f64 {
    const ONE: u64 = 1023 << 52;
    let bits = x.to_bits();
    let biased = bits.wrapping_add(ONE - std::f64::consts::FRAC_1_SQRT_2.to_bits()) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(biased << 52).wrapping_add(ONE));
    let exponent = f64::from_bits(0x4330_0000_0000_0000 | biased) - (4503599627370496.0 + 1023.0);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = fma64::<L>(1.0 / 13.0, z, 1.0 / 11.0);
    let p = fma64::<L>(p, z, 1.0 / 9.0);
    let p = fma64::<L>(p, z, 1.0 / 7.0);
    let p = fma64::<L>(p, z, 1.0 / 5.0);
    let p = fma64::<L>(p, z, 1.0 / 3.0);
    let p = fma64::<L>(p * z, s, s);
    fma64::<L>(p, 2.0 * std::f64::consts::LOG2_E, exponent)
}

/// `2^x` as `n` and `p` with `2^n * (1 + p)`, for `|x| < 1000`, `p` to 2^-35; `n` as a power of two.
#[inline(always)]
fn exp2_wide<L: Level>(x: f64) -> (f64, f64) {
    let shifted = x + WHOLE;
    let r = (x - (shifted - WHOLE)) * std::f64::consts::LN_2;
    let p = fma64::<L>(1.0 / 40320.0, r, 1.0 / 5040.0);
    let p = fma64::<L>(p, r, 1.0 / 720.0);
    let p = fma64::<L>(p, r, 1.0 / 120.0);
    let p = fma64::<L>(p, r, 1.0 / 24.0);
    let p = fma64::<L>(p, r, 1.0 / 6.0);
    let p = fma64::<L>(p, r, 0.5);
    let p = fma64::<L>(p * r, r, r);
    (f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52)), p)
}

/// `x` where that is a number between the bounds or NaN, else the nearer bound.
#[inline(always)]
fn within(x: f64, bound: f64) -> f64 {
    let x = if x > bound { bound } else { x };
    if x < -bound { -bound } else { x }
}

/// 2^x, within 1 ulp.
#[inline(always)]
pub fn exp2<L: Level>(x: f32) -> f32 {
    let (n, p) = exp2_wide::<L>(within(f64::from(x), 200.0));
    fma64::<L>(n, p, n) as f32
}

/// e^x - 1, within 1 ulp.
#[inline(always)]
pub fn expm1<L: Level>(x: f32) -> f32 {
    let (n, p) = exp2_wide::<L>(within(f64::from(x) * std::f64::consts::LOG2_E, 200.0));
    let y = fma64::<L>(n, p, n - 1.0) as f32;
    if x == 0.0 { x } else { y }
}

/// Logarithm to the base whose logarithm to base 2 is `1 / unit`, within 1 ulp.
#[inline(always)]
fn log_of<L: Level>(x: f32, unit: f64) -> f32 {
    let y = (log2_wide::<L>(f64::from(x)) * unit) as f32;
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x < 0.0 { f32::NAN } else { y };
    if x == 0.0 { f32::NEG_INFINITY } else { y }
}

/// Logarithm to base 2, within 1 ulp.
#[inline(always)]
pub fn log2<L: Level>(x: f32) -> f32 {
    log_of::<L>(x, 1.0)
}

/// Logarithm to base 10, within 1 ulp.
#[inline(always)]
pub fn log10<L: Level>(x: f32) -> f32 {
    log_of::<L>(x, std::f64::consts::LOG10_2)
}

/// ln(1 + x), within 1 ulp.
#[inline(always)]
pub fn log1p<L: Level>(x: f32) -> f32 {
    let w = f64::from(x);
    let far = (log2_wide::<L>(1.0 + w) * std::f64::consts::LN_2) as f32;
    let near = fma64::<L>(fma64::<L>(w, 1.0 / 3.0, -0.5) * w, w, w) as f32;
    let y = if x.abs() < 2.0f32.powi(-12) { near } else { far };
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x < -1.0 { f32::NAN } else { y };
    let y = if x == -1.0 { f32::NEG_INFINITY } else { y };
    if x == 0.0 { x } else { y }
}

/// `x` to the power of `y`, within 1 ulp, with the special cases of IEEE 754.
#[inline(always)]
pub fn pow<L: Level>(x: f32, y: f32) -> f32 {
    let a = x.abs();
    let log = log2_wide::<L>(f64::from(a));
    let log = if a < f32::INFINITY { log } else { f64::from(a) };
    let log = if a == 0.0 { f64::NEG_INFINITY } else { log };
    let (n, p) = exp2_wide::<L>(within(f64::from(y) * log, 200.0));
    let r = fma64::<L>(n, p, n) as f32;
    let half = y * 0.5;
    let whole = y.floor() == y;
    let odd = whole & (half.floor() != half);
    let r = if x.is_sign_negative() & odd { -r } else { r };
    let r = if (x < 0.0) & (a < f32::INFINITY) & !whole { f32::NAN } else { r };
    let one = (y == 0.0) | (x == 1.0) | ((a == 1.0) & (y.abs() == f32::INFINITY));
    if one { 1.0 } else { r }
}

/// Largest argument, exclusive, of [`sin`] and [`cos`].
pub const REDUCIBLE: f32 = 1e6;

/// `x` modulo quarter turns, in -pi/4..pi/4, and the number of these modulo 4 (Cody and Waite, "Software Manual for the
/// Elementary Functions", 1980; pi/2 in three parts, of which multiples by 20 bits are exact).
#[inline(always)]
fn quarter_turns<L: Level>(x: f32) -> (f32, u32) {
    let x = f64::from(x);
    let shifted = fma64::<L>(x, std::f64::consts::FRAC_2_PI, WHOLE);
    let n = shifted - WHOLE;
    let r = fma64::<L>(n, -1.570_796_326_734_125_6, x);
    let r = fma64::<L>(n, -6.077_100_506_303_966e-11, r);
    let r = fma64::<L>(n, -2.022_266_248_795_950_6e-21, r);
    (r as f32, shifted.to_bits() as u32)
}

/// Sine after `quarter & 3` quarter turns and the angle `t` in -pi/4..pi/4.
#[inline(always)]
fn sin_from<L: Level>(t: f32, quarter: u32) -> f32 {
    let s = t * t;
    let p = fma32::<L>(-1.951_529_6e-4, s, 8.332_161e-3);
    let p = fma32::<L>(p, s, -1.666_665_5e-1);
    let sin = fma32::<L>(p * s, t, t);
    let sin = if s < 1e-8 { t } else { sin };
    let q = fma32::<L>(2.443_315_7e-5, s, -1.388_731_6e-3);
    let q = fma32::<L>(q, s, 4.166_664_6e-2);
    let cos = fma32::<L>(q * s, s, fma32::<L>(-0.5, s, 1.0));
    let y = if quarter & 1 == 1 { cos } else { sin };
    f32::from_bits(y.to_bits() ^ (quarter & 2) << 30)
}

/// Sine, within 2 ulp, for `|x| <` [`REDUCIBLE`].
#[inline(always)]
pub fn sin<L: Level>(x: f32) -> f32 {
    let (t, quarter) = quarter_turns::<L>(x);
    sin_from::<L>(t, quarter)
}

/// Cosine, within 2 ulp, for `|x| <` [`REDUCIBLE`].
#[inline(always)]
pub fn cos<L: Level>(x: f32) -> f32 {
    let (t, quarter) = quarter_turns::<L>(x);
    sin_from::<L>(t, quarter.wrapping_add(1))
}

/// Sine and cosine of `turns` full turns, for `0 <= turns < 1`, within 1e-7; polynomials after Cephes' `sinf`.
#[inline(always)]
pub fn sin_cos_turns<L: Level>(turns: f32) -> (f32, f32) {
    const ROUND: f32 = 12582912.0;
    let shifted = fma32::<L>(turns, 4.0, ROUND);
    let quarter = shifted.to_bits() & 3;
    let t = fma32::<L>(turns, 4.0, ROUND - shifted) * std::f32::consts::FRAC_PI_2;
    let s = t * t;
    let p = fma32::<L>(-1.951_529_6e-4, s, 8.332_161e-3);
    let p = fma32::<L>(p, s, -1.666_665_5e-1);
    let sin = fma32::<L>(p * s, t, t);
    let q = fma32::<L>(2.443_315_7e-5, s, -1.388_731_6e-3);
    let q = fma32::<L>(q, s, 4.166_664_6e-2);
    let cos = fma32::<L>(q * s, s, fma32::<L>(-0.5, s, 1.0));
    let odd = quarter & 1 == 1;
    let (a, b) = if odd { (cos, sin) } else { (sin, cos) };
    let a = if quarter >= 2 { -a } else { a };
    let b = if quarter == 1 || quarter == 2 { -b } else { b };
    (a, b)
}

/// IEEE half to single precision, exact (after F. Giesen, "half to float done quick").
#[inline(always)]
pub fn from_f16(h: u16) -> f32 {
    const EXPONENT: u32 = 0x7c00 << 13;
    const SCALE: f32 = f32::from_bits((254 - 15) << 23);
    let magnitude = u32::from(h & 0x7fff) << 13;
    let scaled = f32::from_bits(magnitude) * SCALE;
    let special = if magnitude >= EXPONENT { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | u32::from(h & 0x8000) << 16)
}

/// Single precision to IEEE half, to nearest even; NaN stays NaN.
#[inline(always)]
pub fn to_f16(x: f32) -> u16 {
    const TOP: u32 = (127 + 16) << 23;
    const MIN_NORMAL: u32 = (127 - 14) << 23;
    const DENORMAL: u32 = (127 - 15 + 23 - 10 + 1) << 23;
    let bits = x.to_bits();
    let sign = bits >> 16 & 0x8000;
    let a = bits & 0x7fff_ffff;
    let special = if a > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let small = (f32::from_bits(a) + f32::from_bits(DENORMAL)).to_bits().wrapping_sub(DENORMAL);
    let odd = a >> 13 & 1;
    let normal = a.wrapping_sub((127 - 15) << 23).wrapping_add(0xfff).wrapping_add(odd) >> 13;
    let finite = if a < MIN_NORMAL { small } else { normal };
    let result = if a >= TOP { special } else { finite };
    (result | sign) as u16
}

/// Brain float to single precision, exact.
#[inline(always)]
pub fn from_bf16(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// Single precision to brain float, to nearest even; NaN stays NaN.
#[inline(always)]
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff).wrapping_add(bits >> 16 & 1) >> 16;
    let nan = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::super::level::Baseline;
    #[cfg(target_arch = "x86_64")]
    use super::super::level::{Job, run};
    use super::*;

    fn ulps(got: f32, want: f64) -> f64 {
        let near = want as f32;
        if got.is_nan() || want.is_nan() {
            return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if got == near {
            return 0.0;
        }
        let ulp = f64::from(f32::from_bits(near.abs().max(f32::MIN_POSITIVE).to_bits() + 1))
            - f64::from(near.abs().max(f32::MIN_POSITIVE));
        (f64::from(got) - want).abs() / ulp
    }

    /// Every `step`-th bit pattern and the ones beside special values; the largest error and where it is.
    fn worst(f: fn(f32) -> f32, want: fn(f64) -> f64, step: u32) -> (f64, f32) {
        let larger = |a: (f64, f32), b: (f64, f32)| if b.0 > a.0 { b } else { a };
        let at = |bits: u32| {
            let x = f32::from_bits(bits);
            (ulps(f(x), want(f64::from(x))), x)
        };
        let special = [0.0, f32::MIN_POSITIVE, 1.0, 87.3365, 88.72284, 103.97208, f32::MAX, f32::INFINITY, f32::NAN];
        let edges = special.iter().flat_map(|x| [*x, -*x]).flat_map(|x| {
            let bits = x.to_bits();
            bits.saturating_sub(2000)..=bits.saturating_add(2000)
        });
        let first = edges.map(at).fold((0.0, 0.0), larger);
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        std::thread::scope(|scope| {
            let part = |k| (0..=u32::MAX).step_by((step * threads) as usize).map(move |b| b.saturating_add(k * step));
            let workers: Vec<_> =
                (0..threads).map(|k| scope.spawn(move || part(k).map(at).fold((0.0, 0.0), larger))).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panics")).fold(first, larger)
        })
    }

    fn bounded_sin(x: f64) -> f64 {
        if x.abs() < f64::from(REDUCIBLE) { x.sin() } else { x }
    }

    fn bounded_cos(x: f64) -> f64 {
        if x.abs() < f64::from(REDUCIBLE) { x.cos() } else { x }
    }

    #[test]
    fn powers_are_accurate() {
        struct Powers;
        impl Job for Powers {
            type Output = ();
            fn run<L: Level>(self) {
                let special = [0.0, 1.0, 0.5, 2.0, 3.0, 1e-40, 3e38, 16777217.0, f32::INFINITY, 1.5, 0.3333];
                let signed: Vec<f32> = special.iter().flat_map(|&x| [x, -x]).chain([f32::NAN]).collect();
                for &x in &signed {
                    for &y in &signed {
                        let want = x.powf(y);
                        assert!(ulps(pow::<L>(x, y), f64::from(want)) <= 1.0, "{x}^{y} = {}", pow::<L>(x, y));
                    }
                }
                let mut rng = lampyr_ir::case::SplitMix(1);
                for _ in 0..1 << 16 {
                    let x = (rng.unit() * 40.0 - 20.0).exp2() as f32;
                    let y = (rng.unit() * 14.0 - 7.0) as f32;
                    let error = ulps(pow::<L>(x, y), f64::from(x).powf(f64::from(y)));
                    assert!(error < 1.0, "{x}^{y}: {error} ulp");
                }
            }
        }
        Powers.run::<Baseline>();
        #[cfg(target_arch = "x86_64")]
        for tier in super::super::Tier::available() {
            run(tier, Powers);
        }
    }

    #[test]
    fn functions_are_accurate() {
        /// The distance of bit patterns that are tried.
        struct All(u32);
        impl Job for All {
            type Output = ();
            fn run<L: Level>(self) {
                for (name, f, want, bound) in [
                    ("exp", exp::<L> as fn(f32) -> f32, f64::exp as fn(f64) -> f64, 1.5),
                    ("log", log::<L>, f64::ln, 2.0),
                    ("tanh", tanh::<L>, f64::tanh, 2.0),
                    ("erf", erf::<L>, lampyr_ir::scalar::erf, 2.0),
                    ("sigmoid", sigmoid::<L>, lampyr_ir::scalar::sigmoid, 2.0),
                    ("exp2", exp2::<L>, f64::exp2, 1.0),
                    ("expm1", expm1::<L>, f64::exp_m1, 1.0),
                    ("log2", log2::<L>, f64::log2, 1.0),
                    ("log10", log10::<L>, f64::log10, 1.0),
                    ("log1p", log1p::<L>, f64::ln_1p, 1.0),
                    ("sin", |x| if x.abs() < REDUCIBLE { sin::<L>(x) } else { x }, bounded_sin, 2.0),
                    ("cos", |x| if x.abs() < REDUCIBLE { cos::<L>(x) } else { x }, bounded_cos, 2.0),
                ] {
                    // Its reference is slow.
                    let step = if name == "erf" { self.0 * 16 } else { self.0 };
                    let (error, at) = worst(f, want, step);
                    println!("| {name} | {error:.2} | {at:e} | {} |", if L::FMA { "fused" } else { "plain" });
                    assert!(error <= bound, "{name}: {error} ulp at {at}, fma {}", L::FMA);
                }
            }
        }
        All(4099).run::<Baseline>();
        #[cfg(target_arch = "x86_64")]
        for tier in super::super::Tier::available() {
            // The lower tiers differ in the width of vectors only.
            run(tier, All(if tier == super::super::Tier::current() { 64 } else { 4099 }));
        }
    }

    #[test]
    fn turns_are_accurate() {
        for i in 0..1 << 16 {
            let turns = i as f32 / 65536.0;
            let (sin, cos) = sin_cos_turns::<Baseline>(turns);
            let want = (f64::from(turns) * std::f64::consts::TAU).sin_cos();
            assert!((f64::from(sin) - want.0).abs() < 2e-7 && (f64::from(cos) - want.1).abs() < 2e-7, "{turns}");
        }
    }

    #[test]
    fn halves_convert_exactly() {
        for h in 0..=u16::MAX {
            let want = half::f16::from_bits(h).to_f32();
            assert!(from_f16(h).to_bits() == want.to_bits() || (want.is_nan() && from_f16(h).is_nan()), "{h:x}");
            let want = half::bf16::from_bits(h).to_f32();
            assert!(from_bf16(h).to_bits() == want.to_bits() || (want.is_nan() && from_bf16(h).is_nan()), "{h:x}");
        }
        for bits in (0..=u32::MAX).step_by(997) {
            let x = f32::from_bits(bits);
            let (half, brain) = (half::f16::from_f32(x), half::bf16::from_f32(x));
            if x.is_nan() {
                assert!(half::f16::from_bits(to_f16(x)).is_nan() && half::bf16::from_bits(to_bf16(x)).is_nan());
            } else {
                assert_eq!(to_f16(x), half.to_bits(), "{x:e}");
                assert_eq!(to_bf16(x), brain.to_bits(), "{x:e}");
            }
        }
    }
}
