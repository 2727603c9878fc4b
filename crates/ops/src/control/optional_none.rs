//! An optional that is absent.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, SequenceFact, TensorFact, Var,
};
use smallvec::smallvec;

/// An absent tensor of `dtype` and `shape`, or an absent sequence of such tensors.
#[derive(Clone, Debug, Attrs)]
pub struct OptionalNone {
    /// Element type.
    #[attr(default = DType::F32)]
    pub dtype: DType,
    /// Sizes of the tensor; for a sequence none of them counts.
    pub shape: Vec<Dim>,
    /// Whether it would be a sequence.
    #[attr(default = false)]
    pub sequence: bool,
}

/// An absent value of the kind of `fact`.
pub fn optional_none(b: &mut dyn Builder, fact: &Fact) -> Result<Var> {
    let (shape, sequence) = match fact {
        Fact::Tensor(t) => (t.shape.to_vec(), false),
        Fact::Sequence(_) => (Vec::new(), true),
        Fact::Optional(inner) => return optional_none(b, inner),
    };
    b.one(&OptionalNone { dtype: fact.dtype(), shape, sequence }, &[])
}

impl Op for OptionalNone {
    fn arity(&self) -> Arity {
        Arity::exactly(0)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Facts> {
        let inner = match self.sequence {
            true => Fact::Sequence(SequenceFact { dtype: self.dtype, shape: None }),
            false => Fact::Tensor(TensorFact::new(self.dtype, self.shape.iter().cloned())),
        };
        Ok(smallvec![Fact::Optional(Box::new(inner))])
    }

    fn reference(&self, _inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        Ok(vec![HostValue::Optional(None)])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("nothing is there")
    }
}

impl OpType for OptionalNone {
    const NAME: &'static str = "optional_none";
    const DOC: &'static str = "An optional that is absent.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn cases() -> Vec<Case> {
        let op = |sequence: bool| OptionalNone { dtype: DType::F32, shape: Vec::new(), sequence };
        vec![Case::new("tensor", &op(false), Vec::new()), Case::new("sequence", &op(true), Vec::new())]
    }
}
