mod fusion;
mod layout;
mod memory;
mod passes;
mod random;
mod recognise;
mod tuning;

use lampyr_base::{Bindings, DType};
use lampyr_compiler::{Executable, Options, compile};
use lampyr_ir::case::CaseInput;
use lampyr_ir::{Graph, HostTensor, HostValue, interpret};

/// Options under which passes do all they can.
pub fn eager_options() -> Options {
    Options { verify: true, assume_kernels: true, stop_after: None, ..Options::default() }
}

/// Compiles on the CPU.
pub fn build(graph: &Graph, options: &Options) -> Executable {
    lampyr_cpu::register();
    compile(graph, options).unwrap_or_else(|e| panic!("{e}\n{graph}"))
}

/// Random elements.
pub fn random_tensor(dtype: DType, shape: &[usize], salt: u64) -> HostTensor {
    CaseInput::new(dtype, shape).storage(salt).expect("a tensor").0
}

/// By the reference implementations.
pub fn reference(graph: &Graph, inputs: &[HostValue]) -> Vec<HostValue> {
    interpret::reference(graph, inputs, &Bindings::new()).unwrap_or_else(|e| panic!("{e}\n{graph}"))
}

/// Same numbers; `exact` demands the same bits.
pub fn assert_same(want: &[HostValue], got: &[HostValue], exact: bool, what: &str) {
    assert_eq!(want.len(), got.len(), "{what}");
    for (w, g) in want.iter().zip(got) {
        let (w, g) = (w.tensor().expect("tensor"), g.tensor().expect("tensor"));
        assert_eq!((w.dtype(), w.shape()), (g.dtype(), g.shape()), "{what}");
        for (x, y) in w.to_f64().iter().zip(g.to_f64()) {
            let near = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()) || x == &y;
            let near = near || (!exact && (x - y).abs() <= 1e-4 + 1e-4 * x.abs());
            assert!(near, "{what}: {x} and {y}");
        }
    }
}
