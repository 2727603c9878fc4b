//! Times of CPU kernels on the shapes of known models: `cargo bench -p lampyr-cpu --bench kernels -- [FILTER]`.
//!
//! One line of JSON per shape: name, the ONNX node (for `benches/kernels.py`, which sets ONNX Runtime or torch beside it),
//! floating-point operations, and the least seconds of many runs with one and with all threads.

use std::time::{Duration, Instant};

use lampyr_backend::{Arg, ArgInfo, Backend, Launch, reference};
use lampyr_base::{DType, Dim, Layout, Result, pool};
use lampyr_cpu::gemm::{Compute, Tile};
use lampyr_cpu::simd::Tier;
use lampyr_ir::{HostTensor, Op};
use lampyr_ops::build::{Conv, Matmul, MaxPool, ScaledDotProductAttention, Softmax};

/// One call of one op.
struct Shape {
    name: String,
    node: String,
    op: Box<dyn Op>,
    inputs: Vec<Vec<usize>>,
    /// Which inputs are constants.
    constant: Vec<bool>,
    /// Axes of the last two inputs' matrices exchanged in memory.
    transposed: bool,
    output: Vec<usize>,
    flops: f64,
}

fn conv(name: &str, x: [usize; 3], out: usize, kernel: usize, stride: usize, group: usize) -> Shape {
    let pad = kernel / 2;
    let size = |n: usize| (n + 2 * pad - kernel) / stride + 1;
    let output = vec![1, out, size(x[1]), size(x[2])];
    let w = vec![out, x[0] / group, kernel, kernel];
    let op = Conv {
        strides: vec![stride as i64; 2],
        pads: vec![Dim::Known(pad as i64); 4],
        dilations: vec![1, 1],
        group: group as i64,
        channels_last: false,
    };
    let node = format!(
        r#"{{"op":"Conv","kernel_shape":[{kernel},{kernel}],"strides":[{stride},{stride}],"pads":[{pad},{pad},{pad},{pad}],"group":{group}}}"#
    );
    let flops = 2.0 * w[1..].iter().product::<usize>() as f64 * output.iter().product::<usize>() as f64;
    let inputs = vec![vec![1, x[0], x[1], x[2]], w, vec![out]];
    Shape {
        name: name.into(),
        node,
        op: Box::new(op),
        inputs,
        constant: vec![false, true, true],
        transposed: false,
        output,
        flops,
    }
}

fn matmul(name: &str, batch: usize, [m, k, n]: [usize; 3], constant: bool, transposed: bool) -> Shape {
    let lead = if batch > 1 { vec![1, batch] } else { vec![] };
    let with = |a, b| lead.iter().copied().chain([a, b]).collect::<Vec<_>>();
    let node = format!(r#"{{"op":"MatMul","transposed":{transposed}}}"#);
    let inputs = vec![with(m, k), if constant { vec![k, n] } else { with(k, n) }];
    Shape {
        name: name.into(),
        node,
        op: Box::new(Matmul),
        inputs,
        constant: vec![false, constant],
        transposed,
        output: with(m, n),
        flops: 2.0 * (batch * m * n * k) as f64,
    }
}

/// Eight heads of 64 with as many queries as keys; half the products of a causal one are counted.
fn attention(length: usize, is_causal: bool) -> Shape {
    let sizes = vec![1, 8, length, 64];
    Shape {
        name: format!("attention {length}{}", if is_causal { " causal" } else { "" }),
        node: format!(r#"{{"op":"Attention","is_causal":{}}}"#, i32::from(is_causal)),
        op: Box::new(ScaledDotProductAttention { scale: None, is_causal, causal_offset: Dim::Known(0), softcap: 0.0 }),
        inputs: vec![sizes.clone(); 3],
        constant: vec![false; 3],
        transposed: false,
        output: sizes,
        flops: (4 * 8 * 64 * length * length) as f64 / if is_causal { 2.0 } else { 1.0 },
    }
}

fn shapes() -> Vec<Shape> {
    let mut all = vec![
        conv("resnet 7x7/2 3-64 224", [3, 224, 224], 64, 7, 2, 1),
        conv("resnet 1x1 64-64 56", [64, 56, 56], 64, 1, 1, 1),
        conv("resnet 1x1 64-256 56", [64, 56, 56], 256, 1, 1, 1),
        conv("resnet 1x1 256-64 56", [256, 56, 56], 64, 1, 1, 1),
        conv("resnet 3x3 64-64 56", [64, 56, 56], 64, 3, 1, 1),
        conv("resnet 1x1 256-128 56", [256, 56, 56], 128, 1, 1, 1),
        conv("resnet 3x3/2 128 56", [128, 56, 56], 128, 3, 2, 1),
        conv("resnet 1x1/2 256-512 56", [256, 56, 56], 512, 1, 2, 1),
        conv("resnet 1x1 512-128 28", [512, 28, 28], 128, 1, 1, 1),
        conv("resnet 3x3 128 28", [128, 28, 28], 128, 3, 1, 1),
        conv("resnet 1x1 128-512 28", [128, 28, 28], 512, 1, 1, 1),
        conv("resnet 3x3 256 14", [256, 14, 14], 256, 3, 1, 1),
        conv("resnet 1x1 1024-256 14", [1024, 14, 14], 256, 1, 1, 1),
        conv("resnet 3x3 512 7", [512, 7, 7], 512, 3, 1, 1),
        conv("resnet 1x1 512-2048 7", [512, 7, 7], 2048, 1, 1, 1),
        conv("resnet 1x1 2048-512 7", [2048, 7, 7], 512, 1, 1, 1),
        conv("mobilenet 3x3/2 3-16 224", [3, 224, 224], 16, 3, 2, 1),
        conv("mobilenet dw3 16 112", [16, 112, 112], 16, 3, 1, 16),
        conv("mobilenet dw3/2 64 112", [64, 112, 112], 64, 3, 2, 64),
        conv("mobilenet 1x1 16-64 112", [16, 112, 112], 64, 1, 1, 1),
        conv("mobilenet 1x1 64-24 56", [64, 56, 56], 24, 1, 1, 1),
        conv("mobilenet dw5 120 28", [120, 28, 28], 120, 5, 1, 120),
        conv("mobilenet dw3 200 14", [200, 14, 14], 200, 3, 1, 200),
        conv("mobilenet dw5/2 672 14", [672, 14, 14], 672, 5, 2, 672),
        conv("mobilenet dw5 960 7", [960, 7, 7], 960, 5, 1, 960),
        conv("mobilenet 1x1 160-960 7", [160, 7, 7], 960, 1, 1, 1),
        conv("mobilenet 1x1 960-160 7", [960, 7, 7], 160, 1, 1, 1),
        conv("mobilenet se 960-240 1", [960, 1, 1], 240, 1, 1, 1),
        conv("convnext dw7 96 56", [96, 56, 56], 96, 7, 1, 96),
        conv("convnext dw7 384 14", [384, 14, 14], 384, 7, 1, 384),
        conv("regnet g16 3x3 104 28", [104, 28, 28], 104, 3, 1, 13),
        conv("resnext g32 3x3 128 56", [128, 56, 56], 128, 3, 1, 32),
        conv("unet 3x3 16 256", [16, 256, 256], 16, 3, 1, 1),
        conv("densenet 3x3 128-32 28", [128, 28, 28], 32, 3, 1, 1),
    ];
    all.extend([
        matmul("bert 128x768x768", 1, [128, 768, 768], true, false),
        matmul("bert 128x768x3072", 1, [128, 768, 3072], true, false),
        matmul("bert 128x3072x768", 1, [128, 3072, 768], true, false),
        matmul("bert qk 12x128x64x128", 12, [128, 64, 128], false, true),
        matmul("bert pv 12x128x128x64", 12, [128, 128, 64], false, false),
        matmul("gpt2 64x768x50257", 1, [64, 768, 50257], true, true),
        matmul("1x768x3072", 1, [1, 768, 3072], true, false),
        matmul("8x768x768", 1, [8, 768, 768], true, false),
        matmul("32x1024x4096", 1, [32, 1024, 4096], true, false),
        matmul("197x768x3072", 1, [197, 768, 3072], true, false),
        matmul("256 cube", 1, [256, 256, 256], false, false),
        matmul("512 cube", 1, [512, 512, 512], false, false),
        matmul("1024 cube", 1, [1024, 1024, 1024], false, false),
        matmul("2048 cube", 1, [2048, 2048, 2048], false, false),
    ]);
    // Products beside torch: constant right sides are packed before, the others are not.
    let sizes = [
        [1, 768, 3072],
        [8, 768, 768],
        [32, 1024, 4096],
        [512, 768, 3072],
        [256, 256, 256],
        [384, 384, 384],
        [512, 512, 512],
        [768, 768, 768],
        [1024, 1024, 1024],
        [2048, 2048, 2048],
        [3072, 3072, 3072],
        [4096, 1024, 4096],
    ];
    for [m, k, n] in sizes {
        all.push(matmul(&format!("mm {m}x{k}x{n}"), 1, [m, k, n], false, false));
        all.push(matmul(&format!("mm {m}x{k}x{n} packed"), 1, [m, k, n], true, false));
        all.push(matmul(&format!("mm {m}x{k}x{n} transposed"), 1, [m, k, n], false, true));
    }
    for length in [128, 512, 1024, 2048, 4096] {
        all.extend([false, true].map(|causal| attention(length, causal)));
    }
    all.push(Shape {
        name: "softmax 1536x128".into(),
        node: r#"{"op":"Softmax","axis":-1}"#.into(),
        op: Box::new(Softmax { axis: -1 }),
        inputs: vec![vec![1536, 128]],
        constant: vec![false],
        transposed: false,
        output: vec![1536, 128],
        flops: 0.0,
    });
    all.push(Shape {
        name: "maxpool 3x3/2 64 112".into(),
        node: r#"{"op":"MaxPool","kernel_shape":[3,3],"strides":[2,2],"pads":[1,1,1,1]}"#.into(),
        op: Box::new(MaxPool {
            kernel: vec![3, 3],
            strides: vec![2, 2],
            pads: vec![Dim::Known(1); 4],
            dilations: vec![1, 1],
            ceil_mode: false,
            return_indices: false,
            channels_last: false,
        }),
        inputs: vec![vec![1, 64, 112, 112]],
        constant: vec![false],
        transposed: false,
        output: vec![1, 64, 56, 56],
        flops: 0.0,
    });
    all
}

fn filled(shape: &[usize]) -> Result<HostTensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i * 37 % 61) as f32 / 61.0 - 0.5).collect();
    HostTensor::from_slice(shape, &values)
}

/// The least seconds of one launch within `budget`.
fn seconds(shape: &Shape, threads: usize, budget: Duration) -> Result<f64> {
    pool::set_num_threads(threads);
    let cpu = lampyr_cpu::backend();
    let mut placed = Vec::new();
    for (i, sizes) in shape.inputs.iter().enumerate() {
        let mut layout = Layout::contiguous(sizes);
        if shape.transposed && i == 1 {
            let rank = sizes.len();
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(rank - 2, rank - 1);
            let swapped: Vec<usize> = order.iter().map(|&a| sizes[a]).collect();
            layout = Layout::contiguous(&swapped).permute(&order);
        }
        placed.push((reference::to_device(&*cpu, &filled(sizes)?)?.0, layout));
    }
    let args: Vec<Arg> = placed.iter().map(|(m, l)| Arg::new(m, 0, DType::F32, l)).collect();
    let infos: Vec<ArgInfo> = args.iter().map(Arg::info).collect();
    let layout = Layout::contiguous(&shape.output);
    let layouts = [layout.clone(), layout.clone()];
    let op = &*shape.op;
    let outs = [ArgInfo::new(DType::F32, &layouts[0]), ArgInfo::new(DType::I64, &layouts[1])];
    let visible = op.visible_outputs().unwrap_or(1);
    let outs = &outs[..if op.name() == "max_pool" { 2 } else { visible }];
    let kernel = cpu.kernels().find(op, &infos, outs).ok_or_else(|| lampyr_base::Error::internal("no kernel"))?;
    let packed = (0..args.len())
        .map(|i| if shape.constant[i] { kernel.pack(op, i, &args[i]).transpose() } else { Ok(None) })
        .collect::<Result<Vec<_>>>()?;
    let bytes = kernel.workspace(op, &infos, outs);
    let scratch = cpu.allocate(bytes)?;
    let scratch_layout = Layout::contiguous(&[bytes]);
    let memory = cpu.allocate(layout.len() * 4)?;
    let mut outputs = vec![Some(Arg::new(&memory, 0, DType::F32, &layouts[0]))];
    outputs.resize_with(outs.len(), || None);
    let workspace = (bytes > 0).then(|| Arg::new(&scratch, 0, DType::U8, &scratch_layout));
    let launch = Launch { op, inputs: &args, outputs: &outputs, workspace, packed: &packed, backend: &*cpu };
    let (start, mut best, mut runs) = (Instant::now(), f64::MAX, 0);
    while runs < 3 || start.elapsed() < budget {
        let start = Instant::now();
        cpu.enqueue(kernel, &launch)?;
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(best)
}

/// Operations per second of the inner kernel on panels in the first-level cache: what a product can reach on one core.
fn peak() -> f64 {
    const DEPTH: usize = 128;
    let kernels = f32::kernels(Tier::current());
    let (height, width) = (kernels.height(), kernels.width);
    let (a, b) = (vec![0.5f32; height * (DEPTH + 16)], vec![0.5f32; width * (DEPTH + 16)]);
    let mut c = vec![0f32; height * width];
    let tile = Tile {
        depth: DEPTH,
        a: a.as_ptr(),
        b: b.as_ptr(),
        b_step: width as isize,
        offsets: std::ptr::null(),
        c: c.as_mut_ptr(),
        c_step: width,
        columns: width,
        alpha: 1.0,
        accumulate: false,
        bias: std::ptr::null(),
        next: std::ptr::null(),
        lines: 0,
    };
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..100 {
            // SAFETY: the panels have `DEPTH` groups, the result all elements of the tile, and the tier is available.
            unsafe { (kernels.rows[height - 1])(&tile) };
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    (100 * 2 * DEPTH * height * width) as f64 / best
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let milliseconds = std::env::args().find_map(|a| a.strip_prefix("--ms=").and_then(|n| n.parse().ok()));
    let budget = Duration::from_millis(milliseconds.unwrap_or(60));
    let only: Option<usize> = std::env::args().find_map(|a| a.strip_prefix("--threads=").and_then(|n| n.parse().ok()));
    let plain = std::env::args().any(|a| a == "--plain");
    let peak = peak() / 1e9;
    if plain {
        println!("inner kernel alone on one core: {peak:.1} GFLOP/s");
    } else {
        println!(r#"{{"peak":{peak}}}"#);
    }
    for shape in shapes() {
        if !arguments.is_empty() && !arguments.iter().any(|a| shape.name.contains(a.as_str())) {
            continue;
        }
        let time =
            |threads: usize| if only.is_none_or(|n| n == threads) { seconds(&shape, threads, budget) } else { Ok(0.0) };
        let (one, all) = (time(1)?, time(2)?);
        if plain {
            let rate = |s: f64| shape.flops / s / 1e9;
            println!(
                "{:26} {:9.1} {:9.1} us  {:6.1} {:6.1} GFLOP/s",
                shape.name,
                one * 1e6,
                all * 1e6,
                rate(one),
                rate(all)
            );
            continue;
        }
        println!(
            r#"{{"name":"{}","node":{},"inputs":{:?},"constant":{:?},"flops":{},"one":{one:e},"all":{all:e}}}"#,
            shape.name, shape.node, shape.inputs, shape.constant, shape.flops
        );
    }
    Ok(())
}
