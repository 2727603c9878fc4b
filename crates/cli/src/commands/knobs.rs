use lampyr::{Result, knobs};
use serde::Serialize;

use crate::output::Output;

#[derive(Serialize)]
struct Knob {
    name: &'static str,
    value: &'static str,
    default: &'static str,
    accepts: &'static str,
    description: &'static str,
    problem: Option<&'static str>,
}

/// Prints all knobs with their values.
pub fn run(output: Output) -> Result<String> {
    let all: Vec<Knob> = (knobs::all().into_iter())
        .map(|k| Knob {
            name: k.name,
            value: k.value(),
            default: k.default,
            accepts: k.accepts,
            description: k.doc,
            problem: k.problem(),
        })
        .collect();
    output.either(&all, || {
        let row = |k: &Knob| [k.name, k.value, k.default, k.accepts, k.description].map(str::to_string).to_vec();
        output.table(&["variable", "value", "default", "accepts", "what it does"], &[], all.iter().map(row))
    })
}
