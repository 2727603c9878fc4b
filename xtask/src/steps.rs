//! The steps of `cargo xtask test`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::gates::{self, files};
use crate::python;
use crate::run::{Failure, Result, Workspace, output};
use crate::verbs;

/// One step of the test run.
pub struct Step {
    /// The name that `--only` and `--from` take.
    pub name: &'static str,
    /// What the step does, in one line.
    pub about: &'static str,
    /// Runs the step.
    pub run: fn(&Workspace) -> Result,
}

/// Every step, in the order of a full run.
pub const STEPS: &[Step] = &[
    Step { name: "fmt", about: "rustfmt finds nothing to change", run: fmt },
    Step { name: "clippy", about: "clippy, warnings are errors, every target", run: clippy },
    Step { name: "gates", about: "static checks (cargo xtask gates)", run: |workspace| gates::gates(workspace, &[]) },
    Step { name: "rust-tests", about: "cargo test, doc tests included", run: rust_tests },
    Step { name: "wheel", about: "build the wheel and install it into .venv", run: wheel },
    Step { name: "ruff", about: "lint and format check of the Python files", run: ruff },
    Step {
        name: "stubs",
        about: "the generated files are up to date",
        run: |workspace| verbs::generate(workspace, true),
    },
    Step { name: "python-tests", about: "pytest python/tests", run: python_tests },
];

fn fmt(workspace: &Workspace) -> Result {
    component(workspace, "fmt", "rustfmt")?;
    workspace.run(&mut workspace.cargo(&["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result {
    component(workspace, "clippy", "clippy")?;
    let mut command = workspace.cargo(&["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"]);
    // PyO3 refuses a default interpreter that is older than the abi3 floor, so name one that is not.
    command.env("PYO3_PYTHON", python::TEST.interpreter_ready(workspace)?);
    workspace.run(&mut command)
}

fn component(workspace: &Workspace, verb: &str, component: &str) -> Result {
    if output(workspace.cargo(&[verb]).arg("--version")).is_some() {
        return Ok(());
    }
    Err(Failure::new(format!("{component} is not installed; install it: rustup component add {component}")))
}

fn rust_tests(workspace: &Workspace) -> Result {
    workspace.run(&mut workspace.cargo(&["test", "--workspace", "--release", "--exclude", "lampyr-python"]))
}

fn wheel(workspace: &Workspace) -> Result {
    install_wheel(workspace, &python::TEST.ready(workspace)?)
}

/// Builds the wheel and installs it into the environment of `python`, which has maturin.
pub fn install_wheel(workspace: &Workspace, python: &Path) -> Result {
    let wheels = workspace.target.join("wheels");
    for stale in built(&wheels) {
        fs::remove_file(&stale).map_err(|e| Failure::new(format!("{}: {e}", stale.display())))?;
    }
    let mut build = workspace.command(python);
    build.args(["-m", "maturin", "build", "--release", "--out"]).arg(&wheels).arg("--interpreter").arg(python);
    workspace.run(&mut build)?;
    let wheel = built(&wheels)
        .pop()
        .ok_or_else(|| Failure::new(format!("maturin left no lampyr wheel in {}", wheels.display())))?;
    let mut install = workspace.command(python);
    install.args(["-m", "pip", "install", "-q", "--force-reinstall", "--no-deps"]).arg(wheel);
    workspace.run(&mut install)
}

fn built(wheels: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(wheels).into_iter().flatten().flatten().map(|entry| entry.path());
    names
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("lampyr-") && name.ends_with(".whl")
        })
        .collect()
}

fn ruff(workspace: &Workspace) -> Result {
    let tracked = files::tracked(&workspace.root);
    let has_python = |folder: &&str| {
        tracked.iter().any(|file| file.starts_with(folder) && file.extension().is_some_and(|name| name == "py"))
    };
    let folders: Vec<_> =
        ["python", "examples", "conformance", "benches", "zoo"].into_iter().filter(has_python).collect();
    if folders.is_empty() {
        println!("no tracked Python files");
        return Ok(());
    }
    let python = python::TEST.ready(workspace)?;
    workspace.run(workspace.command(&python).args(["-m", "ruff", "check"]).args(&folders))?;
    workspace.run(workspace.command(&python).args(["-m", "ruff", "format", "--check"]).args(&folders))
}

fn python_tests(workspace: &Workspace) -> Result {
    let python = python::TEST.ready(workspace)?;
    workspace.run(workspace.command(python).args(["-m", "pytest", "python/tests", "-q"]))
}
