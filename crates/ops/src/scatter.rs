//! What ops that place elements into a tensor share.

use lampyr_base::{DType, Error, Result, bf16, f16};
use lampyr_ir::{Builder, HostTensor, Numbers, Saved, Var};

use crate::build::*;
use crate::common;
use crate::gradient::full;

/// What becomes of an element and the update that meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The update; the last one where several meet.
    None,
    /// Their sum.
    Add,
    /// Their product.
    Mul,
    /// The smaller; NaN wins.
    Min,
    /// The larger; NaN wins.
    Max,
}

impl Reduction {
    /// `none`, `add`, `mul`, `min` or `max`.
    ///
    /// # Errors
    /// For other words.
    pub fn parse(word: &str) -> Result<Reduction> {
        Ok(match word {
            "none" => Reduction::None,
            "add" => Reduction::Add,
            "mul" => Reduction::Mul,
            "min" => Reduction::Min,
            "max" => Reduction::Max,
            _ => {
                let error = Error::value(format!("reduction is `{word}`"));
                return Err(error.with_expected("none, add, mul, min or max"));
            }
        })
    }

    /// # Errors
    /// When elements of `dtype` cannot be combined so.
    pub(crate) fn check(self, dtype: DType) -> Result<()> {
        if self == Reduction::None { Ok(()) } else { common::check_dtype(dtype, DType::NUMERIC) }
    }
}

/// The sum, product, smaller or larger of two numbers.
macro_rules! combine {
    ($reduction:expr, $x:expr, $y:expr, $add:expr, $mul:expr, $nan:expr) => {
        match $reduction {
            Reduction::None => $y,
            Reduction::Add => $add($x, $y),
            Reduction::Mul => $mul($x, $y),
            Reduction::Min if $nan || $y < $x => $y,
            Reduction::Max if $nan || $y > $x => $y,
            _ => $x,
        }
    };
}

/// `data` with element `i` of `updates` placed at `places[i]`, one after another, each result rounded to the type.
pub(crate) fn place(
    data: &HostTensor,
    updates: &HostTensor,
    places: &[usize],
    reduction: Reduction,
) -> Result<HostTensor> {
    if places.len() != updates.len() {
        return Err(Error::shape(format!("{} updates for {} places", updates.len(), places.len())));
    }
    let dtype = data.dtype();
    let rounded = |x: f64| match dtype {
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::BF16 => bf16::from_f64(x).to_f64(),
        DType::F32 => f64::from(x as f32),
        _ => x,
    };
    let numbers = match (data.numbers(), updates.numbers()) {
        (Numbers::F(mut x), Numbers::F(u)) => {
            for (&at, y) in places.iter().zip(u) {
                let old = x[at];
                x[at] =
                    rounded(combine!(reduction, old, y, |a: f64, b: f64| a + b, |a: f64, b: f64| a * b, y.is_nan()));
            }
            Numbers::F(x)
        }
        (Numbers::I(mut x), Numbers::I(u)) => {
            for (&at, y) in places.iter().zip(u) {
                let old = x[at];
                x[at] = combine!(reduction, old, y, i64::wrapping_add, i64::wrapping_mul, false);
            }
            Numbers::I(x)
        }
        (Numbers::U(mut x), Numbers::U(u)) => {
            for (&at, y) in places.iter().zip(u) {
                let old = x[at];
                x[at] = combine!(reduction, old, y, u64::wrapping_add, u64::wrapping_mul, false);
            }
            Numbers::U(x)
        }
        _ => return Err(Error::dtype("data and updates have different kinds of numbers")),
    };
    HostTensor::from_numbers(dtype, data.shape(), &numbers)
}

/// Places updates into a tensor under a reduction.
pub type Put<'a> = dyn Fn(&mut dyn Builder, &Var, &Var, &str) -> Result<Var> + 'a;

/// Gradients of data, indices and updates. `pick` takes the elements that the indices name out of a tensor like the
/// data; `put` places updates into such a tensor. Needs all inputs and the output.
pub(crate) fn vjp(
    b: &mut dyn Builder,
    s: &Saved,
    reduction: Reduction,
    g: &Var,
    needs: &[bool],
    pick: &dyn Fn(&mut dyn Builder, &Var) -> Result<Var>,
    put: &Put<'_>,
) -> Result<Vec<Option<Var>>> {
    let (data, updates) = (s.input_fact(0)?, s.input_fact(2)?);
    let mut result = vec![None, None, None];
    match reduction {
        Reduction::None => {
            if needs[0] {
                let zeros = full(b, updates.dtype, &updates.shape, 0.0)?;
                result[0] = Some(put(b, g, &zeros, "none")?);
            }
            if needs[2] {
                result[2] = Some(pick(b, g)?);
            }
        }
        Reduction::Add => {
            result[0] = Some(g.clone()).filter(|_| needs[0]);
            if needs[2] {
                result[2] = Some(pick(b, g)?);
            }
        }
        Reduction::Mul => {
            if needs[0] {
                let ones = full(b, data.dtype, &data.shape, 1.0)?;
                let factors = put(b, &ones, s.input(2)?, "mul")?;
                result[0] = Some(mul(b, g, &factors)?);
            }
            if needs[2] {
                let scaled = mul(b, g, s.output(0)?)?;
                let picked = pick(b, &scaled)?;
                result[2] = Some(div(b, &picked, s.input(2)?)?);
            }
        }
        Reduction::Min | Reduction::Max => {
            let y = s.output(0)?;
            let kept = equal(b, s.input(0)?, y)?;
            let kept = cast(b, &kept, data.dtype)?;
            let there = pick(b, y)?;
            let placed = equal(b, s.input(2)?, &there)?;
            let placed = cast(b, &placed, data.dtype)?;
            let count = put(b, &kept, &placed, "add")?;
            let share = div(b, g, &count)?;
            result[0] = Some(mul(b, &kept, &share)?).filter(|_| needs[0]);
            if needs[2] {
                let share = pick(b, &share)?;
                result[2] = Some(mul(b, &placed, &share)?);
            }
        }
    }
    Ok(result)
}
