//! Reverse-mode differentiation of graphs: emits the backward nodes into the graph that holds the forward nodes, so a
//! training step is one joint graph.

use std::collections::{HashMap, HashSet};

use lampyr_base::{DType, Error, Result, ResultExt};

use crate::builder::{Builder, Saved, Var};
use crate::op::Gradient;
use crate::{Fact, GraphBuilder, NodeId, Op, OpRef, ValueId};

/// How a gradient engine adds two gradients and makes a gradient of ones; given by the op crate, which this crate does
/// not know.
#[derive(Clone, Copy)]
pub struct GradientOps {
    /// Sum of two equal-shaped values.
    pub add: fn(&mut dyn Builder, &Var, &Var) -> Result<Var>,
}

/// The gradient rule of `op` under any builder: its vjp, or the gradient of its decomposition.
pub fn vjp(
    b: &mut dyn Builder,
    ops: GradientOps,
    op: &dyn Op,
    saved: &Saved,
    grads: &[Option<Var>],
    needs: &[bool],
) -> Result<Vec<Option<Var>>> {
    match op.gradient() {
        Gradient::Vjp => op.vjp(b, saved, grads, needs).op(op.name()),
        Gradient::Decompose => decomposed(b, ops, op, saved, grads, needs),
        Gradient::None(reason) => {
            Err(Error::autograd(format!("{} is not differentiable: {reason}", op.name())).with_op(op.name()))
        }
    }
}

/// Differentiates `op` by writing it out into a small graph, differentiating that, and replaying the result on `b`.
fn decomposed(
    b: &mut dyn Builder,
    ops: GradientOps,
    op: &dyn Op,
    saved: &Saved,
    grads: &[Option<Var>],
    needs: &[bool],
) -> Result<Vec<Option<Var>>> {
    let mut g = GraphBuilder::new(op.name());
    let mut args = Vec::new();
    let mut inputs = Vec::new();
    for (i, fact) in saved.input_facts.iter().enumerate() {
        inputs.push(g.input(&format!("input{i}"), fact.clone()));
        args.push(saved.input(i)?.clone());
    }
    let outputs = op
        .decompose(&mut g, &inputs)
        .ok_or_else(|| Error::internal("differentiated by decomposition, but has none").with_op(op.name()))??;
    let mut seeds = Vec::new();
    for (k, grad) in grads.iter().enumerate() {
        if let (Some(grad), Some(output)) = (grad, outputs.get(k)) {
            let fact = b.fact(grad)?;
            seeds.push((output.clone(), g.input(&format!("grad{k}"), fact)));
            args.push(grad.clone());
        }
    }
    let wrt: Vec<Var> = inputs.iter().zip(needs).filter(|(_, n)| **n).map(|(v, _)| v.clone()).collect();
    let found = gradients(&mut g, ops, &seeds, &wrt)?;
    for grad in found.iter().flatten() {
        g.output("", grad)?;
    }
    let mut graph = g.finish();
    graph.remove_dead();
    let mut replayed = crate::interpret::inline(b, &graph, &args)?.into_iter();
    let mut found = found.into_iter();
    let mut result = Vec::with_capacity(needs.len());
    for need in needs {
        let has = *need && found.next().flatten().is_some();
        result.push(if has { replayed.next() } else { None });
    }
    Ok(result)
}

/// Gradients of `sum_i <outputs[i].0, outputs[i].1>` with respect to `wrt`, appended to the graph of `b`. `None` where
/// there is no path.
///
/// # Errors
/// [`lampyr_base::ErrorKind::Autograd`] when an op on the path has no gradient.
pub fn gradients(
    b: &mut GraphBuilder,
    ops: GradientOps,
    outputs: &[(Var, Var)],
    wrt: &[Var],
) -> Result<Vec<Option<Var>>> {
    let wrt_ids = wrt.iter().map(Var::node).collect::<Result<Vec<_>>>()?;
    let order = b.graph().order()?;
    let mut reaches: HashSet<ValueId> = wrt_ids.iter().copied().collect();
    let mut path: Vec<NodeId> = Vec::new();
    for id in &order {
        let node = b.graph().node(*id)?;
        if node.inputs.iter().any(|v| reaches.contains(v)) {
            path.push(*id);
            reaches.extend(node.outputs.iter().copied().filter(|v| differentiable(b.graph().fact(*v))));
        }
    }
    let mut grads: HashMap<ValueId, Var> = HashMap::new();
    for (output, seed) in outputs {
        accumulate(b, ops, &mut grads, output.node()?, seed.clone())?;
    }
    for id in path.into_iter().rev() {
        let node = b.graph().node(id)?.clone();
        let from: Vec<Option<Var>> = node.outputs.iter().map(|v| grads.get(v).cloned()).collect();
        if from.iter().all(Option::is_none) {
            continue;
        }
        let needs: Vec<bool> =
            node.inputs.iter().map(|v| reaches.contains(v) && differentiable(b.graph().fact(*v))).collect();
        if !needs.contains(&true) {
            continue;
        }
        let vars = |ids: &[ValueId]| ids.iter().map(|v| Some(Var::Node(*v))).collect::<Vec<_>>();
        let facts = |ids: &[ValueId]| ids.iter().map(|v| b.graph().fact(*v).clone()).collect::<Vec<_>>();
        let (ins, outs) = (vars(&node.inputs), vars(&node.outputs));
        let (in_facts, out_facts) = (facts(&node.inputs), facts(&node.outputs));
        let saved = Saved { inputs: &ins, outputs: &outs, input_facts: &in_facts, output_facts: &out_facts };
        b.scope(&format!("{}.grad", node.name));
        let made = vjp(b, ops, &*node.op, &saved, &from, &needs).node(&node.name)?;
        for (v, grad) in node.inputs.iter().zip(made) {
            if let Some(grad) = grad {
                accumulate(b, ops, &mut grads, *v, grad)?;
            }
        }
        b.scope("");
    }
    Ok(wrt_ids.iter().map(|v| grads.get(v).cloned()).collect())
}

fn accumulate(
    b: &mut GraphBuilder,
    ops: GradientOps,
    grads: &mut HashMap<ValueId, Var>,
    value: ValueId,
    grad: Var,
) -> Result<()> {
    let total = match grads.remove(&value) {
        Some(before) => (ops.add)(b, &before, &grad)?,
        None => grad,
    };
    grads.insert(value, total);
    Ok(())
}

fn differentiable(fact: &Fact) -> bool {
    match fact {
        Fact::Optional(inner) => differentiable(inner),
        fact => DType::is_float(fact.dtype()),
    }
}

/// The body of `op`'s gradient as a graph of its own: inputs are the op's inputs followed by one gradient per output in
/// `seeded`, outputs one gradient per input in `wrt` (zeros are the caller's business where `None`).
pub fn gradient_graph(
    ops: GradientOps,
    forward: &crate::Graph,
    seeded: &[usize],
    wrt: &[usize],
) -> Result<(crate::Graph, Vec<bool>)> {
    let mut g = GraphBuilder::new(&format!("{}.grad", forward.name));
    let inputs: Vec<Var> =
        forward.inputs().iter().map(|v| g.input(&forward.value(*v).name, forward.fact(*v).clone())).collect();
    let outputs = g.inline(forward, &inputs)?;
    let mut seeds = Vec::new();
    for &k in seeded {
        let output = outputs.get(k).ok_or_else(|| Error::internal("gradient of an output that does not exist"))?;
        let fact = g.fact(output)?;
        let seed = g.input(&format!("grad_{k}"), fact);
        seeds.push((output.clone(), seed));
    }
    let targets: Vec<Var> = wrt.iter().filter_map(|&i| inputs.get(i).cloned()).collect();
    let found = gradients(&mut g, ops, &seeds, &targets)?;
    let has = found.iter().map(Option::is_some).collect();
    for grad in found.iter().flatten() {
        g.output("", grad)?;
    }
    let mut graph = g.finish();
    graph.remove_dead();
    Ok((graph, has))
}

/// Whether `op` can be differentiated at all.
pub fn has_gradient(op: &OpRef) -> bool {
    !matches!(op.gradient(), Gradient::None(_))
}
