//! `x^y`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{sum_to, to_dtype};

/// Power with broadcasting. Floats follow IEEE 754 (`x^0` and `1^y` are 1); integers wrap, and negative exponents
/// give 0 unless the base is 1 or -1.
#[derive(Clone, Debug, Attrs)]
pub struct Pow;

/// `x^y`
pub fn pow(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Pow, &[x.clone(), y.clone()])
}

impl Op for Pow {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| {
            let power = x.known()?.checked_pow(u32::try_from(y.known()?).ok()?)?;
            Some(Dim::Known(power))
        }))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Pow))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(inputs, None, f64::powf, signed_power, |x, y| {
            (0..64)
                .fold((1u64, y, x), |(r, y, x), _| {
                    (if y & 1 == 1 { r.wrapping_mul(x) } else { r }, y >> 1, x.wrapping_mul(x))
                })
                .0
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::ALL
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let (x, y, out) = (s.input(0)?, s.input(1)?, s.output(0)?);
        let dtype = s.output_fact(0)?.dtype;
        let (zero, one) = (b.scalar(dtype, 0.0)?, b.scalar(dtype, 1.0)?);
        let mut result = vec![None, None];
        if needs[0] {
            // Where the exponent is 0 the slope is 0, whatever the base.
            let flat = equal(b, y, &zero)?;
            let exponent = sub(b, y, &one)?;
            let exponent = where_(b, &flat, &one, &exponent)?;
            let power = pow(b, x, &exponent)?;
            let slope = mul(b, y, &power)?;
            let part = mul(b, g, &slope)?;
            result[0] = Some(sum_to(b, &part, s.input_fact(0)?)?);
        }
        if needs[1] {
            // 0^y stays 0 for all positive y.
            let (base, rising) = (equal(b, x, &zero)?, greater_equal(b, y, &zero)?);
            let flat = logical_and(b, &base, &rising)?;
            let safe = where_(b, &flat, &one, x)?;
            let log = log(b, &safe)?;
            let slope = mul(b, out, &log)?;
            let part = mul(b, g, &slope)?;
            result[1] = Some(sum_to(b, &part, s.input_fact(1)?)?);
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Pow", 15))
    }
}

impl OpType for Pow {
    const NAME: &'static str = "pow";
    const DOC: &'static str = "Power of two tensors, with broadcasting.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Pow", 1, 6, |node, b, inputs| {
                let (x, y) = crate::onnx_broadcast::operands(node, b, inputs)?;
                Ok(smallvec![onnx_pow(b, &x, &y)?])
            }),
            OnnxMapping::new("Pow", 7, |_, b, x| Ok(smallvec![onnx_pow(b, &required(x, 0)?, &required(x, 1)?)?])),
        ]
    }

    fn cases() -> Vec<Case> {
        let mut cases = crate::cases::elementwise(&Pow, 2, Self::DTYPES, true, (0.5, 2.5));
        let base = CaseInput::new(DType::F64, &[6]).values(&[0.0, -2.0, 3.0, 0.0, -1.5, 2.0]);
        let exponent = CaseInput::new(DType::F64, &[6]).values(&[2.0, 3.0, 0.0, 0.0, -2.0, 0.5]);
        cases.push(Case::new("edges", &Pow, vec![base, exponent]));
        cases
    }
}

fn signed_power(x: i64, y: i64) -> i64 {
    if y < 0 {
        return match (x, y % 2) {
            (1, _) | (-1, 0) => 1,
            (-1, _) => -1,
            _ => 0,
        };
    }
    let (mut result, mut base) = (1i64, x);
    for bit in 0..63 {
        if y >> bit & 1 == 1 {
            result = result.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
    }
    result
}

/// ONNX Pow: the result has the type of the base; constant exponents that are small or half are products and roots.
fn onnx_pow(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    let (base, exponent) = (b.tensor_fact(x)?, b.tensor_fact(y)?);
    let value = if exponent.rank() <= base.rank() { b.read(y)?.filter(|v| v.len() == 1) } else { None };
    match value.and_then(|v| v.to_f64().first().copied()) {
        Some(1.0) => return Ok(x.clone()),
        Some(2.0) => return mul(b, x, x),
        Some(3.0) => {
            let square = mul(b, x, x)?;
            return mul(b, &square, x);
        }
        Some(0.5) if base.dtype.is_float() => return sqrt(b, x),
        Some(-1.0) if base.dtype.is_float() => return reciprocal(b, x),
        _ => {}
    }
    if base.dtype == exponent.dtype {
        return pow(b, x, y);
    }
    if exponent.dtype.is_float() && !base.dtype.is_float() {
        let (wide, y) = (to_dtype(b, x, DType::F64)?, to_dtype(b, y, DType::F64)?);
        let power = pow(b, &wide, &y)?;
        return to_dtype(b, &power, base.dtype);
    }
    let y = to_dtype(b, y, base.dtype)?;
    pow(b, x, &y)
}
