//! Branches, loops and sequences: by reference, written out, differentiated, and translated from ONNX.

use std::sync::Arc;

use lampyr_base::{Bindings, DType, Dim, ErrorKind, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::interpret::{self, ReferenceBuilder};
use lampyr_ir::onnx::{OnnxAttr, OnnxBody, OnnxNode};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, HostValue, Op, TensorFact, Var};
use lampyr_ops::build::*;
use lampyr_ops::registry;

use crate::support::{close, text};

type G = GraphBuilder;

fn f64s(shape: &[usize]) -> Fact {
    Fact::fixed(DType::F64, shape)
}

fn shape_fact(g: &G, v: &Var) -> Result<TensorFact> {
    g.fact(v)?.as_tensor().cloned()
}

fn graph(name: &str, inputs: &[Fact], build: impl Fn(&mut G, &[Var]) -> Result<Vec<Var>>) -> Arc<Graph> {
    let mut g = G::new(name);
    let vars: Vec<Var> = inputs.iter().enumerate().map(|(i, f)| g.input(&format!("x{i}"), f.clone())).collect();
    for v in build(&mut g, &vars).expect("the body fits") {
        g.output("", &v).expect("own value");
    }
    Arc::new(g.finish())
}

/// A loop body: after the iteration number and the condition come `inputs`.
fn body(inputs: &[Fact], build: impl Fn(&mut G, &[Var]) -> Result<Vec<Var>>) -> Arc<Graph> {
    let all: Vec<Fact> =
        [Fact::fixed(DType::I64, &[]), Fact::fixed(DType::Bool, &[])].iter().chain(inputs).cloned().collect();
    graph("body", &all, build)
}

fn number(v: f64) -> CaseInput {
    CaseInput::new(DType::F64, &[]).values(&[v])
}

fn flag(v: bool) -> CaseInput {
    CaseInput::new(DType::Bool, &[]).values(&[f64::from(u8::from(v))])
}

fn trip(n: f64) -> CaseInput {
    CaseInput::new(DType::I64, &[]).values(&[n])
}

/// `x -> tanh(x * y)`, noting `x * y` down.
fn recurrent(has_trip: bool, has_cond: bool) -> Loop {
    let body = body(&[f64s(&[3]), f64s(&[3])], |g, v| {
        let product = mul(g, &v[2], &v[3])?;
        let next = tanh(g, &product)?;
        Ok(vec![v[1].clone(), next, product])
    });
    Loop { body, has_trip, has_cond, carried: 1 }
}

/// `x -> x * y` while the result is below 10.
fn growing() -> Loop {
    let body = body(&[f64s(&[]), f64s(&[])], |g, v| {
        let next = mul(g, &v[2], &v[3])?;
        let limit = g.constant(HostTensor::scalar(10f64))?;
        let go = less(g, &next, &limit)?;
        Ok(vec![go, next.clone(), next])
    });
    Loop { body, has_trip: false, has_cond: true, carried: 1 }
}

/// `x -> x * y` below 2, else `tanh(x)`, four times; counts the iterations too.
fn branching() -> Loop {
    let then_body = graph("small", &[f64s(&[]), f64s(&[])], |g, v| Ok(vec![mul(g, &v[0], &v[1])?]));
    let else_body = graph("large", &[f64s(&[]), f64s(&[])], |g, v| Ok(vec![tanh(g, &v[0])?]));
    let body = body(&[f64s(&[]), Fact::fixed(DType::I64, &[]), f64s(&[])], |g, v| {
        let limit = g.constant(HostTensor::scalar(2f64))?;
        let small = less(g, &v[2], &limit)?;
        let next = if_(g, &small, then_body.clone(), else_body.clone(), &[v[2].clone(), v[4].clone()])?;
        let count = add(g, &v[3], &v[0])?;
        Ok(vec![v[1].clone(), next[0].clone(), count])
    });
    Loop { body, has_trip: true, has_cond: false, carried: 2 }
}

fn cases() -> Vec<Case> {
    let x = |s: &[usize]| CaseInput::new(DType::F64, s);
    let then_body = graph("then", &[f64s(&[3]), f64s(&[3])], |g, v| {
        let product = mul(g, &v[0], &v[1])?;
        Ok(vec![product.clone(), v[1].clone()])
    });
    let else_body = graph("else", &[f64s(&[3]), f64s(&[3])], |g, v| {
        let y = tanh(g, &v[0])?;
        Ok(vec![mul(g, &y, &y)?, v[0].clone()])
    });
    let branch = If { then_body, else_body };
    let one_sided = |v| Case::new(format!("if-{v}"), &branch, vec![flag(v), x(&[3]), x(&[3])]);
    vec![
        one_sided(true),
        one_sided(false),
        Case::new("counted", &recurrent(true, false), vec![trip(3.0), x(&[3]), x(&[3])]),
        Case::new("counted-with-condition", &recurrent(true, true), vec![trip(3.0), flag(true), x(&[3]), x(&[3])]),
        Case::new("no-iteration", &recurrent(true, false), vec![trip(0.0), x(&[3]), x(&[3])]),
        Case::new("refused", &recurrent(true, true), vec![trip(3.0), flag(false), x(&[3]), x(&[3])]),
        Case::new("early-exit", &growing(), vec![flag(true), number(1.25), number(1.5)]),
        Case::new("exit-at-once", &growing(), vec![flag(true), number(9.0), number(1.5)]),
        Case::new("branch-in-loop", &branching(), vec![trip(4.0), number(1.25), trip(0.0), number(1.5)]),
    ]
}

#[test]
fn gradients_agree_with_finite_differences_twice() {
    for case in cases() {
        let name = case.name.clone();
        let done = crate::gradients::check(&case.with_gradient());
        assert_eq!(done, Ok(true), "{name}");
    }
}

#[test]
fn written_out_they_do_the_same() {
    for case in cases() {
        let values = case.values().expect("inputs");
        let want = case.op.reference(&values).expect("reference");
        let inputs: Vec<Var> = values.iter().cloned().map(ReferenceBuilder::value).collect();
        let have = case.op.decompose(&mut ReferenceBuilder, &inputs).expect("decomposes").expect("known condition");
        assert_eq!(have.len(), want.len());
        for (have, want) in have.iter().zip(&want) {
            close(ReferenceBuilder::get(have).expect("value"), want, None).expect(&case.name);
        }
    }
}

#[test]
fn a_loop_counts_and_stops() {
    let run = |case: &str| {
        let case = cases().into_iter().find(|c| c.name == case).expect("known case");
        case.op.reference(&case.values().expect("inputs")).expect("runs")
    };
    let early = run("early-exit");
    assert_eq!(early[1].tensor().expect("scan").shape(), [6]);
    assert!(early[0].tensor().expect("last").to_f64()[0] > 10.0);
    assert_eq!(run("exit-at-once")[1].tensor().expect("scan").shape(), [1]);
    assert_eq!(run("no-iteration")[1].tensor().expect("scan").shape(), [0, 3]);
    assert_eq!(run("branch-in-loop")[1].tensor().expect("count").to_i64(), [6]);
}

#[test]
fn unknown_conditions_cannot_be_written_out() {
    let mut g = G::new("outer");
    let condition = g.input("go", Fact::fixed(DType::Bool, &[]));
    let x = g.input("x", f64s(&[]));
    let refused = growing().decompose(&mut g, &[condition, x.clone(), x]).expect("decomposes");
    assert_eq!(refused.map_err(|e| e.kind().clone()).err(), Some(ErrorKind::Graph));
}

/// Sizes of the outer graph reach a body: here through an attribute that mentions one.
#[test]
fn bodies_use_outer_sizes() {
    let n = Dim::named("n");
    let mut g = G::new("outer");
    let x = g.input("x", Fact::tensor(DType::F64, [n.clone()]));
    let first = g.input("first", f64s(&[]));
    let count = g.input("count", Fact::fixed(DType::I64, &[]));
    let inner = body(&[f64s(&[])], |g, v| {
        let wide = expand(g, &v[2], vec![n.clone()])?;
        Ok(vec![v[1].clone(), add(g, &v[2], &v[2])?, wide])
    });
    let all = loop_(&mut g, inner, Some(&count), None, &[first], &[]).expect("a loop");
    let rows = shape_fact(&g, &all[1]).expect("scan");
    assert_eq!(rows.rank(), 2);
    let product = mul(&mut g, &all[1], &x).expect("rows of n");
    g.output("y", &product).expect("own value");
    let outer = g.finish();
    let inputs: Vec<HostValue> = vec![
        HostTensor::from_slice(&[2], &[1f64, 10.0]).expect("x").into(),
        HostTensor::scalar(1f64).into(),
        HostTensor::scalar(3i64).into(),
    ];
    let y = interpret::reference(&outer, &inputs, &Bindings::new()).map_err(text).expect("runs");
    assert_eq!(y[0].tensor().expect("y").to_f64(), [1.0, 10.0, 2.0, 20.0, 4.0, 40.0]);
    let inputs: Vec<Var> = inputs.into_iter().map(ReferenceBuilder::value).collect();
    let again = interpret::inline(&mut ReferenceBuilder, &outer, &inputs).map_err(text).expect("runs");
    close(ReferenceBuilder::get(&again[0]).expect("y"), &y[0], None).expect("equal");
}

/// A size that an op makes from data keeps that op alive and in front of those who use it.
#[test]
fn sizes_made_from_data_keep_their_makers() {
    let mut g = G::new("outer");
    let x = g.input("x", Fact::fixed(DType::I64, &[4]));
    let hits = nonzero(&mut g, &x).expect("indices");
    let n = shape_fact(&g, &hits).expect("indices").shape[1].clone();
    let one = g.constant(HostTensor::scalar(1f32)).expect("one");
    let ones = expand(&mut g, &one, vec![n]).expect("ones");
    g.output("ones", &ones).expect("own value");
    let mut outer = g.finish();
    outer.remove_dead();
    let x = HostTensor::ints(&[0, 5, 0, 7]).expect("x");
    let y = interpret::reference(&outer, &[x.into()], &Bindings::new()).map_err(text).expect("runs");
    assert_eq!(y[0].tensor().expect("ones").shape(), [2]);
}

type BuildBody = fn(&mut G, &[Var]) -> Result<Vec<Var>>;

/// An ONNX node whose bodies are given by functions; `captured` are the outer values of each.
struct Node {
    op_type: &'static str,
    bodies: Vec<(&'static str, BuildBody)>,
    captured: Vec<Var>,
}

impl OnnxNode for Node {
    fn name(&self) -> &str {
        "node"
    }
    fn op_type(&self) -> &str {
        self.op_type
    }
    fn opset(&self) -> u32 {
        17
    }
    fn attr(&self, _name: &str) -> Option<&OnnxAttr> {
        None
    }
    fn output_count(&self) -> usize {
        1
    }
    fn has_output(&self, _i: usize) -> bool {
        true
    }
    fn body(&self, name: &str, b: &mut dyn Builder, inputs: &[Fact]) -> Result<OnnxBody> {
        let (_, build) = self.bodies.iter().find(|(n, _)| *n == name).expect("a known body");
        let mut g = G::new(name);
        let mut vars: Vec<Var> = inputs.iter().map(|f| g.input("", f.clone())).collect();
        for v in &self.captured {
            vars.push(g.input("", b.fact(v)?));
        }
        for v in build(&mut g, &vars)? {
            g.output("", &v)?;
        }
        Ok(OnnxBody { graph: Arc::new(g.finish()), captured: self.captured.clone() })
    }
}

fn import(node: &Node, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vec<Var>> {
    let mapping = registry::onnx("", node.op_type, 17).expect("a known operator");
    Ok((mapping.build)(node, b, inputs)?.into_iter().collect())
}

/// A carried value that grows: the body is built again with a size of its own.
#[test]
fn onnx_loops_carry_growing_values() {
    let mut g = G::new("outer");
    let trip = g.input("trip", Fact::fixed(DType::I64, &[]));
    let x = g.input("x", f64s(&[1]));
    let y = g.input("y", f64s(&[1]));
    let node = Node {
        op_type: "Loop",
        bodies: vec![("body", |g, v| {
            let longer = concat(g, &[v[2].clone(), v[3].clone()], 0)?;
            Ok(vec![v[1].clone(), longer])
        })],
        captured: vec![y.clone()],
    };
    let go = g.constant(HostTensor::scalar(true)).expect("go");
    let all = import(&node, &mut g, &[Some(trip), Some(go), Some(x)]).map_err(text).expect("a loop");
    assert!(shape_fact(&g, &all[0]).expect("longer").shape[0].symbol().is_some());
    g.output("longer", &all[0]).expect("own value");
    let outer = g.finish();
    for n in [0i64, 1, 4] {
        let x = HostTensor::from_slice(&[1], &[1f64]).expect("x");
        let y = HostTensor::from_slice(&[1], &[2f64]).expect("y");
        let inputs: Vec<HostValue> = vec![HostTensor::scalar(n).into(), x.into(), y.into()];
        let have = interpret::reference(&outer, &inputs, &Bindings::new()).map_err(text).expect("runs");
        assert_eq!(have[0].tensor().expect("longer").shape(), [n as usize + 1]);
        let vars: Vec<Var> = inputs.into_iter().map(ReferenceBuilder::value).collect();
        let again = interpret::inline(&mut ReferenceBuilder, &outer, &vars).map_err(text).expect("runs");
        close(ReferenceBuilder::get(&again[0]).expect("longer"), &have[0], None).expect("equal");
    }
}

#[test]
fn onnx_loops_collect_sequences() {
    let mut g = G::new("outer");
    let trip = g.input("trip", Fact::fixed(DType::I64, &[]));
    let x = g.input("x", Fact::fixed(DType::F32, &[2]));
    let empty = sequence_empty(&mut g, DType::F32).expect("a sequence");
    let node = Node {
        op_type: "Loop",
        bodies: vec![("body", |g, v| Ok(vec![v[1].clone(), sequence_insert(g, &v[2], &v[3], None)?]))],
        captured: vec![x],
    };
    let all = import(&node, &mut g, &[Some(trip), None, Some(empty)]).map_err(text).expect("a loop");
    let last = g.constant(HostTensor::scalar(-1i64)).expect("position");
    let item = sequence_at(&mut g, &all[0], &last).expect("an item");
    let length = sequence_length(&mut g, &all[0]).expect("a length");
    for v in [item, length] {
        g.output("", &v).expect("own value");
    }
    let x = HostTensor::from_slice(&[2], &[1f32, 2.0]).expect("x");
    let inputs: Vec<HostValue> = vec![HostTensor::scalar(3i64).into(), x.clone().into()];
    let y = interpret::reference(&g.finish(), &inputs, &Bindings::new()).map_err(text).expect("runs");
    assert_eq!(y[0].tensor().expect("item"), &x);
    assert_eq!(y[1].tensor().expect("length").to_i64(), [3]);
}

#[test]
fn onnx_branches_capture_values() {
    let bodies: Vec<(&'static str, BuildBody)> = vec![
        ("then_branch", |g, v| Ok(vec![add(g, &v[0], &v[1])?])),
        ("else_branch", |g, v| Ok(vec![mul(g, &v[0], &v[1])?])),
    ];
    let mut g = G::new("outer");
    let go = g.input("go", Fact::fixed(DType::Bool, &[1]));
    let x = g.input("x", f64s(&[2]));
    let node = Node { op_type: "If", bodies: bodies.clone(), captured: vec![x.clone(), x] };
    let all = import(&node, &mut g, &[Some(go)]).map_err(text).expect("a branch");
    g.output("y", &all[0]).expect("own value");
    let outer = g.finish();
    for (go, want) in [(true, [6.0, 8.0]), (false, [9.0, 16.0])] {
        let x = HostTensor::from_slice(&[2], &[3f64, 4.0]).expect("x");
        let condition = HostTensor::from_slice(&[1], &[go]).expect("condition");
        let inputs: Vec<HostValue> = vec![condition.clone().into(), x.clone().into()];
        let y = interpret::reference(&outer, &inputs, &Bindings::new()).map_err(text).expect("runs");
        assert_eq!(y[0].tensor().expect("y").to_f64(), want);
        let x = ReferenceBuilder::value(x);
        let node = Node { op_type: "If", bodies: bodies.clone(), captured: vec![x.clone(), x] };
        let live = import(&node, &mut ReferenceBuilder, &[Some(ReferenceBuilder::value(condition))]);
        close(ReferenceBuilder::get(&live.expect("y")[0]).expect("y"), &y[0], None).expect("equal");
    }
}
