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
    /// As above.
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
    ($t:ty, $exp:expr, $log:expr, $tanh:expr, $erf:expr) => {
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
        }
    };
}

float_lane!(f32, math::exp::<L>, math::log::<L>, math::tanh::<L>, math::erf::<L>);
float_lane!(f64, f64::exp, f64::ln, f64::tanh, scalar::erf);
int_lane!(i32, i32::wrapping_abs);
int_lane!(i64, i64::wrapping_abs);
int_lane!(u64, |x: u64| x);
