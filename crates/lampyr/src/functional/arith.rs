//! Arithmetic, comparison and reductions.

use lampyr_base::{DType, Error, Result, TypeKind};
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Scalar, Tensor};

use super::operand::{common, left, one};

macro_rules! binaries {
    ($($(#[$doc:meta])* $name:ident => $method:ident;)*) => { $(
        $(#[$doc])*
        #[inline]
        pub fn $name(x: Operand, y: Operand) -> Result<Tensor> {
            left(x, y, |x, y| x.$method(y))
        }
    )* };
}

binaries! {
    /// `x + y`
    add => add;
    /// `x - y`
    sub => sub;
    /// `x * y`
    mul => mul;
    /// `x / y`; integers give floats.
    div => div;
    /// `x == y`
    eq => equal;
    /// `x > y`
    gt => greater;
    /// `x < y`
    lt => less;
}

/// `!x` of a `bool` tensor.
pub fn logical_not(x: &Tensor) -> Result<Tensor> {
    one(&op::Not, &[x])
}

/// `x != y`
pub fn ne(x: Operand, y: Operand) -> Result<Tensor> {
    logical_not(&eq(x, y)?)
}

/// `x >= y`; false where either is NaN.
pub fn ge(x: Operand, y: Operand) -> Result<Tensor> {
    let (above, same) = (gt(x, y)?, eq(x, y)?);
    one(&op::Where, &[&above, &above, &same])
}

/// `x <= y`; false where either is NaN.
pub fn le(x: Operand, y: Operand) -> Result<Tensor> {
    ge(y, x)
}

/// Elements of `x` where `condition` holds, else of `y`.
pub fn where_(condition: &Tensor, x: Operand, y: Operand) -> Result<Tensor> {
    let condition = condition.to_dtype(DType::Bool)?;
    left(x, y, |x, y| x.where_(&condition, y))
}

/// `|x|`
pub fn abs(x: &Tensor) -> Result<Tensor> {
    if matches!(x.dtype().kind(), TypeKind::Bool | TypeKind::Unsigned) {
        return Ok(x.clone());
    }
    x.neg()?.where_(&x.less(0i64)?, x)
}

/// `x` to the power of a number: whole exponents up to 64 by repeated products, others by logarithms (NaN for negative
/// `x`).
pub fn pow(x: &Tensor, exponent: Scalar) -> Result<Tensor> {
    let p = exponent.to_f64();
    let whole = p.fract() == 0.0 && p.abs() <= 64.0;
    if whole && p >= 0.0 {
        let x = match exponent {
            Scalar::Float(_) => x.to_dtype(common(&[x.into(), Operand::Scalar(exponent)]))?,
            _ => x.clone(),
        };
        return whole_power(&x, p as u32);
    }
    if !x.dtype().is_float() && !matches!(exponent, Scalar::Float(_)) {
        return Err(Error::value("integers to negative integer powers are not integers").with_op("pow"));
    }
    if whole {
        return div(1.0.into(), (&whole_power(x, -p as u32)?).into());
    }
    if p == 0.5 {
        return x.sqrt();
    }
    x.log()?.mul(p)?.exp()
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
        Some(r) if r.same(x) => x.mul(1i64),
        Some(r) => Ok(r),
        None => crate::functional::full_like(x, 1.0),
    }
}

/// Smallest element over `axes` (all when empty).
pub fn amin(x: &Tensor, axes: &[i64], keepdims: bool) -> Result<Tensor> {
    x.neg()?.amax(axes, keepdims)?.neg()
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
    if strict && rank_of_kind(value.dtype()) > rank_of_kind(x.dtype()) {
        return Err(Error::dtype(format!("a {} result cannot be kept in a {} tensor", value.dtype(), x.dtype()))
            .with_help("cast the tensor, or use the op that returns a new one"));
    }
    let value = value.to_dtype(x.dtype())?;
    let value = if value.shape() == x.shape() { value } else { value.expand(x.shape())? };
    x.assign_(&value)
}

fn rank_of_kind(dtype: DType) -> u8 {
    match dtype.kind() {
        TypeKind::Bool => 0,
        TypeKind::Unsigned | TypeKind::Signed => 1,
        TypeKind::Float => 2,
    }
}
