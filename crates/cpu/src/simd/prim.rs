//! Tile primitives: loops over up to three tiles of lanes, one function per operation, compute type and tier.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{BitAnd, BitOr, BitXor, Not};

use lampyr_base::DType;
use lampyr_ir::scalar::{self, Arithmetic, Binary, Compare, Compute, Unary};

use super::Tier;
use super::lane::{Float, Lane};
#[cfg(target_arch = "x86_64")]
use super::level::{Avx2, Avx512};
use super::level::{Baseline, Level};
use super::math;

/// `dst[i] = f(a[i], b[i], c[i])` for `i < n`; tiles that the operation does not use are not touched.
///
/// # Safety
/// The tiles must hold `n` elements of the operation's types and must not overlap `dst`.
pub type Prim = unsafe fn(dst: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize);

/// The loop of a primitive.
trait Body {
    /// # Safety
    /// As for [`Prim`].
    unsafe fn run<L: Level>(dst: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize);
}

#[inline(always)]
unsafe fn tile<'a, T>(p: *const u8, n: usize) -> &'a [T] {
    // SAFETY: the caller says that `n` elements are there.
    unsafe { std::slice::from_raw_parts(p.cast(), n) }
}

#[inline(always)]
unsafe fn tile_mut<'a, T>(p: *mut u8, n: usize) -> &'a mut [MaybeUninit<T>] {
    // SAFETY: the caller says that room for `n` elements is there and nothing else uses it.
    unsafe { std::slice::from_raw_parts_mut(p.cast(), n) }
}

#[inline(always)]
fn map<T: Copy, R>(d: &mut [MaybeUninit<R>], a: &[T], f: impl Fn(T) -> R) {
    // Index loops: `zip` is not inlined from another codegen unit.
    let n = d.len().min(a.len());
    let (d, a) = (&mut d[..n], &a[..n]);
    for i in 0..n {
        d[i].write(f(a[i]));
    }
}

#[inline(always)]
fn map2<T: Copy, R>(d: &mut [MaybeUninit<R>], a: &[T], b: &[T], f: impl Fn(T, T) -> R) {
    let n = d.len().min(a.len()).min(b.len());
    let (d, a, b) = (&mut d[..n], &a[..n], &b[..n]);
    for i in 0..n {
        d[i].write(f(a[i], b[i]));
    }
}

/// Integers.
trait Bits: Arithmetic + Not<Output = Self> + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self> {}
impl Bits for i32 {}
impl Bits for i64 {}
impl Bits for u64 {}

macro_rules! one {
    ($name:ident<$T:ident: $bound:path>, $from:ty, $to:ty, $L:ident, $f:expr) => {
        struct $name<$T>(PhantomData<$T>);
        impl<$T: $bound> Body for $name<$T> {
            #[inline(always)]
            unsafe fn run<$L: Level>(dst: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
                // SAFETY: the caller keeps the contract of `Prim`.
                unsafe { map::<$from, $to>(tile_mut(dst, n), tile(a, n), $f) }
            }
        }
    };
}

macro_rules! two {
    ($name:ident, $to:ty, $f:expr) => {
        two!($name<T: Lane>, $to, L, $f);
    };
    ($name:ident<T: $bound:path>, $to:ty, $L:ident, $f:expr) => {
        struct $name<T>(PhantomData<T>);
        impl<T: $bound> Body for $name<T> {
            #[inline(always)]
            unsafe fn run<$L: Level>(dst: *mut u8, a: *const u8, b: *const u8, _: *const u8, n: usize) {
                // SAFETY: the caller keeps the contract of `Prim`.
                unsafe { map2::<T, $to>(tile_mut(dst, n), tile(a, n), tile(b, n), $f) }
            }
        }
    };
}

one!(Neg<T: Lane>, T, T, L, T::neg);
one!(Abs<T: Lane>, T, T, L, T::abs);
one!(Floor<T: Lane>, T, T, L, T::floor);
one!(Ceil<T: Lane>, T, T, L, T::ceil);
one!(ToWhole<T: Lane>, T, T, L, T::round);
one!(Trunc<T: Lane>, T, T, L, T::trunc);
one!(BitNot<T: Bits>, T, T, L, |x| !x);
one!(Exp<T: Float>, T, T, L, T::exp::<L>);
one!(Exp2<T: Float>, T, T, L, T::exp2::<L>);
one!(Expm1<T: Float>, T, T, L, T::expm1::<L>);
one!(Log<T: Float>, T, T, L, T::log::<L>);
one!(Log2<T: Float>, T, T, L, T::log2::<L>);
one!(Log10<T: Float>, T, T, L, T::log10::<L>);
one!(Log1p<T: Float>, T, T, L, T::log1p::<L>);
one!(Sqrt<T: Float>, T, T, L, T::sqrt);
one!(Tanh<T: Float>, T, T, L, T::tanh::<L>);
one!(Erf<T: Float>, T, T, L, T::erf::<L>);
one!(Sigmoid<T: Float>, T, T, L, T::sigmoid::<L>);

/// `x * Phi(x)`, step by step as its expression.
struct Gelu;
impl Body for Gelu {
    #[inline(always)]
    unsafe fn run<L: Level>(dst: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let gelu = |x: f32| x * 0.5 * (math::erf::<L>(x * std::f32::consts::FRAC_1_SQRT_2) + 1.0);
        // SAFETY: the caller keeps the contract of `Prim`.
        unsafe { map::<f32, f32>(tile_mut(dst, n), tile(a, n), gelu) }
    }
}

one!(Tan<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().tan()));
one!(Asin<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().asin()));
one!(Acos<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().acos()));
one!(Atan<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().atan()));
one!(Sinh<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().sinh()));
one!(Cosh<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().cosh()));
one!(Asinh<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().asinh()));
one!(Acosh<T: Float>, T, T, L, |x| T::from_f64(scalar::acosh(x.to_f64())));
one!(Atanh<T: Float>, T, T, L, |x| T::from_f64(x.to_f64().atanh()));
one!(IsZero<T: Lane>, T, i32, L, |x| i32::from(!x.truth()));
one!(Truth<T: Lane>, T, T, L, |x| T::from_bool(x.truth()));
one!(ToF32<T: Lane>, T, f32, L, T::to_f32);
one!(ToF64<T: Lane>, T, f64, L, T::to_f64);
one!(ToI32<T: Lane>, T, i32, L, T::to_i32);
one!(ToI64<T: Lane>, T, i64, L, T::to_i64);
one!(ToU64<T: Lane>, T, u64, L, T::to_u64);
two!(Add, T, T::add);
two!(Sub, T, T::sub);
two!(Mul, T, T::mul);
two!(Div, T, T::div);
two!(Max, T, T::max);
two!(Min, T, T::min);
two!(Pow<T: Lane>, T, L, T::pow::<L>);
two!(Fmod<T: Arithmetic>, T, L, T::fmod);
two!(Remainder<T: Arithmetic>, T, L, T::remainder);
two!(And<T: Bits>, T, L, |x, y| x & y);
two!(Or<T: Bits>, T, L, |x, y| x | y);
two!(Xor<T: Bits>, T, L, |x, y| x ^ y);
two!(Shl<T: Bits>, T, L, T::shift_left);
two!(Shr<T: Bits>, T, L, T::shift_right);
two!(Eq, i32, |x, y| i32::from(x == y));
two!(Lt, i32, |x, y| i32::from(x < y));
two!(Le, i32, |x, y| i32::from(x <= y));

macro_rules! turning {
    ($name:ident, $f:ident) => {
        struct $name<T>(PhantomData<T>);
        impl<T: Float> Body for $name<T> {
            #[inline(always)]
            unsafe fn run<L: Level>(dst: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
                // SAFETY: the caller keeps the contract of `Prim`.
                let (d, a) = unsafe { (tile_mut::<T>(dst, n), tile::<T>(a, n)) };
                map(d, a, T::$f::<L>);
                if a.iter().fold(false, |far, x| far | !x.is_reducible()) {
                    for (d, x) in d.iter_mut().zip(a).filter(|(_, x)| !x.is_reducible()) {
                        d.write(T::from_f64(x.to_f64().$f()));
                    }
                }
            }
        }
    };
}

turning!(Sin, sin);
turning!(Cos, cos);

struct Select<T>(PhantomData<T>);
impl<T: Copy> Body for Select<T> {
    #[inline(always)]
    unsafe fn run<L: Level>(dst: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize) {
        // SAFETY: the caller keeps the contract of `Prim`.
        let (d, c0, x, y) = unsafe { (tile_mut::<T>(dst, n), tile::<i32>(a, n), tile::<T>(b, n), tile::<T>(c, n)) };
        for i in 0..n {
            d[i].write(if c0[i] != 0 { x[i] } else { y[i] });
        }
    }
}

/// Storage types that are not compute types: how they are read and written.
trait Stored {
    type Bits: Copy;
    type Lane: Copy;
    fn widen(bits: Self::Bits) -> Self::Lane;
    fn narrow(lane: Self::Lane) -> Self::Bits;
}

macro_rules! stored {
    ($($name:ident, $bits:ty, $lane:ty, $widen:expr, $narrow:expr;)*) => { $(
        struct $name;
        impl Stored for $name {
            type Bits = $bits;
            type Lane = $lane;
            #[inline(always)]
            fn widen(bits: $bits) -> $lane {
                let f: fn($bits) -> $lane = $widen;
                f(bits)
            }
            #[inline(always)]
            fn narrow(lane: $lane) -> $bits {
                let f: fn($lane) -> $bits = $narrow;
                f(lane)
            }
        }
    )* };
}

stored! {
    Bool, u8, i32, |x| i32::from(x != 0), |x| u8::from(x != 0);
    U8, u8, i32, |x| x.into(), |x| x as u8;
    I8, i8, i32, |x| x.into(), |x| x as i8;
    U16, u16, i32, |x| x.into(), |x| x as u16;
    I16, i16, i32, |x| x.into(), |x| x as i16;
    U32, u32, i64, |x| x.into(), |x| x as u32;
    F16, u16, f32, math::from_f16, math::to_f16;
    BF16, u16, f32, math::from_bf16, math::to_bf16;
    B32, u32, u32, |x| x, |x| x;
    B64, u64, u64, |x| x, |x| x;
}

one!(Load<S: Stored>, S::Bits, S::Lane, L, S::widen);
one!(Store<S: Stored>, S::Lane, S::Bits, L, S::narrow);
one!(Round<S: Stored>, S::Lane, S::Lane, L, |x| S::widen(S::narrow(x)));

const F32: usize = 0;
const TYPES: usize = 5;
const DTYPES: usize = DType::ALL.len();

fn index(ty: Compute) -> usize {
    match ty {
        Compute::F32 => F32,
        Compute::F64 => 1,
        Compute::I32 => 2,
        Compute::I64 => 3,
        Compute::U64 => 4,
    }
}

/// The one of `row` for the integer type `ty`.
fn whole(row: &[Prim; 3], ty: Compute) -> Option<Prim> {
    row.get(index(ty).checked_sub(2)?).copied()
}

/// The primitives of one tier.
pub struct Prims {
    unary: [[Prim; TYPES]; 7],
    float: [[Prim; 2]; 22],
    flip: [Prim; 3],
    binary: [[Prim; TYPES]; 9],
    bits: [[Prim; 3]; 5],
    compare: [[Prim; TYPES]; 3],
    select: [Prim; 2],
    gelu: Prim,
    convert: [[Prim; TYPES]; TYPES],
    truth: [Prim; TYPES],
    round: [Prim; DTYPES],
    load: [Prim; DTYPES],
    store: [Prim; DTYPES],
}

impl Prims {
    /// Those of `tier`, which must be available.
    pub fn of(tier: Tier) -> &'static Prims {
        match tier {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => &x86::AVX512,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => &x86::AVX2,
            _ => &BASELINE,
        }
    }

    /// `f(a)` for lanes of `ty`; `i32` lanes for [`Unary::Not`]. `None` where `f` is not defined on `ty`.
    pub fn unary(&self, f: Unary, ty: Compute) -> Option<Prim> {
        let float = |row: usize| self.float[row].get(index(ty)).copied();
        let any = |row: usize| Some(self.unary[row][index(ty)]);
        match f {
            Unary::Neg => any(0),
            Unary::Abs => any(1),
            Unary::Not => any(2),
            Unary::Floor => any(3),
            Unary::Ceil => any(4),
            Unary::Round => any(5),
            Unary::Trunc => any(6),
            Unary::Exp => float(0),
            Unary::Log => float(1),
            Unary::Sqrt => float(2),
            Unary::Tanh => float(3),
            Unary::Erf => float(4),
            Unary::Exp2 => float(5),
            Unary::Expm1 => float(6),
            Unary::Log2 => float(7),
            Unary::Log10 => float(8),
            Unary::Log1p => float(9),
            Unary::Sigmoid => float(10),
            Unary::Sin => float(11),
            Unary::Cos => float(12),
            Unary::Tan => float(13),
            Unary::Asin => float(14),
            Unary::Acos => float(15),
            Unary::Atan => float(16),
            Unary::Sinh => float(17),
            Unary::Cosh => float(18),
            Unary::Asinh => float(19),
            Unary::Acosh => float(20),
            Unary::Atanh => float(21),
            Unary::BitNot => whole(&self.flip, ty),
        }
    }

    /// `f(a, b)` for lanes of `ty`. `None` where `f` is not defined on `ty`.
    pub fn binary(&self, f: Binary, ty: Compute) -> Option<Prim> {
        let any = |row: usize| Some(self.binary[row][index(ty)]);
        match f {
            Binary::Add => any(0),
            Binary::Sub => any(1),
            Binary::Mul => any(2),
            Binary::Div => any(3),
            Binary::Max => any(4),
            Binary::Min => any(5),
            Binary::Pow => any(6),
            Binary::Fmod => any(7),
            Binary::Remainder => any(8),
            Binary::And => whole(&self.bits[0], ty),
            Binary::Or => whole(&self.bits[1], ty),
            Binary::Xor => whole(&self.bits[2], ty),
            Binary::Shl => whole(&self.bits[3], ty),
            Binary::Shr => whole(&self.bits[4], ty),
        }
    }

    /// `f(a, b)` for lanes of `ty`, as `i32`.
    pub fn compare(&self, f: Compare, ty: Compute) -> Prim {
        let row = match f {
            Compare::Eq => 0,
            Compare::Lt => 1,
            Compare::Le => 2,
        };
        self.compare[row][index(ty)]
    }

    /// `if a { b } else { c }` with `a` of `i32` and `b`, `c` of `ty`.
    pub fn select(&self, ty: Compute) -> Prim {
        self.select[usize::from(ty.size() == 8)]
    }

    /// `x * Phi(x)` of `f32`.
    pub fn gelu(&self) -> Prim {
        self.gelu
    }

    /// Conversion between lanes.
    pub fn convert(&self, from: Compute, to: Compute) -> Prim {
        self.convert[index(from)][index(to)]
    }

    /// What a tensor of `dtype` keeps of lanes of `ty`; `None` when that is everything.
    pub fn round(&self, dtype: DType, ty: Compute) -> Option<Prim> {
        if dtype == DType::Bool {
            return Some(self.truth[index(ty)]);
        }
        (Compute::of(dtype) == ty && !is_native(dtype)).then(|| self.round[dtype as usize])
    }

    /// Elements of `dtype` to lanes of [`Compute::of`] it.
    pub fn load(&self, dtype: DType) -> Prim {
        self.load[dtype as usize]
    }

    /// Lanes of [`Compute::of`] `dtype` to its elements.
    pub fn store(&self, dtype: DType) -> Prim {
        self.store[dtype as usize]
    }
}

/// Whether elements of `dtype` are their own lanes.
pub fn is_native(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U64)
}

macro_rules! types {
    ($run:ident, $f:ident) => {
        [$run::<$f<f32>>, $run::<$f<f64>>, $run::<$f<i32>>, $run::<$f<i64>>, $run::<$f<u64>>]
    };
}

macro_rules! floats {
    ($run:ident, $($f:ident)*) => {
        [$([$run::<$f<f32>>, $run::<$f<f64>>]),*]
    };
}

macro_rules! integers {
    ($run:ident, $f:ident) => {
        [$run::<$f<i32>>, $run::<$f<i64>>, $run::<$f<u64>>]
    };
}

macro_rules! dtypes {
    ($run:ident, $f:ident) => {
        [
            $run::<$f<Bool>>,
            $run::<$f<U8>>,
            $run::<$f<I8>>,
            $run::<$f<U16>>,
            $run::<$f<I16>>,
            $run::<$f<U32>>,
            $run::<$f<B32>>,
            $run::<$f<B64>>,
            $run::<$f<B64>>,
            $run::<$f<F16>>,
            $run::<$f<BF16>>,
            $run::<$f<B32>>,
            $run::<$f<B64>>,
        ]
    };
}

macro_rules! tier {
    ($table:ident, $run:ident, $level:ty $(, $features:literal)?) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $run<B: Body>(dst: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize) {
            // SAFETY: the caller keeps the contract of `Prim`.
            unsafe { B::run::<$level>(dst, a, b, c, n) }
        }

        pub(super) static $table: Prims = Prims {
            unary: [
                types!($run, Neg),
                types!($run, Abs),
                types!($run, IsZero),
                types!($run, Floor),
                types!($run, Ceil),
                types!($run, ToWhole),
                types!($run, Trunc),
            ],
            float: floats!(
                $run,
                Exp Log Sqrt Tanh Erf Exp2 Expm1 Log2 Log10 Log1p Sigmoid Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh
                Acosh Atanh
            ),
            flip: integers!($run, BitNot),
            binary: [
                types!($run, Add),
                types!($run, Sub),
                types!($run, Mul),
                types!($run, Div),
                types!($run, Max),
                types!($run, Min),
                types!($run, Pow),
                types!($run, Fmod),
                types!($run, Remainder),
            ],
            bits: [
                integers!($run, And),
                integers!($run, Or),
                integers!($run, Xor),
                integers!($run, Shl),
                integers!($run, Shr),
            ],
            compare: [types!($run, Eq), types!($run, Lt), types!($run, Le)],
            select: [$run::<Select<u32>>, $run::<Select<u64>>],
            gelu: $run::<Gelu>,
            convert: [
                [$run::<ToF32<f32>>, $run::<ToF64<f32>>, $run::<ToI32<f32>>, $run::<ToI64<f32>>, $run::<ToU64<f32>>],
                [$run::<ToF32<f64>>, $run::<ToF64<f64>>, $run::<ToI32<f64>>, $run::<ToI64<f64>>, $run::<ToU64<f64>>],
                [$run::<ToF32<i32>>, $run::<ToF64<i32>>, $run::<ToI32<i32>>, $run::<ToI64<i32>>, $run::<ToU64<i32>>],
                [$run::<ToF32<i64>>, $run::<ToF64<i64>>, $run::<ToI32<i64>>, $run::<ToI64<i64>>, $run::<ToU64<i64>>],
                [$run::<ToF32<u64>>, $run::<ToF64<u64>>, $run::<ToI32<u64>>, $run::<ToI64<u64>>, $run::<ToU64<u64>>],
            ],
            truth: types!($run, Truth),
            round: dtypes!($run, Round),
            load: dtypes!($run, Load),
            store: dtypes!($run, Store),
        };
    };
}

tier!(BASELINE, baseline, Baseline);
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    tier!(AVX2, avx2, Avx2, "avx2,fma,f16c");
    tier!(AVX512, avx512, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c");
}
