//! The gradient check must notice wrong gradients.

use lampyr_base::{DType, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Listed, Op, OpId, OpType, Saved, Var};
use lampyr_ops::build::mul;
use lampyr_ops::common;
use lampyr_ops::gradient::scale;

/// `x^2` and, hidden, its slope. `factor` is 2 for a right gradient; the slope's own gradient is missing unless
/// `complete`.
#[derive(Clone, Debug, Attrs)]
struct Square {
    factor: f64,
    complete: bool,
}

impl Listed for Square {
    const ID: OpId = OpId(u16::MAX);
    const FAMILY: &'static str = "test";
}

impl OpType for Square {
    const NAME: &'static str = "test_square";
    const DOC: &'static str = "A square.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn cases() -> Vec<Case> {
        Vec::new()
    }
}

impl Op for Square {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Ok([inputs[0].clone(), inputs[0].clone()].into_iter().collect())
    }

    fn visible_outputs(&self) -> Option<usize> {
        Some(1)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let mut outputs = common::reference_unary(inputs, |x| x * x)?;
        outputs.extend(common::reference_unary(inputs, |x| self.factor * x)?);
        Ok(outputs)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        if let Some(g) = &grads[0] {
            return Ok(vec![Some(mul(b, g, s.output(1)?)?)]);
        }
        match &grads[1] {
            Some(g) if self.complete => Ok(vec![Some(scale(b, g, self.factor)?)]),
            _ => Ok(vec![None]),
        }
    }
}

fn outcome(factor: f64, complete: bool) -> std::result::Result<bool, String> {
    let case = Case::new("square", &Square { factor, complete }, vec![CaseInput::new(DType::F64, &[5])]);
    crate::gradients::check(&case.with_gradient())
}

#[test]
fn a_wrong_gradient_is_noticed() {
    assert_eq!(outcome(2.0, true), Ok(true));
    let message = outcome(2.1, true).expect_err("the slope is wrong");
    assert!(!message.contains("second"), "{message}");
    let message = outcome(2.0, false).expect_err("the second derivative is missing");
    assert!(message.contains("second derivative"), "{message}");
}
