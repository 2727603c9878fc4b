//! Rectifier with a learned slope (He et al. 2015).

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{sum_to, to_shape};

/// `x` where positive, else `slope * x`. Inputs: `x`, slope, with broadcasting.
#[derive(Clone, Debug, Attrs)]
pub struct Prelu;

/// `if x > 0 { x } else { slope * x }`
pub fn prelu(b: &mut dyn Builder, x: &Var, slope: &Var) -> Result<Var> {
    b.one(&Prelu, &[x.clone(), slope.clone()])
}

impl Op for Prelu {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let mut e = ScalarExpr::new(dtypes);
        let (x, slope) = (e.load(0), e.load(1));
        let zero = e.constant(0.0, Compute::of(dtypes[0]));
        let leak = e.binary(Binary::Mul, x, slope);
        let above = e.compare(Compare::Lt, zero, x);
        let y = e.select(above, x, leak);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(
            inputs,
            None,
            |x, a| if x > 0.0 { x } else { a * x },
            |x, a| if x > 0 { x } else { x.wrapping_mul(a) },
            |x, _| x,
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let (x, slope) = (s.input(0)?, s.input(1)?);
        let zero = b.scalar(s.input_fact(0)?.dtype, 0.0)?;
        let above = greater(b, x, &zero)?;
        let mut result = vec![None, None];
        if needs[0] {
            let part = mul(b, g, slope)?;
            let part = where_(b, &above, g, &part)?;
            result[0] = Some(sum_to(b, &part, s.input_fact(0)?)?);
        }
        if needs[1] {
            let part = mul(b, g, x)?;
            let part = where_(b, &above, &zero, &part)?;
            result[1] = Some(sum_to(b, &part, s.input_fact(1)?)?);
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("PRelu", 16))
    }
}

impl OpType for Prelu {
    const NAME: &'static str = "prelu";
    const DOC: &'static str = "Rectified linear unit with a learned slope.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("PRelu", 6, 6, |_, b, x| {
                Ok(smallvec![prelu_channels(b, &required(x, 0)?, &required(x, 1)?)?])
            }),
            OnnxMapping::new("PRelu", 7, |_, b, x| Ok(smallvec![prelu(b, &required(x, 0)?, &required(x, 1)?)?])),
        ]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Prelu, 2, Self::DTYPES, true, (-2.0, 2.0))
    }
}

/// [`prelu`] with one slope for each channel (axis 1), or one for all.
pub fn prelu_channels(b: &mut dyn Builder, x: &Var, slope: &Var) -> Result<Var> {
    let (rank, fact) = (b.tensor_fact(x)?.rank(), b.tensor_fact(slope)?);
    let mut shape = fact.shape.to_vec();
    if fact.rank() == 1 && rank > 2 {
        shape.resize(rank - 1, Dim::Known(1));
    }
    let slope = to_shape(b, slope, shape)?;
    prelu(b, x, &slope)
}
