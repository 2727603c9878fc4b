//! One of two sub-graphs.

use std::sync::Arc;

use lampyr_base::{Bindings, DType, Error, Result};
use lampyr_ir::autodiff::gradient_graph;
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::interpret;
use lampyr_ir::onnx::{OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, Graph, GraphBuilder, HostValue, Op, OpType, Saved, Saves,
    TensorFact, Var, Vars,
};

use crate::bodies::{Outside, check_same_kind, check_single, complete, join, single, with_inputs};
use crate::gradient::OPS;

/// Runs `then_body` when the first input is true, else `else_body`; the other inputs are those of both bodies.
#[derive(Clone, Debug, Attrs)]
pub struct If {
    /// Runs when the condition is true.
    pub then_body: Arc<Graph>,
    /// Runs when the condition is false; as many inputs and outputs, of the same types.
    pub else_body: Arc<Graph>,
}

/// Outputs of `then_body(captured)` when `condition` is true, else of `else_body(captured)`.
pub fn if_(
    b: &mut dyn Builder,
    condition: &Var,
    then_body: Arc<Graph>,
    else_body: Arc<Graph>,
    captured: &[Var],
) -> Result<Vars> {
    let inputs: Vec<Var> = std::iter::once(condition).chain(captured).cloned().collect();
    b.apply(&If { then_body, else_body }, &inputs)
}

fn outputs(body: &Graph, captured: &[&Fact]) -> Result<Vec<Fact>> {
    if body.inputs().len() != captured.len() {
        return Err(Error::value(format!("{} values for the inputs of `{}`", captured.len(), body.name))
            .with_expected(body.inputs().len().to_string()));
    }
    let mut outside = Outside::new(captured);
    for (inside, given) in body.inputs().iter().zip(captured) {
        check_same_kind("a captured value", body.fact(*inside), given)?;
        outside.bind_fact(body.fact(*inside), given);
    }
    Ok(body.outputs().iter().map(|v| outside.fact(body.fact(*v))).collect())
}

impl If {
    fn taken(&self, condition: i64) -> &Arc<Graph> {
        if condition != 0 { &self.then_body } else { &self.else_body }
    }
}

impl Op for If {
    fn arity(&self) -> Arity {
        Arity::at_least(1)
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        check_single("the condition", inputs[0], &[DType::Bool])?;
        let then = outputs(&self.then_body, &inputs[1..])?;
        let other = outputs(&self.else_body, &inputs[1..])?;
        if then.len() != other.len() {
            return Err(Error::graph(format!("the branches have {} and {} outputs", then.len(), other.len()))
                .with_expected("equally many"));
        }
        then.iter().zip(&other).map(|(a, b)| join(a, b)).collect()
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        interpret::reference(self.taken(single(inputs[0].tensor()?)?), &inputs[1..], &Bindings::new())
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let seeded: Vec<usize> = (0..grads.len()).filter(|&k| grads[k].is_some()).collect();
        let wanted: Vec<usize> = (1..needs.len()).filter(|&i| needs[i]).map(|i| i - 1).collect();
        let (then, has_then) = gradient_graph(OPS, &self.then_body, &seeded, &wanted)?;
        let (other, has_other) = gradient_graph(OPS, &self.else_body, &seeded, &wanted)?;
        let kept: Vec<usize> = (0..wanted.len()).filter(|&i| has_then[i] || has_other[i]).collect();
        let mut result = vec![None; needs.len()];
        if kept.is_empty() {
            return Ok(result);
        }
        let mut args = (1..needs.len()).map(|i| s.input(i).cloned()).collect::<Result<Vec<_>>>()?;
        args.extend(grads.iter().flatten().cloned());
        let facts = args.iter().map(|v| b.fact(v)).collect::<Result<Vec<_>>>()?;
        let finish = |gradient: &Graph, has: &[bool]| -> Result<Arc<Graph>> {
            let mut g = GraphBuilder::new(&gradient.name);
            let vars: Vec<Var> = facts.iter().map(|f| g.input("", f.clone())).collect();
            let like = wanted.iter().map(|&i| facts[i].as_tensor()).collect::<Result<Vec<&TensorFact>>>()?;
            let all = complete(&mut g, gradient, has, &vars, &like)?;
            for &i in &kept {
                g.output("", &all[i])?;
            }
            let mut graph = g.finish();
            graph.remove_dead();
            Ok(Arc::new(graph))
        };
        let (then, other) = (finish(&then, &has_then)?, finish(&other, &has_other)?);
        let made = if_(b, s.input(0)?, then, other, &args)?;
        for (&i, grad) in kept.iter().zip(made) {
            result[wanted[i] + 1] = Some(grad);
        }
        Ok(result)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let (condition, captured) = inputs.split_first()?;
        Some(match b.read(condition) {
            Ok(Some(value)) => single(&value)
                .and_then(|v| interpret::inline(b, self.taken(v), captured))
                .map(|all| all.into_iter().collect()),
            Ok(None) => Err(Error::graph("the condition of this branch is not known before the graph runs")),
            Err(e) => Err(e),
        })
    }

    fn bodies(&self) -> Vec<Arc<Graph>> {
        vec![self.then_body.clone(), self.else_body.clone()]
    }
}

fn from_onnx(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let condition = required(inputs, 0)?;
    if let Some(value) = b.read(&condition)? {
        let name = if single(&value)? != 0 { "then_branch" } else { "else_branch" };
        let body = node.body(name, b, &[])?;
        return Ok(interpret::inline(b, &body.graph, &body.captured)?.into_iter().collect());
    }
    let then = node.body("then_branch", b, &[])?;
    let other = node.body("else_branch", b, &[])?;
    let mut captured: Vec<Var> = Vec::new();
    let mut place = |v: &Var| {
        let same = |x: &Var| matches!((x, v), (Var::Node(x), Var::Node(v)) if x == v);
        captured.iter().position(same).unwrap_or_else(|| {
            captured.push(v.clone());
            captured.len() - 1
        })
    };
    let then_picks: Vec<usize> = then.captured.iter().map(&mut place).collect();
    let other_picks: Vec<usize> = other.captured.iter().map(&mut place).collect();
    let facts = captured.iter().map(|v| b.fact(v)).collect::<Result<Vec<_>>>()?;
    let then = with_inputs(&then.graph, &facts, &then_picks)?;
    let other = with_inputs(&other.graph, &facts, &other_picks)?;
    if_(b, &condition, Arc::new(then), Arc::new(other), &captured)
}

impl OpType for If {
    const NAME: &'static str = "if";
    const DOC: &'static str = "One of two sub-graphs, by a condition.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("If", 1, from_onnx)]
    }

    fn cases() -> Vec<Case> {
        let body = |name: &str, doubled: bool| -> Result<Arc<Graph>> {
            let mut g = GraphBuilder::new(name);
            let x = g.input("x", Fact::fixed(DType::F64, &[3]));
            let y = g.input("y", Fact::fixed(DType::F64, &[3]));
            let sum = crate::build::add(&mut g, &x, if doubled { &x } else { &y })?;
            g.output("sum", &sum)?;
            Ok(Arc::new(g.finish()))
        };
        let (Ok(then_body), Ok(else_body)) = (body("then", true), body("else", false)) else { return Vec::new() };
        let op = If { then_body, else_body };
        let x = || CaseInput::new(DType::F64, &[3]);
        [("true", 1.0), ("false", 0.0)]
            .into_iter()
            .map(|(name, v)| {
                let condition = CaseInput::new(DType::Bool, &[]).values(&[v]);
                Case::new(name, &op, vec![condition, x(), x()]).with_gradient()
            })
            .collect()
    }
}
