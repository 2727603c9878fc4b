//! Every case of every op, run eagerly on every device, against the plain reference.

use lampyr_base::Device;
use lampyr_conformance::loopback::{LOOPBACK, loopback};
use lampyr_conformance::runner;
use lampyr_ops::registry;

fn all_cases_on(device: Device) {
    let (mut ran, mut failures) = (0, Vec::new());
    for entry in registry::builtin() {
        for case in (entry.cases)() {
            let name = format!("{}/{}", entry.name, case.name);
            let want = runner::reference(&case).unwrap_or_else(|e| panic!("{name}: reference: {e}"));
            ran += 1;
            match runner::eager(&case, device) {
                Err(e) => failures.push(format!("{name}: {e}")),
                Ok(got) => {
                    if got.len() != want.len() {
                        failures.push(format!("{name}: {} outputs, expected {}", got.len(), want.len()));
                    }
                    for (k, (g, w)) in got.iter().zip(&want).enumerate() {
                        if let Some(d) = runner::value_difference(g, w, case.tolerance) {
                            failures.push(format!("{name}: output {k}: {d}"));
                        }
                    }
                }
            }
        }
    }
    println!("{ran} cases on {device}, {} wrong", failures.len());
    assert!(failures.is_empty(), "{} of {ran} cases on {device}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn cases_on_cpu() {
    lampyr_cpu::register();
    all_cases_on(Device::CPU);
}

#[test]
fn cases_on_loopback() {
    loopback();
    all_cases_on(LOOPBACK);
}

#[test]
fn loopback_memory_has_no_host_address() {
    use lampyr_backend::Backend;
    let memory = loopback().allocate(64).expect("64 bytes");
    assert!(memory.host_ptr().is_none());
}
