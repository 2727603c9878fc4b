use std::path::PathBuf;

use lampyr::{Check, Error, Problem, Result, Slow};
use serde::Serialize;

use crate::output::Output;

/// Nodes shown for one problem; `--json` has all.
const SHOWN: usize = 8;

/// Arguments of `lampyr check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file
    model: PathBuf,
}

#[derive(Serialize)]
struct Found<'a> {
    kind: &'a str,
    what: &'a str,
    nodes: &'a [String],
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct Checked<'a> {
    model: String,
    ok: bool,
    problems: Vec<Found<'a>>,
    slow: Vec<Found<'a>>,
}

fn problem(p: &Problem) -> Found<'_> {
    Found { kind: p.kind, what: &p.what, nodes: &p.nodes, help: p.help.as_deref() }
}

fn slow(s: &Slow) -> Found<'_> {
    Found { kind: s.reason, what: s.op, nodes: &s.nodes, help: None }
}

/// Says whether a model can run here, or everything that is in the way. The exit status tells, too.
pub fn run(args: &Args, output: Output) -> Result<(String, bool)> {
    if args.model.is_dir() {
        return Err(Error::value(format!("{} is a folder", args.model.display())).with_help("name an .onnx file"));
    }
    let check = lampyr::check(&args.model);
    let found = Checked {
        model: args.model.display().to_string(),
        ok: check.ok(),
        problems: check.problems.iter().map(problem).collect(),
        slow: check.slow.iter().map(slow).collect(),
    };
    Ok((output.either(&found, || text(&found, &check, output))?, check.ok()))
}

fn nodes(all: &[String]) -> String {
    let shown: Vec<_> = all.iter().take(SHOWN).map(String::as_str).collect();
    let more = all.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

fn text(found: &Checked, check: &Check, output: Output) -> String {
    let mut all = String::new();
    match &check.model {
        Some(model) => {
            let verdict = if found.slow.is_empty() { "can run here" } else { "can run here, in part slowly" };
            all += &format!("{} {verdict}\n", output.bold(&found.model));
            let pairs = [("opset", model.opset().to_string()), ("nodes", model.graph().len().to_string())];
            all += &output.pairs(&pairs);
        }
        None => {
            let count = found.problems.len();
            let things = if count == 1 { "1 thing is".to_string() } else { format!("{count} things are") };
            all += &format!("{} cannot run here: {things} in the way\n", output.bold(&found.model));
        }
    }
    for (i, p) in found.problems.iter().enumerate() {
        all += &format!("\n{:3}. {}: {}\n", i + 1, output.red(p.kind), p.what);
        if !p.nodes.is_empty() {
            all += &format!("     at: {}\n", nodes(p.nodes));
        }
        if let Some(help) = p.help {
            all += &format!("     help: {help}\n");
        }
    }
    for s in &found.slow {
        all += &format!("\n  {} `{}` runs on the host reference ({})\n", output.yellow("slow:"), s.what, s.kind);
        all += &format!("     at: {}\n", nodes(s.nodes));
    }
    all
}
