//! `cargo xtask gates`: static checks of the tree. One gate = one file + one line in [`GATES`].

mod arrows;
mod comments;
mod file_size;
pub mod files;
mod no_panic;
mod no_paths;
mod op_files;
mod source;

#[cfg(test)]
mod fixture;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::run::{Failure, Result, Workspace};

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the root.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl Finding {
    /// A finding at a line of a file.
    pub fn new(file: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

struct Gate {
    name: &'static str,
    about: &'static str,
    check: fn(&Path) -> Vec<Finding>,
}

const GATES: &[Gate] = &[
    Gate { name: "arrows", about: "crates depend in one direction", check: arrows::check },
    Gate { name: "op-files", about: "every op file is listed and complete", check: op_files::check },
    Gate { name: "file-size", about: "no source file is over 800 lines", check: file_size::check },
    Gate { name: "no-panic", about: "no panic in shipped code", check: no_panic::check },
    Gate { name: "no-paths", about: "no machine path, no package index address", check: no_paths::check },
    Gate { name: "comments", about: "no marker of unfinished work", check: comments::check },
];

/// Prints every gate's name and rule.
pub fn list() {
    for gate in GATES {
        println!("{:10} {}", gate.name, gate.about);
    }
}

/// Runs the named gates, or all when none is named; prints the findings and fails when there is one.
pub fn gates(workspace: &Workspace, names: &[String]) -> Result {
    if let Some(unknown) = names.iter().find(|name| GATES.iter().all(|gate| gate.name != **name)) {
        let known: Vec<_> = GATES.iter().map(|gate| gate.name).collect();
        return Err(Failure::new(format!("no gate is called {unknown}; the gates are {}", known.join(", "))));
    }
    let mut total = 0;
    for gate in GATES.iter().filter(|gate| names.is_empty() || names.iter().any(|name| name == gate.name)) {
        let findings = (gate.check)(&workspace.root);
        println!(
            "{:10} {}",
            gate.name,
            if findings.is_empty() { "ok".into() } else { format!("{} found", findings.len()) }
        );
        for finding in &findings {
            println!("  {finding}");
        }
        total += findings.len();
    }
    if total == 0 { Ok(()) } else { Err(Failure::new(format!("the gates found {total} places that break a rule"))) }
}
