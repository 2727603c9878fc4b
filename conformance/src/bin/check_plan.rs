//! Checks memory plans printed by `lampyr explain --json`: `check_plan REPORT.json...`.

use std::process::ExitCode;

use lampyr_conformance::plan_check::Plan;

fn main() -> ExitCode {
    let mut wrong = 0;
    let names: Vec<String> = std::env::args().skip(1).collect();
    for name in &names {
        let checked = std::fs::read_to_string(name)
            .map_err(|e| e.to_string())
            .and_then(|text| Plan::parse(&text))
            .and_then(|plan| plan.check());
        match checked {
            Ok(f) => println!(
                "{name}: arena {} bound {} ({:.4}) live {} greedy {}",
                f.arena,
                f.bound,
                f.arena as f64 / f.bound.max(1) as f64,
                f.live,
                f.greedy
            ),
            Err(e) => {
                println!("{name}: {e}");
                wrong += 1;
            }
        }
    }
    if wrong > 0 || names.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
