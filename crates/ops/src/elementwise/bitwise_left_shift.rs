//! Bits moved up.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var};
use smallvec::smallvec;

use crate::build::*;
use crate::common;

/// The bits of the first tensor moved up by as many places as the second says, with broadcasting. Negative numbers
/// of places, and those above the width, move all bits out.
#[derive(Clone, Debug, Attrs)]
pub struct BitwiseLeftShift;

/// `x << y`
pub fn bitwise_left_shift(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&BitwiseLeftShift, &[x.clone(), y.clone()])
}

impl Op for BitwiseLeftShift {
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
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Shl))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(
            inputs,
            None,
            |x, _| x,
            |x, y| if (0..64).contains(&y) { x.wrapping_shl(y as u32) } else { 0 },
            |x, y| if y < 64 { x << y } else { 0 },
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("it works on integers")
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let unsigned = |x: &&&Fact| !x.dtype().is_signed_integer();
        let node = OnnxExport::new("BitShift", 11).attr("direction", OnnxAttr::Str("LEFT".to_string()));
        inputs.first().filter(unsigned).map(|_| node)
    }
}

impl OpType for BitwiseLeftShift {
    const NAME: &'static str = "bitwise_left_shift";
    const DOC: &'static str = "Bits moved up.";
    const DTYPES: &'static [DType] = DType::INTEGERS;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("BitShift", 11, |node, b, x| {
            let (x, y) = (required(x, 0)?, required(x, 1)?);
            Ok(smallvec![match node.text("direction", "")?.as_str() {
                "LEFT" => bitwise_left_shift(b, &x, &y)?,
                "RIGHT" => bitwise_right_shift(b, &x, &y)?,
                other => {
                    let wrong = Error::format(format!("direction is `{other}`"));
                    return Err(wrong.with_expected("LEFT or RIGHT").with_op("BitShift"));
                }
            }])
        })]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&BitwiseLeftShift, 2, Self::DTYPES, false, (0.0, 2.0))
    }
}
