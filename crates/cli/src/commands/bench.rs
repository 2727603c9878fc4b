use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lampyr::runtime::trace;
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
    /// Show where the time goes, by op and by step, from as many further runs
    #[arg(long)]
    profile: bool,
}

/// Time of all launches of one op by one kernel, or of one step, per run.
#[derive(Serialize)]
struct Spent {
    op: String,
    kernel: String,
    /// Node and shapes of a step; empty for an op.
    step: String,
    launches: f64,
    ms: f64,
}

/// Where the time of `runs` runs goes: by op, then the slowest steps.
fn profile(loaded: &Loaded, inputs: &[Tensor], runs: u32) -> Result<(Vec<Spent>, Vec<Spent>)> {
    trace::enable(1 << 20);
    for _ in 0..runs {
        loaded.time(inputs)?;
    }
    trace::disable();
    let (mut ops, mut steps) = (BTreeMap::new(), BTreeMap::new());
    for event in trace::take() {
        let shapes: Vec<_> = event.shapes.iter().map(|s| format!("{:?}", s.as_slice())).collect();
        let step = format!("{} {}", event.node, shapes.join(" "));
        for (map, step) in [(&mut ops, String::new()), (&mut steps, step)] {
            let (launches, nanoseconds) = map.entry((event.op, event.kernel, step)).or_insert((0u64, 0u64));
            *launches += 1;
            *nanoseconds += event.duration_ns;
        }
    }
    let sorted = |map: BTreeMap<(&str, &str, String), (u64, u64)>| {
        let per_run = |n: u64| n as f64 / f64::from(runs);
        let mut all: Vec<Spent> = (map.into_iter())
            .map(|((op, kernel, step), (launches, nanoseconds))| Spent {
                op: op.into(),
                kernel: kernel.into(),
                step,
                launches: per_run(launches),
                ms: per_run(nanoseconds) / 1e6,
            })
            .collect();
        all.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        all
    };
    let mut steps = sorted(steps);
    steps.truncate(25);
    Ok((sorted(ops), steps))
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ops: Vec<Spent>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Spent>,
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
    let (ops, steps) = if args.profile { profile(&loaded, &inputs, args.runs)? } else { Default::default() };
    let measured = Measured {
        ops,
        steps,
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
        let spent = |all: &[Spent], header: &[&str]| {
            let row = |s: &Spent| {
                let kernel = if s.kernel.is_empty() { "-" } else { &s.kernel };
                let name = if s.step.is_empty() { s.op.clone() } else { format!("{} {}", s.op, s.step) };
                vec![format!("{:.3} ms", s.ms), format!("{:.0}", s.launches), kernel.to_string(), name]
            };
            if all.is_empty() {
                String::new()
            } else {
                format!("\n{}", output.table(header, &[0, 1], all.iter().map(row)))
            }
        };
        format!(
            "{}\n{}\n{}{}{}",
            output.bold(&measured.model),
            output.pairs(&[
                ("inputs", inputs.join(", ")),
                ("threads", measured.threads.to_string()),
                ("load", duration(loaded.load)),
                ("compile", duration(loaded.compile)),
                ("arena", bytes(measured.compiled.arena_bytes)),
                ("weights", bytes(measured.compiled.weight_bytes)),
            ]),
            output.table(&header, &[0, 1, 2, 3, 4], [row]),
            spent(&measured.ops, &["per run", "launches", "kernel", "op"]),
            spent(&measured.steps, &["per run", "launches", "kernel", "step"]),
        )
    })
}
