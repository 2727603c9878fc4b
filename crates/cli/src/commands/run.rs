use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lampyr::{Error, Result, Tensor};
use serde::Serialize;

use super::bench::percentile;
use crate::model::{Compiled, Loaded};
use crate::output::{Output, bytes, duration, milliseconds};
use crate::picture;

/// Warm runs stop after this many, or after [`WARM_TIME`] when there are [`MIN_WARM_RUNS`].
const WARM_RUNS: usize = 50;
const MIN_WARM_RUNS: usize = 3;
const WARM_TIME: Duration = Duration::from_millis(300);

/// Arguments of `lampyr run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file
    model: PathBuf,
    /// PNG picture; give NAME=FILE for each input of a model with several
    #[arg(long = "input", value_name = "[NAME=]FILE", required = true)]
    inputs: Vec<String>,
    /// How many classes to show
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Class names, one per line; `labels.txt` beside the model is used when it exists
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

#[derive(Serialize)]
struct Class {
    index: usize,
    label: String,
    score: f64,
    probability: f64,
}

#[derive(Serialize)]
struct Latency {
    load_ms: f64,
    compile_ms: f64,
    first_ms: f64,
    median_ms: f64,
    warm_runs: usize,
}

#[derive(Serialize)]
struct Prediction {
    model: String,
    output: String,
    shape: Vec<usize>,
    prediction: String,
    top: Vec<Class>,
    latency: Latency,
    compiler: Compiled,
}

/// Pairs the files of the command line with the inputs of the model and reads them.
fn read_inputs(args: &Args, loaded: &Loaded) -> Result<Vec<Tensor>> {
    let ports = loaded.model.inputs();
    let mut files: Vec<Option<&str>> = vec![None; ports.len()];
    for given in &args.inputs {
        let names = || ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ");
        let named = given.split_once('=').filter(|(name, _)| ports.iter().any(|p| p.name == *name));
        let (at, file) = match named {
            Some((name, file)) => (ports.iter().position(|p| p.name == name), file),
            None => (files.iter().position(Option::is_none), given.as_str()),
        };
        if let (None, Some((name, _)), false) = (named, given.split_once('='), Path::new(given).exists()) {
            return Err(Error::not_found(format!("the model has no input `{name}`")).with_expected(names()));
        }
        match at.and_then(|at| files.get_mut(at)) {
            Some(slot @ None) => *slot = Some(file),
            Some(Some(_)) => return Err(Error::value(format!("`{given}`: this input was given twice"))),
            None => return Err(Error::value(format!("`{given}` is one input too many")).with_expected(names())),
        }
    }
    let tensors = ports.iter().zip(files).map(|(port, file)| match file {
        Some(file) => picture::load(Path::new(file), port),
        None => Err(Error::not_found(format!("no file was given for input `{}`", port.name))
            .with_help(format!("add --input {}=FILE", port.name))),
    });
    tensors.collect()
}

/// Class names from the file asked for, or from `labels.txt` beside the model; none when there is no such file.
fn read_labels(args: &Args) -> Result<Vec<String>> {
    let beside = args.model.with_file_name("labels.txt");
    let path = match &args.labels {
        Some(path) => path,
        None if beside.is_file() => &beside,
        None => return Ok(Vec::new()),
    };
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e).with_help("check --labels"))?;
    Ok(text.lines().map(|l| l.trim().to_string()).collect())
}

/// Scores as probabilities: as they are when they are some already, else their softmax.
fn probabilities(scores: &[f64]) -> Vec<f64> {
    let total: f64 = scores.iter().sum();
    if (total - 1.0).abs() < 1e-3 && scores.iter().all(|s| (0.0..=1.0).contains(s)) {
        return scores.to_vec();
    }
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / total).collect()
}

fn classes(scores: &[f64], labels: &[String], top: usize) -> Vec<Class> {
    let probabilities = probabilities(scores);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let class = |index: usize| Class {
        index,
        label: labels.get(index).filter(|l| !l.is_empty()).cloned().unwrap_or_else(|| index.to_string()),
        score: scores[index],
        probability: probabilities[index],
    };
    order.into_iter().take(top).map(class).collect()
}

/// Median of further runs, and how many there were.
fn warm(loaded: &Loaded, inputs: &[Tensor]) -> Result<(Duration, usize)> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < WARM_RUNS && (times.len() < MIN_WARM_RUNS || start.elapsed() < WARM_TIME) {
        times.push(loaded.time(inputs)?.1);
    }
    times.sort_unstable();
    Ok((percentile(&times, 50), times.len()))
}

/// Runs a model on pictures and prints the classes it predicts.
pub fn run(args: &Args, output: Output) -> Result<String> {
    let loaded = Loaded::open(&args.model)?;
    let inputs = read_inputs(args, &loaded)?;
    let labels = read_labels(args)?;
    let (outputs, first) = loaded.time(&inputs)?;
    let port = loaded.model.outputs().first().map_or("", |p| p.name.as_str());
    let result = outputs.first().ok_or_else(|| Error::value("the model has no outputs"))?;
    let shape = result.shape().to_vec();
    if result.is_empty() || shape.iter().filter(|&&d| d != 1).count() > 1 {
        return Err(Error::shape(format!("output `{port}` has shape {shape:?}"))
            .with_expected("one score per class")
            .with_help("`run` is for classifiers; use `bench` to time other models, or the library to use them"));
    }
    let top = classes(&result.to_host()?.to_f64(), &labels, args.top as usize);
    let (median, warm_runs) = warm(&loaded, &inputs)?;
    let shapes: Vec<_> = inputs.iter().map(|t| t.shape().to_vec()).collect();
    let prediction = Prediction {
        model: loaded.path.display().to_string(),
        output: port.to_string(),
        shape,
        prediction: top.first().map(|c| c.label.clone()).unwrap_or_default(),
        top,
        latency: Latency {
            load_ms: milliseconds(loaded.load),
            compile_ms: milliseconds(loaded.compile),
            first_ms: milliseconds(first),
            median_ms: milliseconds(median),
            warm_runs,
        },
        compiler: loaded.compiled(&shapes)?,
    };
    output.either(&prediction, || text(&prediction, (first, median), output))
}

fn text(p: &Prediction, (first, median): (Duration, Duration), output: Output) -> String {
    let rows = p.top.iter().enumerate().map(|(i, c)| {
        let probability = format!("{:.2} %", c.probability * 100.0);
        vec![(i + 1).to_string(), c.label.clone(), probability, format!("{:.4}", c.score)]
    });
    let c = &p.compiler;
    format!(
        "{} {}\n\n{}\nlatency: first run {}, median of {} warm runs {}\n\
         compiler: {} nodes -> {}, {} fusions, arena {} ({} without sharing)\n",
        output.bold("prediction:"),
        output.bold(&p.prediction),
        output.table(&["rank", "class", "probability", "score"], &[0, 2, 3], rows),
        duration(first),
        p.latency.warm_runs,
        duration(median),
        c.nodes_before,
        c.nodes_after,
        c.fusions,
        bytes(c.arena_bytes),
        bytes(c.unplanned_bytes),
    )
}
