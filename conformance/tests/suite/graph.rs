//! Every case as a compiled graph: alone and with symbolic sizes, in branches and loops, fused with its neighbours, and
//! differentiated twice.

use lampyr_base::Device;
use lampyr_conformance::graphs::{self, Ready};
use lampyr_conformance::runner;
use lampyr_ir::case::{Case, Tolerance};
use lampyr_ir::{HostTensor, HostValue};
use lampyr_ops::registry;

/// Runs `check` over all cases and fails with the list of what went wrong.
fn over_cases(what: &str, mut check: impl FnMut(&Case) -> Result<bool, String>) -> usize {
    lampyr_cpu::register();
    let (mut ran, mut failures) = (0, Vec::new());
    for entry in registry::builtin() {
        for case in (entry.cases)() {
            match check(&case) {
                Ok(did) => ran += usize::from(did),
                Err(e) => failures.push(format!("{}/{}: {e}", entry.name, case.name)),
            }
        }
    }
    println!("{what}: {ran} cases, {} wrong", failures.len());
    assert!(failures.is_empty(), "{what}: {} wrong of {ran}:\n{}", failures.len(), failures.join("\n"));
    ran
}

fn text(e: lampyr_base::Error) -> String {
    e.to_string()
}

fn compare(case: &Case, got: &[HostValue], want: &[HostValue]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} outputs, expected {}", got.len(), want.len()));
    }
    for (k, (g, w)) in got.iter().zip(want).enumerate() {
        if let Some(d) = runner::value_difference(g, w, case.tolerance) {
            return Err(format!("output {k}: {d}"));
        }
    }
    Ok(())
}

/// Large cases exercise threads, not graphs.
fn small(case: &Case) -> bool {
    case.inputs.iter().all(|i| i.shape.iter().product::<usize>() <= 4096)
}

#[test]
fn alone() {
    over_cases("graph", |case| {
        let ready = Ready::new(&graphs::alone(case, false).map_err(text)?, Device::CPU, true).map_err(text)?;
        let got = ready.run(&case.values().map_err(text)?).map_err(text)?;
        compare(case, &got, &runner::reference(case).map_err(text)?).map(|()| true)
    });
}

#[test]
fn symbolic_sizes() {
    let mut shapes = 0;
    let ran = over_cases("symbolic graph", |case| {
        if case.symbolic.is_empty() {
            return Ok(false);
        }
        let ready = Ready::new(&graphs::alone(case, true).map_err(text)?, Device::CPU, true).map_err(text)?;
        let mut all = graphs::resized(case);
        all.push(case.clone());
        for sized in &all {
            shapes += 1;
            for _ in 0..2 {
                let got = ready.run(&sized.values().map_err(text)?).map_err(text)?;
                compare(sized, &got, &runner::reference(sized).map_err(text)?)?;
            }
        }
        let plans = ready.executable().plans_made();
        if plans > all.len() as u64 {
            return Err(format!("{plans} plans for {} shapes", all.len()));
        }
        Ok(true)
    });
    assert!(ran >= 40 && shapes > ran, "{ran} cases with {shapes} shapes");
}

#[test]
fn in_branches_and_loops() {
    over_cases("If", |case| {
        if !small(case) {
            return Ok(false);
        }
        let ready = Ready::new(&graphs::in_branch(case).map_err(text)?, Device::CPU, true).map_err(text)?;
        let want = runner::reference(case).map_err(text)?;
        for condition in [true, false] {
            let mut inputs = vec![HostValue::Tensor(HostTensor::scalar(condition))];
            inputs.extend(case.values().map_err(text)?);
            compare(case, &ready.run(&inputs).map_err(text)?, &want)?;
        }
        Ok(true)
    });
    over_cases("Loop", |case| {
        let want = runner::reference(case).map_err(text)?;
        if !small(case) || want.iter().any(|v| v.tensor().is_err()) {
            return Ok(false);
        }
        let ready = Ready::new(&graphs::in_loop(case).map_err(text)?, Device::CPU, true).map_err(text)?;
        let mut inputs = vec![HostValue::Tensor(HostTensor::scalar(2i64))];
        inputs.extend(case.values().map_err(text)?);
        let got = ready.run(&inputs).map_err(text)?;
        for (k, (stacked, want)) in got.iter().zip(&want).enumerate() {
            let (stacked, want) = (stacked.tensor().map_err(text)?, want.tensor().map_err(text)?);
            let half = stacked.bytes().len() / 2;
            for part in [&stacked.bytes()[..half], &stacked.bytes()[half..]] {
                let one = HostTensor::copy_bytes(want.dtype(), want.shape(), part).map_err(text)?;
                if let Some(d) = runner::difference(&one, want, case.tolerance) {
                    return Err(format!("scan {k}: {d}"));
                }
            }
        }
        Ok(true)
    });
}

#[test]
fn fused_with_neighbours() {
    let mut fewer = 0;
    let ran = over_cases("fused", |case| {
        let Some(graph) = graphs::between(case).map_err(text)? else { return Ok(false) };
        let fused = Ready::new(&graph, Device::CPU, true).map_err(text)?;
        let plain = Ready::new(&graph, Device::CPU, false).map_err(text)?;
        fewer += usize::from(fused.executable().graph().len() < plain.executable().graph().len());
        let values = case.values().map_err(text)?;
        compare(case, &fused.run(&values).map_err(text)?, &plain.run(&values).map_err(text)?).map(|()| true)
    });
    println!("{fewer} of {ran} graphs have fewer nodes after fusion");
    assert!(fewer * 2 > ran, "only {fewer} of {ran} graphs were fused");
}

#[test]
fn differentiated_twice() {
    over_cases("gradients through the graph", |case| {
        if !case.gradient || !small(case) || case.inputs.iter().any(|i| i.sequence.is_some()) {
            return Ok(false);
        }
        let reference = runner::reference(case).map_err(text)?;
        let eager = runner::eager_gradients(case, Device::CPU).map_err(text)?;
        let joint = graphs::differentiated(case, &reference).map_err(text)?;
        let ready = Ready::new(&joint.graph, Device::CPU, true).map_err(text)?;
        let got = ready.run(&case.values().map_err(text)?).map_err(text)?;
        let wanted = (joint.first.iter().map(|&i| ("first", i, &eager.first[i])))
            .chain(joint.second.iter().map(|&i| ("second", i, &eager.second[i])));
        for (g, (order, i, want)) in got.iter().zip(wanted) {
            let g = g.tensor().map_err(text)?;
            let t = case.tolerance.unwrap_or_else(|| Tolerance::of(g.dtype()));
            let wide = Some(Tolerance { absolute: 4.0 * t.absolute, relative: 4.0 * t.relative });
            let difference = match want {
                Some(want) => runner::difference(g, want, wide),
                None if g.to_f64().iter().any(|x| *x != 0.0) => Some("a gradient where eager has none".to_string()),
                None => None,
            };
            if let Some(d) = difference {
                return Err(format!("{order} gradient of input {i}: {d}"));
            }
        }
        Ok(true)
    });
}
