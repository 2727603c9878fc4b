//! A step of Adam (Kingma and Ba 2014), AMSGrad (Reddi et al. 2018) or AdamW (Loshchilov and Hutter 2017).

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::scalar::{Binary, Compare, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType};

use crate::common;

/// The parameter and its moments after one step.
///
/// Inputs of one float type: parameter, gradient, first and second moment, with `amsgrad` the largest second moment so
/// far, all of one shape; then three 0-d numbers that change from step to step: the learning rate divided by
/// `1 - beta1^t`, `1 / sqrt(1 - beta2^t)`, and what the parameter is multiplied with before (AdamW's decay, else 1).
/// Outputs: parameter, first and second moment, with `amsgrad` the largest second moment.
#[derive(Clone, Debug, Attrs)]
pub struct AdamStep {
    /// Decay of the first moment.
    #[attr(default = 0.9)]
    pub beta1: f64,
    /// Decay of the second moment.
    #[attr(default = 0.999)]
    pub beta2: f64,
    /// Added to the root of the second moment.
    #[attr(default = 1e-8)]
    pub eps: f64,
    /// How much of the parameter is added to the gradient.
    #[attr(default = 0.0)]
    pub weight_decay: f64,
    /// Whether the largest second moment so far is used.
    #[attr(default = false)]
    pub amsgrad: bool,
    /// Whether the gradient is climbed.
    #[attr(default = false)]
    pub maximize: bool,
}

impl AdamStep {
    /// Number of tensors that have the shape of the parameter.
    pub fn wide(&self) -> usize {
        4 + usize::from(self.amsgrad)
    }

    /// The step of one element of `dtype`.
    pub fn expression(&self, dtype: DType) -> ScalarExpr {
        let ty = Compute::of(dtype);
        let mut e = ScalarExpr::new(&vec![dtype; self.wide() + 3]);
        let [p, mut g, m, v] = [0, 1, 2, 3].map(|i| e.load(i));
        let at = self.wide() as u8;
        let [rate, root, keep] = [at, at + 1, at + 2].map(|i| e.load(i));
        if self.maximize {
            g = e.unary(Unary::Neg, g);
        }
        if self.weight_decay != 0.0 {
            let decay = e.constant(self.weight_decay, ty);
            let part = e.binary(Binary::Mul, p, decay);
            g = e.binary(Binary::Add, g, part);
        }
        let mix = |e: &mut ScalarExpr, old: u16, new: u16, beta: f64| {
            let (kept, fresh) = (e.constant(beta, ty), e.constant(1.0 - beta, ty));
            let (a, b) = (e.binary(Binary::Mul, old, kept), e.binary(Binary::Mul, new, fresh));
            e.binary(Binary::Add, a, b)
        };
        let m = mix(&mut e, m, g, self.beta1);
        let square = e.binary(Binary::Mul, g, g);
        let v = mix(&mut e, v, square, self.beta2);
        let mut used = v;
        if self.amsgrad {
            let largest = e.load(4);
            let grown = e.compare(Compare::Lt, largest, v);
            used = e.select(grown, v, largest);
        }
        let eps = e.constant(self.eps, ty);
        let below = e.unary(Unary::Sqrt, used);
        let below = e.binary(Binary::Mul, below, root);
        let below = e.binary(Binary::Add, below, eps);
        let p = e.binary(Binary::Mul, p, keep);
        let step = e.binary(Binary::Mul, m, rate);
        let step = e.binary(Binary::Div, step, below);
        let p = e.binary(Binary::Sub, p, step);
        let e = e.store(p, dtype).store(m, dtype).store(v, dtype);
        if self.amsgrad { e.store(used, dtype) } else { e }
    }
}

/// The facts of a step whose first `wide` inputs have one shape and whose other inputs are 0-d; `outputs` of them.
pub(super) fn infer(inputs: &[&Fact], wide: usize, outputs: usize, allowed: &[DType]) -> Result<Facts> {
    let facts = common::tensors(inputs)?;
    let first = facts.first().ok_or_else(|| Error::internal("a step takes a parameter"))?;
    common::check_dtype(first.dtype, allowed)?;
    for (i, fact) in facts.iter().enumerate() {
        if fact.dtype != first.dtype {
            return Err(Error::dtype(format!("input {i} is {}", fact.dtype)).with_expected(first.dtype.to_string()));
        }
        let fits = if i < wide { fact.shape == first.shape } else { fact.shape.is_empty() };
        if !fits {
            let want = if i < wide { "the shape of the parameter" } else { "a 0-d tensor" };
            return Err(Error::shape(format!("input {i} is {fact}")).with_expected(want));
        }
    }
    Ok((0..outputs).map(|_| Fact::Tensor((*first).clone())).collect())
}

/// Runs `step` for every element; inputs from `wide` on are single numbers.
pub(super) fn reference(
    inputs: &[HostValue],
    wide: usize,
    step: impl Fn(&[f64]) -> Vec<f64>,
) -> Result<Vec<HostValue>> {
    let tensors = common::host(inputs)?;
    let (dtype, shape) = (tensors[0].dtype(), tensors[0].shape().to_vec());
    let columns: Vec<Vec<f64>> = tensors.iter().map(|t| t.to_f64()).collect();
    let rows = (0..tensors[0].len()).map(|i| {
        let at = |(k, c): (usize, &Vec<f64>)| c.get(if k < wide { i } else { 0 }).copied().unwrap_or(f64::NAN);
        step(&columns.iter().enumerate().map(at).collect::<Vec<_>>())
    });
    let rows: Vec<Vec<f64>> = rows.collect();
    let count = step(&vec![1.0; tensors.len()]).len();
    (0..count)
        .map(|k| {
            let column: Vec<f64> = rows.iter().map(|r| r[k]).collect();
            Ok(HostTensor::from_f64(dtype, &shape, &column)?.into())
        })
        .collect()
}

/// Inputs of a case: `wide` tensors of `shape` and then `numbers`.
pub(super) fn case_inputs(dtype: DType, shape: &[usize], wide: usize, numbers: &[f64]) -> Vec<CaseInput> {
    let tensor = |k: usize| {
        // Second moments are positive.
        let low = if k < 2 { -1.0 } else { 0.25 };
        CaseInput::new(dtype, shape).fill(Fill::Uniform(low, 1.0, 11 + k as u64))
    };
    (0..wide).map(tensor).chain(numbers.iter().map(|&n| CaseInput::new(dtype, &[]).values(&[n]))).collect()
}

impl Op for AdamStep {
    fn arity(&self) -> Arity {
        Arity::exactly(self.wide() + 3)
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
            let [rate, root, keep] = [x[wide], x[wide + 1], x[wide + 2]];
            let g = if self.maximize { -x[1] } else { x[1] } + self.weight_decay * x[0];
            let m = self.beta1 * x[2] + (1.0 - self.beta1) * g;
            let v = self.beta2 * x[3] + (1.0 - self.beta2) * g * g;
            let used = if self.amsgrad && x[4] >= v { x[4] } else { v };
            let p = x[0] * keep - rate * m / (used.sqrt() * root + self.eps);
            if self.amsgrad { vec![p, m, v, used] } else { vec![p, m, v] }
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("a step of an optimiser is not differentiated")
    }
}

impl OpType for AdamStep {
    const NAME: &'static str = "adam_step";
    const DOC: &'static str = "A parameter and its moments after one step of Adam or AdamW.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn cases() -> Vec<Case> {
        let plain = AdamStep { beta1: 0.9, beta2: 0.99, eps: 1e-6, weight_decay: 0.0, amsgrad: false, maximize: false };
        let all = AdamStep { weight_decay: 0.1, amsgrad: true, maximize: true, ..plain.clone() };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            for (name, op) in [("plain", &plain), ("all", &all)] {
                for (size, shape) in [("small", [3usize, 5]), ("empty", [0, 5]), ("large", [37, 121])] {
                    let inputs = case_inputs(d, &shape, op.wide(), &[0.05, 1.5, 0.9]);
                    cases.push(Case::new(format!("{name}-{size}-{d}"), op, inputs));
                }
            }
        }
        cases
    }
}
