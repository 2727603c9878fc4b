//! Matrix products and convolutions against their references.

use std::sync::Arc;

use lampyr_base::{DType, Dim};
use lampyr_ir::case::{Case, CaseInput, SplitMix, View};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr};
use lampyr_ir::{Fact, GraphBuilder, OpRef, OpType};
use lampyr_ops::build::{Conv, ConvInputGrad, ConvWeightGrad, FusedContraction, Gemm, Matmul, add, conv, relu};

use crate::harness::Settings;
use crate::support::{check, check_cases, time};

#[test]
fn cases_of_matmul() {
    check_cases::<Matmul>();
}

#[test]
fn cases_of_gemm() {
    check_cases::<Gemm>();
}

#[test]
fn cases_of_conv() {
    let last = |c: &&Case| c.op.as_any().downcast_ref::<Conv>().is_some_and(|op| op.channels_last);
    let plain = |c: &&Case| c.inputs.iter().all(|i| i.dtype == DType::F32);
    let cases = Conv::cases();
    // With the channels last there is a kernel for one type; the others run as their decomposition.
    cases.iter().filter(|c| !last(c) || plain(c)).for_each(check);
}

#[test]
fn cases_of_conv_input_grad() {
    check_cases::<ConvInputGrad>();
}

#[test]
fn cases_of_conv_weight_grad() {
    check_cases::<ConvWeightGrad>();
}

fn pick(rng: &mut SplitMix, low: usize, high: usize) -> usize {
    low + (rng.next_u64() % (high - low) as u64) as usize
}

#[test]
fn random_products() {
    let mut rng = SplitMix(11);
    let views = [View::Contiguous, View::Transposed, View::Strided, View::Reversed];
    for i in 0..60 {
        let (m, n, k) = (pick(&mut rng, 1, 40), pick(&mut rng, 1, 70), pick(&mut rng, 1, 300));
        let batch: Vec<usize> = (0..pick(&mut rng, 0, 3)).map(|_| pick(&mut rng, 1, 4)).collect();
        let shape = |rng: &mut SplitMix, a: usize, b: usize| {
            let drop = if rng.unit() < 0.3 { batch.len() } else { 0 };
            let own = batch.iter().map(|&d| if rng.unit() < 0.3 { 1 } else { d });
            own.skip(drop).chain([a, b]).collect::<Vec<usize>>()
        };
        let (x, y) = (shape(&mut rng, m, k), shape(&mut rng, k, n));
        let input = |rng: &mut SplitMix, s: &[usize]| CaseInput::new(DType::F32, s).view(views[pick(rng, 0, 4)]);
        let inputs = vec![input(&mut rng, &x), input(&mut rng, &y)];
        check(&Case::new(format!("{i} {x:?} {y:?}"), &Matmul, inputs).tolerance(1e-3, 1e-4));
    }
}

#[test]
fn random_convolutions() {
    let mut rng = SplitMix(5);
    for i in 0..120 {
        let rank = pick(&mut rng, 1, 4);
        let group = [1, 1, 2, 3][pick(&mut rng, 0, 4)];
        let depthwise = rng.unit() < 0.25;
        let channels = if depthwise { 1 } else { pick(&mut rng, 1, 6) };
        let rows = pick(&mut rng, 1, if depthwise { 3 } else { 9 });
        let (mut x, mut w, mut y) =
            (vec![pick(&mut rng, 1, 4), channels * group], vec![rows * group, channels], vec![]);
        let (mut strides, mut dilations, mut begins, mut ends) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rank {
            let (tap, stride, dilation) = (pick(&mut rng, 1, 5), pick(&mut rng, 1, 4), pick(&mut rng, 1, 3));
            let extent = (tap - 1) * dilation + 1;
            let (begin, end) = (pick(&mut rng, 0, extent + 1), pick(&mut rng, 0, 3));
            let least = extent.saturating_sub(begin + end).max(1);
            let size = pick(&mut rng, least, least + 20 / rank);
            y.push((size + begin + end - extent) / stride + 1);
            x.push(size);
            w.push(tap);
            strides.push(stride as i64);
            dilations.push(dilation as i64);
            begins.push(begin);
            ends.push(end);
        }
        let pads: Vec<Dim> = begins.into_iter().chain(ends).map(Dim::from).collect();
        let output: Vec<usize> = [x[0], w[0]].into_iter().chain(y).collect();
        let dims = |s: &[usize]| s[2..].iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
        let group = group as i64;
        let case = |name: &str| format!("{name} {i} x {x:?} w {w:?} {strides:?} {pads:?} {dilations:?} {group}");
        let views = [View::Contiguous, View::Transposed, View::Strided];
        let input = |s: &[usize]| CaseInput::new(DType::F64, s).view(views[i % 3]);
        let op = Conv {
            strides: strides.clone(),
            pads: pads.clone(),
            dilations: dilations.clone(),
            group,
            channels_last: false,
        };
        let mut inputs = vec![input(&x), input(&w)];
        if i % 2 == 0 {
            inputs.push(input(&w[..1]));
        }
        check(&Case::new(case("conv"), &op, inputs));
        let Conv { strides, pads, dilations, .. } = op.clone();
        let op = ConvInputGrad { input: dims(&x), strides, pads, dilations, group };
        check(&Case::new(case("input grad"), &op, vec![input(&output), input(&w)]));
        let ConvInputGrad { strides, pads, dilations, .. } = op.clone();
        let op = ConvWeightGrad { kernel: dims(&w), strides, pads, dilations, group };
        check(&Case::new(case("weight grad"), &op, vec![input(&x), input(&output)]));
    }
}

#[test]
fn cases_of_fused_contraction() {
    check_cases::<FusedContraction>();
}

#[test]
fn fused_convolutions() {
    let op = Conv {
        strides: vec![2, 1],
        pads: vec![Dim::Known(1); 4],
        dilations: vec![1, 1],
        group: 2,
        channels_last: false,
    };
    let (x, w, y) = ([3, 4, 9, 8], [6, 2, 3, 3], [3, 6, 5, 8]);
    let others: [&[usize]; 5] = [&y, &[6, 1, 1], &[3, 1, 1, 1], &[1, 8], &[5, 1]];
    for (i, other) in others.into_iter().enumerate() {
        for dtype in [DType::F32, DType::F64, DType::F16] {
            let shapes: [&[usize]; 4] = [&x, &w, &w[..1], other];
            let mut g = GraphBuilder::new("convolution");
            let vars: Vec<_> =
                shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), Fact::fixed(dtype, s))).collect();
            let main = conv(&mut g, &op, &vars[0], &vars[1], Some(&vars[2])).expect("conv");
            let sum = add(&mut g, &main, &vars[3]).expect("add");
            let result = relu(&mut g, &sum).expect("relu");
            g.output("y", &result).expect("output");
            let mut e = ScalarExpr::new(&[dtype, dtype]);
            let (a, b) = (e.load(0), e.load(1));
            let sum = e.binary(Binary::Add, a, b);
            let zero = e.constant(0.0, Compute::of(dtype));
            let r = e.binary(Binary::Max, sum, zero);
            let epilogue = Arc::new(e.store(r, dtype));
            let fused = FusedContraction { main: OpRef::new(op.clone()), epilogue, body: Arc::new(g.finish()) };
            let view = if i == 0 { View::Transposed } else { View::Contiguous };
            let inputs = shapes.iter().map(|s| CaseInput::new(dtype, s).view(view)).collect();
            let case = Case::new(format!("{other:?} {dtype}"), &fused, inputs);
            check(&if dtype == DType::F16 { case.tolerance(2e-2, 1e-2) } else { case });
        }
    }
}

/// Wider than the widest kernels, deeper than one block of the contraction, and with a bias and a sum behind.
#[test]
fn wide_convolutions() {
    // Channels, sizes, result channels, taps, stride, dilation, groups.
    let shapes = [
        (3, [23, 67], 17, 7, 2, 1, 1),
        (40, [9, 37], 33, 3, 1, 1, 1),
        (40, [12, 41], 30, 3, 2, 1, 1),
        (6, [11, 150], 6, 5, 1, 1, 6),
        (6, [31, 33], 12, 3, 2, 1, 6),
        (24, [7, 7], 24, 3, 1, 1, 3),
        (5, [16, 48], 9, 3, 1, 4, 1),
        (48, [8, 8], 20, 1, 2, 1, 1),
        (20, [30, 10], 20, 3, 1, 7, 1),
        (12, [41, 9], 20, 3, 1, 7, 2),
        (33, [1, 1], 40, 1, 1, 1, 1),
        (3, [32, 32], 48, 16, 16, 1, 1),
    ];
    for (channels, size, rows, taps, stride, dilation, group) in shapes {
        let pad = taps / 2 * dilation % 8;
        let out = size.map(|n| (n + 2 * pad - (taps - 1) * dilation - 1) / stride + 1);
        let op = Conv {
            strides: vec![stride as i64; 2],
            pads: vec![Dim::from(pad); 4],
            dilations: vec![dilation as i64; 2],
            group: group as i64,
            channels_last: false,
        };
        let (x, w) = ([1, channels, size[0], size[1]], [rows, channels / group, taps, taps]);
        let y = [1, rows, out[0], out[1]];
        let shapes: [&[usize]; 4] = [&x, &w, &w[..1], &y];
        let dtype = DType::F32;
        let mut g = GraphBuilder::new("convolution");
        let vars: Vec<_> =
            shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), Fact::fixed(dtype, s))).collect();
        let main = conv(&mut g, &op, &vars[0], &vars[1], Some(&vars[2])).expect("conv");
        let result = add(&mut g, &main, &vars[3]).expect("add");
        g.output("y", &result).expect("output");
        let mut e = ScalarExpr::new(&[dtype, dtype]);
        let (a, b) = (e.load(0), e.load(1));
        let sum = e.binary(Binary::Add, a, b);
        let epilogue = Arc::new(e.store(sum, dtype));
        let fused = FusedContraction { main: OpRef::new(op.clone()), epilogue, body: Arc::new(g.finish()) };
        let inputs: Vec<_> = shapes.iter().map(|s| CaseInput::new(dtype, s)).collect();
        check(&Case::new(format!("{x:?} {w:?} fused"), &fused, inputs.clone()).tolerance(1e-3, 1e-4));
        check(&Case::new(format!("{x:?} {w:?}"), &op, inputs[..2].to_vec()).tolerance(1e-3, 1e-4));
    }
}

/// `cargo test -p lampyr-cpu --release -- --ignored --nocapture gflops`
#[test]
#[ignore = "a measurement"]
fn gflops_of_convolutions() {
    let cpu = lampyr_cpu::backend();
    let settings = Settings::lock();
    // Channels, size, result channels, taps, stride, groups.
    let shapes = [
        (3, 224, 64, 7, 2, 1),
        (64, 56, 64, 1, 1, 1),
        (64, 56, 64, 3, 1, 1),
        (128, 56, 128, 3, 2, 1),
        (128, 28, 128, 3, 1, 1),
        (256, 14, 1024, 1, 1, 1),
        (256, 14, 256, 3, 1, 1),
        (512, 7, 512, 3, 1, 1),
        (96, 112, 96, 3, 2, 96),
        (384, 14, 384, 3, 1, 384),
    ];
    for (channels, size, rows, taps, stride, group) in shapes {
        let pad = (taps - 1) / 2;
        let out = (size + 2 * pad - taps) / stride + 1;
        let (x, w, y) = ([1, channels, size, size], [rows, channels / group, taps, taps], [1, rows, out, out]);
        let (strides, dilations, pads) = (vec![stride as i64; 2], vec![1, 1], vec![Dim::from(pad); 4]);
        let conv = Conv { strides, pads, dilations, group: group as i64, channels_last: false };
        let flops = 2.0 * (rows * out * out * channels / group * taps * taps) as f64;
        print!("{channels} x {size}, {rows} x {taps}, stride {stride}, {group} groups:");
        let Conv { strides, pads, dilations, group, .. } = conv.clone();
        let input = ConvInputGrad { input: vec![Dim::from(size); 2], strides, pads, dilations, group };
        let Conv { strides, pads, dilations, group, .. } = conv.clone();
        let weight = ConvWeightGrad { kernel: vec![Dim::from(taps); 2], strides, pads, dilations, group };
        let shapes: [[&[usize]; 3]; 3] = [[&x, &w, &y], [&y, &w, &x], [&x, &y, &w]];
        let ops = [("conv", OpRef::new(conv)), ("input grad", OpRef::new(input)), ("weight grad", OpRef::new(weight))];
        for ((name, op), [first, second, output]) in ops.iter().zip(shapes) {
            let inputs = [first, second];
            let tensors = inputs.map(|s| CaseInput::new(DType::F32, s).storage(0).expect("input"));
            print!("  {name}");
            for threads in [1, 2] {
                settings.set(lampyr_cpu::simd::Tier::current(), threads);
                let time = time(&cpu, &**op, &tensors, output, true);
                print!(" {:.0}", flops / time * 1e-9);
            }
        }
        println!();
    }
}
