//! Sigmoid linear unit.

use lampyr_base::{DType, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxMapping, required};
use lampyr_ir::scalar::{Binary, ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, NodeId, Op, OpType, Patch, Promote, Rewrite, Rule,
    Var, Vars, Wires,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;
use crate::patterns::{exponential, plus_number};

/// `x * sigmoid(x)` (Elfwing et al. 2017; Ramachandran et al. 2017 as "swish"), element by element.
#[derive(Clone, Debug, Attrs)]
pub struct Silu;

/// `x * sigmoid(x)`
pub fn silu(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Silu, std::slice::from_ref(x))
}

impl Silu {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let gate = sigmoid(b, x)?;
        mul(b, x, &gate)
    }
}

/// `x * sigmoid(x)`, or `x / (1 + exp(-x))`.
fn recognise(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let node = graph.node(id)?;
    let ([a, b], [result]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return Ok(Rewrite::No) };
    let found = if node.op.downcast::<Mul>().is_some() {
        w.pairs(node).into_iter().flatten().find_map(|(x, gate)| {
            let (sigmoid, s, _) = w.op::<Sigmoid>(gate)?;
            (s.inputs.first() == Some(&x)).then_some((x, vec![id, sigmoid]))
        })
    } else {
        plus_number(w, *b).and_then(|(one, power, sum)| {
            let (exponent, e) = exponential(w, power)?;
            let (negated, n, _) = w.op::<Neg>(exponent)?;
            (one == 1.0 && n.inputs.first() == Some(a)).then_some((*a, vec![id, sum, e, negated]))
        })
    };
    let Some((x, nodes)) = found else { return Ok(Rewrite::No) };
    if !w.closed(&nodes, *result) {
        return Ok(Rewrite::Refused(nodes, "a value inside is read elsewhere"));
    }
    let x = patch.tap(graph, x)?;
    let y = silu(patch, &x)?;
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(nodes))
}

impl Op for Silu {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let gate = e.unary(Unary::Sigmoid, x);
        let y = e.binary(Binary::Mul, x, gate);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        common::reference_unary(inputs, |x| x * lampyr_ir::scalar::sigmoid(x))
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }
}

impl OpType for Silu {
    const NAME: &'static str = "silu";
    const DOC: &'static str = "Sigmoid linear unit.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("Swish", 24, |node, b, x| {
                Ok(smallvec![swish(b, &required(x, 0)?, node.float("alpha", 1.0)?)?])
            }),
            OnnxMapping::new("SwiGLU", 28, |node, b, x| {
                let gate = swish(b, &required(x, 0)?, node.float("alpha", 1.0)?)?;
                Ok(smallvec![mul(b, &gate, &required(x, 1)?)?])
            }),
        ]
    }

    fn rules() -> Vec<Rule> {
        vec![Rule { name: "silu", roots: &["mul", "div"], recognises: true, run: recognise }]
    }

    fn cases() -> Vec<Case> {
        crate::cases::elementwise(&Silu, 1, Self::DTYPES, true, (-2.0, 2.0))
    }
}

/// `x * sigmoid(alpha * x)`
pub fn swish(b: &mut dyn Builder, x: &Var, alpha: f64) -> Result<Var> {
    if alpha == 1.0 {
        return silu(b, x);
    }
    let scaled = scale(b, x, alpha)?;
    let gate = sigmoid(b, &scaled)?;
    mul(b, x, &gate)
}
