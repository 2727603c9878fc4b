use lampyr_backend::{Arg, backend};
use lampyr_base::{DType, Device, Layout};
use lampyr_compiler::{Options, Policy};
use lampyr_conformance::loopback::{LOOPBACK, loopback};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder};
use lampyr_ops::build::*;
use lampyr_runtime::session::{TensorValue, Value};
use lampyr_runtime::trace;

use super::{check, random, session, with};

fn graph() -> Graph {
    let mut g = GraphBuilder::new("split");
    let x = g.input("x", Fact::fixed(DType::F32, &[4, 4]));
    let w = g.constant(random(&[4, 4], 5)).unwrap();
    g.scope("product");
    let a = matmul(&mut g, &x, &w).unwrap();
    g.scope("root");
    let b = tanh(&mut g, &a).unwrap();
    g.scope("sum");
    let c = add(&mut g, &b, &x).unwrap();
    g.output("c", &c).unwrap();
    g.finish()
}

#[test]
fn a_policy_splits_a_graph_over_devices() {
    loopback();
    let graph = graph();
    let mut policy = Policy::on(Device::CPU);
    policy.nodes.insert("root".to_string(), LOOPBACK);
    let s = with(&graph, &Options { policy, fuse: false, ..Options::default() });
    trace::enable(100);
    check(&graph, &s, &[random(&[4, 4], 1).into()]);
    trace::disable();
    let events = trace::take();
    assert!(events.iter().any(|e| e.op == "tanh" && e.device == LOOPBACK), "{events:?}");
    assert!(events.iter().filter(|e| e.op == "transfer").count() >= 2, "{events:?}");
    assert!(trace::chrome_json(&events).contains("\"kernel\""));
    let report = s.executable().report();
    assert!(report.placements.iter().any(|p| p.node == "root" && p.reason == "policy"));
}

#[test]
fn inputs_come_from_any_device_and_layout() {
    loopback();
    let graph = graph();
    let s = session(&graph);
    let host = random(&[4, 4], 1);
    let there = TensorValue::upload(&*backend(LOOPBACK).unwrap(), &host).unwrap();
    let here = s.run(vec![Value::Tensor(there)]).unwrap();
    let mut turned = TensorValue::upload(&*backend(Device::CPU).unwrap(), &host).unwrap();
    turned.layout = turned.layout.permute(&[1, 0]);
    let other = s.run(vec![Value::Tensor(turned.clone())]).unwrap();
    let transposed = turned.to_host().unwrap();
    let again = super::run(&s, &[transposed.into()]).unwrap();
    assert_eq!(other[0].to_host().unwrap(), again[0]);
    assert_ne!(here[0].to_host().unwrap(), again[0]);
}

#[test]
fn donated_inputs_hold_outputs() {
    let mut g = GraphBuilder::new("update");
    let x = g.input("x", Fact::fixed(DType::F32, &[64]));
    let y = g.input("y", Fact::fixed(DType::F32, &[64]));
    let z = add(&mut g, &x, &y).unwrap();
    g.output("z", &z).unwrap();
    let s = session(&g.finish());
    let cpu = backend(Device::CPU).unwrap();
    let upload = |salt| TensorValue::upload(&*cpu, &random(&[64], salt)).unwrap();
    let (x, y) = (upload(1), upload(2));
    let before = x.to_host().unwrap();
    let out = s.run(vec![x.clone().into(), y.clone().into()]).unwrap();
    assert_eq!(x.to_host().unwrap(), before, "inputs that are not donated stay");
    let want = out[0].to_host().unwrap();
    let out = s.run_donating(vec![x.clone().into(), y.clone().into()], &[0]).unwrap();
    assert_eq!(out[0].to_host().unwrap(), want);
    assert_eq!(out[0].tensor().unwrap().memory.host_ptr(), x.memory.host_ptr());
    let twice = upload(3);
    let kept = twice.to_host().unwrap();
    s.run_donating(vec![twice.clone().into(), twice.clone().into()], &[0]).unwrap();
    assert_eq!(twice.to_host().unwrap(), kept, "memory that another input shares is left alone");
    let layout = Layout::contiguous(&[64]);
    assert!(Arg::new(&x.memory, 0, DType::F32, &layout).in_bounds());
}
