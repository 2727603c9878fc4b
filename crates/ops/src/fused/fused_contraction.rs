//! A matrix product or convolution with the elementwise ops behind it.

use std::sync::Arc;

use lampyr_base::{Bindings, DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::scalar::{Binary, Compute, Instr, ScalarExpr};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Cost, Fact, Facts, Gradient, Graph, GraphBuilder, HostValue, Op, OpRef, OpType, Var,
    Vars, interpret,
};

use super::elementwise_chain::{elements, infer_body, inline_body, traffic};
use crate::build::*;

/// `main` followed by a scalar expression over its result. Inputs: those of `main`, then the further operands of the
/// expression, which broadcast to the result. Input 0 of the expression is the result of `main`, rounded to its type.
#[derive(Clone, Debug, Attrs)]
pub struct FusedContraction {
    /// The contraction.
    pub main: OpRef,
    /// What is computed of every element of its result.
    pub epilogue: Arc<ScalarExpr>,
    /// The plain ops.
    pub body: Arc<Graph>,
}

impl FusedContraction {
    /// How many of `count` inputs are those of the contraction.
    pub fn main_inputs(&self, count: usize) -> usize {
        (count + 1).saturating_sub(self.epilogue.inputs.len())
    }
}

impl Op for FusedContraction {
    fn arity(&self) -> Arity {
        let (main, extra) = (self.main.arity(), self.epilogue.inputs.len().saturating_sub(1));
        Arity { min: main.min + extra, max: main.max.saturating_add(extra) }
    }

    fn class(&self) -> Class {
        Class::Contraction
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        if inputs.len() != self.body.inputs().len() {
            return Err(Error::value(format!("got {} inputs", inputs.len()))
                .with_expected(format!("{} inputs", self.body.inputs().len())));
        }
        infer_body(&self.body, inputs)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        interpret::reference(&self.body, inputs, &Bindings::new())
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        inline_body(b, &self.body, inputs)
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let split = self.main_inputs(inputs.len()).min(inputs.len());
        let main = self.main.cost(&inputs[..split], outputs);
        let n: f64 = outputs.iter().map(elements).sum();
        Cost {
            flops: main.flops + n * self.epilogue.steps.len() as f64,
            bytes: traffic(inputs.iter().copied().chain(outputs)),
        }
    }
}

/// `relu(x @ w + bias)` or, with a residual, `relu(x @ w + bias) + r`.
fn sample(
    dtype: DType,
    x: &[usize],
    w: &[usize],
    residual: Option<&[usize]>,
) -> Option<(FusedContraction, Vec<CaseInput>)> {
    let bias = &w[w.len() - 1..];
    let mut shapes: Vec<&[usize]> = vec![x, w, bias];
    shapes.extend(residual);
    let mut g = GraphBuilder::new("contraction");
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), Fact::fixed(dtype, s))).collect();
    let product = matmul(&mut g, &vars[0], &vars[1]).ok()?;
    let sum = add(&mut g, &product, &vars[2]).ok()?;
    let mut result = relu(&mut g, &sum).ok()?;
    let mut e = ScalarExpr::new(&vec![dtype; shapes.len() - 1]);
    let ty = Compute::of(dtype);
    let (p, b) = (e.load(0), e.load(1));
    let p = e.push(Instr::Round(dtype, p), ty);
    let s = e.binary(Binary::Add, p, b);
    let s = e.push(Instr::Round(dtype, s), ty);
    let zero = e.constant(0.0, ty);
    let mut r = e.binary(Binary::Max, s, zero);
    if let Some(var) = vars.get(3) {
        result = add(&mut g, &result, var).ok()?;
        let other = e.load(2);
        r = e.binary(Binary::Add, r, other);
    }
    g.output("y", &result).ok()?;
    let op = FusedContraction {
        main: OpRef::new(Matmul),
        epilogue: Arc::new(e.store(r, dtype)),
        body: Arc::new(g.finish()),
    };
    Some((op, shapes.iter().map(|s| CaseInput::new(dtype, s)).collect()))
}

impl OpType for FusedContraction {
    const NAME: &'static str = "fused_contraction";
    const DOC: &'static str =
        "A matrix product or convolution with the elementwise ops behind it, made by the compiler.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        type Row<'a> = (&'a str, &'a [usize], &'a [usize], Option<&'a [usize]>);
        let shapes: [Row; 5] = [
            ("bias_relu", &[5, 7], &[7, 9], None),
            ("residual", &[33, 16], &[16, 40], Some(&[33, 40])),
            ("batched", &[2, 3, 4], &[4, 5], Some(&[3, 1])),
            ("empty", &[0, 4], &[4, 5], None),
            ("large", &[70, 130], &[130, 65], None),
        ];
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            for (name, x, w, residual) in shapes {
                let Some((op, inputs)) = sample(dtype, x, w, residual) else { continue };
                let case = Case::new(format!("{name}-{dtype}"), &op, inputs);
                let wide = name == "large" || name == "residual";
                let case = match dtype {
                    DType::F32 if wide => case.tolerance(2e-4, 2e-5),
                    DType::F16 => case.tolerance(5e-2, 1e-2),
                    DType::BF16 => case.tolerance(4e-1, 5e-2),
                    _ => case,
                };
                cases.push(if dtype == DType::F64 && !wide { case.with_gradient() } else { case });
            }
        }
        cases
    }
}
