//! Quotients and remainders as PyTorch defines them, where that is more than one op.

use lampyr_base::{DType, Error, Result, TypeKind};
use lampyr_ops::build as op;
use lampyr_runtime::{Operand, Tensor, unwatched};

use super::operand::{one, promoted};

/// Fails when an integer divisor holds a zero.
pub(super) fn check_divisor(y: &Tensor, name: &str) -> Result<()> {
    if y.is_empty() {
        return Ok(());
    }
    let zeros = unwatched(|| y.detach().equal(0i64)?.sum(&[], false)?.peek())?;
    if zeros.to_i64().iter().any(|n| *n > 0) {
        return Err(Error::value("integer division by zero (ZeroDivisionError)").with_op(name));
    }
    Ok(())
}

/// `x // y`: the quotient rounded down.
///
/// # Errors
/// When integers are divided by zero, or both are bool.
pub fn floor_divide(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted(x, y)?;
    match x.dtype().kind() {
        TypeKind::Float => floor_of_floats(&x, &y),
        TypeKind::Bool => Err(Error::dtype("bool has no quotient").with_op("floor_divide")),
        TypeKind::Unsigned => {
            check_divisor(&y, "floor_divide")?;
            x.div_trunc(&y)
        }
        TypeKind::Signed => {
            check_divisor(&y, "floor_divide")?;
            let quotient = x.div_trunc(&y)?;
            let rest = x.sub(&quotient.mul(&y)?)?;
            // One less where a rest is left whose sign is not the divisor's.
            let signs = one(&op::LogicalXor, &[&rest.less(0i64)?, &y.less(0i64)?])?;
            let uneven = not(&rest.equal(0i64)?)?;
            let less = one(&op::LogicalAnd, &[&signs, &uneven])?.to_dtype(x.dtype())?;
            quotient.sub(&less)
        }
    }
}

fn floor_of_floats(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let dtype = x.dtype();
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (x, y) = (x.to_dtype(wide)?, y.to_dtype(wide)?);
    let rest = one(&op::Fmod, &[&x, &y])?;
    let plain = x.div(&y)?;
    let exact = x.sub(&rest)?.div(&y)?;
    let signs = one(&op::LogicalXor, &[&rest.less(0.0)?, &y.less(0.0)?])?;
    let uneven = not(&rest.equal(0.0)?)?;
    let lower = exact.sub(&one(&op::LogicalAnd, &[&signs, &uneven])?.to_dtype(wide)?)?;
    // The quotient of rounded numbers may lie just below a whole one.
    let floor = one(&op::Floor, &[&lower])?;
    let up = lower.sub(&floor)?.greater(0.5)?.to_dtype(wide)?;
    let floor = floor.add(&up)?;
    // A zero keeps the sign of the quotient, and division by zero gives what `/` gives.
    let zero = plain.mul(0.0)?;
    let made = zero.where_(&lower.equal(0.0)?, &floor)?;
    let by_zero = y.equal(0.0)?;
    plain.where_(&by_zero.expand(made.shape())?, &made)?.to_dtype(dtype)
}

fn not(x: &Tensor) -> Result<Tensor> {
    one(&op::Not, &[x])
}

/// `x % y`: the remainder with the sign of the divisor.
///
/// # Errors
/// When integers are divided by zero, or both are bool.
pub fn remainder(x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted(x, y)?;
    if x.dtype().is_integer() {
        check_divisor(&y, "remainder")?;
    }
    one(&op::Remainder, &[&x, &y])
}
