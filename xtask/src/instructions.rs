//! `cargo xtask instructions`: instructions of small work, counted by valgrind, against committed bounds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::run::{Failure, Result, Workspace, output};
use crate::verbs;

const BOUNDS: &str = "benches/instructions.txt";
/// A count may be larger than its bound by this part.
const SLACK: f64 = 0.05;
/// How often the work is done in the two runs of which the difference counts.
const FEW: u64 = 10;
const MANY: u64 = 60;

/// What to do with the counts.
#[derive(Args)]
pub struct Options {
    /// Write the counts as the new bounds
    #[arg(long)]
    update: bool,
    /// Build without optimising across crates, as tests are built; bounds are of release builds
    #[arg(long)]
    dev: bool,
}

/// Counts and compares.
pub fn instructions(workspace: &Workspace, options: &Options) -> Result {
    verbs::need_valgrind()?;
    let program = build(workspace, options.dev)?;
    let names = output(&mut workspace.command(&program))
        .ok_or_else(|| Failure::new(format!("{} does not run", program.display())))?;
    let mut counts = BTreeMap::new();
    for name in names.lines() {
        let each = (count(workspace, &program, name, MANY)? - count(workspace, &program, name, FEW)?) / (MANY - FEW);
        println!("{name:12} {each:>9}");
        counts.insert(name.to_owned(), each);
    }
    let path = workspace.root.join(BOUNDS);
    if options.update {
        return fs::write(&path, written(&counts)).map_err(|e| Failure::new(format!("{BOUNDS}: {e}")));
    }
    let text = fs::read_to_string(&path).map_err(|e| Failure::new(format!("{BOUNDS}: {e}")))?;
    let wrong = compare(&counts, &read(&text)?);
    match wrong.is_empty() {
        true => Ok(()),
        false => {
            Err(Failure::new(format!("{}\nwhere that is meant: cargo xtask instructions --update", wrong.join("\n"))))
        }
    }
}

/// Builds the work; returns the program.
fn build(workspace: &Workspace, dev: bool) -> Result<PathBuf> {
    let mut command = workspace.cargo(&["bench", "-p", "lampyr", "--bench", "instructions", "--no-run"]);
    command.args(["--message-format", "json"]);
    if dev {
        command.args(["--profile", "dev"]);
    }
    let printed =
        output(&mut command).ok_or_else(|| Failure::new("`cargo bench -p lampyr --bench instructions` fails"))?;
    let paths = printed.split("\"executable\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    paths.last().map(PathBuf::from).ok_or_else(|| Failure::new("cargo names no program of the bench `instructions`"))
}

/// Instructions of a run that does the work `times` times, in one thread and with the instructions valgrind knows.
fn count(workspace: &Workspace, program: &Path, name: &str, times: u64) -> Result<u64> {
    let mut command = workspace.command("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).arg(name).arg(times.to_string());
    command.env("LAMPYR_THREADS", "1").env("LAMPYR_SIMD", "avx2");
    let printed = output(&mut command).ok_or_else(|| Failure::new(format!("{name}: it fails under valgrind")))?;
    let collected = printed.lines().find_map(|line| line.split("Collected :").nth(1));
    collected
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| Failure::new(format!("{name}: valgrind prints no count")))
}

fn written(counts: &BTreeMap<String, u64>) -> String {
    let mut text = String::from(
        "# Instructions of one piece of work: one thread, AVX2. `cargo xtask instructions` fails 5 % above them.\n",
    );
    for (name, count) in counts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name} {count}");
    }
    text
}

fn read(text: &str) -> Result<BTreeMap<String, u64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let (name, count) = line.split_once(' ').unwrap_or((line, ""));
            let count = count.trim().parse().map_err(|_| Failure::new(format!("{BOUNDS}: not understood: {line}")))?;
            Ok((name.to_owned(), count))
        })
        .collect()
}

/// What is above its bound or has none.
fn compare(counts: &BTreeMap<String, u64>, bounds: &BTreeMap<String, u64>) -> Vec<String> {
    let judge = |(name, &count): (&String, &u64)| match bounds.get(name) {
        None => Some(format!("{name}: no bound in {BOUNDS}")),
        Some(&bound) if count as f64 > bound as f64 * (1.0 + SLACK) => {
            Some(format!("{name}: {count} instructions, {bound} is the bound"))
        }
        Some(_) => None,
    };
    let absent = bounds.keys().filter(|name| !counts.contains_key(*name));
    let absent = absent.map(|name| format!("{name}: {BOUNDS} has a bound, but it was not counted"));
    counts.iter().filter_map(judge).chain(absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, u64)]) -> BTreeMap<String, u64> {
        rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn more_instructions_are_refused() {
        let bounds = table(&[("add", 1000), ("conv", 50)]);
        assert!(compare(&table(&[("add", 1049), ("conv", 20)]), &bounds).is_empty());
        let wrong = compare(&table(&[("add", 1051), ("conv", 50)]), &bounds);
        assert_eq!(wrong, ["add: 1051 instructions, 1000 is the bound"]);
    }

    #[test]
    fn names_must_agree() {
        let wrong = compare(&table(&[("add", 1)]), &table(&[("conv", 1)]));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn bounds_are_read_as_written() {
        let counts = table(&[("add", 1), ("conv", 2)]);
        assert_eq!(read(&written(&counts)).expect("well formed"), counts);
        assert!(read("add many").is_err());
    }
}
