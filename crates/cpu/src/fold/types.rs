use std::marker::PhantomData;

use lampyr_base::DType;
use lampyr_ir::scalar::Compute;

use crate::simd::Level;
use crate::simd::lane::Lane;
use crate::simd::math::{to_bf16, to_f16};

/// A result before it is stored.
pub(crate) trait Wide: Copy + Send + Sync + 'static {
    /// Stores `values` as elements of `dtype`.
    ///
    /// # Safety
    /// There must be room for them.
    unsafe fn store(values: &[Self], dtype: DType, to: *mut u8);
}

macro_rules! wide {
    ($t:ty) => {
        impl Wide for $t {
            unsafe fn store(values: &[$t], dtype: DType, to: *mut u8) {
                macro_rules! each {
                    ($e:ty, $f:expr) => {
                        for (i, &x) in values.iter().enumerate() {
                            let f: fn($t) -> $e = $f;
                            // SAFETY: the caller's promise.
                            unsafe { to.cast::<$e>().add(i).write_unaligned(f(x)) };
                        }
                    };
                }
                match dtype {
                    DType::Bool => each!(u8, |x| u8::from(x != (0 as $t))),
                    DType::U8 => each!(u8, |x| x as u8),
                    DType::I8 => each!(i8, |x| x as i8),
                    DType::U16 => each!(u16, |x| x as u16),
                    DType::I16 => each!(i16, |x| x as i16),
                    DType::U32 => each!(u32, |x| x as u32),
                    DType::I32 => each!(i32, |x| x as i32),
                    DType::U64 => each!(u64, |x| x as u64),
                    DType::I64 => each!(i64, |x| x as i64),
                    DType::F16 => each!(u16, |x| to_f16(x as f32)),
                    DType::BF16 => each!(u16, |x| to_bf16(x as f32)),
                    DType::F32 => each!(f32, |x| x as f32),
                    DType::F64 => each!(f64, |x| x as f64),
                }
            }
        }
    };
}

wide!(f32);
wide!(f64);
wide!(i32);
wide!(i64);
wide!(u64);

/// How elements are folded: into lanes for short stretches, then into a wider type.
pub(crate) trait Fold: 'static {
    /// Type of elements and short results.
    type Lane: Copy + Send + Sync + 'static;
    /// Type of long results.
    type Wide: Wide;
    /// The compute type of `Lane`.
    const LANE: Compute;
    /// Whether `step` looks at its third argument.
    const CENTERED: bool = false;
    /// The result for no elements.
    const NOTHING: Self::Lane;
    /// Folds in one element; `center` is a number that belongs to the result.
    fn step<L: Level>(acc: Self::Lane, x: Self::Lane, center: Self::Lane) -> Self::Lane;
    /// Joins two short results.
    fn merge(a: Self::Lane, b: Self::Lane) -> Self::Lane;
    /// A short result as a long one.
    fn widen(a: Self::Lane) -> Self::Wide;
    /// Joins two long results.
    fn join(a: Self::Wide, b: Self::Wide) -> Self::Wide;
}

/// Sum; integers wrap.
pub(crate) struct Sum<T>(PhantomData<T>);
/// Largest; NaN wins.
pub(crate) struct Max<T>(PhantomData<T>);
/// Smallest; NaN wins.
pub(crate) struct Min<T>(PhantomData<T>);
/// Product; integers wrap.
pub(crate) struct Prod<T>(PhantomData<T>);
/// Sum of squared distances from the centre.
pub(crate) struct Squares<T>(PhantomData<T>);

macro_rules! folds {
    ($t:ty, $compute:ident, $wide:ty, $least:expr, $greatest:expr) => {
        impl Fold for Sum<$t> {
            type Lane = $t;
            type Wide = $wide;
            const LANE: Compute = Compute::$compute;
            const NOTHING: $t = 0 as $t;
            #[inline(always)]
            fn step<L: Level>(acc: $t, x: $t, _: $t) -> $t {
                Lane::add(acc, x)
            }
            #[inline(always)]
            fn merge(a: $t, b: $t) -> $t {
                Lane::add(a, b)
            }
            #[inline(always)]
            fn widen(a: $t) -> $wide {
                a.into()
            }
            #[inline(always)]
            fn join(a: $wide, b: $wide) -> $wide {
                Lane::add(a, b)
            }
        }

        impl Fold for Max<$t> {
            type Lane = $t;
            type Wide = $t;
            const LANE: Compute = Compute::$compute;
            const NOTHING: $t = $least;
            #[inline(always)]
            fn step<L: Level>(acc: $t, x: $t, _: $t) -> $t {
                Lane::max(acc, x)
            }
            #[inline(always)]
            fn merge(a: $t, b: $t) -> $t {
                Lane::max(a, b)
            }
            #[inline(always)]
            fn widen(a: $t) -> $t {
                a
            }
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                Lane::max(a, b)
            }
        }

        impl Fold for Min<$t> {
            type Lane = $t;
            type Wide = $t;
            const LANE: Compute = Compute::$compute;
            const NOTHING: $t = $greatest;
            #[inline(always)]
            fn step<L: Level>(acc: $t, x: $t, _: $t) -> $t {
                Lane::min(acc, x)
            }
            #[inline(always)]
            fn merge(a: $t, b: $t) -> $t {
                Lane::min(a, b)
            }
            #[inline(always)]
            fn widen(a: $t) -> $t {
                a
            }
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                Lane::min(a, b)
            }
        }
    };
}

folds!(f32, F32, f64, f32::NEG_INFINITY, f32::INFINITY);
folds!(f64, F64, f64, f64::NEG_INFINITY, f64::INFINITY);
folds!(i32, I32, i64, i32::MIN, i32::MAX);
folds!(i64, I64, i64, i64::MIN, i64::MAX);
folds!(u64, U64, u64, 0, u64::MAX);

macro_rules! products {
    ($t:ty, $compute:ident) => {
        impl Fold for Prod<$t> {
            type Lane = $t;
            type Wide = $t;
            const LANE: Compute = Compute::$compute;
            const NOTHING: $t = 1 as $t;
            #[inline(always)]
            fn step<L: Level>(acc: $t, x: $t, _: $t) -> $t {
                Lane::mul(acc, x)
            }
            #[inline(always)]
            fn merge(a: $t, b: $t) -> $t {
                Lane::mul(a, b)
            }
            #[inline(always)]
            fn widen(a: $t) -> $t {
                a
            }
            #[inline(always)]
            fn join(a: $t, b: $t) -> $t {
                Lane::mul(a, b)
            }
        }
    };
}

products!(f64, F64);
products!(i64, I64);
products!(u64, U64);

macro_rules! squares {
    ($t:ty, $compute:ident) => {
        impl Fold for Squares<$t> {
            type Lane = $t;
            type Wide = f64;
            const LANE: Compute = Compute::$compute;
            const CENTERED: bool = true;
            const NOTHING: $t = 0.0;
            #[inline(always)]
            fn step<L: Level>(acc: $t, x: $t, center: $t) -> $t {
                let d = x - center;
                if L::FMA { d.mul_add(d, acc) } else { acc + d * d }
            }
            #[inline(always)]
            fn merge(a: $t, b: $t) -> $t {
                a + b
            }
            #[inline(always)]
            fn widen(a: $t) -> f64 {
                a.into()
            }
            #[inline(always)]
            fn join(a: f64, b: f64) -> f64 {
                a + b
            }
        }
    };
}

squares!(f32, F32);
squares!(f64, F64);
