use lampyr_base::{DType, Dim};
use lampyr_compiler::Options;
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, Var};
use lampyr_ops::build::*;

use super::{assert_same, build, eager_options, random_tensor, reference};

fn names(graph: &Graph) -> Vec<&'static str> {
    graph.order().unwrap().iter().map(|id| graph.node(*id).unwrap().op.name()).collect()
}

fn constant(g: &mut GraphBuilder, shape: &[usize], salt: u64) -> Var {
    g.constant(random_tensor(DType::F32, shape, salt)).unwrap()
}

#[test]
fn bias_activation_and_residual_join_the_product() {
    let mut g = GraphBuilder::new("layer");
    let x = g.input("x", Fact::tensor(DType::F32, [Dim::named("n"), Dim::Known(8)]));
    let (w, b) = (constant(&mut g, &[8, 8], 1), constant(&mut g, &[8], 2));
    let m = matmul(&mut g, &x, &w).unwrap();
    let m = add(&mut g, &m, &b).unwrap();
    let m = gelu(&mut g, &m, "tanh").unwrap();
    let y = add(&mut g, &m, &x).unwrap();
    g.output("y", &y).unwrap();
    let plain = g.finish();
    let exe = build(&plain, &eager_options());
    assert_eq!(names(exe.graph()), ["fused_contraction"]);
    let taken: Vec<_> = exe.report().fusions.iter().filter(|f| f.taken).collect();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].nodes.len(), 4);
    assert!(taken[0].fused_seconds <= taken[0].unfused_seconds);
    let given = [random_tensor(DType::F32, &[5, 8], 9).into()];
    assert_same(&reference(&plain, &given), &reference(exe.graph(), &given), true, "layer");
    let plain_exe = build(&plain, &Options { fuse: false, ..eager_options() });
    assert_eq!(plain_exe.graph().len(), 4);
}

#[test]
fn chains_keep_values_that_others_read() {
    let mut g = GraphBuilder::new("chain");
    let x = g.input("x", Fact::fixed(DType::F16, &[4, 6]));
    let r = g.input("r", Fact::fixed(DType::F16, &[6]));
    let row = exp(&mut g, &r).unwrap();
    let a = mul(&mut g, &x, &row).unwrap();
    let s = tanh(&mut g, &a).unwrap();
    let p = mul(&mut g, &a, &s).unwrap();
    let kept = sub(&mut g, &p, &x).unwrap();
    let low = cast(&mut g, &kept, DType::I8).unwrap();
    let back = cast(&mut g, &low, DType::F16).unwrap();
    g.output("kept", &kept).unwrap();
    g.output("back", &back).unwrap();
    let plain = g.finish();
    let exe = build(&plain, &eager_options());
    assert_eq!(names(exe.graph()), ["exp", "elementwise_chain", "elementwise_chain"]);
    let reasons: Vec<_> = exe.report().fusions.iter().filter(|f| !f.taken).map(|f| f.reason).collect();
    assert!(reasons.contains(&"its result is broadcast"), "{reasons:?}");
    assert!(reasons.contains(&"its result leaves the graph"), "{reasons:?}");
    let given = [random_tensor(DType::F16, &[4, 6], 3).into(), random_tensor(DType::F16, &[6], 4).into()];
    assert_same(&reference(&plain, &given), &reference(exe.graph(), &given), true, "chain");
}

#[test]
fn a_fused_op_carries_its_plain_ops() {
    let mut g = GraphBuilder::new("chain");
    let x = g.input("x", Fact::fixed(DType::F64, &[3]));
    let a = exp(&mut g, &x).unwrap();
    let b = tanh(&mut g, &a).unwrap();
    g.output("b", &b).unwrap();
    let exe = build(&g.finish(), &eager_options());
    assert_eq!(names(exe.graph()), ["elementwise_chain"]);
    let mut joint = GraphBuilder::resume(exe.graph().clone());
    let (x, y) = (Var::Node(exe.graph().inputs()[0]), Var::Node(exe.graph().outputs()[0]));
    let seed = joint.constant(HostTensor::from_f64(DType::F64, &[3], &[1.0; 3]).unwrap()).unwrap();
    let ops = lampyr_ops::gradient::OPS;
    let grads = lampyr_ir::autodiff::gradients(&mut joint, ops, &[(y, seed)], &[x]).unwrap();
    assert!(grads[0].is_some());
}

fn norm(g: &mut GraphBuilder, x: &Var, channels: usize) -> Var {
    let mut inputs = vec![x.clone()];
    inputs.extend((0..3).map(|i| constant(g, &[channels], 20 + i)));
    let positive: Vec<f64> = (0..channels).map(|i| 0.5 + i as f64).collect();
    inputs.push(g.constant(HostTensor::from_f64(DType::F32, &[channels], &positive).unwrap()).unwrap());
    let op = BatchNorm { epsilon: 1e-3, momentum: 0.1, training: false, unbiased: true };
    batch_norm(g, &op, &inputs).unwrap()[0].clone()
}

#[test]
fn batch_norm_goes_into_the_weights() {
    let mut g = GraphBuilder::new("norms");
    let x = g.input("x", Fact::fixed(DType::F32, &[2, 3, 5, 5]));
    let (w, b) = (constant(&mut g, &[4, 3, 3, 3], 1), constant(&mut g, &[4], 2));
    let op = Conv {
        strides: vec![1, 1],
        pads: vec![Dim::Known(1); 4],
        dilations: vec![1, 1],
        group: 1,
        channels_last: false,
    };
    let c = conv(&mut g, &op, &x, &w, Some(&b)).unwrap();
    let c = norm(&mut g, &c, 4);
    let flat = g.input("flat", Fact::fixed(DType::F32, &[3, 4]));
    let v = constant(&mut g, &[4, 6], 5);
    let m = matmul(&mut g, &flat, &v).unwrap();
    let m = norm(&mut g, &m, 6);
    g.output("c", &c).unwrap();
    g.output("m", &m).unwrap();
    let plain = g.finish();
    let exe = build(&plain, &eager_options());
    assert_eq!(names(exe.graph()), ["conv", "gemm"]);
    let given = [random_tensor(DType::F32, &[2, 3, 5, 5], 8).into(), random_tensor(DType::F32, &[3, 4], 9).into()];
    assert_same(&reference(&plain, &given), &reference(exe.graph(), &given), false, "norms");
    let training = build(&plain, &Options { inference: false, ..eager_options() });
    assert_eq!(names(training.graph()), ["conv", "batch_norm", "matmul", "batch_norm"]);
}

#[test]
fn taps_that_see_only_padding_are_cut_off() {
    // Dilation, padding, stride, and the size of the kernel that is left.
    for (dilation, pad, stride, left) in [(6, 6, 1, [1, 1]), (5, 5, 1, [3, 1]), (6, 6, 2, [1, 1]), (2, 2, 1, [3, 3])] {
        let mut g = GraphBuilder::new("dilated");
        let x = g.input("x", Fact::fixed(DType::F32, &[2, 3, 6, 5]));
        let (w, b) = (constant(&mut g, &[4, 3, 3, 3], 1), constant(&mut g, &[4], 2));
        let op = Conv {
            strides: vec![stride; 2],
            pads: vec![Dim::Known(pad); 4],
            dilations: vec![dilation; 2],
            group: 1,
            channels_last: false,
        };
        let y = conv(&mut g, &op, &x, &w, Some(&b)).unwrap();
        g.output("y", &y).unwrap();
        let plain = g.finish();
        let exe = build(&plain, &eager_options());
        let graph = exe.graph();
        let node = graph.node(graph.order().unwrap()[0]).unwrap();
        let kernel = graph.constant(node.inputs[1]).unwrap().shape()[2..].to_vec();
        assert_eq!(kernel, left, "dilation {dilation}, stride {stride}");
        let given = [random_tensor(DType::F32, &[2, 3, 6, 5], 8).into()];
        assert_same(&reference(&plain, &given), &reference(graph, &given), false, "dilated");
    }
}
