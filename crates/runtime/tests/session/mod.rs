//! Compiled graphs against the plain reference.

mod basic;

use std::sync::Arc;

use lampyr_backend::backend;
use lampyr_base::{Bindings, Result};
use lampyr_compiler::{Options, compile};
use lampyr_ir::case::{CaseInput, Tolerance};
use lampyr_ir::{Graph, HostTensor, HostValue, interpret};
use lampyr_runtime::session::{Session, Value};

/// Uploads, runs, downloads.
pub fn run(session: &Session, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
    let device = backend(session.executable().device())?;
    let values = inputs.iter().map(|v| Value::upload(&*device, v)).collect::<Result<Vec<_>>>()?;
    session.run(values)?.iter().map(Value::to_host).collect()
}

/// A session of `graph` on the CPU with default options.
pub fn session(graph: &Graph) -> Session {
    with(graph, &Options::default())
}

/// A session of `graph`.
pub fn with(graph: &Graph, options: &Options) -> Session {
    lampyr_cpu::register();
    let options = Options { verify: true, ..options.clone() };
    Session::new(Arc::new(compile(graph, &options).expect("compiles")))
}

/// Random elements.
pub fn random(shape: &[usize], salt: u64) -> HostTensor {
    CaseInput::new(lampyr_base::DType::F32, shape).storage(salt).expect("a tensor").0
}

/// Compares with the interpreter.
pub fn check(graph: &Graph, session: &Session, inputs: &[HostValue]) {
    let want = interpret::reference(graph, inputs, &Bindings::new()).expect("reference runs");
    let got = run(session, inputs).expect("session runs");
    assert_eq!(want.len(), got.len());
    for (i, (w, g)) in want.iter().zip(&got).enumerate() {
        close(w, g, &format!("output {i} of {}", graph.name));
    }
}

fn close(want: &HostValue, got: &HostValue, what: &str) {
    match (want, got) {
        (HostValue::Sequence(a), HostValue::Sequence(b)) => {
            assert_eq!(a.len(), b.len(), "{what}");
            a.iter().zip(b).for_each(|(a, b)| close(&a.clone().into(), &b.clone().into(), what));
        }
        (HostValue::Tensor(a), HostValue::Tensor(b)) => {
            assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{what}");
            let t = Tolerance::of(a.dtype());
            for (x, y) in a.to_f64().iter().zip(b.to_f64()) {
                let near = (x - y).abs() <= t.absolute + t.relative * 10.0 * x.abs();
                assert!(near || x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()), "{what}: {x} and {y}");
            }
        }
        _ => assert_eq!(want, got, "{what}"),
    }
}
