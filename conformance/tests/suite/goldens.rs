//! Values, gradients and second gradients against torch.

use std::collections::BTreeMap;

use lampyr_base::Device;
use lampyr_conformance::goldens::{self, Golden};
use lampyr_conformance::runner::{self, Gradients};
use lampyr_ir::HostTensor;
use lampyr_ir::case::{Case, Tolerance};

fn stored() -> BTreeMap<String, Golden> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/torch.json");
    goldens::parse(&std::fs::read_to_string(path).expect("goldens/torch.json")).expect("a golden file")
}

/// Room for torch's own rounding on top of ours.
fn tolerance(case: &Case, like: &HostTensor) -> Option<Tolerance> {
    let t = case.tolerance.unwrap_or_else(|| Tolerance::of(like.dtype()));
    Some(Tolerance { absolute: 4.0 * t.absolute, relative: 4.0 * t.relative })
}

fn compare(case: &Case, golden: &Golden, device: Device) -> Result<(), String> {
    let text = |e: lampyr_base::Error| e.to_string();
    let digest = goldens::digest(&case.values().map_err(text)?);
    if digest != golden.digest {
        return Err("the inputs have changed; run `cargo xtask goldens`".to_string());
    }
    let got = runner::eager(case, device).map_err(text)?;
    for (k, (g, w)) in got.iter().zip(&golden.outputs).enumerate() {
        let g = g.tensor().map_err(text)?;
        if let Some(d) = runner::difference(g, w, tolerance(case, w)) {
            return Err(format!("output {k}: {d}"));
        }
    }
    let (Some(first), Some(second)) = (&golden.first, &golden.second) else { return Ok(()) };
    let Gradients { first: g1, second: g2 } = runner::eager_gradients(case, device).map_err(text)?;
    for (order, got, want) in [("first", g1, first), ("second", g2, second)] {
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let zero = |t: &HostTensor| t.to_f64().iter().all(|x| *x == 0.0);
            let difference = match (g, w) {
                (Some(g), Some(w)) => runner::difference(g, w, tolerance(case, w)),
                (None, Some(w)) if !zero(w) => Some("no gradient where torch has one".to_string()),
                (Some(g), None) if !zero(g) => Some("a gradient where torch has none".to_string()),
                _ => None,
            };
            if let Some(d) = difference {
                return Err(format!("{order} gradient of input {i}: {d}"));
            }
        }
    }
    Ok(())
}

#[test]
fn torch_agrees() {
    lampyr_cpu::register();
    let stored = stored();
    let (mut ran, mut failures) = (0, Vec::new());
    for (key, case) in goldens::wanted() {
        let Some(golden) = stored.get(&key) else { continue };
        ran += 1;
        if let Err(e) = compare(&case, golden, Device::CPU) {
            failures.push(format!("{key}: {e}"));
        }
    }
    println!("{ran} cases compared with torch");
    assert!(ran >= stored.len(), "{} goldens have no case any more; run `cargo xtask goldens`", stored.len() - ran);
    assert!(failures.is_empty(), "{} of {ran}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_wrong_golden_is_noticed() {
    lampyr_cpu::register();
    let stored = stored();
    let (key, case) = goldens::wanted().into_iter().find(|(k, _)| k == "add/plain-float32").expect("the case");
    let mut golden = stored[&key].clone();
    let want = &golden.outputs[0];
    let mut values = want.to_f64();
    values[3] += 0.01;
    golden.outputs[0] = HostTensor::from_f64(want.dtype(), want.shape(), &values).expect("a tensor");
    assert!(compare(&case, &golden, Device::CPU).is_err());
}
