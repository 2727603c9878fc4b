use std::sync::Arc;

use lampyr_base::{DType, Dim};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor};
use lampyr_ops::build::*;

use super::{check, random, session};

fn body(name: &str, f: impl Fn(&mut GraphBuilder)) -> Arc<Graph> {
    let mut g = GraphBuilder::new(name);
    f(&mut g);
    Arc::new(g.finish())
}

fn vector() -> Fact {
    Fact::tensor(DType::F32, [Dim::named("m")])
}

#[test]
fn branches_run_the_one_that_is_chosen() {
    let then = body("then", |g| {
        let x = g.input("x", vector());
        let y = exp(g, &x).unwrap();
        let y = tanh(g, &y).unwrap();
        g.output("y", &y).unwrap();
    });
    let other = body("other", |g| {
        let x = g.input("x", vector());
        g.output("y", &x).unwrap();
    });
    let mut g = GraphBuilder::new("if");
    let c = g.input("c", Fact::fixed(DType::Bool, &[]));
    let x = g.input("x", Fact::tensor(DType::F32, [Dim::named("n")]));
    let h = neg(&mut g, &x).unwrap();
    let y = if_(&mut g, &c, then, other, std::slice::from_ref(&h)).unwrap()[0].clone();
    let z = add(&mut g, &y, &h).unwrap();
    g.output("y", &y).unwrap();
    g.output("z", &z).unwrap();
    let graph = g.finish();
    let s = session(&graph);
    for (c, n) in [(true, 3), (false, 3), (true, 5), (false, 1)] {
        check(&graph, &s, &[HostTensor::scalar(c).into(), random(&[n], 4).into()]);
    }
}

fn counting() -> Graph {
    let step = body("step", |g| {
        let _i = g.input("i", Fact::fixed(DType::I64, &[]));
        let c = g.input("c", Fact::fixed(DType::Bool, &[]));
        let x = g.input("x", vector());
        let w = g.input("w", vector());
        let y = mul(g, &x, &w).unwrap();
        let y = add(g, &y, &w).unwrap();
        g.output("c", &c).unwrap();
        g.output("y", &y).unwrap();
        g.output("row", &y).unwrap();
    });
    let mut g = GraphBuilder::new("loop");
    let trip = g.input("trip", Fact::fixed(DType::I64, &[]));
    let x = g.input("x", Fact::tensor(DType::F32, [Dim::named("n")]));
    let w = g.input("w", Fact::tensor(DType::F32, [Dim::named("n")]));
    let made = loop_(&mut g, step, Some(&trip), None, std::slice::from_ref(&x), std::slice::from_ref(&w)).unwrap();
    let rows = transpose(&mut g, &made[1], &[1, 0]).unwrap();
    let sum = reduce_sum(&mut g, &rows, &[1], false).unwrap();
    g.output("last", &made[0]).unwrap();
    g.output("rows", &rows).unwrap();
    g.output("sum", &sum).unwrap();
    g.finish()
}

#[test]
fn loops_carry_values_and_collect_rows() {
    let graph = counting();
    let s = session(&graph);
    for (trip, n) in [(1i64, 3), (4, 3), (0, 3), (7, 2)] {
        check(&graph, &s, &[HostTensor::scalar(trip).into(), random(&[n], 1).into(), random(&[n], 2).into()]);
    }
}

#[test]
fn sequences_pass_through() {
    let mut g = GraphBuilder::new("sequences");
    let x = g.input("x", Fact::fixed(DType::F32, &[3]));
    let y = exp(&mut g, &x).unwrap();
    let s = sequence_construct(&mut g, &[x.clone(), y.clone()]).unwrap();
    let s = sequence_insert(&mut g, &s, &y, None).unwrap();
    let one = g.constant(HostTensor::scalar(1i64)).unwrap();
    let back = sequence_at(&mut g, &s, &one).unwrap();
    let z = add(&mut g, &back, &x).unwrap();
    g.output("s", &s).unwrap();
    g.output("z", &z).unwrap();
    let graph = g.finish();
    let session = session(&graph);
    check(&graph, &session, &[random(&[3], 1).into()]);
}
