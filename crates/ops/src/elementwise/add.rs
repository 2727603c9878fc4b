//! `x + y`.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::build::div;
use crate::common;
use crate::gradient::sum_to;

/// Sum with broadcasting. Integers wrap.
#[derive(Clone, Debug, Attrs)]
pub struct Add;

/// `x + y`
pub fn add(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Add, &[x.clone(), y.clone()])
}

impl Op for Add {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::elementwise(inputs, 0, Self::DTYPES, None)?;
        Ok(common::known_binary(facts, inputs, |x, y| Some(Dim::add(x, y))))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Add))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(inputs, None, |x, y| x + y, i64::wrapping_add, u64::wrapping_add)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let mut result = Vec::with_capacity(2);
        for (i, need) in needs.iter().enumerate() {
            result.push(if *need { Some(sum_to(b, g, s.input_fact(i)?)?) } else { None });
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Add", 14))
    }
}

impl OpType for Add {
    const NAME: &'static str = "add";
    const DOC: &'static str = "Sum of two tensors, with broadcasting.";
    const DTYPES: &'static [DType] = DType::NUMERIC;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Add", 1, 6, |node, b, inputs| {
                let (x, y) = crate::onnx_broadcast::operands(node, b, inputs)?;
                Ok(smallvec![add(b, &x, &y)?])
            }),
            OnnxMapping::new("Add", 7, |_, b, x| Ok(smallvec![add(b, &required(x, 0)?, &required(x, 1)?)?])),
            OnnxMapping::new("Sum", 6, |_, b, x| Ok(smallvec![common::onnx_fold(b, x, add)?])),
            OnnxMapping::new("Mean", 6, |_, b, x| {
                let sum = common::onnx_fold(b, x, add)?;
                let dtype = b.tensor_fact(&sum)?.dtype;
                let count = b.scalar(dtype, x.len() as f64)?;
                Ok(smallvec![div(b, &sum, &count)?])
            }),
        ]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        crate::cases::elementwise(&Add, 2, Self::DTYPES, true, (-2.0, 2.0))
    }
}
