//! Several elementwise ops in one loop.

use std::sync::Arc;

use lampyr_base::{Bindings, DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::scalar::ScalarExpr;
use lampyr_ir::{
    Arity, AttrValue, Attrs, Builder, Class, Cost, Fact, Facts, Gradient, Graph, GraphBuilder, HostValue, Op, OpType,
    Var, Vars, checked_infer, interpret,
};
use smallvec::SmallVec;

use crate::build::*;

/// One scalar expression over broadcast inputs that gives the same bits as the graph it stands for.
#[derive(Clone, Debug, Attrs)]
pub struct ElementwiseChain {
    /// What is computed for one element.
    pub expr: Arc<ScalarExpr>,
    /// The plain ops.
    pub body: Arc<Graph>,
}

/// The facts of `body`'s outputs for inputs of these facts.
pub(super) fn infer_body(body: &Graph, inputs: &[&Fact]) -> Result<Facts> {
    if let Some(facts) = infer_plain(body, inputs)? {
        return Ok(facts);
    }
    let mut b = GraphBuilder::new(&body.name);
    let vars: Vec<Var> = inputs.iter().enumerate().map(|(i, f)| b.input(&format!("x{i}"), (*f).clone())).collect();
    let outputs = b.inline(body, &vars)?;
    outputs.iter().map(|v| b.fact(v)).collect()
}

/// As [`infer_body`], for bodies in which no attribute names a symbol: these need no names for sizes.
fn infer_plain(body: &Graph, inputs: &[&Fact]) -> Result<Option<Facts>> {
    let mut facts: Vec<Option<Fact>> = vec![None; body.value_count()];
    for (v, fact) in body.inputs().iter().zip(inputs) {
        facts[v.0 as usize] = Some((*fact).clone());
    }
    for (_, node) in body.nodes() {
        let symbolic = node.op.attrs().iter().any(|(_, v)| match v {
            AttrValue::Dim(d) => d.known().is_none(),
            AttrValue::Dims(ds) => ds.iter().any(|d| d.known().is_none()),
            AttrValue::Graph(_) | AttrValue::Op(_) => true,
            _ => false,
        });
        if symbolic {
            return Ok(None);
        }
        let mut args: SmallVec<[&Fact; 4]> = SmallVec::new();
        for v in &node.inputs {
            let fact = match body.constant(*v) {
                Some(_) => Some(body.fact(*v)),
                None => facts.get(v.0 as usize).and_then(Option::as_ref),
            };
            let Some(fact) = fact else { return Ok(None) };
            args.push(fact);
        }
        let made = checked_infer(&*node.op, &args)?;
        drop(args);
        for (v, fact) in node.outputs.iter().zip(made) {
            facts[v.0 as usize] = Some(fact);
        }
    }
    Ok(body.outputs().iter().map(|v| facts.get(v.0 as usize).cloned().flatten()).collect())
}

/// [`Op::decompose`] of an op that carries its plain ops.
pub(super) fn inline_body(b: &mut dyn Builder, body: &Graph, inputs: &[Var]) -> Option<Result<Vars>> {
    Some(interpret::inline(b, body, inputs).map(Vars::from_vec))
}

/// Bytes in and out of a call.
pub(super) fn traffic<'a>(facts: impl Iterator<Item = &'a Fact>) -> f64 {
    facts.map(|f| elements(f) * f.dtype().size() as f64).sum()
}

/// Elements, unknown sizes counted as 64.
pub(super) fn elements(fact: &Fact) -> f64 {
    match fact {
        Fact::Tensor(t) => t.shape.iter().map(|d| d.known().unwrap_or(64).max(0) as f64).product(),
        _ => 0.0,
    }
}

impl Op for ElementwiseChain {
    fn arity(&self) -> Arity {
        Arity::exactly(self.expr.inputs.len())
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        if let Some((f, d)) = inputs.iter().zip(&self.expr.inputs).find(|(f, d)| f.dtype() != **d) {
            return Err(Error::dtype(format!("got {f} where the chain reads {d}")));
        }
        infer_body(&self.body, inputs)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        (dtypes == self.expr.inputs.as_slice()).then(|| (*self.expr).clone())
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
        let n: f64 = outputs.iter().map(elements).sum();
        Cost { flops: n * self.expr.steps.len() as f64, bytes: traffic(inputs.iter().copied().chain(outputs)) }
    }
}

/// A chain made by hand for the cases: `relu(x * y + x)`, computed in the type of `x`.
fn sample(dtype: DType, x: &[usize], y: &[usize]) -> Option<ElementwiseChain> {
    use lampyr_ir::scalar::{Binary, Compute, Instr};
    let mut g = GraphBuilder::new("chain");
    let (a, b) = (g.input("x", Fact::fixed(dtype, x)), g.input("y", Fact::fixed(dtype, y)));
    let product = mul(&mut g, &a, &b).ok()?;
    let sum = add(&mut g, &product, &a).ok()?;
    let result = relu(&mut g, &sum).ok()?;
    g.output("z", &result).ok()?;
    let mut e = ScalarExpr::new(&[dtype, dtype]);
    let ty = Compute::of(dtype);
    let (a, b) = (e.load(0), e.load(1));
    let p = e.binary(Binary::Mul, a, b);
    let p = e.push(Instr::Round(dtype, p), ty);
    let s = e.binary(Binary::Add, p, a);
    let s = e.push(Instr::Round(dtype, s), ty);
    let zero = e.constant(0.0, ty);
    let r = e.binary(Binary::Max, s, zero);
    Some(ElementwiseChain { expr: Arc::new(e.store(r, dtype)), body: Arc::new(g.finish()) })
}

impl OpType for ElementwiseChain {
    const NAME: &'static str = "elementwise_chain";
    const DOC: &'static str = "Several elementwise ops in one loop, made by the compiler.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let shapes: [(&str, &[usize], &[usize]); 4] = [
            ("plain", &[3, 4, 5], &[3, 4, 5]),
            ("broadcast", &[2, 3, 4], &[3, 1]),
            ("scalar", &[6, 7], &[]),
            ("empty", &[0, 3], &[3]),
        ];
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I8] {
            for (name, x, y) in shapes {
                let Some(op) = sample(dtype, x, y) else { continue };
                let inputs = vec![CaseInput::new(dtype, x), CaseInput::new(dtype, y)];
                let case = Case::new(format!("{name}-{dtype}"), &op, inputs);
                cases.push(if dtype == DType::F64 { case.with_gradient() } else { case });
            }
        }
        cases
    }
}
