//! Trains a small CNN on 8x8 digits and writes it as ONNX: `cargo run --release --example digits`
//!
//! Writes `digits.onnx` and the loss curve `loss.svg`. The digits are those of scikit-learn (Alpaydin and Kaynak, UCI,
//! CC BY 4.0), the last fifth of them for testing.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use lampyr::functional::{argmax, index_select, unsqueeze};
use lampyr::nn::{BatchNorm2d, Conv2d, Forward, Linear, MaxPool2d, Module, cross_entropy};
use lampyr::optim::{AdamOptions, AdamW, OneCycleLR, Optimizer, Schedule};
use lampyr::random::{default_generator, manual_seed, randperm};
use lampyr::{DType, Device, Input, Model, Result, Tensor, no_grad, record_graph};

#[path = "../curve.rs"]
mod curve;

/// How to train.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Folder for the model and the loss curve.
    #[arg(long, default_value = "target/digits")]
    pub out: PathBuf,
    /// Passes over the training images.
    #[arg(long, default_value_t = 30)]
    pub epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Largest learning rate.
    #[arg(long, default_value_t = 5e-3)]
    pub lr: f64,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

/// Three convolutions, global average pooling, one linear layer.
#[derive(Module)]
struct DigitsNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    #[module(skip)]
    pool: MaxPool2d,
    conv3: Conv2d,
    fc: Linear,
}

impl DigitsNet {
    fn new() -> Result<DigitsNet> {
        let conv = |from, to| Conv2d::builder(from, to, 3).padding(1).build();
        Ok(DigitsNet {
            conv1: conv(1, 16)?,
            bn1: BatchNorm2d::new(16)?,
            conv2: conv(16, 32)?,
            bn2: BatchNorm2d::new(32)?,
            pool: MaxPool2d::new(2)?,
            conv3: conv(32, 32)?,
            fc: Linear::new(32, 10)?,
        })
    }
}

impl Forward for DigitsNet {
    fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let x = self.bn1.forward(&self.conv1.forward(image)?)?.relu()?;
        let x = self.bn2.forward(&self.conv2.forward(&x)?)?.relu()?;
        let x = self.conv3.forward(&self.pool.forward(&x)?)?.relu()?;
        self.fc.forward(&x.mean(&[2, 3], false)?)
    }
}

/// Images `[n, 1, 8, 8]` from 0 to 1, and their labels.
struct Digits {
    images: Tensor,
    labels: Tensor,
}

impl Digits {
    /// Those to train with and those to test with.
    fn read() -> std::result::Result<[Digits; 2], Box<dyn Error>> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/digits.npz");
        let arrays = lampyr::io::load(path)?;
        let get = |name: &str| {
            let found = arrays.iter().find(|(n, _)| n == name).ok_or(format!("{path} has no array {name}"))?;
            Ok::<_, Box<dyn Error>>(Tensor::from_host(&found.1, Device::CPU)?)
        };
        let images = unsqueeze(&get("images")?.to_dtype(DType::F32)?.div(16.0)?, 1)?;
        let labels = get("labels")?.to_dtype(DType::I64)?;
        let (count, all) = ((labels.len() * 4 / 5) as i64, labels.len() as i64);
        let part = |from, to| -> Result<Digits> {
            Ok(Digits { images: images.slice(0, from, to, 1)?, labels: labels.slice(0, from, to, 1)? })
        };
        Ok([part(0, count)?, part(count, all)?])
    }
}

/// What came of a training.
#[derive(Debug)]
pub struct Outcome {
    /// Of every step.
    pub losses: Vec<f64>,
    /// Share of the test images that are recognised.
    pub accuracy: f64,
}

fn train(model: &DigitsNet, digits: &Digits, args: &Args) -> Result<Vec<f64>> {
    let (images, batch) = (digits.labels.len(), args.batch.max(1));
    let steps = args.epochs * (images / batch);
    let options = AdamOptions::default().lr(args.lr).weight_decay(1e-2);
    let mut optimizer = AdamW::with(model.parameters(), options)?;
    let mut schedule = OneCycleLR::new(&mut optimizer, args.lr, steps as u64)?;
    let (bar, mut losses) = (curve::bar(steps), Vec::with_capacity(steps));
    for _ in 0..args.epochs {
        let order = randperm(images, DType::I64, default_generator())?;
        for start in (0..images / batch).map(|i| i * batch) {
            let chunk = order.slice(0, start as i64, (start + batch) as i64, 1)?;
            let (x, y) = (index_select(&digits.images, 0, &chunk)?, index_select(&digits.labels, 0, &chunk)?);
            optimizer.zero_grad();
            let loss = cross_entropy(&model.forward(&x)?, &y)?;
            loss.backward()?;
            optimizer.step()?;
            schedule.step(&mut optimizer)?;
            losses.push(loss.item()?);
            bar.set_message(format!("loss {:.4}", curve::recent(&losses, 40)));
            bar.inc(1);
        }
    }
    bar.finish();
    Ok(losses)
}

/// The model as ONNX, from images of any number to probabilities.
fn export(model: &DigitsNet, example: Tensor) -> Result<Vec<u8>> {
    let input = Input { name: "image".to_string(), example, axes: vec![(0, "batch".to_string())] };
    let weights: Vec<(String, Tensor)> = model.state_dict().into_iter().collect();
    let graph = record_graph(&[input], &weights, &["probabilities".to_string()], &mut |x| {
        no_grad(|| Ok(vec![model.forward(&x[0])?.softmax(1)?]))
    })?;
    lampyr::onnx::export(&graph)
}

/// Trains, tests, exports, and compares the exported model with the trained one.
pub fn run(args: &Args) -> std::result::Result<Outcome, Box<dyn Error>> {
    lampyr::init();
    manual_seed(args.seed);
    let [train_digits, test_digits] = Digits::read()?;
    let mut model = DigitsNet::new()?;
    let start = Instant::now();
    let losses = train(&model, &train_digits, args)?;
    let seconds = start.elapsed().as_secs_f64();
    model.eval();
    let expected = no_grad(|| model.forward(&test_digits.images)?.softmax(1))?;
    let right = argmax(&expected, Some(1), false, true)?.equal(&test_digits.labels)?;
    let (right, count) = (right.sum(&[], false)?.item()?, test_digits.labels.len());
    let accuracy = right / count as f64;
    println!("test accuracy {:.2}% ({right} of {count}) after {seconds:.1} s of training", accuracy * 100.0);

    let data = export(&model, test_digits.images.slice(0, 0, 2, 1)?)?;
    let made = Model::from_bytes(&data)?.run(std::slice::from_ref(&test_digits.images))?;
    let got = made.first().ok_or("the exported model has no output")?;
    let worst = lampyr::functional::abs(&got.sub(&expected)?)?.amax(&[], false)?.item()?;
    println!("largest difference, exported model against trained: {worst:.2e}");
    if worst > 1e-5 {
        return Err("the exported model does not agree with the trained one".into());
    }
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("digits.onnx"), &data)?;
    curve::write_svg(&args.out.join("loss.svg"), &losses, "Digits: cross entropy of the training batches")?;
    println!("wrote digits.onnx ({} bytes) and loss.svg to {}", data.len(), args.out.display());
    Ok(Outcome { losses, accuracy })
}

#[allow(dead_code)]
fn main() -> std::result::Result<(), Box<dyn Error>> {
    run(&Args::parse()).map(drop)
}
