//! The gradient of loops, and their translation from ONNX.

use std::sync::Arc;

use lampyr_base::{DType, Dim, Error, Result, Symbol};
use lampyr_ir::autodiff::gradient_graph;
use lampyr_ir::onnx::{OnnxBody, OnnxNode, optional};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, Saved, TensorFact, Var, Vars};

use crate::bodies::{any_elements, complete, is_float, single};
use crate::build::{Loop, add, gather, loop_};
use crate::gradient::{OPS, full};

/// The carried values before every iteration along a new first axis, after the number of iterations: the loop run once
/// more with two more things to note down.
fn replay(op: &Loop, b: &mut dyn Builder, s: &Saved, carried: usize) -> Result<(Var, Vec<Var>)> {
    let (o, body) = (op.offset(), &*op.body);
    let mut g = GraphBuilder::new(&format!("{}.states", body.name));
    let inputs = body.inputs();
    let mut input = |v: &lampyr_ir::ValueId| g.input(&body.value(*v).name, body.fact(*v).clone());
    let mut args: Vec<Var> = inputs[..2 + carried].iter().map(&mut input).collect();
    let count = g.input("count", Fact::fixed(DType::I64, &[]));
    let mut input = |v: &lampyr_ir::ValueId| g.input(&body.value(*v).name, body.fact(*v).clone());
    args.extend(inputs[2 + carried..].iter().map(&mut input));
    let made = g.inline(body, &args)?;
    let one = g.constant(HostTensor::scalar(1i64))?;
    let next = add(&mut g, &count, &one)?;
    for v in made[..1 + carried].iter().chain([&next]).chain(&args[2..2 + carried]) {
        g.output("", v)?;
    }
    let mut graph = g.finish();
    graph.remove_dead();
    let values = (0..s.input_facts.len()).map(|i| s.input(i).cloned()).collect::<Result<Vec<_>>>()?;
    let trip = op.has_trip.then(|| &values[0]);
    let condition = op.has_cond.then(|| &values[o - 1]);
    let mut first = values[o..o + carried].to_vec();
    first.push(b.constant(HostTensor::scalar(0i64))?);
    let mut all = loop_(b, Arc::new(graph), trip, condition, &first, &values[o + carried..])?.into_iter();
    let count = all.nth(carried).ok_or_else(|| Error::internal("a loop lost its count"))?;
    Ok((count, all.collect()))
}

/// Gradient of a loop: a loop over the same iterations backwards, whose body is the gradient of the body. It carries the
/// gradients of the carried values and the sums of those of the captured values.
pub(crate) fn vjp(
    op: &Loop,
    b: &mut dyn Builder,
    s: &Saved,
    grads: &[Option<Var>],
    needs: &[bool],
) -> Result<Vec<Option<Var>>> {
    let carried = op.count(needs.len())?;
    let o = op.offset();
    for k in 0..carried {
        let (Fact::Tensor(first), Fact::Tensor(last)) = (&s.input_facts[o + k], &s.output_facts[k]) else {
            return Err(Error::unsupported("the gradient of a loop that carries a sequence"));
        };
        if first.shape != last.shape {
            return Err(Error::unsupported(format!("the gradient of a loop that carries {first} in and {last} out"))
                .with_expected("carried values that keep their shape"));
        }
    }
    let (count, states) = replay(op, b, s, carried)?;
    let floats: Vec<usize> = (0..carried).filter(|&k| is_float(&s.input_facts[o + k])).collect();
    let captured: Vec<usize> = (o + carried..needs.len()).collect();
    let summed: Vec<usize> = captured.iter().copied().filter(|&i| needs[i] && is_float(&s.input_facts[i])).collect();
    let scanned: Vec<usize> = (carried..grads.len()).filter(|&j| grads[j].is_some()).collect();
    let seeded: Vec<usize> = floats.iter().chain(&scanned).map(|&k| 1 + k).collect();
    let wanted: Vec<usize> = floats.iter().map(|&k| 2 + k).chain(summed.iter().map(|&i| i + 2 - o)).collect();
    let (gradient, has) = gradient_graph(OPS, &op.body, &seeded, &wanted)?;

    let float_facts = floats.iter().map(|&k| s.input_fact(o + k)).collect::<Result<Vec<_>>>()?;
    let sum_facts = summed.iter().map(|&i| s.input_fact(i)).collect::<Result<Vec<_>>>()?;
    let minus_one = HostTensor::scalar(-1i64);
    let back = b.constant(minus_one.clone())?;
    let mut first = Vec::new();
    for (&k, fact) in floats.iter().zip(&float_facts) {
        first.push(match &grads[k] {
            Some(g) => g.clone(),
            None => full(b, fact.dtype, &fact.shape, 0.0)?,
        });
    }
    first.push(add(b, &count, &back)?);
    for fact in &sum_facts {
        first.push(full(b, fact.dtype, &fact.shape, 0.0)?);
    }
    let mut outer = captured.iter().map(|&i| s.input(i).cloned()).collect::<Result<Vec<_>>>()?;
    outer.extend(states);
    outer.extend(scanned.iter().filter_map(|&j| grads[j].clone()));

    let mut g = GraphBuilder::new(&gradient.name);
    g.input("step", Fact::fixed(DType::I64, &[]));
    let go = g.input("go", Fact::fixed(DType::Bool, &[]));
    let plain = |g: &mut GraphBuilder, t: &TensorFact| g.input("", Fact::tensor(t.dtype, t.shape.iter().cloned()));
    let seeds: Vec<Var> = float_facts.iter().map(|t| plain(&mut g, t)).collect();
    let at = g.input("iteration", Fact::fixed(DType::I64, &[]));
    let sums: Vec<Var> = sum_facts.iter().map(|t| plain(&mut g, t)).collect();
    let mut inside = Vec::with_capacity(outer.len());
    for v in &outer {
        inside.push(g.input("", b.fact(v)?));
    }
    let (given, stacks) = inside.split_at(captured.len());
    let mut rows = Vec::with_capacity(stacks.len());
    for rows_of in stacks {
        rows.push(gather(&mut g, rows_of, &at, 0)?);
    }
    let (states, scans) = rows.split_at(carried);
    let mut args = vec![at.clone(), go.clone()];
    for part in [states, given, &seeds, scans] {
        args.extend_from_slice(part);
    }
    let like: Vec<&TensorFact> = float_facts.iter().chain(&sum_facts).copied().collect();
    let found = complete(&mut g, &gradient, &has, &args, &like)?;
    let minus_one = g.constant(minus_one)?;
    let before = add(&mut g, &at, &minus_one)?;
    g.output("", &go)?;
    for grad in &found[..floats.len()] {
        g.output("", grad)?;
    }
    g.output("", &before)?;
    for (i, sum) in sums.iter().enumerate() {
        let k = floats.len() + i;
        let total = if has[k] { add(&mut g, sum, &found[k])? } else { sum.clone() };
        g.output("", &total)?;
    }
    let mut graph = g.finish();
    graph.remove_dead();
    let made = loop_(b, Arc::new(graph), Some(&count), None, &first, &outer)?;

    let mut result = vec![None; needs.len()];
    let after = made.iter().skip(floats.len() + 1);
    for (i, grad) in floats.iter().map(|k| o + k).zip(&made).chain(summed.iter().copied().zip(after)) {
        result[i] = Some(grad.clone()).filter(|_| needs[i]);
    }
    Ok(result)
}

/// `before` with every size on which `after` differs replaced by a symbol of its own; whether anything changed.
fn widen(before: &mut Fact, after: &Fact, own: &mut Vec<Symbol>) -> Result<bool> {
    match (&mut *before, after) {
        (Fact::Tensor(x), Fact::Tensor(y)) if x.rank() == y.rank() => {
            let mut changed = false;
            for (d, next) in x.shape.iter_mut().zip(&y.shape) {
                if d != next && !d.symbol().is_some_and(|s| own.contains(s)) {
                    let symbol = Symbol::fresh("carried");
                    *d = Dim::of(&symbol);
                    own.push(symbol);
                    changed = true;
                }
            }
            Ok(changed)
        }
        (Fact::Sequence(x), Fact::Sequence(y)) => {
            let joined = x.join(y)?;
            let changed = joined != *x;
            *x = joined;
            Ok(changed)
        }
        _ => Ok(false),
    }
}

fn never_stops(graph: &Graph) -> bool {
    let (Some(next), Some(own)) = (graph.outputs().first(), graph.inputs().get(1)) else { return false };
    next == own || graph.constant(*next).is_some_and(|t| single(t).is_ok_and(|v| v != 0))
}

/// ONNX Loop. The body is built again with wider facts when a carried value changes its shape.
pub(crate) fn from_onnx(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let trip = optional(inputs, 0);
    let mut condition = optional(inputs, 1);
    let first: Vec<Var> = inputs
        .iter()
        .skip(2)
        .map(|v| v.clone().ok_or_else(|| Error::unsupported("a carried value that is left out")))
        .collect::<Result<_>>()?;
    let mut facts = vec![Fact::fixed(DType::I64, &[]), Fact::fixed(DType::Bool, &[])];
    for v in &first {
        facts.push(any_elements(&b.fact(v)?));
    }
    let mut own = Vec::new();
    let OnnxBody { graph, captured } = loop {
        let body = node.body("body", b, &facts)?;
        let mut changed = false;
        for (before, after) in facts.iter_mut().skip(2).zip(body.graph.outputs().iter().skip(1)) {
            changed |= widen(before, body.graph.fact(*after), &mut own)?;
        }
        if !changed {
            break body;
        }
    };
    if trip.is_none() && condition.is_none() {
        condition = Some(b.constant(HostTensor::scalar(true))?);
    } else if trip.is_some()
        && let Some(v) = &condition
        && never_stops(&graph)
        && b.read(v)?.is_some_and(|t| single(&t).is_ok_and(|v| v != 0))
    {
        condition = None;
    }
    loop_(b, graph, trip.as_ref(), condition.as_ref(), &first, &captured)
}
