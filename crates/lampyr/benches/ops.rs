//! Times of eager ops: `cargo bench -p lampyr --bench ops`.

use divan::Bencher;
use divan::counter::ItemsCount;
use lampyr::functional::{self, Window};
use lampyr::{Device, Result, Tensor};

fn main() {
    lampyr::init();
    divan::main();
}

fn filled(shape: &[usize]) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
    Tensor::from_slice(&values, shape)?.to_device(Device::CPU)
}

/// Times `run`, which does `items` pieces of work; stops the program with the error when it fails.
fn time(bencher: Bencher, items: usize, run: impl Fn() -> Result<Tensor> + Sync) {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
    bencher.counter(ItemsCount::new(items)).bench(run);
}

/// Makes the tensors of a benchmark.
fn tensors<const N: usize>(shapes: [&[usize]; N]) -> [Tensor; N] {
    shapes.map(|shape| {
        filled(shape).unwrap_or_else(|error| {
            eprintln!("error: {error}");
            std::process::exit(1)
        })
    })
}

#[divan::bench(args = [4, 65_536, 1_048_576])]
fn add(bencher: Bencher, len: usize) {
    let [x, y] = tensors([&[len], &[len]]);
    time(bencher, len, || x.add(&y));
}

/// Items are floating-point operations.
#[divan::bench(args = [256, 512])]
fn matmul(bencher: Bencher, n: usize) {
    let [x, y] = tensors([&[n, n], &[n, n]]);
    time(bencher, 2 * n * n * n, || functional::matmul(&x, &y));
}

#[divan::bench(args = [64, 1_024])]
fn softmax(bencher: Bencher, columns: usize) {
    let [x] = tensors([&[256, columns]]);
    time(bencher, 256 * columns, || x.softmax(-1));
}

/// 3x3 with as many output channels as input ones, on 56 by 56 pixels. Items are floating-point operations.
#[divan::bench(args = [16, 64])]
fn conv(bencher: Bencher, channels: usize) {
    let [x, weight] = tensors([&[1, channels, 56, 56], &[channels, channels, 3, 3]]);
    let window = Window { stride: vec![1, 1], padding: vec![1, 1], dilation: vec![1, 1] };
    time(bencher, 2 * 9 * channels * channels * 56 * 56, || functional::conv(&x, &weight, None, &window, 1));
}
