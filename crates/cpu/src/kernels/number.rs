use lampyr_base::{bf16, f16};

/// An element as pooling, selection and scatter kernels see it.
pub(super) trait Number: Copy + Send + Sync + 'static {
    /// What sums are kept in.
    type Sum: Copy + Send + Sync + 'static;
    /// Whether that is the type itself.
    const SAME: bool;
    /// Nothing is smaller but NaN.
    const LOWEST: Self;
    /// The sum of nothing.
    const ZERO: Self::Sum;
    /// `sum + self`; integers wrap.
    fn add_to(self, sum: Self::Sum) -> Self::Sum;
    /// Rounds.
    fn of(sum: Self::Sum) -> Self;
    /// `self > other`, false for NaN.
    fn above(self, other: Self) -> bool;
    /// Whether this is no number.
    fn is_nan(self) -> bool;
    /// Whether this is not zero.
    fn is_set(self) -> bool;
}

macro_rules! integers {
    ($($t:ty)*) => { $(
        impl Number for $t {
            type Sum = $t;
            const SAME: bool = true;
            const LOWEST: $t = <$t>::MIN;
            const ZERO: $t = 0;
            #[inline(always)]
            fn add_to(self, sum: $t) -> $t {
                sum.wrapping_add(self)
            }
            #[inline(always)]
            fn of(sum: $t) -> $t {
                sum
            }
            #[inline(always)]
            fn above(self, other: $t) -> bool {
                self > other
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
            #[inline(always)]
            fn is_set(self) -> bool {
                self != 0
            }
        }
    )* };
}
integers! { u8 i8 u16 i16 u32 i32 u64 i64 }

macro_rules! floats {
    ($($t:ty, $sum:ty, $same:literal, $lowest:expr, $widen:expr, $narrow:expr;)*) => { $(
        impl Number for $t {
            type Sum = $sum;
            const SAME: bool = $same;
            const LOWEST: $t = $lowest;
            const ZERO: $sum = 0.0;
            #[inline(always)]
            fn add_to(self, sum: $sum) -> $sum {
                let widen: fn($t) -> $sum = $widen;
                sum + widen(self)
            }
            #[inline(always)]
            fn of(sum: $sum) -> $t {
                let narrow: fn($sum) -> $t = $narrow;
                narrow(sum)
            }
            #[inline(always)]
            fn above(self, other: $t) -> bool {
                self > other
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            #[inline(always)]
            fn is_set(self) -> bool {
                let widen: fn($t) -> $sum = $widen;
                widen(self) != 0.0
            }
        }
    )* };
}
floats! {
    f32, f32, true, f32::NEG_INFINITY, |x| x, |x| x;
    f64, f64, true, f64::NEG_INFINITY, |x| x, |x| x;
    f16, f32, false, f16::NEG_INFINITY, f16::to_f32, f16::from_f32;
    bf16, f32, false, bf16::NEG_INFINITY, bf16::to_f32, bf16::from_f32;
}
