//! Element functions: what the loops of the tile primitives apply to each lane.

use lampyr_ir::scalar;

use super::level::Level;
use super::math;

/// A compute type.
pub trait Lane: Copy + PartialOrd + Default + 'static {
    /// `x != 0`, NaN included.
    fn truth(self) -> bool;
    /// 0 or 1.
    fn from_bool(b: bool) -> Self;
    /// Conversion with the semantics of `as`, which are those of scalar expressions.
    fn to_f32(self) -> f32;
    /// As above.
    fn to_f64(self) -> f64;
    /// As above.
    fn to_i32(self) -> i32;
    /// As above.
    fn to_i64(self) -> i64;
    /// As above.
    fn to_u64(self) -> u64;
    /// Unary functions.
    fn neg(self) -> Self;
    /// As above.
    fn abs(self) -> Self;
    /// As above; integers stay.
    fn floor(self) -> Self;
    /// As above; integers stay.
    fn ceil(self) -> Self;
    /// As above; integers stay.
    fn round(self) -> Self;
    /// As above; integers stay.
    fn trunc(self) -> Self;
    /// As above; of integers by way of `f64`.
    fn exp<L: Level>(self) -> Self;
    /// As above.
    fn log<L: Level>(self) -> Self;
    /// As above.
    fn sqrt(self) -> Self;
    /// As above.
    fn tanh<L: Level>(self) -> Self;
    /// As above.
    fn erf<L: Level>(self) -> Self;
    /// Binary functions.
    fn add(self, other: Self) -> Self;
    /// As above.
    fn sub(self, other: Self) -> Self;
    /// As above.
    fn mul(self, other: Self) -> Self;
    /// As above.
    fn div(self, other: Self) -> Self;
    /// As above; NaN wins.
    fn max(self, other: Self) -> Self;
    /// As above; NaN wins.
    fn min(self, other: Self) -> Self;
    /// Power, with the semantics of scalar expressions.
    fn pow<L: Level>(self, other: Self) -> Self;
}

/// Further functions of floats.
#[allow(missing_docs)]
pub trait Float: Lane {
    /// Whether sine and cosine are right for this argument; for others use the functions of `f64`.
    fn is_reducible(self) -> bool;
    fn from_f64(x: f64) -> Self;
    fn exp2<L: Level>(self) -> Self;
    fn expm1<L: Level>(self) -> Self;
    fn log2<L: Level>(self) -> Self;
    fn log10<L: Level>(self) -> Self;
    fn log1p<L: Level>(self) -> Self;
    fn sigmoid<L: Level>(self) -> Self;
    fn sin<L: Level>(self) -> Self;
    fn cos<L: Level>(self) -> Self;
}

macro_rules! conversions {
    ($t:ty) => {
        #[inline(always)]
        fn truth(self) -> bool {
            self != (0 as $t)
        }
        #[inline(always)]
        fn from_bool(b: bool) -> $t {
            u8::from(b) as $t
        }
        #[inline(always)]
        fn to_f32(self) -> f32 {
            self as f32
        }
        #[inline(always)]
        fn to_f64(self) -> f64 {
            self as f64
        }
        #[inline(always)]
        fn to_i32(self) -> i32 {
            self as i32
        }
        #[inline(always)]
        fn to_i64(self) -> i64 {
            self as i64
        }
        #[inline(always)]
        fn to_u64(self) -> u64 {
            self as u64
        }
    };
}

macro_rules! float_lane {
    ($t:ty, $exp:expr, $log:expr, $tanh:expr, $erf:expr, $pow:expr) => {
        impl Lane for $t {
            conversions!($t);
            #[inline(always)]
            fn neg(self) -> $t {
                -self
            }
            #[inline(always)]
            fn abs(self) -> $t {
                <$t>::abs(self)
            }
            #[inline(always)]
            fn floor(self) -> $t {
                <$t>::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> $t {
                <$t>::ceil(self)
            }
            #[inline(always)]
            fn round(self) -> $t {
                <$t>::round_ties_even(self)
            }
            #[inline(always)]
            fn trunc(self) -> $t {
                <$t>::trunc(self)
            }
            #[inline(always)]
            fn exp<L: Level>(self) -> $t {
                $exp(self)
            }
            #[inline(always)]
            fn log<L: Level>(self) -> $t {
                $log(self)
            }
            #[inline(always)]
            fn sqrt(self) -> $t {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn tanh<L: Level>(self) -> $t {
                $tanh(self)
            }
            #[inline(always)]
            fn erf<L: Level>(self) -> $t {
                $erf(self)
            }
            #[inline(always)]
            fn add(self, other: $t) -> $t {
                self + other
            }
            #[inline(always)]
            fn sub(self, other: $t) -> $t {
                self - other
            }
            #[inline(always)]
            fn mul(self, other: $t) -> $t {
                self * other
            }
            #[inline(always)]
            fn div(self, other: $t) -> $t {
                self / other
            }
            #[inline(always)]
            fn max(self, other: $t) -> $t {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn min(self, other: $t) -> $t {
                if self < other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn pow<L: Level>(self, other: $t) -> $t {
                $pow(self, other)
            }
        }
    };
}

macro_rules! int_lane {
    ($t:ty, $abs:expr) => {
        impl Lane for $t {
            conversions!($t);
            #[inline(always)]
            fn neg(self) -> $t {
                self.wrapping_neg()
            }
            #[inline(always)]
            fn abs(self) -> $t {
                $abs(self)
            }
            #[inline(always)]
            fn floor(self) -> $t {
                self
            }
            #[inline(always)]
            fn ceil(self) -> $t {
                self
            }
            #[inline(always)]
            fn round(self) -> $t {
                self
            }
            #[inline(always)]
            fn trunc(self) -> $t {
                self
            }
            #[inline(always)]
            fn exp<L: Level>(self) -> $t {
                (self as f64).exp() as $t
            }
            #[inline(always)]
            fn log<L: Level>(self) -> $t {
                (self as f64).ln() as $t
            }
            #[inline(always)]
            fn sqrt(self) -> $t {
                (self as f64).sqrt() as $t
            }
            #[inline(always)]
            fn tanh<L: Level>(self) -> $t {
                (self as f64).tanh() as $t
            }
            #[inline(always)]
            fn erf<L: Level>(self) -> $t {
                scalar::erf(self as f64) as $t
            }
            #[inline(always)]
            fn add(self, other: $t) -> $t {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: $t) -> $t {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn mul(self, other: $t) -> $t {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn div(self, other: $t) -> $t {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn max(self, other: $t) -> $t {
                Ord::max(self, other)
            }
            #[inline(always)]
            fn min(self, other: $t) -> $t {
                Ord::min(self, other)
            }
            #[inline(always)]
            fn pow<L: Level>(self, other: $t) -> $t {
                scalar::Arithmetic::power(self, other)
            }
        }
    };
}

macro_rules! float {
    ($t:ty, $reducible:expr; $($name:ident: $f:expr,)*) => {
        impl Float for $t {
            #[inline(always)]
            fn is_reducible(self) -> bool {
                let f: fn($t) -> bool = $reducible;
                f(self)
            }
            #[inline(always)]
            fn from_f64(x: f64) -> $t {
                x as $t
            }
            $(
                #[inline(always)]
                fn $name<L: Level>(self) -> $t {
                    $f(self)
                }
            )*
        }
    };
}

float_lane!(f32, math::exp::<L>, math::log::<L>, math::tanh::<L>, math::erf::<L>, math::pow::<L>);
float_lane!(f64, f64::exp, f64::ln, f64::tanh, scalar::erf, f64::powf);
int_lane!(i32, i32::wrapping_abs);
int_lane!(i64, i64::wrapping_abs);
int_lane!(u64, |x: u64| x);

float! {
    f32, |x| x.abs() < math::REDUCIBLE;
    exp2: math::exp2::<L>,
    expm1: math::expm1::<L>,
    log2: math::log2::<L>,
    log10: math::log10::<L>,
    log1p: math::log1p::<L>,
    sigmoid: math::sigmoid::<L>,
    sin: math::sin::<L>,
    cos: math::cos::<L>,
}

float! {
    f64, |_| true;
    exp2: f64::exp2,
    expm1: f64::exp_m1,
    log2: f64::log2,
    log10: f64::log10,
    log1p: f64::ln_1p,
    sigmoid: scalar::sigmoid,
    sin: f64::sin,
    cos: f64::cos,
}
