use lampyr_base::{DType, Dim, ErrorKind};
use lampyr_compiler::Options;
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor};
use lampyr_ops::build::*;

use super::{check, random, run, session, with};

fn picked() -> Graph {
    let mut g = GraphBuilder::new("picked");
    let x = g.input("x", Fact::tensor(DType::F32, [Dim::named("n")]));
    let positive = relu(&mut g, &x).unwrap();
    let at = nonzero(&mut g, &positive).unwrap();
    let flat = reshape(&mut g, &at, vec![Dim::Known(-1)]).unwrap();
    let kept = gather(&mut g, &positive, &flat, 0).unwrap();
    let kept = exp(&mut g, &kept).unwrap();
    let sum = reduce_sum(&mut g, &kept, &[0], true).unwrap();
    let all = mul(&mut g, &x, &sum).unwrap();
    let all = add(&mut g, &all, &positive).unwrap();
    g.output("kept", &kept).unwrap();
    g.output("all", &all).unwrap();
    g.finish()
}

#[test]
fn sizes_may_depend_on_data() {
    let graph = picked();
    let s = session(&graph);
    for (n, salt) in [(5, 1), (5, 2), (0, 1), (64, 3)] {
        check(&graph, &s, &[random(&[n], salt).into()]);
    }
    assert_eq!(s.executable().plans_made(), 3);
}

#[test]
fn data_dependent_memory_is_under_the_cap() {
    let graph = picked();
    let s = with(&graph, &Options { memory_cap: Some(16_000), ..Options::default() });
    let zeros = HostTensor::zeros(DType::F32, &[1000]).unwrap();
    check(&graph, &s, &[zeros.into()]);
    let ones = HostTensor::from_f64(DType::F32, &[1000], &[1.0; 1000]).unwrap();
    let e = run(&s, &[ones.into()]).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::OutOfMemory { limit: Some(16_000), .. }), "{e}");
    assert!(e.node().is_some());
}

#[test]
fn sizes_may_be_elements_of_an_input() {
    let mut g = GraphBuilder::new("reshape");
    let x = g.input("x", Fact::fixed(DType::F32, &[12]));
    let to = g.input("to", Fact::fixed(DType::I64, &[2]));
    let dims = g.dims(&to).unwrap();
    let e = exp(&mut g, &x).unwrap();
    let y = reshape(&mut g, &e, dims).unwrap();
    let t = transpose(&mut g, &y, &[1, 0]).unwrap();
    let r = relu(&mut g, &t).unwrap();
    g.output("y", &y).unwrap();
    g.output("r", &r).unwrap();
    let graph = g.finish();
    let s = session(&graph);
    for to in [[3, 4], [12, 1], [2, 6]] {
        check(&graph, &s, &[random(&[12], 1).into(), HostTensor::ints(&to).unwrap().into()]);
    }
    let e = run(&s, &[random(&[12], 1).into(), HostTensor::ints(&[5, 5]).unwrap().into()]);
    assert!(e.is_err());
}
