//! Scalar expressions: what an elementwise op computes for one element, as typed straight-line code. Fused CPU loops
//! and GPU kernels are derived from them.
//!
//! Semantics, the same on every device:
//!
//! | case | result |
//! |---|---|
//! | integer overflow | wraps, in the width of the tensor's dtype |
//! | integer division | truncates; by zero gives 0; `MIN / -1` wraps |
//! | remainders | `Fmod` has the sign of the dividend, `Remainder` that of the divisor; of integers by zero: 0 |
//! | integer powers | wrap; negative exponents give the truncated quotient: 0 unless the base is 1 or -1 |
//! | shifts | by a negative number or at least the compute type's width: as if by all bits, sign kept to the right |
//! | rounding functions, `abs` | of integers: themselves, `abs(MIN)` wraps |
//! | `exp` and the like, `sin` and the like | on floats only |
//! | `max`, `min` with NaN | NaN |
//! | float to integer | truncates, saturates at the compute type, NaN gives 0; then wraps to narrower types |
//! | to `bool` | `x != 0` (NaN is true) |
//! | `float16`, `bfloat16` | computed in `float32`, rounded to nearest even after every op of a chain |

use lampyr_base::{DType, bf16, f16};
use smallvec::SmallVec;

/// The type a scalar register has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compute {
    /// `f32`, for float16, bfloat16 and float32.
    F32,
    /// `f64`
    F64,
    /// `i32`, for bool and integers of up to 32 bits but `uint32`.
    I32,
    /// `i64`, for int64 and uint32.
    I64,
    /// `u64`
    U64,
}

impl Compute {
    /// The type in which elements of `dtype` are computed.
    #[inline]
    pub fn of(dtype: DType) -> Compute {
        match dtype {
            DType::F16 | DType::BF16 | DType::F32 => Compute::F32,
            DType::F64 => Compute::F64,
            DType::Bool | DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::I32 => Compute::I32,
            DType::U32 | DType::I64 => Compute::I64,
            DType::U64 => Compute::U64,
        }
    }

    /// Bytes of one register lane.
    #[inline]
    pub fn size(self) -> usize {
        match self {
            Compute::F32 | Compute::I32 => 4,
            Compute::F64 | Compute::I64 | Compute::U64 => 8,
        }
    }
}

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `-x`
    Neg,
    /// Absolute value.
    Abs,
    /// e^x
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// Hyperbolic tangent.
    Tanh,
    /// Error function.
    Erf,
    /// 2^x
    Exp2,
    /// e^x - 1
    Expm1,
    /// Logarithm to base 2.
    Log2,
    /// Logarithm to base 10.
    Log10,
    /// ln(1 + x)
    Log1p,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse sine.
    Asin,
    /// Inverse cosine.
    Acos,
    /// Inverse tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
    /// Largest whole number that is not above.
    Floor,
    /// Smallest whole number that is not below.
    Ceil,
    /// Nearest whole number; the even one of two.
    Round,
    /// The whole part.
    Trunc,
    /// All bits flipped; integers only.
    BitNot,
    /// 1 for zero, 0 otherwise; the result is `I32`.
    Not,
}

/// Functions of two numbers of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// Larger; NaN wins.
    Max,
    /// Smaller; NaN wins.
    Min,
    /// Power.
    Pow,
    /// Remainder with the sign of the dividend.
    Fmod,
    /// Remainder with the sign of the divisor.
    Remainder,
    /// Bits set in both; integers only.
    And,
    /// Bits set in either; integers only.
    Or,
    /// Bits set in one; integers only.
    Xor,
    /// Bits moved up; integers only.
    Shl,
    /// Bits moved down, the sign kept; integers only.
    Shr,
}

impl Unary {
    /// Whether the function is defined on floats only.
    pub fn is_float_only(self) -> bool {
        use Unary::{Abs, BitNot, Ceil, Floor, Neg, Not, Round, Trunc};
        !matches!(self, Neg | Abs | Not | BitNot | Floor | Ceil | Round | Trunc)
    }
}

impl Binary {
    /// Whether the function is defined on integers only.
    pub fn is_integer_only(self) -> bool {
        matches!(self, Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr)
    }
}

/// Comparisons; the result is 0 or 1 in `I32`, 0 when an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `a == b`
    Eq,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
}

/// One instruction; operands are indices of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instr {
    /// Element of input `i`, loaded as its dtype's compute type.
    Input(u8),
    /// A constant: `f64` bits for float types, the two's complement integer otherwise.
    Const(u64),
    /// Function of one register.
    Unary(Unary, u16),
    /// Function of two registers.
    Binary(Binary, u16, u16),
    /// Comparison of two registers.
    Compare(Compare, u16, u16),
    /// `if r0 != 0 { r1 } else { r2 }`; `r0` is `I32`.
    Select(u16, u16, u16),
    /// Conversion between compute types.
    Convert(u16),
    /// Rounding (floats) or wrapping (integers) to what a tensor of this dtype can hold; `bool` means `!= 0`.
    Round(DType, u16),
}

/// One instruction with the type of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What is computed.
    pub instr: Instr,
    /// Type of the result.
    pub ty: Compute,
}

/// Straight-line code from input elements to output elements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScalarExpr {
    /// Element types of the inputs.
    pub inputs: SmallVec<[DType; 4]>,
    /// Instructions in order.
    pub steps: SmallVec<[Step; 6]>,
    /// Registers stored as outputs, with the outputs' element types.
    pub outputs: SmallVec<[(u16, DType); 1]>,
}

impl ScalarExpr {
    /// Code without instructions over inputs of these types.
    #[inline]
    pub fn new(inputs: &[DType]) -> ScalarExpr {
        ScalarExpr { inputs: inputs.into(), ..ScalarExpr::default() }
    }

    /// Appends an instruction; its register.
    #[inline]
    pub fn push(&mut self, instr: Instr, ty: Compute) -> u16 {
        self.steps.push(Step { instr, ty });
        (self.steps.len() - 1) as u16
    }

    /// Loads input `i`.
    #[inline]
    pub fn load(&mut self, i: u8) -> u16 {
        let ty = self.inputs.get(i as usize).map_or(Compute::F32, |d| Compute::of(*d));
        self.push(Instr::Input(i), ty)
    }

    /// A constant of type `ty`.
    pub fn constant(&mut self, value: f64, ty: Compute) -> u16 {
        let bits = match ty {
            Compute::F32 | Compute::F64 => value.to_bits(),
            Compute::U64 => value as u64,
            _ => value as i64 as u64,
        };
        self.push(Instr::Const(bits), ty)
    }

    /// The type of register `r`.
    #[inline]
    pub fn ty(&self, r: u16) -> Compute {
        self.steps.get(r as usize).map_or(Compute::F32, |s| s.ty)
    }

    /// Function of one register.
    #[inline]
    pub fn unary(&mut self, f: Unary, x: u16) -> u16 {
        let ty = if f == Unary::Not { Compute::I32 } else { self.ty(x) };
        self.push(Instr::Unary(f, x), ty)
    }

    /// Function of two registers.
    #[inline]
    pub fn binary(&mut self, f: Binary, x: u16, y: u16) -> u16 {
        let ty = self.ty(x);
        self.push(Instr::Binary(f, x, y), ty)
    }

    /// Comparison.
    #[inline]
    pub fn compare(&mut self, f: Compare, x: u16, y: u16) -> u16 {
        self.push(Instr::Compare(f, x, y), Compute::I32)
    }

    /// Choice.
    #[inline]
    pub fn select(&mut self, c: u16, x: u16, y: u16) -> u16 {
        let ty = self.ty(x);
        self.push(Instr::Select(c, x, y), ty)
    }

    /// Conversion to `ty`, if needed.
    pub fn convert(&mut self, x: u16, ty: Compute) -> u16 {
        if self.ty(x) == ty { x } else { self.push(Instr::Convert(x), ty) }
    }

    /// Declares an output.
    #[inline]
    pub fn store(mut self, r: u16, dtype: DType) -> ScalarExpr {
        self.outputs.push((r, dtype));
        self
    }

    /// `f(x)` with equal types in and out.
    #[inline]
    pub fn of_unary(dtype: DType, f: Unary) -> ScalarExpr {
        let mut e = ScalarExpr::new(&[dtype]);
        let x = e.load(0);
        let y = e.unary(f, x);
        e.store(y, dtype)
    }

    /// `f(x, y)` with equal types in and out.
    #[inline]
    pub fn of_binary(dtype: DType, f: Binary) -> ScalarExpr {
        let mut e = ScalarExpr::new(&[dtype, dtype]);
        let (x, y) = (e.load(0), e.load(1));
        let z = e.binary(f, x, y);
        e.store(z, dtype)
    }

    /// `f(x, y)` as `bool`.
    #[inline]
    pub fn of_compare(dtype: DType, f: Compare, swapped: bool) -> ScalarExpr {
        let mut e = ScalarExpr::new(&[dtype, dtype]);
        let (x, y) = (e.load(0), e.load(1));
        let z = if swapped { e.compare(f, y, x) } else { e.compare(f, x, y) };
        e.store(z, DType::Bool)
    }

    /// Evaluates for one element; `inputs` are compute-type values. The definition of the semantics table.
    pub fn eval(&self, inputs: &[Lane]) -> SmallVec<[Lane; 1]> {
        let mut regs: SmallVec<[Lane; 16]> = SmallVec::new();
        for step in &self.steps {
            let r = |i: u16| regs[i as usize];
            let value = match step.instr {
                Instr::Input(i) => inputs[i as usize],
                Instr::Const(bits) => match step.ty {
                    Compute::F32 => Lane::F32(f64::from_bits(bits) as f32),
                    Compute::F64 => Lane::F64(f64::from_bits(bits)),
                    Compute::I32 => Lane::I32(bits as i32),
                    Compute::I64 => Lane::I64(bits as i64),
                    Compute::U64 => Lane::U64(bits),
                },
                Instr::Unary(f, x) => r(x).unary(f),
                Instr::Binary(f, x, y) => r(x).binary(f, r(y)),
                Instr::Compare(f, x, y) => Lane::I32(i32::from(r(x).compare(f, r(y)))),
                Instr::Select(c, x, y) => {
                    if r(c).is_zero() {
                        r(y)
                    } else {
                        r(x)
                    }
                }
                Instr::Convert(x) => r(x).convert(step.ty),
                Instr::Round(d, x) => r(x).round_to(d),
            };
            regs.push(value);
        }
        self.outputs.iter().map(|&(r, d)| regs[r as usize].convert(Compute::of(d)).round_to(d)).collect()
    }
}

/// A value in a scalar register.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Lane {
    F32(f32),
    F64(f64),
    I32(i32),
    I64(i64),
    U64(u64),
}

macro_rules! int_binary {
    ($f:expr, $a:expr, $b:expr) => {
        match $f {
            Binary::Add => $a.wrapping_add($b),
            Binary::Sub => $a.wrapping_sub($b),
            Binary::Mul => $a.wrapping_mul($b),
            Binary::Div => {
                if $b == 0 {
                    0
                } else {
                    $a.wrapping_div($b)
                }
            }
            Binary::Max => $a.max($b),
            Binary::Min => $a.min($b),
            Binary::Pow => $a.power($b),
            Binary::Fmod => $a.fmod($b),
            Binary::Remainder => $a.remainder($b),
            Binary::And => $a & $b,
            Binary::Or => $a | $b,
            Binary::Xor => $a ^ $b,
            Binary::Shl => $a.shift_left($b),
            Binary::Shr => $a.shift_right($b),
        }
    };
}

macro_rules! float_binary {
    ($f:expr, $a:expr, $b:expr) => {
        match $f {
            Binary::Add => $a + $b,
            Binary::Sub => $a - $b,
            Binary::Mul => $a * $b,
            Binary::Div => $a / $b,
            Binary::Max => {
                if $a > $b || $a.is_nan() {
                    $a
                } else {
                    $b
                }
            }
            Binary::Min => {
                if $a < $b || $a.is_nan() {
                    $a
                } else {
                    $b
                }
            }
            Binary::Pow => $a.powf($b),
            Binary::Fmod => $a % $b,
            Binary::Remainder => $a.remainder($b),
            Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => $a,
        }
    };
}

/// Functions of integers and floats whose meaning scalar expressions fix.
pub trait Arithmetic: Copy {
    /// `self` to the power of `exponent`, wrapping.
    fn power(self, exponent: Self) -> Self;
    /// Remainder with the sign of `self`.
    fn fmod(self, divisor: Self) -> Self;
    /// Remainder with the sign of `divisor`.
    fn remainder(self, divisor: Self) -> Self;
    /// Bits moved up.
    fn shift_left(self, by: Self) -> Self;
    /// Bits moved down.
    fn shift_right(self, by: Self) -> Self;
}

macro_rules! integer_arithmetic {
    ($t:ty, $negative:expr) => {
        impl Arithmetic for $t {
            #[inline(always)]
            fn power(self, exponent: $t) -> $t {
                let negative: fn($t) -> bool = $negative;
                let odd = exponent & 1 == 1;
                if negative(exponent) {
                    return match self {
                        1 => 1,
                        x if x == (0 as $t).wrapping_sub(1) => {
                            if odd {
                                x
                            } else {
                                1
                            }
                        }
                        _ => 0,
                    };
                }
                let (mut base, mut left, mut result) = (self, exponent, 1 as $t);
                while left != 0 {
                    if left & 1 == 1 {
                        result = result.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    left >>= 1;
                }
                result
            }
            #[inline(always)]
            fn fmod(self, divisor: $t) -> $t {
                if divisor == 0 { 0 } else { self.wrapping_rem(divisor) }
            }
            #[inline(always)]
            fn remainder(self, divisor: $t) -> $t {
                let negative: fn($t) -> bool = $negative;
                let r = Arithmetic::fmod(self, divisor);
                if r != 0 && negative(r) != negative(divisor) { r.wrapping_add(divisor) } else { r }
            }
            #[inline(always)]
            fn shift_left(self, by: $t) -> $t {
                let negative: fn($t) -> bool = $negative;
                if negative(by) || by >= <$t>::BITS as $t { 0 } else { self.wrapping_shl(by as u32) }
            }
            #[inline(always)]
            fn shift_right(self, by: $t) -> $t {
                let negative: fn($t) -> bool = $negative;
                let all = <$t>::BITS - 1;
                if negative(by) || by > all as $t {
                    // Two shifts, so that unsigned numbers become 0.
                    self.wrapping_shr(all).wrapping_shr(1)
                } else {
                    self.wrapping_shr(by as u32)
                }
            }
        }
    };
}

integer_arithmetic!(i32, |x| x < 0);
integer_arithmetic!(i64, |x| x < 0);
integer_arithmetic!(u64, |_| false);

macro_rules! float_arithmetic {
    ($t:ty) => {
        impl Arithmetic for $t {
            #[inline(always)]
            fn power(self, exponent: $t) -> $t {
                self.powf(exponent)
            }
            #[inline(always)]
            fn fmod(self, divisor: $t) -> $t {
                self % divisor
            }
            #[inline(always)]
            fn remainder(self, divisor: $t) -> $t {
                let r = self % divisor;
                if r != 0.0 && (r < 0.0) != (divisor < 0.0) { r + divisor } else { r }
            }
            #[inline(always)]
            fn shift_left(self, _: $t) -> $t {
                self
            }
            #[inline(always)]
            fn shift_right(self, _: $t) -> $t {
                self
            }
        }
    };
}

float_arithmetic!(f32);
float_arithmetic!(f64);

fn float_unary(f: Unary, x: f64) -> f64 {
    match f {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Tanh => x.tanh(),
        Unary::Erf => erf(x),
        Unary::Exp2 => x.exp2(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log2 => x.log2(),
        Unary::Log10 => x.log10(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sigmoid => sigmoid(x),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Asinh => x.asinh(),
        Unary::Acosh => acosh(x),
        Unary::Atanh => x.atanh(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Trunc => x.trunc(),
        Unary::BitNot => x,
        Unary::Not => f64::from(u8::from(x == 0.0)),
    }
}

/// `1 / (1 + e^-x)` without overflow.
pub fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// Inverse hyperbolic cosine; the standard library's overflows near the largest numbers.
pub fn acosh(x: f64) -> f64 {
    if x > 1e100 { x.ln() + std::f64::consts::LN_2 } else { x.acosh() }
}

/// Error function in `f64`: the Maclaurin series below 3, the continued fraction of `erfc` above (Abramowitz and
/// Stegun 7.1.6 and 7.1.14); relative error below 1e-15 in the range where `erf` differs from 1.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    let value = if a < 3.0 {
        let mut term = a;
        let mut sum = a;
        let mut n = 0.0;
        while term > 1e-18 * sum {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-a * a).exp() * sum
    } else if a < 6.5 {
        let mut tail = a;
        for k in (1..=60).rev() {
            tail = a + f64::from(k) * 0.5 / tail;
        }
        1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt())
    } else {
        1.0
    };
    value.copysign(x)
}

impl Lane {
    /// True for zero.
    pub fn is_zero(self) -> bool {
        match self {
            Lane::F32(x) => x == 0.0,
            Lane::F64(x) => x == 0.0,
            Lane::I32(x) => x == 0,
            Lane::I64(x) => x == 0,
            Lane::U64(x) => x == 0,
        }
    }

    fn unary(self, f: Unary) -> Lane {
        if f == Unary::Not {
            return Lane::I32(i32::from(self.is_zero()));
        }
        match self {
            Lane::F32(x) => Lane::F32(match f {
                Unary::Sqrt => x.sqrt(),
                _ => float_unary(f, f64::from(x)) as f32,
            }),
            Lane::F64(x) => Lane::F64(float_unary(f, x)),
            Lane::I32(x) => Lane::I32(match f {
                Unary::Neg => x.wrapping_neg(),
                Unary::Abs => x.wrapping_abs(),
                Unary::BitNot => !x,
                Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => x,
                _ => float_unary(f, f64::from(x)) as i32,
            }),
            Lane::I64(x) => Lane::I64(match f {
                Unary::Neg => x.wrapping_neg(),
                Unary::Abs => x.wrapping_abs(),
                Unary::BitNot => !x,
                Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => x,
                _ => float_unary(f, x as f64) as i64,
            }),
            Lane::U64(x) => Lane::U64(match f {
                Unary::Neg => x.wrapping_neg(),
                Unary::BitNot => !x,
                Unary::Abs | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => x,
                _ => float_unary(f, x as f64) as u64,
            }),
        }
    }

    fn binary(self, f: Binary, other: Lane) -> Lane {
        match (self, other) {
            (Lane::F32(a), Lane::F32(b)) => Lane::F32(float_binary!(f, a, b)),
            (Lane::F64(a), Lane::F64(b)) => Lane::F64(float_binary!(f, a, b)),
            (Lane::I32(a), Lane::I32(b)) => Lane::I32(int_binary!(f, a, b)),
            (Lane::I64(a), Lane::I64(b)) => Lane::I64(int_binary!(f, a, b)),
            (Lane::U64(a), Lane::U64(b)) => Lane::U64(int_binary!(f, a, b)),
            (a, _) => a,
        }
    }

    fn compare(self, f: Compare, other: Lane) -> bool {
        macro_rules! cmp {
            ($a:expr, $b:expr) => {
                match f {
                    Compare::Eq => $a == $b,
                    Compare::Lt => $a < $b,
                    Compare::Le => $a <= $b,
                }
            };
        }
        match (self, other) {
            (Lane::F32(a), Lane::F32(b)) => cmp!(a, b),
            (Lane::F64(a), Lane::F64(b)) => cmp!(a, b),
            (Lane::I32(a), Lane::I32(b)) => cmp!(a, b),
            (Lane::I64(a), Lane::I64(b)) => cmp!(a, b),
            (Lane::U64(a), Lane::U64(b)) => cmp!(a, b),
            _ => false,
        }
    }

    /// Conversion between compute types.
    pub fn convert(self, ty: Compute) -> Lane {
        macro_rules! to {
            ($x:expr) => {
                match ty {
                    Compute::F32 => Lane::F32($x as f32),
                    Compute::F64 => Lane::F64($x as f64),
                    Compute::I32 => Lane::I32($x as i32),
                    Compute::I64 => Lane::I64($x as i64),
                    Compute::U64 => Lane::U64($x as u64),
                }
            };
        }
        match self {
            Lane::F32(x) => to!(x),
            Lane::F64(x) => to!(x),
            Lane::I32(x) => to!(x),
            Lane::I64(x) => to!(x),
            Lane::U64(x) => to!(x),
        }
    }

    /// What a tensor of `dtype` keeps of this value.
    pub fn round_to(self, dtype: DType) -> Lane {
        match (self, dtype) {
            (x, DType::Bool) => {
                let one = i32::from(!x.is_zero());
                match x {
                    Lane::F32(_) => Lane::F32(one as f32),
                    Lane::F64(_) => Lane::F64(f64::from(one)),
                    Lane::I32(_) => Lane::I32(one),
                    Lane::I64(_) => Lane::I64(i64::from(one)),
                    Lane::U64(_) => Lane::U64(one as u64),
                }
            }
            (Lane::F32(x), DType::F16) => Lane::F32(f16::from_f32(x).to_f32()),
            (Lane::F32(x), DType::BF16) => Lane::F32(bf16::from_f32(x).to_f32()),
            (Lane::I32(x), DType::U8) => Lane::I32(i32::from(x as u8)),
            (Lane::I32(x), DType::I8) => Lane::I32(i32::from(x as i8)),
            (Lane::I32(x), DType::U16) => Lane::I32(i32::from(x as u16)),
            (Lane::I32(x), DType::I16) => Lane::I32(i32::from(x as i16)),
            (Lane::I64(x), DType::U32) => Lane::I64(i64::from(x as u32)),
            (x, _) => x,
        }
    }
}
