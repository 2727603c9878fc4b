//! Bits moved down.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport};
use lampyr_ir::scalar::{Binary, ScalarExpr};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Promote, Var};

use crate::common;

/// The bits of the first tensor moved down by as many places as the second says, with broadcasting; the sign is
/// kept. Negative numbers of places, and those above the width, move all bits out.
#[derive(Clone, Debug, Attrs)]
pub struct BitwiseRightShift;

/// `x >> y`
pub fn bitwise_right_shift(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&BitwiseRightShift, &[x.clone(), y.clone()])
}

impl Op for BitwiseRightShift {
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
        Some(ScalarExpr::of_binary(dtypes[0], Binary::Shr))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_binary(
            inputs,
            None,
            |x, _| x,
            |x, y| if (0..64).contains(&y) { x >> y } else { x >> 63 },
            |x, y| if y < 64 { x >> y } else { 0 },
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("it works on integers")
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let unsigned = |x: &&&Fact| !x.dtype().is_signed_integer();
        let node = OnnxExport::new("BitShift", 11).attr("direction", OnnxAttr::Str("RIGHT".to_string()));
        inputs.first().filter(unsigned).map(|_| node)
    }
}

impl OpType for BitwiseRightShift {
    const NAME: &'static str = "bitwise_right_shift";
    const DOC: &'static str = "Bits moved down.";
    const DTYPES: &'static [DType] = DType::INTEGERS;
    const PROMOTE: Promote = Promote::Common;

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&BitwiseRightShift, 2, Self::DTYPES, false, (0.0, 2.0))
    }
}
