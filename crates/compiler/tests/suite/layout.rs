//! Regions of convolutions with the channels last.

use lampyr_base::{DType, Dim};
use lampyr_compiler::{Executable, Options};
use lampyr_ir::{Fact, Graph, GraphBuilder, Var};
use lampyr_ops::build::*;

use super::{assert_same, build, eager_options, random_tensor, reference};

fn constant(g: &mut GraphBuilder, shape: &[usize], salt: u64) -> Var {
    use lampyr_ir::Builder;
    g.constant(random_tensor(DType::F32, shape, salt)).unwrap()
}

/// A convolution with a kernel of this size that keeps sizes but for its stride, with a bias.
fn convolve(g: &mut GraphBuilder, x: &Var, channels: [usize; 2], kernel: usize, stride: i64, group: i64) -> Var {
    let pads = vec![Dim::Known(kernel as i64 / 2); 4];
    let op = Conv { strides: vec![stride; 2], pads, dilations: vec![1, 1], group, channels_last: false };
    let w = constant(g, &[channels[1], channels[0] / group as usize, kernel, kernel], 3);
    let b = constant(g, &[channels[1]], 4);
    conv(g, &op, x, &w, Some(&b)).unwrap()
}

fn pool() -> MaxPool {
    MaxPool {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        pads: vec![Dim::Known(0); 4],
        dilations: vec![1, 1],
        ceil_mode: false,
        return_indices: false,
        channels_last: false,
    }
}

fn ops(graph: &Graph) -> Vec<lampyr_ir::OpRef> {
    graph.order().unwrap().iter().map(|id| graph.node(*id).unwrap().op.clone()).collect()
}

fn count(graph: &Graph, name: &str) -> usize {
    ops(graph).iter().filter(|op| op.name() == name).count()
}

/// Convolutions with the channels last, and with the channels second.
fn orders(graph: &Graph) -> (usize, usize) {
    let convolutions: Vec<bool> = (ops(graph).iter())
        .filter_map(|op| {
            let main = op.downcast::<FusedContraction>().map_or(op, |f| &f.main);
            main.downcast::<Conv>().map(|c| c.channels_last)
        })
        .collect();
    let last = convolutions.iter().filter(|last| **last).count();
    (last, convolutions.len() - last)
}

/// Compiles with and without the pass; both give the same numbers.
fn both(g: GraphBuilder, shape: &[usize]) -> Executable {
    let plain = g.finish();
    let on = build(&plain, &Options { channels_last: true, ..eager_options() });
    let off = build(&plain, &Options { channels_last: false, ..eager_options() });
    assert_eq!(orders(off.graph()).0, 0);
    let given = [random_tensor(DType::F32, shape, 9).into()];
    let want = reference(&plain, &given);
    assert_same(&want, &reference(off.graph(), &given), false, "plain");
    assert_same(&want, &reference(on.graph(), &given), false, "channels last");
    on
}

#[test]
fn a_residual_network_permutes_its_input_alone() {
    let mut g = GraphBuilder::new("residual");
    let x = g.input("x", Fact::fixed(DType::F32, &[1, 3, 12, 12]));
    let mut h = convolve(&mut g, &x, [3, 64], 3, 1, 1);
    h = max_pool(&mut g, &pool(), &h).unwrap()[0].clone();
    for _ in 0..2 {
        let a = convolve(&mut g, &h, [64, 64], 3, 1, 1);
        let a = relu(&mut g, &a).unwrap();
        let b = convolve(&mut g, &a, [64, 64], 3, 1, 1);
        let sum = add(&mut g, &b, &h).unwrap();
        h = relu(&mut g, &sum).unwrap();
    }
    let mean = global_average_pool(&mut g, &h).unwrap();
    let flat = reshape(&mut g, &mean, vec![Dim::Known(1), Dim::Known(64)]).unwrap();
    let w = constant(&mut g, &[64, 5], 6);
    let y = matmul(&mut g, &flat, &w).unwrap();
    g.output("y", &y).unwrap();
    let exe = both(g, &[1, 3, 12, 12]);
    assert_eq!(orders(exe.graph()), (5, 0), "{}", exe.graph());
    assert_eq!(count(exe.graph(), "transpose"), 1, "{}", exe.graph());
    assert_eq!(count(exe.graph(), "fused_contraction"), 4, "{}", exe.graph());
    assert!(exe.report().layouts.iter().filter(|l| l.channels_last).count() == 5);
}

#[test]
fn squeeze_and_excite_moves_nothing() {
    let mut g = GraphBuilder::new("inverted");
    let x = g.input("x", Fact::fixed(DType::F32, &[1, 3, 16, 16]));
    let stem = convolve(&mut g, &x, [3, 64], 3, 2, 1);
    let wide = convolve(&mut g, &stem, [64, 128], 1, 1, 1);
    let wide = hard_swish(&mut g, &wide).unwrap();
    let deep = convolve(&mut g, &wide, [128, 128], 5, 1, 128);
    let deep = hard_swish(&mut g, &deep).unwrap();
    let mean = global_average_pool(&mut g, &deep).unwrap();
    let few = convolve(&mut g, &mean, [128, 8], 1, 1, 1);
    let few = relu(&mut g, &few).unwrap();
    let scale = convolve(&mut g, &few, [8, 128], 1, 1, 1);
    let scale = sigmoid(&mut g, &scale).unwrap();
    let scaled = mul(&mut g, &deep, &scale).unwrap();
    let narrow = convolve(&mut g, &scaled, [128, 64], 1, 1, 1);
    let sum = add(&mut g, &narrow, &stem).unwrap();
    let mean = reduce_mean(&mut g, &sum, &[2, 3], false).unwrap();
    g.output("y", &mean).unwrap();
    let exe = both(g, &[1, 3, 16, 16]);
    // Convolutions of one position stay as they are.
    assert_eq!(orders(exe.graph()), (4, 2), "{}", exe.graph());
    assert_eq!(count(exe.graph(), "transpose"), 1, "{}", exe.graph());
}

#[test]
fn dense_channels_stay_last_but_shuffles_move_planes() {
    let mut g = GraphBuilder::new("dense");
    let x = g.input("x", Fact::fixed(DType::F32, &[1, 64, 6, 6]));
    let (mut all, mut channels) = (vec![convolve(&mut g, &x, [64, 64], 3, 1, 1)], 64);
    for _ in 0..3 {
        let joined = concat(&mut g, &all, 1).unwrap();
        let (factor, shift) = (constant(&mut g, &[channels, 1, 1], 7), constant(&mut g, &[channels, 1, 1], 8));
        let scaled = mul(&mut g, &joined, &factor).unwrap();
        let moved = add(&mut g, &scaled, &shift).unwrap();
        let h = relu(&mut g, &moved).unwrap();
        all.push(convolve(&mut g, &h, [channels, 64], 3, 1, 1));
        channels += 64;
    }
    let joined = concat(&mut g, &all, 1).unwrap();
    let dims = |list: &[i64]| list.iter().map(|&n| Dim::Known(n)).collect::<Vec<_>>();
    let split = reshape(&mut g, &joined, dims(&[1, 4, 64, 6, 6])).unwrap();
    let swapped = transpose(&mut g, &split, &[0, 2, 1, 3, 4]).unwrap();
    let shuffled = reshape(&mut g, &swapped, dims(&[1, 256, 6, 6])).unwrap();
    let y = convolve(&mut g, &shuffled, [256, 64], 3, 1, 1);
    let y = max_pool(&mut g, &pool(), &y).unwrap()[0].clone();
    g.output("y", &y).unwrap();
    let exe = both(g, &[1, 64, 6, 6]);
    assert_eq!(orders(exe.graph()), (5, 0), "{}", exe.graph());
    // The input, the output, the shuffle itself, its result, and the four images that it shuffles.
    assert_eq!(count(exe.graph(), "transpose"), 8, "{}", exe.graph());
}

#[test]
fn a_skip_over_resizing_permutes_input_and_output() {
    let mut g = GraphBuilder::new("skip");
    let x = g.input("x", Fact::fixed(DType::F32, &[1, 3, 8, 8]));
    let a = convolve(&mut g, &x, [3, 64], 3, 1, 1);
    let a = relu(&mut g, &a).unwrap();
    let a = convolve(&mut g, &a, [64, 64], 3, 1, 1);
    let low = max_pool(&mut g, &pool(), &a).unwrap()[0].clone();
    let low = convolve(&mut g, &low, [64, 128], 3, 1, 1);
    let low = convolve(&mut g, &low, [128, 64], 3, 1, 1);
    let op = Resize { axes: vec![2, 3], sizes: vec![Dim::Known(8); 2], ..Resize::default() };
    let up = resize(&mut g, &op, &low).unwrap();
    let both_halves = concat(&mut g, &[up, a], 1).unwrap();
    let y = convolve(&mut g, &both_halves, [128, 64], 3, 1, 1);
    let y = convolve(&mut g, &y, [64, 2], 1, 1, 1);
    let y = softmax(&mut g, &y, 1).unwrap();
    g.output("y", &y).unwrap();
    let exe = both(g, &[1, 3, 8, 8]);
    assert_eq!(orders(exe.graph()), (6, 0), "{}", exe.graph());
    assert_eq!(count(exe.graph(), "transpose"), 2, "{}", exe.graph());
}

#[test]
fn permutes_of_the_model_are_used() {
    let mut g = GraphBuilder::new("next");
    let x = g.input("x", Fact::fixed(DType::F32, &[1, 3, 24, 24]));
    let mut h = convolve(&mut g, &x, [3, 64], 3, 2, 1);
    for _ in 0..2 {
        let deep = convolve(&mut g, &h, [64, 64], 7, 1, 64);
        let last = transpose(&mut g, &deep, &[0, 2, 3, 1]).unwrap();
        let w = constant(&mut g, &[64, 64], 5);
        let m = matmul(&mut g, &last, &w).unwrap();
        let m = gelu(&mut g, &m, "none").unwrap();
        let first = transpose(&mut g, &m, &[0, 3, 1, 2]).unwrap();
        h = add(&mut g, &first, &h).unwrap();
    }
    let y = global_average_pool(&mut g, &h).unwrap();
    g.output("y", &y).unwrap();
    let exe = both(g, &[1, 3, 24, 24]);
    assert_eq!(count(exe.graph(), "transpose"), 1, "{}", exe.graph());
}

#[test]
fn a_convolution_alone_keeps_its_order() {
    let mut g = GraphBuilder::new("alone");
    let x = g.input("x", Fact::fixed(DType::F32, &[1, 16, 12, 12]));
    let y = convolve(&mut g, &x, [16, 16], 3, 1, 1);
    g.output("y", &y).unwrap();
    let exe = both(g, &[1, 16, 12, 12]);
    assert_eq!(orders(exe.graph()), (0, 1));
    assert_eq!(exe.report().layouts[0].reason, "permutes at the borders would cost more than is saved");
}
