use lampyr_base::{Bindings, DType};
use lampyr_ir::autodiff;
use lampyr_ir::case::Case;
use lampyr_ir::interpret::{self, ReferenceBuilder};
use lampyr_ir::{
    Builder, Fact, Gradient, Graph, GraphBuilder, HostTensor, HostValue, Op, Saved, Saves, TensorFact, Var,
};
use lampyr_ops::gradient::OPS;

use crate::support::{bound, every_case, fact_of, noise, symbolic_facts, text};

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 2e-6;
const LARGEST: usize = 512;
const PROBES: usize = 8;

/// First and second derivatives of every smooth case against central differences of the reference.
#[test]
fn gradients_agree_with_finite_differences() {
    every_case(check);
}

/// Every op with a gradient has at least one case in which it is checked.
#[test]
fn every_gradient_is_checked() {
    let missing: Vec<&str> = lampyr_ops::registry::builtin()
        .iter()
        .filter(|entry| {
            let cases = (entry.cases)();
            let differentiable = |c: &Case| !matches!(c.op.gradient(), Gradient::None(_));
            let takes_floats = |c: &Case| c.inputs.iter().any(|x| x.dtype.is_float() && x.sequence.is_none());
            cases.iter().any(|c| differentiable(c) && takes_floats(c)) && !cases.iter().any(|c| check(c) == Ok(true))
        })
        .map(|entry| entry.name)
        .collect();
    assert!(missing.is_empty(), "no gradient is checked for {missing:?}");
}

/// Whether the case could be checked, or what is wrong.
pub fn check(case: &Case) -> Result<bool, String> {
    if !case.gradient {
        return Ok(false);
    }
    let Some(values) = in_double(case)? else { return Ok(false) };
    let (facts, bindings) = symbolic_facts(case, &values);
    let op = bound(&case.op, &bindings);
    let fixed: Vec<Fact> = values.iter().map(fact_of).collect();
    let Ok(inferred) = op.infer(&fixed.iter().collect::<Vec<_>>()) else { return Ok(false) };
    if inferred.iter().any(|f| f.dtype().is_float() && f.dtype() != DType::F64) {
        return Ok(false);
    }
    let visible = op.visible_outputs().unwrap_or(inferred.len());
    let differentiable: Vec<usize> = (0..visible).filter(|&k| is_float(&inferred[k])).collect();
    let wrt: Vec<usize> = (0..values.len()).filter(|&i| is_float(&fixed[i])).collect();
    let outputs = op.reference(&values).map_err(text)?;
    let mut seeds = vec![None; outputs.len()];
    for &k in &differentiable {
        let shape = outputs[k].tensor().map_err(text)?.shape().to_vec();
        seeds[k] = Some(noise(&shape, 100 + k as u64).map_err(text)?);
    }
    first(&*op, &values, &fixed, &inferred, &outputs, &seeds, &wrt)?;
    second(case, &facts, &bindings, &values, &seeds, &wrt).map_err(|e| format!("second derivative: {e}"))?;
    Ok(true)
}

/// The inputs with floats as `float64`; `None` for cases that are too large or hold no tensors.
fn in_double(case: &Case) -> Result<Option<Vec<HostValue>>, String> {
    let mut values = Vec::new();
    for value in case.values().map_err(text)? {
        let HostValue::Tensor(t) = value else { return Ok(None) };
        if t.len() > LARGEST || matches!(t.dtype(), DType::F16 | DType::BF16) {
            return Ok(None);
        }
        values.push(HostValue::Tensor(if t.dtype().is_float() { t.cast(DType::F64).map_err(text)? } else { t }));
    }
    Ok(Some(values))
}

fn is_float(fact: &Fact) -> bool {
    matches!(fact, Fact::Tensor(t) if t.dtype.is_float())
}

fn dot(a: &HostTensor, b: &HostTensor) -> f64 {
    a.to_f64().iter().zip(b.to_f64()).map(|(x, y)| x * y).sum()
}

/// `values` with element `at` of input `i` moved by `by`.
fn moved(values: &[HostValue], i: usize, at: usize, by: f64) -> Result<Vec<HostValue>, String> {
    let mut result = values.to_vec();
    let t = values[i].tensor().map_err(text)?;
    let mut elements = t.to_f64();
    elements[at] += by;
    result[i] = HostTensor::from_f64(DType::F64, t.shape(), &elements).map_err(text)?.into();
    Ok(result)
}

/// Compares `grads[i]` with central differences of `f` at some elements of every input in `wrt`.
fn compare(
    values: &[HostValue],
    wrt: &[usize],
    grads: &[Option<HostTensor>],
    f: impl Fn(&[HostValue]) -> Result<f64, String>,
) -> Result<(), String> {
    for (&i, grad) in wrt.iter().zip(grads) {
        let t = values[i].tensor().map_err(text)?;
        if let Some(g) = grad
            && (g.shape() != t.shape() || g.dtype() != t.dtype())
        {
            return Err(format!("the gradient of input {i} is {}, the input {}", g.describe(), t.describe()));
        }
        for at in (0..t.len()).step_by(t.len().div_ceil(PROBES).max(1)) {
            let slope = (f(&moved(values, i, at, STEP)?)? - f(&moved(values, i, at, -STEP)?)?) / (2.0 * STEP);
            let have = grad.as_ref().map_or(0.0, |g| g.to_f64()[at]);
            let off = (have - slope).abs();
            if off.is_nan() || off > TOLERANCE * (1.0 + slope.abs()) {
                return Err(format!("gradient of input {i} at {at} is {have}, the differences give {slope}"));
            }
        }
    }
    Ok(())
}

fn first(
    op: &dyn Op,
    values: &[HostValue],
    fixed: &[Fact],
    inferred: &[Fact],
    outputs: &[HostValue],
    seeds: &[Option<HostTensor>],
    wrt: &[usize],
) -> Result<(), String> {
    let Saves { inputs: keep_inputs, outputs: keep_outputs } = op.saves();
    let keep = |all: &[HostValue], mask: u32| -> Vec<Option<Var>> {
        let kept = |(i, v): (usize, &HostValue)| (mask >> i & 1 == 1).then(|| ReferenceBuilder::value(v.clone()));
        all.iter().enumerate().map(kept).collect()
    };
    let plain = |facts: &[Fact]| -> Vec<Fact> {
        let forget = |f: &Fact| match f {
            Fact::Tensor(t) => TensorFact { known: None, ..t.clone() }.into(),
            f => f.clone(),
        };
        facts.iter().map(forget).collect()
    };
    let (kept_inputs, kept_outputs) = (keep(values, keep_inputs), keep(outputs, keep_outputs));
    let (input_facts, output_facts) = (plain(fixed), plain(inferred));
    let saved =
        Saved { inputs: &kept_inputs, outputs: &kept_outputs, input_facts: &input_facts, output_facts: &output_facts };
    let grads: Vec<Option<Var>> = seeds.iter().map(|s| s.clone().map(ReferenceBuilder::value)).collect();
    let needs: Vec<bool> = (0..values.len()).map(|i| wrt.contains(&i)).collect();
    let found = autodiff::vjp(&mut ReferenceBuilder, OPS, op, &saved, &grads, &needs).map_err(text)?;
    if found.len() != values.len() {
        return Err(format!("{} gradients for {} inputs", found.len(), values.len()));
    }
    let read = |i: &usize| -> Result<Option<HostTensor>, String> {
        let Some(var) = &found[*i] else { return Ok(None) };
        Ok(Some(ReferenceBuilder::get(var).and_then(|v| v.tensor().cloned()).map_err(text)?))
    };
    let grads = wrt.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    compare(values, wrt, &grads, |x| {
        let outputs = op.reference(x).map_err(text)?;
        let parts = outputs.iter().zip(seeds).filter_map(|(y, s)| Some((y.tensor().ok()?, s.as_ref()?)));
        Ok(parts.map(|(y, s)| dot(y, s)).sum())
    })
}

/// Graph of the first gradients and of the gradients of `sum <gradient, seed>`; inputs are those of the op, one seed per
/// differentiable output, one per gradient. Gives the graph, which first and which second gradients exist.
fn twice(
    case: &Case,
    facts: &[Fact],
    seeds: &[Option<HostTensor>],
    wrt: &[usize],
) -> lampyr_base::Result<(Graph, Vec<bool>, Vec<bool>)> {
    let mut g = GraphBuilder::new("twice");
    let inputs: Vec<Var> = facts.iter().enumerate().map(|(i, f)| g.input(&format!("x{i}"), f.clone())).collect();
    let outputs = g.apply(&*case.op, &inputs)?;
    let mut pairs = Vec::new();
    for (k, output) in outputs.iter().enumerate().filter(|(k, _)| seeds[*k].is_some()) {
        let fact = g.fact(output)?;
        pairs.push((output.clone(), g.input(&format!("seed{k}"), fact)));
    }
    let targets: Vec<Var> = wrt.iter().map(|&i| inputs[i].clone()).collect();
    let found = autodiff::gradients(&mut g, OPS, &pairs, &targets)?;
    let mut pairs = Vec::new();
    for (n, (&i, grad)) in wrt.iter().zip(&found).enumerate() {
        let seed = g.input(&format!("second{n}"), facts[i].clone());
        if let Some(grad) = grad {
            pairs.push((grad.clone(), seed));
        }
    }
    let again = autodiff::gradients(&mut g, OPS, &pairs, &targets)?;
    for grad in found.iter().chain(&again).flatten() {
        g.output("", grad)?;
    }
    let has = |all: &[Option<Var>]| all.iter().map(Option::is_some).collect();
    let (first, second) = (has(&found), has(&again));
    Ok((g.finish(), first, second))
}

fn second(
    case: &Case,
    facts: &[Fact],
    bindings: &Bindings,
    values: &[HostValue],
    seeds: &[Option<HostTensor>],
    wrt: &[usize],
) -> Result<(), String> {
    let (graph, has_first, has_second) = twice(case, facts, seeds, wrt).map_err(text)?;
    let mut second_seeds = Vec::new();
    for &i in wrt {
        let shape = values[i].tensor().map_err(text)?.shape().to_vec();
        second_seeds.push(noise(&shape, 200 + i as u64).map_err(text)?);
    }
    let run = |x: &[HostValue]| -> Result<Vec<HostTensor>, String> {
        let extra = seeds.iter().flatten().chain(&second_seeds).cloned().map(HostValue::Tensor);
        let all: Vec<HostValue> = x.iter().cloned().chain(extra).collect();
        let results = interpret::reference(&graph, &all, bindings).map_err(text)?;
        results.iter().map(|v| v.tensor().cloned().map_err(text)).collect()
    };
    let results = run(values)?;
    let count = has_first.iter().filter(|h| **h).count();
    let mut late = results[count..].iter();
    let grads: Vec<Option<HostTensor>> =
        has_second.iter().map(|&h| if h { late.next().cloned() } else { None }).collect();
    compare(values, wrt, &grads, |x| {
        let results = run(x)?;
        let used = second_seeds.iter().zip(&has_first).filter(|(_, h)| **h).map(|(s, _)| s);
        Ok(results[..count].iter().zip(used).map(|(g, s)| dot(g, s)).sum())
    })
}
