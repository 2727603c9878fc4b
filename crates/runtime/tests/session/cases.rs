//! The cases of all ops as graphs of one node.

use lampyr_base::{Bindings, Device, Dim};
use lampyr_compiler::{Options, Policy};
use lampyr_conformance::loopback::{LOOPBACK, loopback};
use lampyr_ir::case::Case;
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostValue, SequenceFact, interpret};
use lampyr_ops::registry;

use super::{matches, run, with};

fn graph(case: &Case, inputs: &[HostValue]) -> Result<Graph, lampyr_base::Error> {
    let mut g = GraphBuilder::new(&case.name);
    let mut vars = Vec::new();
    for (i, value) in inputs.iter().enumerate() {
        let fact = match value {
            HostValue::Tensor(t) => {
                let axis = |a: usize| case.symbolic.iter().find(|(x, y, _)| (*x, *y) == (i, a));
                let shape = t.shape().iter().enumerate().map(|(a, &d)| match axis(a) {
                    Some((_, _, name)) => Dim::named(name),
                    None => Dim::from(d),
                });
                Fact::tensor(t.dtype(), shape)
            }
            _ => Fact::Sequence(SequenceFact { dtype: case.inputs[i].dtype, shape: None }),
        };
        vars.push(g.input(&format!("x{i}"), fact));
    }
    for (k, v) in g.apply(&*case.op, &vars)?.iter().enumerate() {
        g.output(&format!("y{k}"), v)?;
    }
    Ok(g.finish())
}

fn all(device: Device) {
    let mut failed = Vec::new();
    let mut count = 0;
    for entry in registry::builtin() {
        for case in (entry.cases)() {
            let name = format!("{}/{}", entry.name, case.name);
            let inputs = case.values().expect("case inputs");
            let Ok(graph) = graph(&case, &inputs) else { continue };
            let Ok(want) = interpret::reference(&graph, &inputs, &Bindings::new()) else { continue };
            count += 1;
            let options = Options { policy: Policy::on(device), inference: false, ..Options::default() };
            match run(&with(&graph, &options), &inputs) {
                Ok(got) => {
                    let tolerance = case.tolerance;
                    for (k, (w, g)) in want.iter().zip(&got).enumerate() {
                        if let Err(e) = matches(w, g, tolerance) {
                            failed.push(format!("{name} output {k}: {e}"));
                        }
                    }
                }
                Err(e) => failed.push(format!("{name}: {e}")),
            }
        }
    }
    assert!(count > 500, "only {count} cases ran");
    assert!(failed.is_empty(), "{} of {count} cases:\n{}", failed.len(), failed[..failed.len().min(40)].join("\n"));
}

#[test]
fn on_the_cpu() {
    all(Device::CPU);
}

#[test]
fn on_a_device_behind_a_queue() {
    loopback();
    all(LOOPBACK);
}
