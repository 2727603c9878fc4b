use std::collections::BTreeMap;
use std::path::PathBuf;

use lampyr::{Error, Explanation, Result};

use crate::model::Loaded;
use crate::output::Output;

/// Arguments of `lampyr explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file
    model: PathBuf,
    /// Also write a page with the memory map to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Size of a symbolic dimension, for example batch=8; others are 1
    #[arg(long = "dim", value_name = "NAME=SIZE", value_parser = super::dim)]
    dims: Vec<(String, usize)>,
}

/// Prints what the compiler did and why.
pub fn run(args: &Args, output: Output) -> Result<String> {
    let loaded = Loaded::open(&args.model)?;
    let explanation = loaded.explain(&loaded.shapes(&args.dims)?)?;
    if let Some(path) = &args.html {
        std::fs::write(path, explanation.to_html()).map_err(|e| Error::io(path, e))?;
    }
    if output.json {
        return Ok(explanation.to_json());
    }
    let mut text = format!("{explanation}\n\n{}", placements(&explanation, output));
    if let Some(path) = &args.html {
        text += &format!("\nwrote {}\n", path.display());
    }
    Ok(text)
}

/// How many nodes run where, and for which reason.
fn placements(explanation: &Explanation, output: Output) -> String {
    let mut groups: BTreeMap<_, BTreeMap<&str, usize>> = BTreeMap::new();
    for p in &explanation.report.placements {
        *groups.entry((p.device.to_string(), p.reason)).or_default().entry(p.op).or_default() += 1;
    }
    let rows = groups.into_iter().map(|((device, reason), ops)| {
        let total: usize = ops.values().sum();
        let names: Vec<_> = ops.iter().map(|(op, n)| format!("{op} x{n}")).collect();
        vec![device, reason.to_string(), total.to_string(), names.join(", ")]
    });
    "placements\n".to_string() + &output.table(&["device", "reason", "nodes", "ops"], &[2], rows)
}
