//! Writes the cases as JSON on standard output: what `goldens/make.py` computes with torch, and with `--complete` also
//! what the Python tests compare, the results and ONNX models.

fn main() -> Result<(), lampyr_base::Error> {
    let complete = std::env::args().any(|a| a == "--complete");
    println!("{}", lampyr_conformance::goldens::dump(complete)?);
    Ok(())
}
