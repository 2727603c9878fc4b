//! `cargo xtask <verb>`: tests, static checks, generated files and benchmarks of the workspace.

mod gates;
mod instructions;
mod parity;
mod peers;
mod python;
mod run;
mod steps;
mod test;
mod verbs;
mod zoo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Tests, checks and chores of the workspace")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run every check and test in order; stop at the first failure
    Test(test::Options),
    /// Run the static checks and print their findings
    Gates {
        /// Names of the gates to run; all of them when none is given
        names: Vec<String>,
        /// List the gates and stop
        #[arg(long)]
        list: bool,
    },
    /// Write the generated files (docs/ops.md, docs/onnx-support.md, python/lampyr/_ops.pyi)
    Generate {
        /// Fail when a generated file is out of date, and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Compare values, gradients and errors with torch over torch's operator database
    Parity(parity::ParityOptions),
    /// Count the public names that exist and accept torch's arguments; write docs/surface.md
    Surface(parity::SurfaceOptions),
    /// Compute the torch goldens anew and write them
    Goldens {
        /// Compare them with the ones in the tree, and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Export real models with torch and compare Lampyr with torch and ONNX Runtime on them
    Zoo(zoo::Options),
    /// Time models beside torch, ONNX Runtime and OpenVINO; write benches/peers.md, .json and .svg
    Peers(peers::Options),
    /// Time eager calls and training steps beside torch; write benches/eager.md and benches/eager.json
    Eager {
        /// Rounds in turns
        #[arg(long, default_value_t = 25)]
        rounds: usize,
    },
    /// Try mutants of ONNX models: none may panic, abort or hang
    Fuzz {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        inputs: u64,
        /// Number of the first
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Run hostile indices under valgrind: no read or write may leave its memory
    Memcheck,
    /// Time elementwise work beside torch; write benches/elementwise.md
    Elementwise {
        /// Rounds in turns
        #[arg(long, default_value_t = 25)]
        rounds: usize,
    },
    /// Count the instructions of small work under valgrind and compare with benches/instructions.txt
    Instructions(instructions::Options),
    /// Run the operator benchmarks
    Bench {
        /// Arguments for the benchmark binary, after `--`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = Workspace::find().and_then(|workspace| match &arguments.verb {
        Verb::Test(options) => test::test(&workspace, options),
        Verb::Gates { list: true, .. } => {
            gates::list();
            Ok(())
        }
        Verb::Gates { names, .. } => gates::gates(&workspace, names),
        Verb::Generate { check } => verbs::generate(&workspace, *check),
        Verb::Parity(options) => parity::parity(&workspace, options),
        Verb::Surface(options) => parity::surface(&workspace, options),
        Verb::Goldens { check } => verbs::goldens(&workspace, *check),
        Verb::Zoo(options) => zoo::zoo(&workspace, options),
        Verb::Peers(options) => peers::peers(&workspace, options),
        Verb::Eager { rounds } => verbs::eager(&workspace, *rounds),
        Verb::Fuzz { inputs, from } => verbs::fuzz(&workspace, *inputs, *from),
        Verb::Elementwise { rounds } => verbs::elementwise(&workspace, *rounds),
        Verb::Instructions(options) => instructions::instructions(&workspace, options),
        Verb::Memcheck => verbs::memcheck(&workspace),
        Verb::Bench { arguments } => verbs::bench(&workspace, arguments),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
