//! Whole paths: a data-dependent shape under a memory cap, missing kernels, two devices in one model, kernels for all
//! f32 ops.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lampyr_base::{DType, Device, ErrorKind, Symbol};
use lampyr_compiler::Options;
use lampyr_conformance::graphs::Ready;
use lampyr_conformance::loopback::{LOOPBACK, loopback};
use lampyr_conformance::runner;
use lampyr_ir::{Class, Fact, Graph, GraphBuilder, HostTensor, HostValue};
use lampyr_ops::{build, registry};
use lampyr_runtime::{Tensor, trace};

/// The trace is one for the process.
fn traced<T>(run: impl FnOnce() -> T) -> (T, Vec<trace::Event>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn: MutexGuard<()> = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    trace::enable(1 << 16);
    let result = run();
    trace::disable();
    (result, trace::take())
}

fn positives() -> Graph {
    let mut b = GraphBuilder::new("positives");
    let n = lampyr_base::Dim::of(&Symbol::new("n"));
    let x = b.input("x", Fact::tensor(DType::F32, [n]));
    let zero = (&mut b as &mut dyn lampyr_ir::Builder).scalar(DType::F32, 0.0).expect("0");
    let mask = build::greater(&mut b, &x, &zero).expect("mask");
    let at = build::nonzero(&mut b, &mask).expect("indices");
    let flat = build::reshape(&mut b, &at, vec![lampyr_base::Dim::Known(-1)]).expect("flat");
    let picked = build::gather(&mut b, &x, &flat, 0).expect("picked");
    let twice = build::add(&mut b, &picked, &picked).expect("twice");
    b.output("y", &twice).expect("output");
    b.finish()
}

#[test]
fn a_shape_that_depends_on_data() {
    lampyr_cpu::register();
    let ready = Ready::new(&positives(), Device::CPU, true).expect("compiles");
    for values in [vec![1.0f32, -2.0, 3.0], vec![-1.0], vec![], vec![0.5; 100]] {
        let x = HostTensor::from_slice(&[values.len()], &values).expect("x");
        let got = ready.run(&[x.into()]).expect("runs");
        let want: Vec<f32> = values.iter().filter(|v| **v > 0.0).map(|v| 2.0 * v).collect();
        assert_eq!(got[0].tensor().expect("a tensor").as_slice::<f32>().expect("float32"), want);
    }
}

#[test]
fn data_dependent_memory_is_capped() {
    lampyr_cpu::register();
    let options = Options { memory_cap: Some(100_000), ..Options::default() };
    let ready = Ready::with(&positives(), &options).expect("compiles");
    let run = |value: f32| ready.run(&[HostTensor::from_slice(&[9_000], &vec![value; 9_000]).expect("x").into()]);
    let e = run(1.0).expect_err("9,000 int64 indices and more do not fit");
    assert!(matches!(e.kind(), ErrorKind::OutOfMemory { .. }), "{e}");
    let small = run(-1.0).expect("no positive element, no memory");
    assert_eq!(small[0].tensor().expect("a tensor").len(), 0);
}

#[test]
fn every_f32_op_has_a_cpu_kernel() {
    lampyr_cpu::register();
    let mut slow = Vec::new();
    for entry in registry::builtin() {
        for case in (entry.cases)() {
            let f32_case = case.inputs.iter().any(|i| i.dtype == DType::F32);
            if !f32_case || case.op.class() == Class::Control {
                continue;
            }
            let (result, events) = traced(|| runner::eager(&case, Device::CPU));
            result.unwrap_or_else(|e| panic!("{}/{}: {e}", entry.name, case.name));
            slow.extend(
                events
                    .iter()
                    .filter(|e| e.kernel == "reference" && e.device == Device::CPU)
                    .map(|e| format!("{}/{} runs {} on the reference ({})", entry.name, case.name, e.op, e.reason)),
            );
        }
    }
    slow.sort();
    slow.dedup();
    assert!(slow.is_empty(), "{} cases:\n{}", slow.len(), slow.join("\n"));
}

#[test]
fn a_missing_kernel_falls_back_with_its_reason() {
    loopback();
    let x = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.25], &[2, 2]).and_then(|t| t.to_device(LOOPBACK)).expect("x");
    let (gelu, events) = traced(|| x.gelu("none"));
    let event = events.iter().find(|e| e.op == "gelu" && e.device == LOOPBACK).expect("an event");
    assert_eq!((event.kernel, event.reason), ("decompose", "no_kernel"));
    let cpu = x.to_device(Device::CPU).and_then(|t| t.gelu("none")).and_then(|t| t.to_host()).expect("cpu");
    let got = gelu.and_then(|t| t.to_host()).expect("loopback");
    assert_eq!(runner::difference(&got, &cpu, None), None);

    let (logs, events) = traced(|| x.mul(&x).and_then(|y| y.log()));
    logs.expect("runs");
    let event = events.iter().find(|e| e.op == "log" && e.device == LOOPBACK).expect("an event");
    assert_eq!((event.kernel, event.reason), ("reference", "no_kernel"));
    assert!(trace::warnings().iter().any(|(k, _)| k.contains(":log:")), "one warning names the op");
}

#[test]
fn one_model_on_two_devices() {
    lampyr_cpu::register();
    loopback();
    let mut b = GraphBuilder::new("two");
    let x = b.input("x", Fact::fixed(DType::F32, &[4, 3]));
    let w = b.input("w", Fact::fixed(DType::F32, &[3, 5]));
    let p = build::matmul(&mut b, &x, &w).expect("product");
    let r = build::relu(&mut b, &p).expect("relu");
    let l = build::log_softmax(&mut b, &r, -1).expect("log softmax");
    let s = build::exp(&mut b, &l).expect("exp");
    b.output("y", &s).expect("output");
    let graph = b.finish();
    let values: Vec<HostValue> = [(&[4usize, 3], 1u64), (&[3, 5], 2)]
        .iter()
        .map(|(shape, seed)| {
            let like = HostTensor::zeros(DType::F32, &shape[..]).expect("zeros");
            runner::weights(&like, *seed).expect("numbers").into()
        })
        .collect();
    let plain = Ready::new(&graph, Device::CPU, true).and_then(|r| r.run(&values)).expect("on the cpu");
    let mut options = Options { verify: true, ..Options::default() };
    options.policy.ops.insert("matmul".to_string(), LOOPBACK);
    options.policy.ops.insert("exp".to_string(), LOOPBACK);
    let ready = Ready::with(&graph, &options).expect("compiles");
    let (got, events) = traced(|| ready.run(&values));
    let got = got.expect("runs");
    assert_eq!(runner::value_difference(&got[0], &plain[0], None), None);
    assert!(events.iter().any(|e| e.device == LOOPBACK && e.reason == "kernel"), "kernels ran on the loopback device");
    assert!(events.iter().any(|e| e.op == "transfer"), "values were moved between devices");
}
