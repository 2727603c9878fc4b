//! Tries mutants of ONNX models: `fuzz --inputs 1000000`. An input that panics or aborts can be written to a file with
//! `--write NUMBER FILE`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use lampyr_base::{Device, Error, Result};
use lampyr_conformance::fuzz::{Tally, corpus, input, quiet, run};

#[derive(Parser)]
struct Arguments {
    /// How many inputs to try
    #[arg(long, default_value_t = 20_000)]
    inputs: u64,
    /// Number of the first
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Limit on device memory, in MiB
    #[arg(long, default_value_t = 512)]
    memory: usize,
    /// Write one input to a file instead
    #[arg(long, num_args = 2, value_names = ["NUMBER", "FILE"])]
    write: Vec<String>,
    /// Before each input, write its number to files with this name and the number of the thread: they name the input
    /// that ended the process
    #[arg(long)]
    trail: Option<PathBuf>,
}

fn main() -> ExitCode {
    match try_all(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn try_all(arguments: &Arguments) -> Result<bool> {
    lampyr::init();
    let corpus = corpus()?;
    if let [number, file] = arguments.write.as_slice() {
        let number = number.parse().map_err(|_| Error::value(format!("`{number}` is no number")))?;
        let path = PathBuf::from(file);
        std::fs::write(&path, input(&corpus, number)).map_err(|e| Error::io(&path, e))?;
        return Ok(true);
    }
    lampyr::backend::backend(Device::CPU)?.set_memory_limit(Some(arguments.memory << 20));
    quiet();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let done = AtomicU64::new(0);
    let part = |k: u64| {
        let share = arguments.inputs.div_ceil(threads);
        let from = arguments.from + k * share;
        let to = (from + share).min(arguments.from + arguments.inputs);
        let mut trail =
            arguments.trail.as_ref().and_then(|p| std::fs::File::create(format!("{}.{k}", p.display())).ok());
        let mut tally = Tally::default();
        for number in from..to {
            if let Some(file) = &mut trail {
                let _ = writeln!(file, "{number}");
            }
            tally.add(run(&corpus, number..number + 1, |_| {}));
            let n = done.fetch_add(1, Ordering::Relaxed) + 1;
            if n.is_multiple_of(50_000) {
                eprintln!("{n} of {} inputs, {} panics here", arguments.inputs, tally.panics.len());
            }
        }
        tally
    };
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let part = &part;
        let workers: Vec<_> = (0..threads).map(|k| scope.spawn(move || part(k))).collect();
        for worker in workers {
            if let Ok(tally) = worker.join() {
                total.add(tally);
            }
        }
    });
    println!(
        "{} inputs from a corpus of {}: {} ({:.1} %) reached graph construction, {} gave a graph, {} were compiled, {} run",
        total.inputs,
        corpus.len(),
        total.reached,
        100.0 * total.reach(),
        total.built,
        total.compiled,
        total.ran
    );
    println!("slowest: input {} with {:.0} ms", total.slowest_input, total.slowest.as_secs_f64() * 1e3);
    println!("{} panics", total.panics.len());
    for (number, message) in total.panics.iter().take(20) {
        println!("  input {number}: {message}");
    }
    Ok(total.panics.is_empty() && total.inputs == arguments.inputs)
}
