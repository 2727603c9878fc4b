//! Where the largest element is.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var};
use smallvec::smallvec;

use crate::positions::{self, Search};

/// int64 index of the largest element along an axis, or among all elements; the first one among equals, unless
/// `select_last_index`. NaN wins. There is none of nothing.
#[derive(Clone, Debug, Attrs)]
pub struct Argmax {
    /// The axis; negative ones count from the last; none: all elements in row-major order.
    pub axis: Option<i64>,
    /// Whether the axis stays, with size 1.
    #[attr(default = false)]
    pub keepdims: bool,
    /// The last one among equals, not the first.
    #[attr(default = false)]
    pub select_last_index: bool,
}

/// Index of the largest element of `x` along `axis` (none: among all elements).
pub fn argmax(b: &mut dyn Builder, x: &Var, axis: Option<i64>, keepdims: bool) -> Result<Var> {
    b.one(&Argmax { axis, keepdims, select_last_index: false }, std::slice::from_ref(x))
}

impl Argmax {
    /// What is searched for and where.
    pub fn search(&self) -> Search {
        Search { axis: self.axis, keepdims: self.keepdims, last: self.select_last_index, largest: true }
    }
}

impl Op for Argmax {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        self.search().infer(inputs, Self::DTYPES)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        self.search().reference(inputs)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("indices are integers")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        self.search().to_onnx("ArgMax")
    }
}

impl OpType for Argmax {
    const NAME: &'static str = "argmax";
    const DOC: &'static str = "Where the largest element along an axis is.";
    const DTYPES: &'static [DType] = DType::NUMERIC;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ArgMax", 1, |node, b, x| {
            let Search { axis, keepdims, last, .. } = Search::read(node, true)?;
            let op = Argmax { axis, keepdims, select_last_index: last };
            Ok(smallvec![b.one(&op, &[required(x, 0)?])?])
        })]
    }

    fn cases() -> Vec<Case> {
        positions::cases(|axis, keepdims, last| Argmax { axis, keepdims, select_last_index: last }, Self::DTYPES)
    }
}
