use lampyr_base::{DType, Dim};
use lampyr_compiler::pass_names;
use lampyr_ir::passes::{common_subexpressions, dead_code, fold_constants};
use lampyr_ir::{Builder, Fact, GraphBuilder, HostTensor};
use lampyr_ops::build::*;

use super::{build, eager_options};

#[test]
fn the_pass_list_is_fixed() {
    assert_eq!(
        pass_names(),
        [
            "verify",
            "canonicalise",
            "fold",
            "common_subexpressions",
            "recognise",
            "batch_norm",
            "taps",
            "dead_code",
            "layout",
            "fuse_contraction",
            "fuse_elementwise",
            "place"
        ]
    );
}

#[test]
fn equal_nodes_become_one_and_random_ones_stay() {
    let mut g = GraphBuilder::new("twins");
    let x = g.input("x", Fact::fixed(DType::F32, &[3]));
    let one = g.constant(HostTensor::scalar(1f32)).unwrap();
    let two = g.constant(HostTensor::scalar(1f32)).unwrap();
    let a = add(&mut g, &x, &one).unwrap();
    let b = add(&mut g, &x, &two).unwrap();
    let (a, b) = (exp(&mut g, &a).unwrap(), exp(&mut g, &b).unwrap());
    let y = mul(&mut g, &a, &b).unwrap();
    g.output("y", &y).unwrap();
    g.output("a", &a).unwrap();
    let mut graph = g.finish();
    assert_eq!(common_subexpressions(&mut graph).unwrap(), 2);
    assert_eq!(graph.len(), 3);
    assert_eq!(common_subexpressions(&mut graph).unwrap(), 0);
}

#[test]
fn outputs_keep_their_names() {
    let mut g = GraphBuilder::new("names");
    let x = g.input("x", Fact::fixed(DType::F32, &[3]));
    let a = exp(&mut g, &x).unwrap();
    let b = exp(&mut g, &x).unwrap();
    let i = identity(&mut g, &x).unwrap();
    let c = g.constant(HostTensor::scalar(2f32)).unwrap();
    let k = neg(&mut g, &c).unwrap();
    for (name, v) in [("a", &a), ("b", &b), ("i", &i), ("k", &k)] {
        g.output(name, v).unwrap();
    }
    let exe = build(&g.finish(), &eager_options());
    let names: Vec<&str> = exe.outputs().map(|p| p.name).collect();
    assert_eq!(names, ["a", "b", "i", "k"]);
}

#[test]
fn constants_and_sizes_fold() {
    let mut g = GraphBuilder::new("fold");
    let x = g.input("x", Fact::tensor(DType::F32, [Dim::named("n"), Dim::Known(4)]));
    let a = g.constant(HostTensor::scalar(2f32)).unwrap();
    let b = exp(&mut g, &a).unwrap();
    let b = neg(&mut g, &b).unwrap();
    let y = mul(&mut g, &x, &b).unwrap();
    let big = g.constant(HostTensor::zeros(DType::F32, &[64, 64]).unwrap()).unwrap();
    let z = exp(&mut g, &big).unwrap();
    g.output("y", &y).unwrap();
    g.output("z", &z).unwrap();
    let dead = tanh(&mut g, &x).unwrap();
    let _ = exp(&mut g, &dead).unwrap();
    let mut graph = g.finish();
    assert_eq!(dead_code(&mut graph), 2);
    assert_eq!(fold_constants(&mut graph, 1024).unwrap(), 2);
    assert_eq!(graph.len(), 2);
}

#[test]
fn dropout_goes_in_inference() {
    let mut g = GraphBuilder::new("dropout");
    let x = g.input("x", Fact::fixed(DType::F32, &[3]));
    let key = g.input("key", Fact::fixed(DType::U64, &[2]));
    let h = exp(&mut g, &x).unwrap();
    let d = dropout(&mut g, &h, &key, 0.5, true).unwrap()[0].clone();
    let t = reshape(&mut g, &d, vec![Dim::Known(3)]).unwrap();
    let y = neg(&mut g, &t).unwrap();
    g.output("y", &y).unwrap();
    let plain = g.finish();
    let exe = build(&plain, &eager_options());
    assert_eq!(exe.graph().len(), 1);
    let training = build(&plain, &lampyr_compiler::Options { inference: false, ..eager_options() });
    assert_eq!(training.graph().len(), 3);
    let report = exe.report();
    assert!(report.to_json().contains("\"name\":\"canonicalise\""));
    assert_eq!(report.placements.len(), 1);
}
