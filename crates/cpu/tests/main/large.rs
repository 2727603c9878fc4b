//! Tensors large enough for every split and every thread, and measurements.

use std::time::Instant;

use lampyr_backend::{Arg, ArgInfo, Backend, Launch};
use lampyr_base::{DType, Layout};
use lampyr_cpu::simd::Tier;
use lampyr_ir::case::{CaseInput, Fill};
use lampyr_ir::{HostTensor, Op};
use lampyr_ops::build::*;

use crate::harness::{Settings, Tensor, report};

/// Runs `op` `times` times; the output and the seconds of the fastest run.
fn run(op: &dyn Op, inputs: &[Tensor], output: (DType, &[usize]), times: usize) -> (Tensor, f64) {
    let backend = lampyr_cpu::backend();
    let output = Tensor::empty(output.0, output.1);
    let ins: Vec<Arg> = inputs.iter().map(Tensor::arg).collect();
    let infos: Vec<ArgInfo> = inputs.iter().map(Tensor::info).collect();
    let kernel = backend.kernels().find(op, &infos, &[output.info()]).unwrap();
    let bytes = kernel.workspace(op, &infos, &[output.info()]);
    let workspace = Tensor::empty(DType::U8, &[bytes]);
    let mut best = f64::INFINITY;
    for _ in 0..times {
        let start = Instant::now();
        let launch = Launch {
            op,
            inputs: &ins,
            outputs: &[Some(output.arg())],
            workspace: (bytes > 0).then(|| workspace.arg()),
            packed: &[],
            backend: &*backend,
        };
        backend.enqueue(kernel, &launch).unwrap();
        best = best.min(start.elapsed().as_secs_f64());
    }
    (output, best)
}

fn input(dtype: DType, shape: &[usize]) -> Tensor {
    let fill = if dtype.is_float() { Fill::Uniform(-1.0, 3.0, 5) } else { Fill::Uniform(-50.0, 51.0, 5) };
    let (storage, layout) = CaseInput::new(dtype, shape).fill(fill).storage(0).unwrap();
    Tensor::upload(&storage, layout)
}

fn sums(x: &HostTensor, axis: usize) -> (Vec<f64>, Vec<f64>) {
    let shape = x.shape();
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let (mut total, mut most) = (vec![0.0; outer * inner], vec![f64::NEG_INFINITY; outer * inner]);
    for (i, v) in x.to_f64().into_iter().enumerate() {
        let at = i / (inner * shape[axis]) * inner + i % inner;
        total[at] += v;
        most[at] = most[at].max(v);
    }
    (total, most)
}

#[test]
fn split_folds() {
    let settings = Settings::lock();
    let mut findings = Vec::new();
    for (shape, axis) in [
        (&[300_001][..], 0),
        (&[3, 150_000], 1),
        (&[70_001, 20], 0),
        (&[70_001, 3], 0),
        (&[2, 40_000, 33], 1),
        (&[1000, 1030], 0),
        (&[2000, 300], 1),
    ] {
        for dtype in [DType::F32, DType::F16, DType::F64, DType::I32, DType::U8] {
            let x = input(dtype, shape);
            let (total, most) = sums(&x.download(), axis);
            let mut out = shape.to_vec();
            out.remove(axis);
            let n = shape[axis] as f64;
            for tier in Tier::available() {
                let mut bits = Vec::new();
                for threads in [1, 2] {
                    settings.set(tier, threads);
                    let axes = vec![axis as i64];
                    let (max, _) = run(
                        &ReduceMax { axes: axes.clone(), keepdims: false },
                        std::slice::from_ref(&x),
                        (dtype, &out),
                        1,
                    );
                    if max.download().to_f64() != most {
                        findings.push(format!("max of {dtype}{shape:?}, {tier:?}"));
                    }
                    let (mean, _) =
                        run(&ReduceMean { axes, keepdims: false }, std::slice::from_ref(&x), (dtype, &out), 1);
                    let mean = mean.download();
                    let bound = match dtype {
                        DType::F32 => 1e-6,
                        DType::F16 => 1e-3,
                        DType::F64 => 1e-14,
                        _ => 1.0,
                    };
                    let close = |(&t, m): (&f64, f64)| (t / n - m).abs() <= bound * (1.0 + m.abs());
                    if !total.iter().zip(mean.to_f64()).all(close) {
                        findings.push(format!("mean of {dtype}{shape:?}, {tier:?}"));
                    }
                    bits.push(mean.bytes().to_vec());
                }
                if bits[0] != bits[1] {
                    findings.push(format!("mean of {dtype}{shape:?}, {tier:?}: bits depend on threads"));
                }
            }
        }
    }
    report(findings);
}

/// `cargo test -p lampyr-cpu --release -- --ignored --nocapture rates`
#[test]
#[ignore = "a measurement"]
fn rates_of_kernels() {
    let settings = Settings::lock();
    const N: usize = 1 << 20;
    let (x, y) = (input(DType::F32, &[1024, 1024]), input(DType::F32, &[1024, 1024]));
    let (row, column) = (input(DType::F32, &[1024]), input(DType::F32, &[1024, 1]));
    let half = input(DType::F16, &[1024, 1024]);
    let turned = Tensor { layout: x.layout.permute(&[1, 0]), ..x.clone() };
    let one = Tensor::upload(&HostTensor::scalar(2.0f32), Layout::contiguous(&[]));
    let gelu = Gelu { approximate: "none".to_string() };
    let softmax = |axis| Softmax { axis };
    let sum = |axis| ReduceSum { axes: vec![axis], keepdims: false };
    for tier in Tier::available() {
        for threads in [1, 2] {
            settings.set(tier, threads);
            println!("{tier:?}, {threads} threads");
            let line = |name: &str, op: &dyn Op, inputs: &[&Tensor], shape: &[usize], bytes: usize| {
                let inputs: Vec<Tensor> = inputs.iter().map(|&t| t.clone()).collect();
                let (_, seconds) = run(op, &inputs, (inputs[0].dtype, shape), 200);
                let (rate, ns) = (bytes as f64 / seconds * 1e-9, seconds / N as f64 * 1e9);
                println!("  {name:>16}: {:8.1} us {rate:6.1} GB/s {ns:6.3} ns/element", seconds * 1e6);
            };
            let s = [1024, 1024];
            line("add", &Add, &[&x, &y], &s, 12 * N);
            line("add row", &Add, &[&x, &row], &s, 8 * N);
            line("add column", &Add, &[&x, &column], &s, 8 * N);
            line("add scalar", &Add, &[&x, &one], &s, 8 * N);
            line("add transposed", &Add, &[&x, &turned], &s, 12 * N);
            line("add half", &Add, &[&half, &half], &s, 6 * N);
            line("exp", &Exp, &[&x], &s, 8 * N);
            line("log", &Log, &[&x], &s, 8 * N);
            line("tanh", &Tanh, &[&x], &s, 8 * N);
            line("erf", &Erf, &[&x], &s, 8 * N);
            line("gelu", &gelu, &[&x], &s, 8 * N);
            line("softmax", &softmax(-1), &[&x], &s, 8 * N);
            line("softmax 0", &softmax(0), &[&x], &s, 8 * N);
            line("softmax half", &softmax(-1), &[&half], &s, 4 * N);
            line("sum rows", &sum(1), &[&x], &[1024], 4 * N);
            line("sum columns", &sum(0), &[&x], &[1024], 4 * N);
            line("sum all", &ReduceSum { axes: Vec::new(), keepdims: false }, &[&x], &[], 4 * N);
            let copy = Tensor::empty(DType::F32, &s);
            for (name, from) in [("copy", &x), ("copy transposed", &turned)] {
                let time = |_| {
                    let start = Instant::now();
                    lampyr_cpu::backend().copy(&from.arg(), &copy.arg()).unwrap();
                    start.elapsed().as_secs_f64()
                };
                let seconds = (0..200).map(time).fold(f64::INFINITY, f64::min);
                println!("  {name:>16}: {:8.1} us {:6.1} GB/s", seconds * 1e6, 8e-9 * N as f64 / seconds);
            }
        }
    }
}

/// `cargo test -p lampyr-cpu --release -- --ignored --nocapture launches`
#[test]
#[ignore = "a measurement"]
fn launches_of_tiny_tensors() {
    let _settings = Settings::lock();
    let backend = lampyr_cpu::backend();
    let small = input(DType::F32, &[4]);
    let one = Tensor::upload(&HostTensor::scalar(2.0f32), Layout::contiguous(&[]));
    let gelu = Gelu { approximate: "none".to_string() };
    let cases: [(&str, &dyn Op, &[&Tensor]); 4] = [
        ("add", &Add, &[&small, &small]),
        ("add scalar", &Add, &[&small, &one]),
        ("gelu", &gelu, &[&small]),
        ("softmax", &Softmax { axis: -1 }, &[&small]),
    ];
    for (name, op, inputs) in cases {
        let out = Tensor::empty(DType::F32, &[4]);
        let infos: Vec<ArgInfo> = inputs.iter().map(|t| t.info()).collect();
        let args: Vec<Arg> = inputs.iter().map(|t| t.arg()).collect();
        let mut best = f64::INFINITY;
        for _ in 0..20 {
            let start = Instant::now();
            for _ in 0..50_000 {
                let kernel = backend.kernels().find(op, &infos, &[out.info()]).unwrap();
                let outputs = [Some(out.arg())];
                let launch =
                    Launch { op, inputs: &args, outputs: &outputs, workspace: None, packed: &[], backend: &*backend };
                backend.enqueue(kernel, &launch).unwrap();
            }
            best = best.min(start.elapsed().as_secs_f64() / 50_000.0);
        }
        println!("{name:>12}: {:.0} ns", best * 1e9);
    }
}
