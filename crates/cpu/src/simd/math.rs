//! Elementary functions of one `f32` in straight-line code that compilers turn into vector code. Polynomials: exp, log
//! and erf after N. Juffa's published minimax approximations; tanh near zero is an own Chebyshev fit.

use super::level::{Level, fma32};

/// e^x, within 1 ulp; subnormal results are rounded twice.
#[inline(always)]
pub fn exp<L: Level>(x: f32) -> f32 {
    const ROUND: f32 = 12582912.0;
    // Comparisons, not min and max: NaN must pass.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = fma32::<L>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let k = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let r = fma32::<L>(n, -6.931_457_5e-1, x);
    let r = fma32::<L>(n, -1.428_606_8e-6, r);
    let p = 1.378_059_4e-3;
    let p = fma32::<L>(p, r, 8.373_124_5e-3);
    let p = fma32::<L>(p, r, 4.166_953_6e-2);
    let p = fma32::<L>(p, r, 1.666_647_2e-1);
    let p = fma32::<L>(p, r, 4.999_998_5e-1);
    let p = fma32::<L>(p, r, 1.0);
    let p = fma32::<L>(p, r, 1.0);
    let half = k >> 1;
    let scale = |k: i32| f32::from_bits((k.wrapping_add(127) << 23) as u32);
    p * scale(half) * scale(k.wrapping_sub(half))
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
    let far = 1.0 - 2.0 / (exp::<L>(a + a) + 1.0);
    let s = a * a;
    let p = -0.006_104_948;
    let p = fma32::<L>(p, s, 0.021_003_641);
    let p = fma32::<L>(p, s, -0.053_852_5);
    let p = fma32::<L>(p, s, 0.133_327_83);
    let p = fma32::<L>(p, s, -0.333_333_28);
    let near = fma32::<L>(p * s, a, a);
    let y = if a < 0.625 { near } else { far };
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
    let r = if t > 4.0 { -104.0 } else { r };
    let far = (1.0 - exp::<L>(r)).copysign(x);
    let q = -5.967_617e-4;
    let q = fma32::<L>(q, s, 4.991_194_2e-3);
    let q = fma32::<L>(q, s, -2.676_813_5e-2);
    let q = fma32::<L>(q, s, 1.128_199_25e-1);
    let q = fma32::<L>(q, s, -3.761_253_4e-1);
    let q = fma32::<L>(q, s, 1.283_791_7e-1);
    let near = fma32::<L>(q, x, x);
    if t > 0.927_734_4 { far } else { near }
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

    fn worst(f: fn(f32) -> f32, want: fn(f64) -> f64, step: usize) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(step) {
            let x = f32::from_bits(bits);
            let error = ulps(f(x), want(f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn functions_are_accurate() {
        struct All;
        impl Job for All {
            type Output = ();
            fn run<L: Level>(self) {
                for (name, f, want, bound) in [
                    ("exp", exp::<L> as fn(f32) -> f32, f64::exp as fn(f64) -> f64, 2.0),
                    ("log", log::<L>, f64::ln, 2.0),
                    ("tanh", tanh::<L>, f64::tanh, 2.5),
                    ("erf", erf::<L>, lampyr_ir::scalar::erf, 2.5),
                ] {
                    let step = if name == "erf" { 1 << 14 | 1 } else { 4099 };
                    let (error, at) = worst(f, want, step);
                    println!("{name}: {error} ulp at {at}, fma {}", L::FMA);
                    assert!(error < bound, "{name}: {error} ulp at {at}, fma {}", L::FMA);
                }
            }
        }
        All.run::<Baseline>();
        #[cfg(target_arch = "x86_64")]
        for tier in super::super::Tier::available() {
            run(tier, All);
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
