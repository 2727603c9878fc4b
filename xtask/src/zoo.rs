//! `cargo xtask zoo`: exports real models with torch, runs them on Lampyr and ONNX Runtime, writes the table.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::python;
use crate::run::{Failure, Result, Workspace};
use crate::steps;

/// Which models, and what to do with them.
#[derive(Args)]
pub struct Options {
    /// Names of the models; all of them when none is given
    names: Vec<String>,
    /// Write the rows as JSON to this file (a full run writes benches/zoo.json without being asked)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown to this file (a full run writes benches/zoo.md without being asked)
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Use the models of every exporter that can export them, not only the default one
    #[arg(long)]
    all_exporters: bool,
    /// Export and stop
    #[arg(long)]
    export_only: bool,
    /// Export again what an earlier run left in the target folder
    #[arg(long)]
    again: bool,
    /// Most rounds of timing; 0 compares the numbers only
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Write the tiny models of conformance/zoo anew and stop
    #[arg(long)]
    small: bool,
}

/// Makes the environment, exports, builds the Python package and compares.
pub fn zoo(workspace: &Workspace, options: &Options) -> Result {
    let python = python::ZOO.ready(workspace)?;
    if options.small {
        return workspace.run(module(workspace, &python, "zoo.small").arg("conformance/zoo").args(&options.names));
    }
    let folder = workspace.target.join("zoo");
    let exporters = if options.all_exporters { "all" } else { "default" };
    let mut export = module(workspace, &python, "zoo.export");
    export.arg(&folder).args(["--exporter", exporters]).args(options.again.then_some("--again")).args(&options.names);
    let exported = workspace.run(&mut export);
    if options.export_only || exported.is_err() && !options.all_exporters {
        return exported;
    }
    steps::install_wheel(workspace, &python)?;
    let mut compare = module(workspace, &python, "zoo.compare");
    compare.arg(&folder).args(["--exporter", exporters, "--rounds", &options.rounds.to_string()]).args(&options.names);
    let whole = options.names.is_empty() && options.rounds > 0 && !options.all_exporters;
    for (flag, asked, default) in
        [("--json", &options.json, "benches/zoo.json"), ("--markdown", &options.markdown, "benches/zoo.md")]
    {
        if let Some(path) = asked.clone().or_else(|| whole.then(|| PathBuf::from(default))) {
            let path = std::path::absolute(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
            compare.arg(flag).arg(path);
        }
    }
    compare.args(["--command", &format!("cargo xtask {}", said().join(" "))]);
    workspace.run(&mut compare)
}

/// A Python module of the workspace as a command.
pub(crate) fn module(workspace: &Workspace, python: &Path, name: &str) -> std::process::Command {
    let mut command = workspace.command(python);
    command.args(["-m", name]);
    command
}

/// The arguments of this process.
pub(crate) fn said() -> Vec<String> {
    std::env::args().skip(1).collect()
}
