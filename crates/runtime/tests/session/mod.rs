//! Compiled graphs against the plain reference.

mod basic;
mod cases;
mod control;
mod devices;
mod dynamic;

use std::sync::Arc;

use lampyr_backend::backend;
use lampyr_base::Bindings;
use lampyr_compiler::{Options, compile};
use lampyr_ir::case::{CaseInput, Tolerance};
use lampyr_ir::{Graph, HostTensor, HostValue, interpret};
use lampyr_runtime::session::{Session, Value};

/// Uploads, runs, downloads.
pub fn run(session: &Session, inputs: &[HostValue]) -> lampyr_base::Result<Vec<HostValue>> {
    let device = backend(session.executable().device())?;
    let values = inputs.iter().map(|v| Value::upload(&*device, v)).collect::<lampyr_base::Result<Vec<_>>>()?;
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
    if let Err(e) = matches(want, got, None) {
        panic!("{what}: {e}");
    }
}

/// Compares two values, by default with the tolerance of their type.
pub fn matches(want: &HostValue, got: &HostValue, tolerance: Option<Tolerance>) -> Result<(), String> {
    match (want, got) {
        (HostValue::Sequence(a), HostValue::Sequence(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| matches(&a.clone().into(), &b.clone().into(), tolerance))
        }
        (HostValue::Tensor(a), HostValue::Tensor(b)) => {
            if (a.dtype(), a.shape()) != (b.dtype(), b.shape()) {
                return Err(format!("{} and {}", a.describe(), b.describe()));
            }
            let t = tolerance.unwrap_or(Tolerance::of(a.dtype()));
            for (x, y) in a.to_f64().iter().zip(b.to_f64()) {
                let near = (x - y).abs() <= 2.0 * (t.absolute + t.relative * x.abs());
                if !near && x != &y && !(x.is_nan() && y.is_nan()) {
                    return Err(format!("{x} and {y}"));
                }
            }
            Ok(())
        }
        _ if want == got => Ok(()),
        _ => Err("values of different kinds".to_string()),
    }
}
