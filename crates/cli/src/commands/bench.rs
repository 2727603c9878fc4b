use std::path::PathBuf;
use std::time::Duration;

use lampyr::{Result, Tensor};
use serde::Serialize;

use crate::interrupt::Progress;
use crate::model::{Compiled, Loaded, made_up};
use crate::output::{Output, bytes, duration, milliseconds};

/// Runs before the measured ones.
const WARM_UP: u32 = 3;

/// Arguments of `lampyr bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file
    model: PathBuf,
    /// How many runs to measure
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    runs: u32,
    /// Size of a symbolic dimension, for example batch=8; others are 1
    #[arg(long = "dim", value_name = "NAME=SIZE", value_parser = super::dim)]
    dims: Vec<(String, usize)>,
}

#[derive(Serialize)]
struct Measured {
    model: String,
    runs: u32,
    shapes: Vec<Vec<usize>>,
    threads: usize,
    load_ms: f64,
    compile_ms: f64,
    first_ms: f64,
    min_ms: f64,
    median_ms: f64,
    p95_ms: f64,
    compiled: Compiled,
}

/// The value below which `percent` of the sorted `times` lie.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(rank).copied().unwrap_or_default()
}

/// Measures runs of a model on made-up inputs.
pub fn run(args: &Args, output: Output) -> Result<String> {
    let loaded = Loaded::open(&args.model)?;
    let shapes = loaded.shapes(&args.dims)?;
    let inputs = loaded.model.inputs().iter().zip(&shapes);
    let inputs: Vec<Tensor> = inputs.map(|(port, shape)| made_up(port.dtype(), shape)).collect::<Result<_>>()?;
    let first = loaded.time(&inputs)?.1;
    for _ in 0..WARM_UP {
        loaded.time(&inputs)?;
    }
    let mut times = Vec::new();
    let progress = Progress::new("measuring", args.runs as usize);
    for _ in 0..args.runs {
        times.push(loaded.time(&inputs)?.1);
        progress.step();
    }
    drop(progress);
    times.sort_unstable();
    let (min, median, p95) = (percentile(&times, 0), percentile(&times, 50), percentile(&times, 95));
    let measured = Measured {
        model: args.model.display().to_string(),
        runs: args.runs,
        threads: lampyr::num_threads(),
        load_ms: milliseconds(loaded.load),
        compile_ms: milliseconds(loaded.compile),
        first_ms: milliseconds(first),
        min_ms: milliseconds(min),
        median_ms: milliseconds(median),
        p95_ms: milliseconds(p95),
        compiled: loaded.compiled(&shapes)?,
        shapes,
    };
    output.either(&measured, || {
        let ports = loaded.model.inputs().iter().zip(&measured.shapes);
        let inputs: Vec<_> = ports.map(|(p, s)| format!("{} {}{s:?}", p.name, p.dtype())).collect();
        let header = ["runs", "first", "min", "median", "p95"];
        let row = [first, min, median, p95].map(duration);
        let row = [args.runs.to_string()].into_iter().chain(row).collect();
        format!(
            "{}\n{}\n{}",
            output.bold(&measured.model),
            output.pairs(&[
                ("inputs", inputs.join(", ")),
                ("threads", measured.threads.to_string()),
                ("load", duration(loaded.load)),
                ("compile", duration(loaded.compile)),
                ("arena", bytes(measured.compiled.arena_bytes)),
                ("weights", bytes(measured.compiled.weight_bytes)),
            ]),
            output.table(&header, &[0, 1, 2, 3, 4], [row])
        )
    })
}
