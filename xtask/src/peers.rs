//! `cargo xtask peers`: models beside torch, ONNX Runtime and OpenVINO, each engine in a process of its own.

use std::path::PathBuf;

use clap::Args;

use crate::python;
use crate::run::{Failure, Result, Workspace};
use crate::steps;
use crate::zoo::{module, said};

/// Which models, and how long.
#[derive(Args)]
pub struct Options {
    /// Keys of the models with commas between (benches/peers/cases.py has them); all of them without this
    #[arg(long, value_name = "KEYS")]
    models: Option<String>,
    /// Rounds in turns
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Threads of each engine
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// New processes whose first inference is timed
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// Only one part: models, packages (import time, size) or growth (threads, batch, sequence, sessions, idle)
    #[arg(long, value_parser = ["models", "packages", "growth"])]
    only: Option<String>,
    /// Keep the rows of the JSON file that are not measured again
    #[arg(long)]
    update: bool,
    /// Write NAME.md, NAME.json and NAME.svg (a run of everything writes benches/peers.* without being asked)
    #[arg(long, value_name = "NAME")]
    out: Option<PathBuf>,
    /// Measure the package that the environment has, without building it
    #[arg(long)]
    installed: bool,
}

/// Makes the environment, builds the Python package and measures.
pub fn peers(workspace: &Workspace, options: &Options) -> Result {
    let python = python::ZOO.ready(workspace)?;
    if !options.installed {
        steps::install_wheel(workspace, &python)?;
    }
    let mut command = module(workspace, &python, "benches.peers");
    command.arg(workspace.target.join("zoo"));
    for (flag, count) in [("--rounds", options.rounds), ("--threads", options.threads), ("--starts", options.starts)] {
        command.arg(flag).arg(count.to_string());
    }
    for (flag, word) in [("--models", &options.models), ("--only", &options.only)] {
        command.args(word.iter().flat_map(|word| [flag, word]));
    }
    command.args(options.update.then_some("--update"));
    let whole = options.models.is_none() && options.only.is_none() || options.update;
    if let Some(path) = options.out.clone().or_else(|| whole.then(|| PathBuf::from("benches/peers"))) {
        let path = std::path::absolute(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        for (flag, extension) in [("--markdown", "md"), ("--json", "json"), ("--svg", "svg")] {
            command.arg(flag).arg(path.with_extension(extension));
        }
    }
    command.args(["--command", &format!("cargo xtask {}", said().join(" "))]);
    workspace.run(&mut command)
}
