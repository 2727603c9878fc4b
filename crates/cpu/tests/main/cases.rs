use lampyr_backend::{Kernel, Launch};
use lampyr_base::DType;
use lampyr_cpu::simd::Tier;
use lampyr_ir::{Class, Fact, GraphBuilder, Op};

use crate::harness::{Prepared, Settings, all, report};

#[test]
fn kernels_agree_with_the_reference() {
    let settings = Settings::lock();
    let mut findings = Vec::new();
    let mut ran = 0;
    for p in all() {
        let Ok(kernel) = p.kernel() else { continue };
        for tier in Tier::available() {
            let mut outputs = Vec::new();
            for threads in [1, 2] {
                settings.set(tier, threads);
                match p.run(kernel, None, false) {
                    Ok(got) => outputs.push(got),
                    Err(e) => findings.push(format!("{} {tier:?}: {e}", p.name)),
                }
            }
            let Some(first) = outputs.first() else { continue };
            ran += 1;
            if let Err(e) = p.check(first) {
                findings.push(format!("{} {tier:?} {}: {e}", p.name, kernel.name()));
            }
            let same = outputs.iter().all(|o| o.iter().zip(first).all(|(a, b)| a.bytes() == b.bytes()));
            if p.case.op.deterministic() && !same {
                findings.push(format!("{} {tier:?}: bits depend on the number of threads", p.name));
            }
        }
    }
    println!("{ran} runs");
    assert!(ran > 100);
    report(findings);
}

#[test]
fn hidden_outputs_may_be_left_out() {
    let _settings = Settings::lock();
    let mut findings = Vec::new();
    for p in all().into_iter().filter(|p| p.case.op.visible_outputs().is_some()) {
        let Ok(kernel) = p.kernel() else { continue };
        let outcome = p.run(kernel, None, true).and_then(|got| p.check(&got));
        findings.extend(outcome.err().map(|e| format!("{}: {e}", p.name)));
    }
    report(findings);
}

#[test]
fn kernels_run_in_place() {
    let settings = Settings::lock();
    let mut findings = Vec::new();
    for p in all() {
        let Ok(kernel) = p.kernel() else { continue };
        for (i, input) in p.inputs.iter().enumerate() {
            for (o, want) in p.want.iter().enumerate() {
                let fits = input.layout.shape.as_slice() == want.shape()
                    && input.dtype.size() == want.dtype().size()
                    && (input.layout.is_injective() || input.layout.is_empty())
                    && kernel.in_place(&*p.case.op, i, o);
                if !fits {
                    continue;
                }
                for tier in Tier::available() {
                    settings.set(tier, 2);
                    let outcome = p.run(kernel, Some((i, o)), false).and_then(|got| p.check(&got));
                    findings.extend(outcome.err().map(|e| format!("{} {tier:?}, {o} in place of {i}: {e}", p.name)));
                }
            }
        }
    }
    report(findings);
}

fn decomposes(p: &Prepared) -> bool {
    let mut b = GraphBuilder::new("decompose");
    let vars: Vec<_> = (p.inputs.iter().enumerate())
        .map(|(i, t)| b.input(&i.to_string(), Fact::fixed(t.dtype, &t.layout.shape)))
        .collect();
    matches!(p.case.op.decompose(&mut b, &vars), Some(Ok(_)))
}

#[test]
fn float32_never_falls_back() {
    let mut findings = Vec::new();
    for p in all() {
        let op = &*p.case.op;
        let main = p.inputs.first().map_or(DType::F32, |t| t.dtype);
        if main != DType::F32 || matches!(op.class(), Class::View | Class::Control) {
            continue;
        }
        if let Err(reason) = p.kernel()
            && !decomposes(&p)
        {
            findings.push(format!("{}: {reason}", p.name));
        }
    }
    report(findings);
}

#[test]
fn elementwise_ops_have_expressions() {
    let mut findings = Vec::new();
    for p in all().iter().filter(|p| p.case.op.class() == Class::Elementwise) {
        let dtypes: Vec<DType> = p.inputs.iter().map(|t| t.dtype).collect();
        match p.case.op.scalar(&dtypes) {
            Some(e) if e.outputs.len() == p.want.len() && e.inputs[..] == dtypes[..] => {}
            _ => findings.push(p.name.clone()),
        }
    }
    report(findings);
}

struct Broken;

impl Kernel for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn supports(&self, _: &dyn Op, _: &[lampyr_backend::ArgInfo], _: &[lampyr_backend::ArgInfo]) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> lampyr_base::Result<()> {
        let kernel = launch.backend.kernels().candidates(launch.op.id()).last();
        kernel.map_or(Ok(()), |k| k.launch(launch))?;
        let output = launch.output(0)?;
        let last = output.layout.len() - 1;
        // SAFETY: the last of the output's float32 elements.
        unsafe { *output.host_ptr().unwrap().cast::<f32>().add(last) += 0.01 };
        Ok(())
    }
}

#[test]
fn a_broken_kernel_is_detected() {
    let _settings = Settings::lock();
    let p = all().into_iter().find(|p| p.name == "add/plain-float32").unwrap();
    let got = p.run(&Broken, None, false).unwrap();
    assert!(p.check(&got).is_err());
    let got = p.run(p.kernel().unwrap(), None, false).unwrap();
    p.check(&got).unwrap();
}
