//! Writes the files generated from the registry; with `--check` writes nothing and fails when one is out of date.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use lampyr_conformance::documents;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => return Err("usage: generate [--check]".into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has no folder above it")?;
    let mut stale = 0;
    for document in documents::all() {
        if document.is_current(root)? {
            continue;
        }
        stale += 1;
        if check {
            println!("{} is out of date", document.path);
        } else {
            document.write(root)?;
            println!("wrote {}", document.path);
        }
    }
    Ok(if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
