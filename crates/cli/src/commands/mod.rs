//! One file per verb.

mod bench;
mod check;
mod classes;
mod explain;
mod info;
mod inspect;
mod knobs;
mod run;

use clap::Subcommand;
use lampyr::Result;

use crate::output::Output;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a model on arrays, pictures or made-up inputs and show what comes out
    Run(run::Args),
    /// Say whether a model can run here, and everything that is in the way when it cannot
    Check(check::Args),
    /// Show inputs, outputs, ops and parameters of a model
    Inspect(inspect::Args),
    /// Show what the compiler does with a model, and why
    Explain(explain::Args),
    /// Measure how long a model takes on made-up inputs
    Bench(bench::Args),
    /// Show version, processor, threads and devices
    Info,
    /// Show the environment variables that change how Lampyr works
    Knobs,
}

impl Command {
    /// Does it and returns what goes to standard output, and whether the answer is good news.
    ///
    /// # Errors
    /// When the verb fails.
    pub fn run(&self, output: &Output) -> Result<(String, bool)> {
        let text = match self {
            Command::Check(args) => return check::run(args, *output),
            Command::Run(args) => run::run(args, *output),
            Command::Inspect(args) => inspect::run(args, *output),
            Command::Explain(args) => explain::run(args, *output),
            Command::Bench(args) => bench::run(args, *output),
            Command::Info => info::run(*output),
            Command::Knobs => knobs::run(*output),
        };
        text.map(|text| (text, true))
    }
}

/// Parses `NAME=SIZE`.
fn dim(text: &str) -> Result<(String, usize), String> {
    let (name, size) = text.split_once('=').ok_or("give a name and a size, for example batch=8")?;
    match size.parse() {
        Ok(n) if n > 0 && !name.is_empty() => Ok((name.to_string(), n)),
        _ => Err("give a name and a positive size, for example batch=8".to_string()),
    }
}
