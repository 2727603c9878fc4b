//! Writes the cases that `goldens/make.py` computes with torch, as JSON on standard output.

fn main() -> Result<(), lampyr_base::Error> {
    println!("{}", lampyr_conformance::goldens::dump()?);
    Ok(())
}
