//! Arithmetic, comparison, logic and bits of two operands.

use lampyr_base::{DType, Error, Result, TypeKind};
use lampyr_ir::Op;
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Scalar, Tensor};

use super::operand::{as_tensor, binary, binary_float, common, one, promoted};
use super::quotient::{check_divisor, floor_divide, remainder};
use crate::names::{Call, Entry, INPLACE, METHOD, Output, TOP, give, name};

type Two = fn(Operand, Operand) -> Result<Tensor>;

/// The op on numbers; where both are `bool`, the op on `bool`.
fn either(op: &dyn Op, of_bool: &dyn Op, x: Operand, y: Operand) -> Result<Tensor> {
    if is_bool(x) && is_bool(y) { binary(of_bool, x, y) } else { binary(op, x, y) }
}

/// The op on numbers; where both are `bool`, on them as numbers.
fn counted(op: &dyn Op, x: Operand, y: Operand) -> Result<Tensor> {
    if !(is_bool(x) && is_bool(y)) {
        return binary(op, x, y);
    }
    let (x, y) = promoted(x, y)?;
    one(op, &[&x.to_dtype(DType::U8)?, &y.to_dtype(DType::U8)?])
}

#[inline]
fn is_bool(x: Operand) -> bool {
    match x {
        Operand::Tensor(t) => t.dtype() == DType::Bool,
        Operand::Scalar(s) => matches!(s, Scalar::Bool(_)),
    }
}

/// The op on the truths of both.
fn truths(op: &dyn Op, x: Operand, y: Operand) -> Result<Tensor> {
    let truth = |x: Operand| match x {
        Operand::Tensor(t) => t.to_dtype(DType::Bool),
        Operand::Scalar(s) => Tensor::scalar(s, DType::Bool, lampyr_base::Device::CPU),
    };
    one(op, &[&truth(x)?, &truth(y)?])
}

macro_rules! binaries {
    ($($(#[$doc:meta])* $name:ident |$x:ident, $y:ident| $body:expr;)*) => { $(
        $(#[$doc])*
        #[inline]
        pub fn $name($x: Operand, $y: Operand) -> Result<Tensor> {
            $body
        }
    )* };
}

binaries! {
    /// `x + y`
    add |x, y| either(&op::Add, &op::LogicalOr, x, y);
    /// `x - y`
    sub |x, y| {
        if is_bool(x) || is_bool(y) {
            return Err(Error::dtype("the difference of bool is not defined")
                .with_op("sub")
                .with_help("use logical_xor(); to invert a mask use logical_not()"));
        }
        binary(&op::Sub, x, y)
    };
    /// `x * y`
    mul |x, y| either(&op::Mul, &op::LogicalAnd, x, y);
    /// `x / y`; integers give floats.
    div |x, y| match (x, y) {
        (Operand::Tensor(a), Operand::Tensor(b)) if a.dtype() == b.dtype() && a.dtype().is_float() => {
            one(&op::Div, &[a, b])
        }
        _ => binary_float(&op::Div, x, y),
    };
    /// `x == y`
    eq |x, y| binary(&op::Equal, x, y);
    /// `x != y`
    ne |x, y| binary(&op::NotEqual, x, y);
    /// `x > y`
    gt |x, y| counted(&op::Greater, x, y);
    /// `x >= y`
    ge |x, y| counted(&op::GreaterEqual, x, y);
    /// `x < y`
    lt |x, y| counted(&op::Less, x, y);
    /// `x <= y`
    le |x, y| counted(&op::LessEqual, x, y);
    /// The larger elements; NaN where either is.
    maximum |x, y| either(&op::Maximum, &op::LogicalOr, x, y);
    /// The smaller elements; NaN where either is.
    minimum |x, y| either(&op::Minimum, &op::LogicalAnd, x, y);
    /// Whether both are not zero.
    logical_and |x, y| truths(&op::LogicalAnd, x, y);
    /// Whether one is not zero.
    logical_or |x, y| truths(&op::LogicalOr, x, y);
    /// Whether exactly one is not zero.
    logical_xor |x, y| truths(&op::LogicalXor, x, y);
    /// `x & y`
    bitwise_and |x, y| binary(&op::BitwiseAnd, x, y);
    /// `x | y`
    bitwise_or |x, y| binary(&op::BitwiseOr, x, y);
    /// `x ^ y`
    bitwise_xor |x, y| binary(&op::BitwiseXor, x, y);
    /// `x << y`
    bitwise_left_shift |x, y| binary(&op::BitwiseLeftShift, x, y);
    /// `x >> y`
    bitwise_right_shift |x, y| binary(&op::BitwiseRightShift, x, y);
    /// Remainder with the sign of `x`.
    fmod |x, y| binary(&op::Fmod, x, y);
}

/// `x / y` rounded to a whole number: `floor` down, `trunc` towards zero.
///
/// # Errors
/// When the mode is neither.
pub fn div_rounded(x: Operand, y: Operand, mode: &str) -> Result<Tensor> {
    let down = match mode {
        "floor" => true,
        "trunc" => false,
        other => {
            return Err(Error::value(format!("the rounding mode {other:?}")).with_expected("None, 'floor' or 'trunc'"));
        }
    };
    if down {
        return floor_divide(x, y);
    }
    let (x, y) = promoted(x, y)?;
    match x.dtype().kind() {
        TypeKind::Bool => Err(Error::dtype("the rounded quotient of bool is not defined")),
        TypeKind::Float => one(&op::Trunc, &[&one(&op::Div, &[&x, &y])?]),
        _ => {
            check_divisor(&y, "div")?;
            x.div_trunc(&y)
        }
    }
}

/// Elements of `x` where `condition` holds, else of `y`.
pub fn where_(condition: &Tensor, x: Operand, y: Operand) -> Result<Tensor> {
    let condition = condition.to_dtype(DType::Bool)?;
    let (x, y) = promoted(x, y)?;
    one(&op::Where, &[&condition, &x, &y])
}

/// `x` to the power of `y`: whole exponents up to 64 by repeated products.
pub fn pow(x: Operand, y: Operand) -> Result<Tensor> {
    let (base, exponent) = match (x, y) {
        (Operand::Tensor(base), Operand::Scalar(exponent)) => (base, exponent),
        _ => return binary(&op::Pow, x, y),
    };
    let to = common(&[x, y]);
    let p = exponent.to_f64();
    let whole = p.fract() == 0.0 && p.abs() <= 64.0;
    if !to.is_float() && p < 0.0 {
        return Err(Error::value("integers to negative integer powers are not integers").with_op("pow"));
    }
    let base = base.to_dtype(to)?;
    if to == DType::Bool {
        return if p == 0.0 { crate::functional::full_like(&base, 1.0) } else { base.duplicate() };
    }
    if whole {
        let power = whole_power(&base, p.abs() as u32)?;
        return if p < 0.0 { one(&op::Reciprocal, &[&power]) } else { Ok(power) };
    }
    if p == 0.5 && to.is_float() {
        return base.sqrt();
    }
    binary(&op::Pow, (&base).into(), y)
}

fn whole_power(x: &Tensor, mut p: u32) -> Result<Tensor> {
    let mut result: Option<Tensor> = None;
    let mut square = x.clone();
    while p > 0 {
        if p & 1 == 1 {
            result = Some(match result {
                Some(r) => r.mul(&square)?,
                None => square.clone(),
            });
        }
        p >>= 1;
        if p > 0 {
            square = square.mul(&square)?;
        }
    }
    match result {
        // A power of one is a new tensor, as every other power is.
        Some(r) if r.same(x) => x.duplicate(),
        Some(r) => Ok(r),
        None => crate::functional::full_like(x, 1.0),
    }
}

/// Writes `value`, converted and broadcast, into `x`.
///
/// # Errors
/// When it does not broadcast, or would lose its category (a float into an integer tensor) though `strict`.
pub fn copy_(x: &Tensor, value: Operand, strict: bool) -> Result<()> {
    let value = match value {
        Operand::Tensor(t) => t.clone(),
        Operand::Scalar(s) => Tensor::scalar(s, x.dtype(), x.device())?,
    };
    if strict {
        crate::names::check_kind(&value, x)?;
    }
    let value = value.to_dtype(x.dtype())?;
    let value = if value.shape() == x.shape() { value } else { value.expand(x.shape())? };
    x.assign_(&value)
}

/// # Errors
/// When both are numbers.
pub(super) fn one_tensor(x: Operand, y: Operand, f: Two) -> Result<Tensor> {
    match (x, y) {
        (Operand::Scalar(_), Operand::Scalar(_)) => {
            Err(Error::dtype("both operands are numbers").with_expected("at least one tensor"))
        }
        _ => f(x, y),
    }
}

/// `other` times `alpha`, then the function.
fn scaled(a: &Call, f: Two) -> Result<Output> {
    let (x, y, alpha) = (a.operand(0)?, a.operand(1)?, a.scalar(2)?);
    if alpha == Scalar::Int(1) {
        return give(f(x, y));
    }
    let to = common(&[x, y]);
    if !to.is_float() && matches!(alpha, Scalar::Float(_)) {
        return Err(Error::dtype(format!("alpha is a float and the operands are {to}")).with_expected("a whole alpha"));
    }
    let y = as_tensor(y, to, lampyr_base::Device::CPU)?;
    give(f(x, (&mul((&y).into(), Operand::Scalar(alpha))?).into()))
}

const ALL: u16 = TOP | METHOD | INPLACE;

macro_rules! two {
    ($name:literal, $first:literal, $spaces:expr, $doc:literal, $f:expr) => {
        two!($name, $first, "Operand", $spaces, $doc, $f)
    };
    ($name:literal, $first:literal, $second:literal, $spaces:expr, $doc:literal, $f:expr) => {
        name(
            concat!($name, "(", $first, " input, ", $second, " other, *, Tensor? out=None) -> Tensor"),
            $spaces,
            $doc,
            |a| give($f(a.operand(0)?, a.operand(1)?)),
        )
        .cost(1.0)
    };
}

pub(crate) const NAMES: &[Entry] = &[
    name(
        "add(Operand input, Operand other, *, Scalar alpha=1, Tensor? out=None) -> Tensor",
        ALL,
        "`input + alpha * other`",
        |a| scaled(a, add),
    )
    .cost(1.0),
    name(
        "sub(Operand input, Operand other, *, Scalar alpha=1, Tensor? out=None) -> Tensor",
        ALL,
        "`input - alpha * other`",
        |a| scaled(a, sub),
    )
    .also(&["subtract"])
    .cost(1.0),
    two!("mul", "Operand", ALL, "`input * other`", mul).also(&["multiply"]),
    name(
        "div(Operand input, Operand other, *, str? rounding_mode=None, Tensor? out=None) -> Tensor",
        ALL,
        "`input / other`; integers give floats unless the quotient is rounded (`floor` or `trunc`).",
        |a| match a.str_or_none(2)? {
            None => give(div(a.operand(0)?, a.operand(1)?)),
            Some(mode) => give(div_rounded(a.operand(0)?, a.operand(1)?, mode)),
        },
    )
    .also(&["divide"])
    .cost(2.0),
    two!("true_divide", "Operand", ALL, "`input / other`; integers give floats.", div),
    two!("floor_divide", "Operand", ALL, "`input / other`, rounded down.", floor_divide),
    name("rsub(Tensor input, Operand other, Scalar alpha=1) -> Tensor", TOP, "`other - alpha * input`", |a| {
        let x = a.tensor(0)?;
        match a.scalar(2)? {
            Scalar::Int(1) => give(sub(a.operand(1)?, x.into())),
            alpha => give(sub(a.operand(1)?, (&mul(x.into(), Operand::Scalar(alpha))?).into())),
        }
    }),
    name("pow(Operand input, Operand exponent, *, Tensor? out=None) -> Tensor", ALL, "`input ** exponent`", |a| {
        give(one_tensor(a.operand(0)?, a.operand(1)?, pow))
    })
    .cost(8.0),
    two!("remainder", "Operand", ALL, "Remainder of the division, with the sign of `other`.", |x, y| one_tensor(
        x, y, remainder
    )),
    two!("fmod", "Tensor", ALL, "Remainder of the division, with the sign of `input`.", fmod),
    two!("maximum", "Tensor", "Tensor", ALL, "The larger elements; NaN where either is.", maximum),
    two!("minimum", "Tensor", "Tensor", ALL, "The smaller elements; NaN where either is.", minimum),
    two!("eq", "Tensor", ALL, "Whether elements are equal.", eq),
    two!("ne", "Tensor", ALL, "Whether elements differ.", ne).also(&["not_equal"]),
    two!("gt", "Tensor", ALL, "Whether elements of `input` are greater.", gt).also(&["greater"]),
    two!("ge", "Tensor", ALL, "Whether elements of `input` are greater or equal.", ge).also(&["greater_equal"]),
    two!("lt", "Tensor", ALL, "Whether elements of `input` are less.", lt).also(&["less"]),
    two!("le", "Tensor", ALL, "Whether elements of `input` are less or equal.", le).also(&["less_equal"]),
    two!("logical_and", "Tensor", "Tensor", ALL, "Whether both are not zero.", logical_and),
    two!("logical_or", "Tensor", "Tensor", ALL, "Whether one is not zero.", logical_or),
    two!("logical_xor", "Tensor", "Tensor", ALL, "Whether exactly one is not zero.", logical_xor),
    two!("bitwise_and", "Operand", ALL, "`input & other`", |x, y| one_tensor(x, y, bitwise_and)),
    two!("bitwise_or", "Operand", ALL, "`input | other`", |x, y| one_tensor(x, y, bitwise_or)),
    two!("bitwise_xor", "Operand", ALL, "`input ^ other`", |x, y| one_tensor(x, y, bitwise_xor)),
    two!("bitwise_left_shift", "Operand", ALL, "`input << other`", |x, y| one_tensor(x, y, bitwise_left_shift)),
    two!("bitwise_right_shift", "Operand", ALL, "`input >> other`", |x, y| one_tensor(x, y, bitwise_right_shift)),
    name(
        "where(Tensor condition, Operand input, Operand other, *, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "Elements of `input` where `condition` holds, else of `other`.",
        |a| give(where_(a.tensor(0)?, a.operand(1)?, a.operand(2)?)),
    ),
];
