//! A hundred steps of four models beside PyTorch, and the memory of many steps.

use lampyr::nn::*;
use lampyr::optim::*;
use lampyr::{Result, Tensor};

use super::goldens::{fill, goldens, numbers};
use super::numbers::{raw, whole};

const STEPS: usize = 100;

/// Inputs and classes of a step; there are ten different batches.
fn batch(kind: &str, step: usize) -> Result<(Tensor, Tensor)> {
    let name = format!("{kind}{}", step % 10);
    match kind {
        "mlp" => {
            let x = raw(&name, &[16, 20], -1.0, 1.0);
            let largest =
                |row: &[f32]| (1..5).fold(0, |best, i| if row[i].abs() > row[best].abs() { i } else { best }) as i64;
            let y: Vec<i64> = x.chunks(20).map(largest).collect();
            Ok((Tensor::from_slice(&x, &[16, 20])?, Tensor::from_slice(&y, &[16])?))
        }
        "cnn" => {
            let x = raw(&name, &[8, 1, 8, 8], -1.0, 1.0);
            let y = whole(&format!("{name}y"), &[8], 5);
            Ok((Tensor::from_slice(&x, &[8, 1, 8, 8])?, Tensor::from_slice(&y, &[8])?))
        }
        _ => {
            let x = whole(&name, &[8, 9], 11);
            let y: Vec<i64> = x.chunks(9).map(|row| row.iter().sum::<i64>() % 5).collect();
            Ok((Tensor::from_slice(&x, &[8, 9])?, Tensor::from_slice(&y, &[8])?))
        }
    }
}

fn one_step(kind: &str, step: usize, model: &dyn Layer, optimizer: &mut dyn Optimizer) -> Result<f64> {
    let (x, y) = batch(kind, step)?;
    optimizer.zero_grad();
    let loss = cross_entropy(&model.forward(&x)?, &y)?;
    loss.backward()?;
    optimizer.step()?;
    loss.item()
}

fn train(kind: &str, model: &dyn Layer, optimizer: &mut dyn Optimizer) -> Result<()> {
    fill(model, kind)?;
    let wanted = numbers(&goldens()["trainings"][kind]);
    assert_eq!(wanted.len(), STEPS);
    for (step, wanted) in wanted.iter().enumerate() {
        let loss = one_step(kind, step, model, optimizer)?;
        assert!((loss - wanted).abs() <= 1e-4, "{kind}, step {step}: {loss}, not {wanted}");
    }
    Ok(())
}

fn mlp() -> Result<Sequential> {
    lampyr::init();
    Ok(Sequential::new()
        .push(Linear::new(20, 32)?)
        .push(ReLU)
        .push(Linear::new(32, 32)?)
        .push(Tanh)
        .push(Linear::new(32, 5)?))
}

#[test]
fn mlp_with_momentum() -> Result<()> {
    let model = mlp()?;
    let mut optimizer = SGD::with(model.parameters(), SGDOptions::default().lr(0.1).momentum(0.9))?;
    train("mlp", &model, &mut optimizer)
}

#[test]
fn cnn_with_adam() -> Result<()> {
    lampyr::init();
    let model = Sequential::new()
        .push(Conv2d::builder(1, 6, 3).padding(1).build()?)
        .push(BatchNorm2d::new(6)?)
        .push(ReLU)
        .push(MaxPool2d::new(2)?)
        .push(Conv2d::builder(6, 8, 3).padding(1).build()?)
        .push(BatchNorm2d::new(8)?)
        .push(ReLU)
        .push(Dropout::new(0.0)?)
        .push(Flatten::default())
        .push(Linear::new(8 * 4 * 4, 5)?);
    let mut optimizer = Adam::new(model.parameters(), 2e-3)?;
    train("cnn", &model, &mut optimizer)
}

#[derive(Module)]
struct Classifier {
    embedding: Embedding,
    lstm: LSTM,
    head: Linear,
}

impl Forward for Classifier {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let states = self.lstm.forward(&self.embedding.forward(x)?)?;
        self.head.forward(&states.select(1, -1)?)
    }
}

#[test]
fn lstm_with_adamw() -> Result<()> {
    lampyr::init();
    let model = Classifier {
        embedding: Embedding::new(11, 8)?,
        lstm: LSTM::builder(8, 12).batch_first(true).build()?,
        head: Linear::new(12, 5)?,
    };
    let mut optimizer = AdamW::new(model.parameters(), 1e-2)?;
    train("lstm", &model, &mut optimizer)
}

#[derive(Module)]
struct Encoder {
    embedding: Embedding,
    encoder: TransformerEncoder,
    head: Linear,
}

impl Forward for Encoder {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let states = self.encoder.forward(&self.embedding.forward(x)?)?;
        self.head.forward(&states.mean(&[1], false)?)
    }
}

#[test]
fn transformer_with_adamw() -> Result<()> {
    lampyr::init();
    let layer = TransformerEncoderLayer::builder(16, 4).dim_feedforward(32).dropout(0.0).batch_first(true).build()?;
    let model = Encoder {
        embedding: Embedding::new(11, 16)?,
        encoder: TransformerEncoder::new(&layer, 2)?,
        head: Linear::new(16, 5)?,
    };
    let mut optimizer = AdamW::new(model.parameters(), 2e-3)?;
    train("transformer", &model, &mut optimizer)
}

fn active() -> usize {
    lampyr_base::alloc::CachingAllocator::global().stats().active_bytes
}

#[test]
#[ignore = "memory is counted per process: run by `memory_does_not_grow` in one of its own"]
fn memory_after_many_steps() -> Result<()> {
    let model = mlp()?;
    let mut optimizer = AdamW::new(model.parameters(), 1e-3)?;
    let mut after = Vec::new();
    for step in 0..1000 {
        one_step("mlp", step, &model, &mut optimizer)?;
        if step == 9 || step == 999 {
            after.push(active());
        }
    }
    assert!(after[0] > 0);
    assert_eq!(after[0], after[1]);
    Ok(())
}

#[test]
fn memory_does_not_grow() {
    let own = std::env::current_exe().expect("the path of this test");
    let args = ["--exact", "nn::trainings::memory_after_many_steps", "--ignored"];
    let run = std::process::Command::new(own).args(args).output().expect("the test starts");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&run.stderr));
}
