//! Numbers at equal distances.

use lampyr_base::{DType, Dim, Error, Result, Symbol};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, KNOWN_LIMIT, Numbers, Op, OpType,
    Promote, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::common;

/// `start, start + step, ..` up to, and without, `end`. Inputs: start, end, step, each of one element and of one type.
/// There are `max(ceil((end - start) / step), 0)` elements; floats are computed in `float64` and rounded.
#[derive(Clone, Debug, Attrs)]
pub struct Arange;

/// Numbers from `start` to `end` (excluded) by `step`.
pub fn arange(b: &mut dyn Builder, start: &Var, end: &Var, step: &Var) -> Result<Var> {
    b.one(&Arange, &[start.clone(), end.clone(), step.clone()])
}

/// The numbers `0..end` for an int64 `end` of one element.
pub(crate) fn counting(b: &mut dyn Builder, end: &Var) -> Result<Var> {
    let (zero, one) = (b.constant(HostTensor::scalar(0i64))?, b.constant(HostTensor::scalar(1i64))?);
    arange(b, &zero, end, &one)
}

/// How many floats there are.
///
/// # Errors
/// When the step is 0 or a number is not finite.
pub fn float_count(start: f64, end: f64, step: f64) -> Result<usize> {
    let count = ((end - start) / step).ceil().max(0.0);
    if step == 0.0 || !count.is_finite() || count >= isize::MAX as f64 {
        return Err(
            Error::value(format!("a range from {start} to {end} by {step}")).with_expected("a step other than 0")
        );
    }
    Ok(count as usize)
}

/// How many integers there are.
///
/// # Errors
/// When the step is 0, or there are too many.
pub fn integer_count(start: i128, end: i128, step: i128) -> Result<usize> {
    let wrong = || Error::value(format!("a range from {start} to {end} by {step}"));
    let (distance, step) = if step < 0 { (start - end, -step) } else { (end - start, step) };
    if step == 0 {
        return Err(wrong().with_expected("a step other than 0"));
    }
    let count = if distance <= 0 { 0 } else { (distance - 1) / step + 1 };
    usize::try_from(count).ok().filter(|&n| n <= isize::MAX as usize).ok_or_else(wrong)
}

/// The number of elements, where start, end and step are known, and the elements, where there are few.
fn follow(start: &Dim, end: &Dim, step: &Dim) -> Option<(Dim, Option<Vec<Dim>>)> {
    let by = step.known().filter(|&n| n != 0)?;
    let distance = if by > 0 { end.sub(start) } else { start.sub(end) };
    let count = distance.ceil_div(&Dim::Known(by.checked_abs()?)).maximum(&Dim::Known(0));
    let few = count.known().filter(|&n| n <= KNOWN_LIMIT as i64);
    let elements = few.map(|n| (0..n).map(|i| start.add(&step.mul(&Dim::Known(i)))).collect());
    Some((count, elements))
}

fn only(t: &HostTensor) -> Result<()> {
    if t.len() == 1 { Ok(()) } else { Err(Error::shape(format!("got {}", t.describe())).with_expected("one element")) }
}

impl Op for Arange {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let all = common::tensors(inputs)?;
        let dtype = all[0].dtype;
        common::check_dtype(dtype, Self::DTYPES)?;
        for x in &all {
            if x.dtype != dtype {
                return Err(
                    Error::dtype(format!("bounds of types {dtype} and {}", x.dtype)).with_expected("equal types")
                );
            }
            if x.rank() > 1 || x.elements().known().is_some_and(|n| n != 1) {
                return Err(Error::shape(format!("got {x}")).with_expected("one element"));
            }
        }
        let known: Option<Vec<&Dim>> = all.iter().map(|x| x.known.as_deref()?.first()).collect();
        let found = match known.as_deref() {
            Some([start, end, step]) if dtype.is_integer() => follow(start, end, step),
            _ => None,
        };
        let (count, known) = found.unwrap_or_else(|| (Dim::of(&Symbol::fresh("range")), None));
        let known = known.filter(|k| k.iter().all(|d| common::fits(dtype, d))).map(Into::into);
        Ok(common::one(TensorFact::new(dtype, [count]).with_known(known)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let all = common::host(inputs)?;
        all.iter().try_for_each(|t| only(t))?;
        let dtype = all[0].dtype();
        let numbers = match (all[0].numbers(), all[1].numbers(), all[2].numbers()) {
            (Numbers::F(a), Numbers::F(b), Numbers::F(s)) => {
                let n = float_count(a[0], b[0], s[0])?;
                HostTensor::zeros(dtype, &[n])?;
                Numbers::F((0..n).map(|i| a[0] + i as f64 * s[0]).collect())
            }
            (Numbers::I(a), Numbers::I(b), Numbers::I(s)) => {
                let n = integer_count(a[0].into(), b[0].into(), s[0].into())?;
                HostTensor::zeros(dtype, &[n])?;
                Numbers::I((0..n).map(|i| a[0].wrapping_add(s[0].wrapping_mul(i as i64))).collect())
            }
            (Numbers::U(a), Numbers::U(b), Numbers::U(s)) => {
                let n = integer_count(a[0].into(), b[0].into(), s[0].into())?;
                HostTensor::zeros(dtype, &[n])?;
                Numbers::U((0..n).map(|i| a[0].wrapping_add(s[0].wrapping_mul(i as u64))).collect())
            }
            _ => return Err(Error::dtype("bounds of different types")),
        };
        let n = match &numbers {
            Numbers::F(v) => v.len(),
            Numbers::I(v) => v.len(),
            Numbers::U(v) => v.len(),
        };
        common::out(HostTensor::from_numbers(dtype, &[n], &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("the number of elements depends on the bounds")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Range", 11))
    }
}

/// Constant ranges of floats up to this many elements are made while a model is read, so that their sizes are known.
const FOLDED: usize = 1 << 16;

fn import(_node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let bounds = [required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?];
    let dtype = b.tensor_fact(&bounds[0])?.dtype;
    if let (true, Some(start), Some(end), Some(step)) =
        (dtype.is_float(), b.read(&bounds[0])?, b.read(&bounds[1])?, b.read(&bounds[2])?)
    {
        [&start, &end, &step].into_iter().try_for_each(only)?;
        if float_count(start.to_f64()[0], end.to_f64()[0], step.to_f64()[0])? <= FOLDED {
            let made = Arange.reference(&[start.into(), end.into(), step.into()])?;
            return Ok(smallvec![b.constant(made[0].tensor()?.clone())?]);
        }
    }
    let [start, end, step] = &bounds;
    Ok(smallvec![arange(b, start, end, step)?])
}

impl OpType for Arange {
    const NAME: &'static str = "arange";
    const DOC: &'static str = "Numbers at equal distances.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Range", 11, import)]
    }

    fn cases() -> Vec<Case> {
        let bounds = |d: DType, v: [f64; 3]| v.map(|x| CaseInput::new(d, &[]).values(&[x])).to_vec();
        let mut cases: Vec<Case> = DType::NUMERIC
            .iter()
            .map(|&d| Case::new(format!("plain-{d}"), &Arange, bounds(d, [1.0, 12.0, 3.0])))
            .collect();
        for (name, dtype, v) in [
            ("backwards", DType::I64, [10.0, -4.0, -3.0]),
            ("none", DType::I32, [3.0, 1.0, 1.0]),
            ("none-backwards", DType::F32, [1.0, 3.0, -1.0]),
            ("fractions", DType::F32, [0.0, 1.0, 0.1]),
            ("fractions-backwards", DType::F64, [1.0, -1.0, -0.3]),
            ("wide", DType::I8, [-128.0, 127.0, 100.0]),
            ("large", DType::I64, [0.0, 60013.0, 1.0]),
            ("large-floats", DType::F32, [0.0, 1000.0, 0.0625]),
        ] {
            cases.push(Case::new(name, &Arange, bounds(dtype, v)));
        }
        let vectors = bounds(DType::I64, [2.0, 9.0, 2.0]);
        cases.push(Case::new(
            "vectors",
            &Arange,
            vectors.into_iter().map(|x| CaseInput { shape: vec![1], ..x }).collect(),
        ));
        cases
    }
}
