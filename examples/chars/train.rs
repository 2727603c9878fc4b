//! A character-level Transformer trained on the texts of this project; it writes a sample of its own:
//! `cargo run --release --example chars`
//!
//! Writes the loss curve `loss.svg`.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use lampyr::nn::{
    Activation, Buffer, Embedding, Forward, LayerNorm, Linear, Masks, Module, TransformerEncoder,
    TransformerEncoderLayer, clip_grad_norm_, cross_entropy, init,
};
use lampyr::optim::{AdamOptions, AdamW, OneCycleLR, Optimizer, Schedule};
use lampyr::random::{default_generator, manual_seed, multinomial, randint};
use lampyr::{DType, Result, Tensor, no_grad};

#[path = "../curve.rs"]
mod curve;

const TEXTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"];

/// What to train, and how.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Folder for the loss curve.
    #[arg(long, default_value = "target/chars")]
    pub out: PathBuf,
    /// Steps of training.
    #[arg(long, default_value_t = 1500)]
    pub steps: usize,
    /// Texts per step.
    #[arg(long, default_value_t = 16)]
    pub batch: usize,
    /// Characters that the model sees.
    #[arg(long, default_value_t = 64)]
    pub context: usize,
    /// Features of a character.
    #[arg(long, default_value_t = 96)]
    pub width: usize,
    /// Heads of attention.
    #[arg(long, default_value_t = 4)]
    pub heads: usize,
    /// Layers.
    #[arg(long, default_value_t = 2)]
    pub layers: usize,
    /// Largest learning rate.
    #[arg(long, default_value_t = 3e-3)]
    pub lr: f64,
    /// Length of the sample.
    #[arg(long, default_value_t = 400)]
    pub sample: usize,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Embeddings of characters and places, causal encoder layers, a linear layer.
#[derive(Module)]
struct Chars {
    characters: Embedding,
    places: Embedding,
    encoder: TransformerEncoder,
    head: Linear,
    order: Buffer,
}

impl Chars {
    fn new(characters: usize, args: &Args) -> Result<Chars> {
        let width = args.width;
        let layer = TransformerEncoderLayer::builder(width, args.heads)
            .dim_feedforward(4 * width)
            .dropout(0.0)
            .activation(Activation::Gelu)
            .batch_first(true)
            .norm_first(true)
            .build()?;
        let order: Vec<i64> = (0..args.context as i64).collect();
        let made = Chars {
            characters: Embedding::new(characters, width)?,
            places: Embedding::new(args.context, width)?,
            encoder: TransformerEncoder::new(&layer, args.layers)?.with_norm(LayerNorm::new(width)?),
            head: Linear::new(width, characters)?,
            order: Buffer::temporary(Tensor::from_slice(&order, &[args.context])?),
        };
        init::normal_(&made.characters.weight, 0.0, 0.02)?;
        init::normal_(&made.places.weight, 0.0, 0.02)?;
        Ok(made)
    }
}

/// From characters `[batch, length]` to scores of the next ones, `[batch, length, characters]`.
impl Forward for Chars {
    fn forward(&self, text: &Tensor) -> Result<Tensor> {
        let length = text.shape().last().map_or(0, |&n| n as i64);
        let places = self.places.forward(&self.order.slice(0, 0, length, 1)?)?;
        let x = self.characters.forward(text)?.add(&places)?;
        let y = self.encoder.forward_masked(&x, Masks { causal: true, ..Masks::default() })?;
        self.head.forward(&y)
    }
}

/// The texts, without tables, commands and rare characters.
fn read() -> std::io::Result<String> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut text = String::new();
    for name in TEXTS {
        let whole = std::fs::read_to_string(root.join(name))?;
        for line in whole.lines().filter(|line| !line.trim_start().starts_with(['|', '`'])) {
            text.push_str(line);
            text.push('\n');
        }
    }
    let mut counts = BTreeMap::<char, usize>::new();
    text.chars().for_each(|c| *counts.entry(c).or_default() += 1);
    text.retain(|c| counts.get(&c).is_some_and(|n| *n >= 5));
    Ok(text)
}

/// Words of at least three letters.
fn words(text: &str) -> Vec<String> {
    let letters = text.to_lowercase();
    letters.split(|c: char| !c.is_ascii_lowercase()).filter(|w| w.len() >= 3).map(String::from).collect()
}

/// `count` characters after `start`.
fn sample(model: &Chars, start: &str, names: &[char], count: usize, context: usize) -> Result<String> {
    let mut text: Vec<i64> =
        start.chars().filter_map(|c| names.iter().position(|n| *n == c)).map(|i| i as i64).collect();
    no_grad(|| {
        for _ in 0..count {
            let seen = text.get(text.len().saturating_sub(context)..).unwrap_or_default();
            let scores = model.forward(&Tensor::from_slice(seen, &[1, seen.len()])?)?;
            let weights = scores.select(1, -1)?.select(0, 0)?.div(0.5)?.softmax(0)?;
            text.push(multinomial(&weights, 1, true, default_generator())?.item()? as i64);
        }
        Ok(text.iter().filter_map(|&i| names.get(i as usize)).collect())
    })
}

/// What came of a training.
#[derive(Debug)]
pub struct Outcome {
    /// Of every step.
    pub losses: Vec<f64>,
    /// What the model wrote.
    pub sample: String,
}

fn train(model: &Chars, numbers: &[i64], args: &Args) -> Result<Vec<f64>> {
    let (batch, context) = (args.batch, args.context);
    let options = AdamOptions::default().lr(args.lr).weight_decay(0.01);
    let parameters = model.parameters();
    let mut optimizer = AdamW::with(parameters.clone(), options)?;
    let mut schedule = OneCycleLR::builder(args.lr, args.steps as u64).pct_start(0.1).build(&mut optimizer)?;
    let (bar, mut losses) = (curve::bar(args.steps), Vec::with_capacity(args.steps));
    for _ in 0..args.steps {
        let end = numbers.len().saturating_sub(context) as i64;
        let starts = randint(&[batch], 0, end, DType::I64, default_generator())?.to_vec::<i64>()?;
        let rows = |shift: usize| {
            let row = |&at: &i64| numbers.iter().skip(at as usize + shift).take(context).copied();
            Tensor::from_slice(&starts.iter().flat_map(row).collect::<Vec<i64>>(), &[batch, context])
        };
        let (x, y) = (rows(0)?, rows(1)?.reshape(&[-1])?);
        optimizer.zero_grad();
        let scores = model.forward(&x)?;
        let classes = scores.shape().last().map_or(0, |&n| n as i64);
        let loss = cross_entropy(&scores.reshape(&[-1, classes])?, &y)?;
        loss.backward()?;
        clip_grad_norm_(&parameters, 1.0)?;
        optimizer.step()?;
        schedule.step(&mut optimizer)?;
        losses.push(loss.item()?);
        bar.set_message(format!("loss {:.3}", curve::recent(&losses, 20)));
        bar.inc(1);
    }
    bar.finish();
    Ok(losses)
}

/// Trains, and lets the model write.
pub fn run(args: &Args) -> std::result::Result<Outcome, Box<dyn Error>> {
    lampyr::init();
    manual_seed(args.seed);
    let text = read()?;
    let names: Vec<char> = text.chars().collect::<std::collections::BTreeSet<char>>().into_iter().collect();
    let places: BTreeMap<char, i64> = names.iter().enumerate().map(|(i, c)| (*c, i as i64)).collect();
    let numbers: Vec<i64> = text.chars().filter_map(|c| places.get(&c).copied()).collect();
    let mut model = Chars::new(names.len(), args)?;
    println!("{} characters, {} different; {} parameters", numbers.len(), names.len(), model.num_parameters());
    let start = Instant::now();
    let losses = train(&model, &numbers, args)?;
    let seconds = start.elapsed().as_secs_f64();
    model.eval();
    let made = sample(&model, "The ", &names, args.sample, args.context)?;
    let (known, said): (HashSet<String>, _) = (words(&text).into_iter().collect(), words(&made));
    let share = said.iter().filter(|w| known.contains(*w)).count() as f64 / said.len().max(1) as f64;
    println!(
        "loss {:.3} after {seconds:.0} s; {:.0}% of {} words of this sample are words of the texts:\n\n{made}",
        curve::recent(&losses, 50),
        share * 100.0,
        said.len()
    );
    std::fs::create_dir_all(&args.out)?;
    curve::write_svg(&args.out.join("loss.svg"), &losses, "Characters: cross entropy of the training batches")?;
    Ok(Outcome { losses, sample: made })
}

#[allow(dead_code)]
fn main() -> std::result::Result<(), Box<dyn Error>> {
    run(&Args::parse()).map(drop)
}
