use lampyr_base::{DType, Dim, ErrorKind};
use lampyr_compiler::Options;
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostValue};
use lampyr_ops::build::*;

use super::{check, random, run, session, with};

fn chain() -> Graph {
    let mut g = GraphBuilder::new("chain");
    let x = g.input("x", Fact::tensor(DType::F32, [Dim::named("n"), Dim::Known(8)]));
    let y = g.input("y", Fact::fixed(DType::F32, &[8]));
    let w = g.constant(random(&[8, 8], 3)).unwrap();
    let a = add(&mut g, &x, &y).unwrap();
    let row = reduce_sum(&mut g, &w, &[0], false).unwrap();
    let b = mul(&mut g, &a, &row).unwrap();
    let t = transpose(&mut g, &b, &[1, 0]).unwrap();
    let c = relu(&mut g, &t).unwrap();
    let d = sub(&mut g, &c, &t).unwrap();
    g.output("c", &c).unwrap();
    g.output("d", &d).unwrap();
    g.output("x", &x).unwrap();
    g.finish()
}

#[test]
fn one_executable_many_shapes() {
    let graph = chain();
    let s = session(&graph);
    for n in [1, 3, 0, 17, 3, 1] {
        check(&graph, &s, &[random(&[n, 8], 1).into(), random(&[8], 2).into()]);
    }
    assert_eq!(s.executable().plans_made(), 4);
}

#[test]
fn wrong_inputs_are_refused() {
    let graph = chain();
    let s = session(&graph);
    let bad: [Vec<HostValue>; 3] = [
        vec![random(&[1, 8], 1).into()],
        vec![random(&[1, 7], 1).into(), random(&[8], 2).into()],
        vec![random(&[1, 8], 1).cast(DType::F64).unwrap().into(), random(&[8], 2).into()],
    ];
    for inputs in bad {
        assert!(run(&s, &inputs).is_err());
    }
}

#[test]
fn a_cap_is_a_typed_error() {
    let graph = chain();
    let s = with(&graph, &Options { memory_cap: Some(1000), ..Options::default() });
    check(&graph, &s, &[random(&[1, 8], 1).into(), random(&[8], 2).into()]);
    let e = run(&s, &[random(&[64, 8], 1).into(), random(&[8], 2).into()]).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::OutOfMemory { limit: Some(1000), .. }), "{e}");
}

#[test]
fn threads_share_a_session() {
    let graph = chain();
    let s = session(&graph);
    std::thread::scope(|scope| {
        for t in 0..4u64 {
            let (s, graph) = (&s, &graph);
            scope.spawn(move || {
                for n in 1..20 {
                    check(graph, s, &[random(&[n, 8], t).into(), random(&[8], t + 9).into()]);
                }
            });
        }
    });
    assert!(s.resident_bytes() > 0);
    s.trim();
    assert_eq!(s.resident_bytes(), 0);
}
