//! `cargo xtask parity` and `cargo xtask surface`: Lampyr beside torch, and the count of its names.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::python;
use crate::run::{Failure, Result, Workspace};
use crate::steps;

const KNOWN: &str = "conformance/parity/known.txt";
const GOLDENS: &str = "conformance/goldens/parity.json.gz";

/// What to run of torch's operator database.
#[derive(Args)]
pub struct ParityOptions {
    /// Only this operator, by torch's name (repeatable)
    #[arg(long, value_name = "NAME")]
    op: Vec<String>,
    /// Only this family (repeatable)
    #[arg(long, value_name = "NAME")]
    family: Vec<String>,
    /// Three samples of float32 per operator
    #[arg(long)]
    quick: bool,
    /// Print every failure
    #[arg(long)]
    verbose: bool,
    /// Drop from the list of known differences what agrees
    #[arg(long)]
    update: bool,
    /// Write the golden subset (conformance/goldens/parity.json.gz) and stop
    #[arg(long)]
    goldens: bool,
    /// Write all findings as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown to this file (a full run writes docs/parity.md without being asked)
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// What to count.
#[derive(Args)]
pub struct SurfaceOptions {
    /// Read torch's signatures anew from this table of names (namespace, name, kind) and stop
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Count in the environment as it is, without building the package
    #[arg(long)]
    installed: bool,
    /// Print what is absent or takes other arguments
    #[arg(long)]
    verbose: bool,
}

/// Makes the environment, builds the package and runs the operator database.
pub fn parity(workspace: &Workspace, options: &ParityOptions) -> Result {
    let python = python::PARITY.ready(workspace)?;
    steps::install_wheel(workspace, &python)?;
    let mut command = workspace.command(&python);
    command.args(["-m", "conformance.parity", "--known", KNOWN]);
    for (flag, names) in [("--op", &options.op), ("--family", &options.family)] {
        for name in names {
            command.arg(flag).arg(name);
        }
    }
    for (flag, on) in [("--quick", options.quick), ("--verbose", options.verbose), ("--update", options.update)] {
        command.args(on.then_some(flag));
    }
    if options.goldens {
        command.args(["--goldens", GOLDENS]);
    }
    let whole = options.op.is_empty() && options.family.is_empty() && !options.quick && !options.goldens;
    let default = |path: &str| whole.then(|| PathBuf::from(path));
    for (flag, asked) in [
        ("--json", options.json.clone()),
        ("--markdown", options.markdown.clone().or_else(|| default("docs/parity.md"))),
    ] {
        if let Some(path) = asked {
            command.arg(flag).arg(absolute(&path)?);
        }
    }
    workspace.run(&mut command)
}

/// Counts the names that the package has, and writes the page.
pub fn surface(workspace: &Workspace, options: &SurfaceOptions) -> Result {
    if let Some(names) = &options.names {
        let python = python::PARITY.ready(workspace)?;
        return workspace.run(workspace.command(python).arg("conformance/surface/make.py").arg(absolute(names)?));
    }
    let python = python::TEST.ready(workspace)?;
    if !options.installed {
        steps::install_wheel(workspace, &python)?;
    }
    let mut command = workspace.command(&python);
    command.args(["conformance/surface/count.py", "--write", "docs/surface.md"]);
    command.args(options.verbose.then_some("--verbose"));
    workspace.run(&mut command)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))
}
