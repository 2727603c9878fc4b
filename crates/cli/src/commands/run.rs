use std::path::PathBuf;
use std::time::{Duration, Instant};

use lampyr::{Error, Result, Tensor, TypeKind};
use serde::Serialize;

use super::bench::percentile;
use super::classes::{self, Class};
use crate::input::{self, Source};
use crate::model::{Compiled, Loaded};
use crate::output::{Output, bytes, duration, milliseconds};

/// Warm runs stop after this many, or after [`WARM_TIME`] when there are [`MIN_WARM_RUNS`].
const WARM_RUNS: usize = 50;
const MIN_WARM_RUNS: usize = 3;
const WARM_TIME: Duration = Duration::from_millis(300);
/// Classes shown where nobody says how many.
const TOP: u32 = 5;

/// Arguments of `lampyr run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file
    model: PathBuf,
    /// Array (.npy, .npz by name) or picture (PNG, JPEG) for an input; without any, inputs are made up
    #[arg(long = "input", value_name = "[NAME=]FILE")]
    inputs: Vec<String>,
    /// Size of a symbolic dimension, for example seq=77; those of made-up inputs are 1 otherwise
    #[arg(long = "dim", value_name = "NAME=SIZE", value_parser = super::dim)]
    dims: Vec<(String, usize)>,
    /// Write the outputs by name to this .npz file (or one output to a .npy file)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How many classes to show of a classifier
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Class names, one per line; `labels.txt` beside the model is used when it exists
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
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
struct Given {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    source: String,
}

#[derive(Serialize)]
struct Made {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
}

#[derive(Serialize)]
struct Ran {
    model: String,
    inputs: Vec<Given>,
    outputs: Vec<Made>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top: Vec<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<String>,
    latency: Latency,
    compiler: Compiled,
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

/// Runs a model and prints what comes out: classes of a classifier, else figures of each output.
pub fn run(args: &Args, output: Output) -> Result<String> {
    if let Some(path) = &args.output {
        lampyr::io::check_extension(path)?;
    }
    let loaded = Loaded::open(&args.model)?;
    let inputs = input::gather(&loaded, &args.inputs, &args.dims)?;
    let labels = classes::labels(args.labels.as_deref(), &args.model)?;
    let tensors: Vec<Tensor> = inputs.iter().map(|i| i.tensor.clone()).collect();
    let (outputs, first) = loaded.time(&tensors)?;
    let names: Vec<String> = loaded.model.outputs().iter().map(|p| p.name.clone()).collect();
    let top = top(args, &inputs, &names, &outputs, &labels)?;
    if let Some(path) = &args.output {
        let all = names.iter().cloned().zip(&outputs);
        let all = all.map(|(name, t)| Ok((name, t.to_host()?))).collect::<Result<Vec<_>>>()?;
        lampyr::io::save(path, &all)?;
    }
    let (median, warm_runs) = warm(&loaded, &tensors)?;
    let shapes: Vec<_> = tensors.iter().map(|t| t.shape().to_vec()).collect();
    let given = |i: &input::Input| Given {
        name: i.name.clone(),
        dtype: i.tensor.dtype().to_string(),
        shape: i.tensor.shape().to_vec(),
        source: i.source.to_string(),
    };
    let ran = Ran {
        model: loaded.path.display().to_string(),
        inputs: inputs.iter().map(given).collect(),
        outputs: names.iter().zip(&outputs).map(|(n, t)| figures(n, t)).collect::<Result<_>>()?,
        prediction: top.first().map(|c| c.label.clone()),
        top,
        written: args.output.as_ref().map(|p| p.display().to_string()),
        latency: Latency {
            load_ms: milliseconds(loaded.load),
            compile_ms: milliseconds(loaded.compile),
            first_ms: milliseconds(first),
            median_ms: milliseconds(median),
            warm_runs,
        },
        compiler: loaded.compiled(&shapes)?,
    };
    output.either(&ran, || text(&ran, (first, median), output))
}

/// The best classes, where the first output has scores and classes were asked for or can be expected.
fn top(
    args: &Args,
    inputs: &[input::Input],
    names: &[String],
    outputs: &[Tensor],
    labels: &[String],
) -> Result<Vec<Class>> {
    let (Some(name), Some(scores)) = (names.first(), outputs.first()) else { return Ok(Vec::new()) };
    let asked = args.top.is_some() || args.labels.is_some();
    let expected = inputs.iter().any(|i| matches!(i.source, Source::Picture(_))) || !labels.is_empty();
    match classes::has_scores(scores) {
        true if asked || expected => {
            Ok(classes::best(&scores.to_host()?.to_f64(), labels, args.top.unwrap_or(TOP) as usize))
        }
        false if asked => Err(Error::shape(format!("output `{name}` has shape {:?}", scores.shape()))
            .with_expected("one score per class")
            .with_help("leave out --top and --labels to see figures of every output")),
        _ => Ok(Vec::new()),
    }
}

fn figures(name: &str, tensor: &Tensor) -> Result<Made> {
    let values = tensor.to_host()?.to_f64();
    let some = |v: f64| Some(v).filter(|v| !values.is_empty() && v.is_finite());
    let number = tensor.dtype().kind() != TypeKind::Bool;
    Ok(Made {
        name: name.to_string(),
        dtype: tensor.dtype().to_string(),
        shape: tensor.shape().to_vec(),
        min: some(values.iter().copied().fold(f64::INFINITY, f64::min)),
        max: some(values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        mean: some(values.iter().sum::<f64>() / values.len() as f64).filter(|_| number),
    })
}

fn text(ran: &Ran, (first, median): (Duration, Duration), output: Output) -> String {
    let mut all = String::new();
    if let Some(prediction) = &ran.prediction {
        let rows = ran.top.iter().enumerate().map(|(i, c)| {
            let probability = format!("{:.2} %", c.probability * 100.0);
            vec![(i + 1).to_string(), c.label.clone(), probability, format!("{:.4}", c.score)]
        });
        all += &format!("{} {}\n\n", output.bold("prediction:"), output.bold(prediction));
        all += &output.table(&["rank", "class", "probability", "score"], &[0, 2, 3], rows);
    } else {
        let rows = ran
            .inputs
            .iter()
            .map(|i| vec![i.name.clone(), i.dtype.clone(), format!("{:?}", i.shape), i.source.clone()]);
        all += &output.table(&["input", "type", "shape", "from"], &[], rows);
        let number = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.5}"));
        let rows = ran.outputs.iter().map(|o| {
            let shape = format!("{:?}", o.shape);
            vec![o.name.clone(), o.dtype.clone(), shape, number(o.min), number(o.mean), number(o.max)]
        });
        all += &format!("\n{}", output.table(&["output", "type", "shape", "min", "mean", "max"], &[3, 4, 5], rows));
    }
    if let Some(path) = &ran.written {
        all += &format!("\nwrote {path}\n");
    }
    let c = &ran.compiler;
    all + &format!(
        "\nlatency: first run {}, median of {} warm runs {}\n\
         compiler: {} nodes -> {}, {} fusions, arena {} ({} without sharing)\n",
        duration(first),
        ran.latency.warm_runs,
        duration(median),
        c.nodes_before,
        c.nodes_after,
        c.fusions,
        bytes(c.arena_bytes),
        bytes(c.unplanned_bytes),
    )
}
