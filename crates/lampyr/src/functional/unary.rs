//! Functions of one tensor, element by element.

use lampyr_base::{DType, Error, Result, TypeKind};
use lampyr_ir::Op;
use lampyr_ops::build as op;
use lampyr_runtime::{Scalar, Tensor, default_dtype};

use super::operand::one;
use crate::names::{Entry, INPLACE, METHOD, TOP, give, name};

/// The op on floats; other types become `float32` first.
fn float(op: &dyn Op, x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() { one(op, &[x]) } else { one(op, &[&x.to_dtype(default_dtype())?]) }
}

/// The op on numbers; `bool` is refused.
fn number(op: &dyn Op, x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(Error::dtype(format!("{} is not defined on bool", op.name())).with_help("use logical_not()"));
    }
    one(op, &[x])
}

/// The op on floats and the tensor itself where it holds whole numbers.
fn fraction(op: &dyn Op, x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() { one(op, &[x]) } else { x.duplicate() }
}

/// The op on floats; `value` for other types.
fn test(op: &dyn Op, x: &Tensor, value: bool) -> Result<Tensor> {
    if x.dtype().is_float() {
        return one(op, &[x]);
    }
    super::full(x.shape(), Scalar::Bool(value), DType::Bool, x.device())
}

macro_rules! unaries {
    ($($doc:literal $name:ident $(= $($also:literal)+)?, $spaces:expr, $cost:literal, |$x:ident| $body:expr;)*) => {
        $(
            #[doc = $doc]
            pub fn $name($x: &Tensor) -> Result<Tensor> {
                $body
            }
        )*

        pub(super) const NAMES: &[Entry] = &[$(
            name(
                concat!(stringify!($name), "(Tensor input, *, Tensor? out=None) -> Tensor"),
                $spaces,
                $doc,
                |a| give($name(a.tensor(0)?)),
            )
            .cost($cost)
            $(.also(&[$($also),+]))?,
        )*];
    };
}

const ALL: u16 = TOP | METHOD | INPLACE;

unaries! {
    "`-input`" neg = "negative", ALL, 1.0, |x| number(&op::Neg, x);
    "Absolute values." abs = "absolute", ALL, 1.0, |x| {
        if x.dtype() == DType::Bool { x.duplicate() } else { number(&op::Abs, x) }
    };
    "1, 0 or -1 by the sign of the elements." sign = "sgn", ALL, 1.0, |x| {
        if x.dtype() == DType::Bool { x.duplicate() } else { number(&op::Sign, x) }
    };
    "The elements as they are." positive, TOP | METHOD, 1.0, |x| {
        if x.dtype() == DType::Bool {
            return Err(Error::dtype("the positive of a bool tensor is not defined"));
        }
        Ok(x.clone())
    };
    "`e` to the power of the elements." exp, ALL, 8.0, |x| float(&op::Exp, x);
    "2 to the power of the elements." exp2, ALL, 8.0, |x| float(&op::Exp2, x);
    "`exp(input) - 1`, exact for small elements." expm1, ALL, 8.0, |x| float(&op::Expm1, x);
    "Natural logarithm." log, ALL, 8.0, |x| float(&op::Log, x);
    "Logarithm to base 2." log2, ALL, 8.0, |x| float(&op::Log2, x);
    "Logarithm to base 10." log10, ALL, 8.0, |x| float(&op::Log10, x);
    "`log(1 + input)`, exact for small elements." log1p, ALL, 8.0, |x| float(&op::Log1p, x);
    "Square root." sqrt, ALL, 4.0, |x| float(&op::Sqrt, x);
    "Reciprocal of the square root." rsqrt, ALL, 4.0, |x| float(&op::Rsqrt, x);
    "`input * input`" square, ALL, 1.0, |x| super::pow(x.into(), 2i64.into());
    "`1 / input`" reciprocal, ALL, 2.0, |x| float(&op::Reciprocal, x);
    "Sine." sin, ALL, 12.0, |x| float(&op::Sin, x);
    "Cosine." cos, ALL, 12.0, |x| float(&op::Cos, x);
    "Tangent." tan, ALL, 16.0, |x| float(&op::Tan, x);
    "Inverse sine." asin = "arcsin", ALL, 16.0, |x| float(&op::Asin, x);
    "Inverse cosine." acos = "arccos", ALL, 16.0, |x| float(&op::Acos, x);
    "Inverse tangent." atan = "arctan", ALL, 16.0, |x| float(&op::Atan, x);
    "Hyperbolic sine." sinh, ALL, 12.0, |x| float(&op::Sinh, x);
    "Hyperbolic cosine." cosh, ALL, 12.0, |x| float(&op::Cosh, x);
    "Hyperbolic tangent." tanh, ALL, 12.0, |x| float(&op::Tanh, x);
    "Inverse hyperbolic sine." asinh = "arcsinh", ALL, 16.0, |x| float(&op::Asinh, x);
    "Inverse hyperbolic cosine." acosh = "arccosh", ALL, 16.0, |x| float(&op::Acosh, x);
    "Inverse hyperbolic tangent." atanh = "arctanh", ALL, 16.0, |x| float(&op::Atanh, x);
    "Gauss error function." erf, ALL, 12.0, |x| float(&op::Erf, x);
    "Logistic function." sigmoid, ALL, 10.0, |x| float(&op::Sigmoid, x);
    "`max(input, 0)`" relu, ALL, 1.0, |x| number(&op::Relu, x);
    "The largest whole numbers that are not above the elements." floor, ALL, 1.0, |x| fraction(&op::Floor, x);
    "The smallest whole numbers that are not below the elements." ceil, ALL, 1.0, |x| fraction(&op::Ceil, x);
    "The whole part of the elements." trunc = "fix", ALL, 1.0, |x| fraction(&op::Trunc, x);
    "The elements less their whole part." frac, ALL, 2.0, |x| {
        if !x.dtype().is_float() {
            return Err(Error::dtype(format!("frac of a {} tensor", x.dtype())).with_expected("a float type"));
        }
        x.sub(&trunc(x)?)
    };
    "Whether elements are NaN." isnan, TOP | METHOD, 1.0, |x| test(&op::IsNan, x, false);
    "Whether elements are infinite." isinf, TOP | METHOD, 1.0, |x| test(&op::IsInf { negative: true, positive: true }, x, false);
    "Whether elements are neither infinite nor NaN." isfinite, TOP | METHOD, 1.0, |x| test(&op::IsFinite, x, true);
    "Whether elements are plus infinity." isposinf, TOP | METHOD, 1.0, |x| {
        test(&op::IsInf { negative: false, positive: true }, x, false)
    };
    "Whether elements are minus infinity." isneginf, TOP | METHOD, 1.0, |x| {
        test(&op::IsInf { negative: true, positive: false }, x, false)
    };
    "Whether elements are zero." logical_not, ALL, 1.0, |x| one(&op::Not, &[&x.to_dtype(DType::Bool)?]);
    "Every bit turned over; of bool tensors, not." bitwise_not, ALL, 1.0, |x| match x.dtype().kind() {
        TypeKind::Bool => one(&op::Not, &[x]),
        _ => one(&op::BitwiseNot, &[x]),
    };
}
