//! Short runs of the examples.

use std::path::PathBuf;

use clap::Parser;

// Both draw their curves with the same file.
#[allow(clippy::duplicate_mod)]
#[path = "../../../../examples/chars/train.rs"]
mod chars;
#[allow(clippy::duplicate_mod)]
#[path = "../../../../examples/digits/train.rs"]
mod digits;

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lampyr-{name}-{}", std::process::id()))
}

fn falls(losses: &[f64]) {
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(last < 0.9 * first, "{first} -> {last}");
}

#[test]
fn digits_are_learnt_and_exported() -> Result<(), Box<dyn std::error::Error>> {
    let out = folder("digits");
    let mut args = digits::Args::try_parse_from(["digits", "--epochs", "1"])?;
    args.out.clone_from(&out);
    let outcome = digits::run(&args)?;
    falls(&outcome.losses);
    assert!(outcome.accuracy > 0.5, "{}", outcome.accuracy);
    let (model, curve) = (std::fs::read(out.join("digits.onnx"))?, std::fs::read_to_string(out.join("loss.svg"))?);
    std::fs::remove_dir_all(out)?;
    assert_eq!(lampyr::Model::from_bytes(&model)?.inputs()[0].name, "image");
    assert!(curve.starts_with("<svg") && curve.ends_with("</svg>\n") && !curve.contains("NaN"));
    Ok(())
}

#[test]
fn characters_are_learnt() -> Result<(), Box<dyn std::error::Error>> {
    let out = folder("chars");
    let small =
        ["--steps", "40", "--batch", "4", "--context", "16", "--width", "32", "--layers", "1", "--sample", "20"];
    let mut args = chars::Args::try_parse_from(["chars"].into_iter().chain(small))?;
    args.out.clone_from(&out);
    let outcome = chars::run(&args)?;
    std::fs::remove_dir_all(out)?;
    falls(&outcome.losses);
    assert_eq!(outcome.sample.chars().count(), "The ".len() + 20);
    Ok(())
}
