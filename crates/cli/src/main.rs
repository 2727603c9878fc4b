//! The `lampyr` command line: runs, inspects, explains and measures ONNX models.

mod commands;
mod input;
mod interrupt;
mod model;
mod output;
mod picture;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use commands::Command;
use output::Output;

/// Run, inspect, explain and measure ONNX models.
#[derive(Debug, Parser)]
#[command(name = "lampyr", version, arg_required_else_help = true)]
struct Cli {
    /// Print JSON, and nothing else, on standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let errors = Output::errors();
    for problem in lampyr::knobs::all().iter().filter_map(|k| k.problem()) {
        let _ = writeln!(std::io::stderr(), "{} {problem}", errors.yellow("warning:"));
    }
    let output = Output::new(cli.json);
    let done = interrupt::install().and_then(|()| cli.command.run(&output));
    match done {
        Ok((text, true)) => print(&text),
        Ok((text, false)) => {
            print(&text);
            ExitCode::FAILURE
        }
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "{} {e}", errors.red("error:"));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(text.trim_end().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "error: cannot write to standard output: {e}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
