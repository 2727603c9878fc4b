//! A step of stochastic gradient descent with momentum (Sutskever et al. 2013).

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Class, Fact, Facts, Gradient, HostValue, Op, OpType};

use super::adam_step::{case_inputs, infer, reference};

/// The parameter and its momentum after one step.
///
/// Inputs of one float type: parameter, gradient, with a `momentum` the buffer, all of one shape, and the learning rate
/// as a 0-d tensor. Outputs: parameter, with a `momentum` the buffer.
#[derive(Clone, Debug, Attrs)]
pub struct SgdStep {
    /// What the buffer is multiplied with; 0 means that there is none.
    #[attr(default = 0.0)]
    pub momentum: f64,
    /// How much of the gradient does not enter the buffer.
    #[attr(default = 0.0)]
    pub dampening: f64,
    /// How much of the parameter is added to the gradient.
    #[attr(default = 0.0)]
    pub weight_decay: f64,
    /// Whether the step looks ahead.
    #[attr(default = false)]
    pub nesterov: bool,
    /// Whether the gradient is climbed.
    #[attr(default = false)]
    pub maximize: bool,
    /// Whether the buffer becomes the gradient, whatever was in it.
    #[attr(default = false)]
    pub first: bool,
}

impl SgdStep {
    /// Number of tensors that have the shape of the parameter.
    pub fn wide(&self) -> usize {
        2 + usize::from(self.momentum != 0.0)
    }

    /// The step of one element of `dtype`.
    pub fn expression(&self, dtype: DType) -> ScalarExpr {
        let ty = Compute::of(dtype);
        let mut e = ScalarExpr::new(&vec![dtype; self.wide() + 1]);
        let (p, mut g) = (e.load(0), e.load(1));
        let rate = e.load(self.wide() as u8);
        if self.maximize {
            g = e.unary(Unary::Neg, g);
        }
        let plus = |e: &mut ScalarExpr, x: u16, y: u16, factor: f64| {
            let factor = e.constant(factor, ty);
            let part = e.binary(Binary::Mul, y, factor);
            e.binary(Binary::Add, x, part)
        };
        if self.weight_decay != 0.0 {
            g = plus(&mut e, g, p, self.weight_decay);
        }
        let mut buffer = None;
        if self.momentum != 0.0 {
            let next = if self.first {
                g
            } else {
                let (old, factor) = (e.load(2), e.constant(self.momentum, ty));
                let kept = e.binary(Binary::Mul, old, factor);
                plus(&mut e, kept, g, 1.0 - self.dampening)
            };
            g = if self.nesterov { plus(&mut e, g, next, self.momentum) } else { next };
            buffer = Some(next);
        }
        let step = e.binary(Binary::Mul, g, rate);
        let p = e.binary(Binary::Sub, p, step);
        let e = e.store(p, dtype);
        match buffer {
            Some(buffer) => e.store(buffer, dtype),
            None => e,
        }
    }
}

impl Op for SgdStep {
    fn arity(&self) -> Arity {
        Arity::exactly(self.wide() + 1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        infer(inputs, self.wide(), self.wide() - 1, Self::DTYPES)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let wide = self.wide();
        reference(inputs, wide, |x| {
            let mut g = if self.maximize { -x[1] } else { x[1] } + self.weight_decay * x[0];
            if self.momentum == 0.0 {
                return vec![x[0] - x[wide] * g];
            }
            let buffer = if self.first { g } else { self.momentum * x[2] + (1.0 - self.dampening) * g };
            g = if self.nesterov { g + self.momentum * buffer } else { buffer };
            vec![x[0] - x[wide] * g, buffer]
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("a step of an optimiser is not differentiated")
    }
}

impl OpType for SgdStep {
    const NAME: &'static str = "sgd_step";
    const DOC: &'static str = "A parameter and its momentum after one step of gradient descent.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn cases() -> Vec<Case> {
        let plain = SgdStep {
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
            first: false,
        };
        let momentum = SgdStep { momentum: 0.9, dampening: 0.25, weight_decay: 0.1, maximize: true, ..plain.clone() };
        let nesterov = SgdStep { momentum: 0.9, nesterov: true, ..plain.clone() };
        let first = SgdStep { first: true, ..nesterov.clone() };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            for (name, op) in [("plain", &plain), ("momentum", &momentum), ("nesterov", &nesterov), ("first", &first)] {
                for (size, shape) in [("small", [3usize, 5]), ("empty", [0, 5]), ("large", [37, 121])] {
                    cases.push(Case::new(format!("{name}-{size}-{d}"), op, case_inputs(d, &shape, op.wide(), &[0.05])));
                }
            }
        }
        cases
    }
}
