//! Every case of every op with an ONNX operator: written, read back and run, it gives the op's own results.

use std::sync::Arc;

use lampyr_base::{Bindings, DType, Dim, Result};
use lampyr_ir::case::{Case, Tolerance};
use lampyr_ir::interpret::reference;
use lampyr_ir::{AttrValue, Builder, Fact, Graph, GraphBuilder, HostTensor, HostValue, SequenceFact, TensorFact};
use lampyr_ops::build::{add, if_, loop_, silu, unsqueeze};
use lampyr_ops::registry;

/// Results agree up to the tolerance, which covers attributes that the file rounds to `float32`.
pub fn close(got: &HostTensor, want: &HostTensor, tolerance: Tolerance) -> Result<(), String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Err(format!("got {}, expected {}", got.describe(), want.describe()));
    }
    for (i, (a, b)) in got.to_f64().iter().zip(want.to_f64()).enumerate() {
        let near = (a - b).abs() <= tolerance.absolute + tolerance.relative * b.abs();
        if !(*a == b || near || (a.is_nan() && b.is_nan())) {
            return Err(format!("element {i} is {a:e}, expected {b:e}"));
        }
    }
    Ok(())
}

fn fact(value: &HostValue, dtype: DType) -> Fact {
    match value {
        HostValue::Tensor(t) => TensorFact::fixed(t.dtype(), t.shape()).into(),
        HostValue::Sequence(s) => {
            let shape = s.first().map(|t| t.shape().iter().map(|&d| Some(Dim::from(d))).collect());
            Fact::Sequence(SequenceFact { dtype, shape })
        }
        HostValue::Optional(_) => Fact::Optional(Box::new(Fact::sequence(dtype))),
    }
}

fn graph(case: &Case, values: &[HostValue]) -> Result<Graph> {
    let mut b = GraphBuilder::new("case");
    let facts = values.iter().zip(&case.inputs).map(|(v, i)| fact(v, i.dtype));
    let inputs: Vec<_> = facts.enumerate().map(|(i, f)| b.input(&format!("x{i}"), f)).collect();
    let outputs = b.apply(&*case.op, &inputs)?;
    let visible = case.op.visible_outputs().unwrap_or(outputs.len());
    for (k, var) in outputs.iter().take(visible).enumerate() {
        b.output(&format!("y{k}"), var)?;
    }
    Ok(b.finish())
}

fn check(case: &Case) -> Result<Result<(), String>> {
    let values = case.values()?;
    let graph = graph(case, &values)?;
    let bytes = lampyr_onnx::export(&graph)?;
    let read = lampyr_onnx::load(&bytes)?;
    let got = reference(&read.graph, &values, &Bindings::new())?;
    let want = case.op.reference(&values)?;
    if read.outputs.len() != graph.outputs().len() || got.len() != read.outputs.len() {
        return Ok(Err(format!("{} outputs, expected {}", got.len(), graph.outputs().len())));
    }
    let rounded = case.op.attrs().iter().any(|(_, v)| matches!(v, AttrValue::Float(_)));
    for (got, want) in got.iter().zip(&want) {
        if let (HostValue::Tensor(a), HostValue::Tensor(b)) = (got, want) {
            let own = case.tolerance.unwrap_or_else(|| Tolerance::of(b.dtype()));
            let slack = if rounded { 1e-6 } else { 0.0 };
            let own = Tolerance { absolute: own.absolute.max(slack), relative: own.relative.max(slack) };
            if let Err(e) = close(a, b, own) {
                return Ok(Err(e));
            }
        }
    }
    Ok(Ok(()))
}

#[test]
fn every_op_case_survives_the_file() {
    let mut failures = Vec::new();
    let mut written = std::collections::BTreeSet::new();
    for entry in registry::builtin() {
        for case in (entry.cases)() {
            let facts =
                case.values().map(|v| v.iter().zip(&case.inputs).map(|(v, i)| fact(v, i.dtype)).collect::<Vec<_>>());
            let known = facts.is_ok_and(|f| case.op.to_onnx(&f.iter().collect::<Vec<_>>()).is_some());
            if !known {
                continue;
            }
            match check(&case) {
                Ok(Ok(())) => _ = written.insert(entry.name),
                Ok(Err(e)) => failures.push(format!("{}/{}: {e}", entry.name, case.name)),
                Err(e) => failures.push(format!("{}/{}: {e}", entry.name, case.name)),
            }
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    for name in ["add", "matmul", "gemm", "conv", "conv_input_grad", "max_pool", "global_average_pool", "expand"] {
        assert!(written.contains(name), "{name} was not written");
    }
}

/// The cases of `op`, which are written although it is no single ONNX node of its inputs.
fn cases_survive(op: &str) {
    let cases = (registry::by_name(op).unwrap().cases)();
    assert!(!cases.is_empty());
    for case in cases {
        match check(&case) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => panic!("{op}/{}: {e}", case.name),
            Err(e) => panic!("{op}/{}: {e}", case.name),
        }
    }
}

#[test]
fn branches_and_loops_survive_the_file() {
    cases_survive("if");
    cases_survive("loop");
}

/// A loop without a condition, in a branch, reading a value from around both.
#[test]
fn sub_graphs_in_sub_graphs_survive_the_file() {
    let vector = || Fact::from(TensorFact::fixed(DType::F32, &[3]));
    let body = |unary: bool| -> Result<Graph> {
        let mut g = GraphBuilder::new("body");
        g.input("x", Fact::from(TensorFact::fixed(DType::I64, &[])));
        let go = g.input("y", Fact::from(TensorFact::fixed(DType::Bool, &[])));
        let (x, y) = (g.input("x", vector()), g.input("y", vector()));
        let sum = add(&mut g, &x, &y)?;
        // Not an ONNX operator of its own: it is written out in the body.
        let sum = if unary { silu(&mut g, &sum)? } else { sum };
        g.output("go", &go)?;
        g.output("x", &sum)?;
        g.output("all", &y)?;
        Ok(g.finish())
    };
    let branch = |looped: bool| -> Result<Graph> {
        let mut g = GraphBuilder::new("branch");
        let (n, x, y) = (
            g.input("n", Fact::from(TensorFact::fixed(DType::I64, &[]))),
            g.input("x", vector()),
            g.input("y", vector()),
        );
        let made = if looped {
            let all = loop_(&mut g, Arc::new(body(false)?), Some(&n), None, &[x], &[y])?;
            all.into_iter().collect::<Vec<_>>()
        } else {
            let one = unsqueeze(&mut g, &x, &[0])?;
            vec![x, one]
        };
        g.output("first", &made[0])?;
        g.output("second", &made[1])?;
        Ok(g.finish())
    };
    let mut g = GraphBuilder::new("nested");
    let condition = g.input("condition", Fact::from(TensorFact::fixed(DType::Bool, &[])));
    let n = g.input("n", Fact::from(TensorFact::fixed(DType::I64, &[])));
    let (x, y) = (g.input("x", vector()), g.input("y", vector()));
    let (then, other) = (Arc::new(branch(true).unwrap()), Arc::new(branch(false).unwrap()));
    let made = if_(&mut g, &condition, then, other, &[n.clone(), x.clone(), y.clone()]).unwrap();
    let go = g.constant(HostTensor::scalar(true)).unwrap();
    let more = loop_(&mut g, Arc::new(body(true).unwrap()), Some(&n), Some(&go), &[x], &[y]).unwrap();
    for (i, v) in made.iter().chain(&more).enumerate() {
        g.output(&format!("out{i}"), v).unwrap();
    }
    let graph = g.finish();
    let read = lampyr_onnx::load(&lampyr_onnx::export(&graph).unwrap()).unwrap();
    for condition in [true, false] {
        let values: Vec<HostValue> = vec![
            HostTensor::scalar(condition).into(),
            HostTensor::scalar(2i64).into(),
            HostTensor::from_slice(&[3], &[1f32, 2.0, -0.5]).unwrap().into(),
            HostTensor::from_slice(&[3], &[0.25f32, -1.0, 3.0]).unwrap().into(),
        ];
        let want = reference(&graph, &values, &Bindings::new()).unwrap();
        let got = reference(&read.graph, &values, &Bindings::new()).unwrap();
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            let (got, want) = (got.tensor().unwrap(), want.tensor().unwrap());
            close(got, want, Tolerance::of(want.dtype())).unwrap();
        }
    }
}
