//! The short verbs: generated files, torch goldens and benchmarks.

use std::fs;
use std::process::{Command, Stdio};

use crate::python;
use crate::run::{Failure, Result, Workspace, output};
use crate::steps;

/// Writes the generated files, or with `check` fails when one is out of date.
pub fn generate(workspace: &Workspace, check: bool) -> Result {
    let mut command =
        workspace.cargo(&["run", "--quiet", "--release", "-p", "lampyr-conformance", "--bin", "generate"]);
    if check {
        command.args(["--", "--check"]);
    }
    workspace.run(&mut command).map_err(|failure| match check {
        true => Failure { message: format!("{failure}\nto write the files: cargo xtask generate"), ..failure },
        false => failure,
    })
}

/// Computes the goldens with torch, in an environment of its own; with `check` compares instead of writing.
pub fn goldens(workspace: &Workspace, check: bool) -> Result {
    let script = "conformance/goldens/make.py";
    if !workspace.root.join(script).is_file() {
        return Err(Failure::new(format!("there is no {script}")));
    }
    let python = python::PARITY.ready(workspace)?;
    let mut command = workspace.command(python);
    command.arg(script).args(check.then_some("--check"));
    workspace.run(&mut command)
}

/// Tries mutants of ONNX models, with overflow checks on.
pub fn fuzz(workspace: &Workspace, inputs: u64, from: u64) -> Result {
    let trail = workspace.target.join("fuzz-trail");
    let mut command = workspace.cargo(&["run", "--quiet", "--release", "-p", "lampyr-conformance", "--bin", "fuzz"]);
    command.args(["--config", "profile.release.overflow-checks=true", "--"]);
    command.args(["--inputs", &inputs.to_string(), "--from", &from.to_string(), "--trail"]).arg(&trail);
    workspace.run(&mut command).map_err(|failure| Failure {
        message: format!("{failure}\nthe numbers of the inputs tried last are in {}.*", trail.display()),
        ..failure
    })
}

/// Times eager work from Python beside torch.
pub fn eager(workspace: &Workspace, rounds: usize) -> Result {
    let python = python::PARITY.ready(workspace)?;
    steps::install_wheel(workspace, &python)?;
    let mut command = workspace.command(&python);
    command.args(["benches/eager.py", "--markdown", "benches/eager.md", "--json", "benches/eager.json"]);
    workspace.run(command.args(["--rounds", &rounds.to_string()]))
}

/// Times elementwise work from Python beside torch.
pub fn elementwise(workspace: &Workspace, rounds: usize) -> Result {
    let python = python::PARITY.ready(workspace)?;
    steps::install_wheel(workspace, &python)?;
    let mut accuracy =
        workspace.cargo(&["test", "--release", "-p", "lampyr-kernels", "--lib", "functions_are_accurate"]);
    let lines = output(accuracy.args(["--", "--nocapture"]))
        .ok_or_else(|| Failure::new("`cargo test --release -p lampyr-kernels functions_are_accurate` fails"))?;
    let kept = workspace.target.join("accuracy.txt");
    fs::write(&kept, lines).map_err(|e| Failure::new(format!("{}: {e}", kept.display())))?;
    let mut command = workspace.command(&python);
    command.args(["benches/elementwise.py", "--markdown", "benches/elementwise.md", "--accuracy"]).arg(kept);
    workspace.run(command.args(["--rounds", &rounds.to_string()]))
}

/// Fails, saying what to do, where valgrind is not installed.
pub fn need_valgrind() -> Result {
    match Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::new("valgrind is not installed: install the package `valgrind` and run this again")),
    }
}

/// Runs `crates/lampyr/tests/hostile.rs` under valgrind.
pub fn memcheck(workspace: &Workspace) -> Result {
    need_valgrind()?;
    let runner = "target.'cfg(unix)'.runner=['valgrind', '--error-exitcode=9', '--leak-check=no']";
    let mut command = workspace.cargo(&["test", "-p", "lampyr", "--test", "hostile", "--config", runner]);
    command.args(["--", "--test-threads=1"]);
    workspace.run(&mut command)
}

/// Runs the Rust benchmarks.
pub fn bench(workspace: &Workspace, arguments: &[String]) -> Result {
    let mut command = workspace.cargo(&["bench", "-p", "lampyr", "--bench", "ops"]);
    if !arguments.is_empty() {
        command.arg("--").args(arguments);
    }
    workspace.run(&mut command)
}
