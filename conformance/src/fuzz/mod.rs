//! Damaged and hostile models: whatever a file says, reading, compiling and running it gives a result or a typed error.
//!
//! Inputs are made from a corpus by changes that know the structure of a model, so that most of them get past the
//! parser. Every input has a number; the same number makes the same input again.

mod corpus;
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use lampyr_base::{Bindings, Device, Result, TypeKind};
use lampyr_compiler::Options;
use lampyr_ir::case::SplitMix;
use lampyr_ir::{Fact, Graph, HostTensor, HostValue};
use lampyr_onnx::pb::ModelProto;
use prost::Message;

use crate::graphs::Ready;

pub use corpus::corpus;

/// Every so many inputs a model that was read is also compiled and run.
const RUN_EVERY: u64 = 8;
/// Work of models that are run.
const MOST_ELEMENTS: usize = 1 << 16;
const MOST_FLOPS: f64 = 1e7;
/// Sizes that the model leaves open.
const OPEN_SIZE: i64 = 3;

/// What became of the inputs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Inputs tried.
    pub inputs: u64,
    /// Those for which the construction of a graph was begun.
    pub reached: u64,
    /// Those that gave a graph.
    pub built: u64,
    /// Those that were compiled.
    pub compiled: u64,
    /// Those that ran to an end, with a result or an error.
    pub ran: u64,
    /// The longest that one input took.
    pub slowest: Duration,
    /// The number of that input.
    pub slowest_input: u64,
    /// Numbers of inputs that panicked, with the message.
    pub panics: Vec<(u64, String)>,
}

impl Tally {
    /// Share of inputs that reached the construction of a graph.
    pub fn reach(&self) -> f64 {
        self.reached as f64 / self.inputs.max(1) as f64
    }

    /// Adds the figures of another part of the run.
    pub fn add(&mut self, other: Tally) {
        self.inputs += other.inputs;
        self.reached += other.reached;
        self.built += other.built;
        self.compiled += other.compiled;
        self.ran += other.ran;
        if other.slowest > self.slowest {
            (self.slowest, self.slowest_input) = (other.slowest, other.slowest_input);
        }
        self.panics.extend(other.panics);
    }
}

/// The bytes of input `number`.
pub fn input(corpus: &[ModelProto], number: u64) -> Vec<u8> {
    let mut rng = SplitMix(number.wrapping_mul(0xd134_2543_de82_ef95));
    let mut model = corpus[(rng.next_u64() % corpus.len() as u64) as usize].clone();
    for _ in 0..1 + rng.next_u64() % 4 {
        mutate::structure(&mut model, corpus, &mut rng);
    }
    let mut bytes = model.encode_to_vec();
    if rng.next_u64().is_multiple_of(8) {
        mutate::bytes(&mut bytes, &mut rng);
    }
    bytes
}

/// Tries the inputs with these numbers. `progress` is called after each.
pub fn run(corpus: &[ModelProto], numbers: std::ops::Range<u64>, mut progress: impl FnMut(u64)) -> Tally {
    let mut tally = Tally::default();
    for number in numbers {
        let bytes = input(corpus, number);
        one(&mut tally, number, &bytes, read_and_run);
        progress(number);
    }
    tally
}

/// How far an input came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// The construction of a graph was begun.
    pub reached: bool,
    /// There was a graph.
    pub built: bool,
    /// There was a compiled form.
    pub compiled: bool,
    /// It was run.
    pub ran: bool,
}

thread_local! {
    static PLACE: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Keeps panics off standard error; the tally names their places instead. With RUST_BACKTRACE set they are printed.
pub fn quiet() {
    if std::env::var_os("RUST_BACKTRACE").is_some() {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with_borrow_mut(|p| *p = place);
    }));
}

/// Tries one input with `act`, which may panic.
pub fn one(tally: &mut Tally, number: u64, bytes: &[u8], act: impl Fn(&[u8], u64) -> Stages) {
    let start = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| act(bytes, number)));
    let took = start.elapsed();
    tally.inputs += 1;
    if took > tally.slowest {
        (tally.slowest, tally.slowest_input) = (took, number);
    }
    match done {
        Ok(stages) => {
            tally.reached += u64::from(stages.reached);
            tally.built += u64::from(stages.built);
            tally.compiled += u64::from(stages.compiled);
            tally.ran += u64::from(stages.ran);
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            let place = PLACE.with_borrow_mut(std::mem::take);
            tally.panics.push((number, format!("{place} {}", text.unwrap_or_default())));
        }
    }
}

/// Reads `bytes` as a model; compiles and runs some.
pub fn read_and_run(bytes: &[u8], number: u64) -> Stages {
    let (reached, read) = lampyr_onnx::probe(bytes);
    let mut stages = Stages { reached, built: read.is_ok(), ..Stages::default() };
    let Ok(model) = read else { return stages };
    if !number.is_multiple_of(RUN_EVERY) {
        return stages;
    }
    let mut options = Options { verify: true, ..Options::default() };
    options.policy.device = Device::CPU;
    let Ok(ready) = Ready::with(&model.graph, &options) else { return stages };
    stages.compiled = true;
    if let Ok(Some(inputs)) = inputs(&model.graph) {
        stages.ran = true;
        let _ = ready.run(&inputs);
    }
    stages
}

/// Inputs of the declared shapes; `None` for models that may take long.
fn inputs(graph: &Graph) -> Result<Option<Vec<HostValue>>> {
    for (_, node) in graph.nodes() {
        let facts: Vec<&Fact> = node.inputs.iter().map(|v| graph.fact(*v)).collect();
        let outputs: Vec<Fact> = node.outputs.iter().map(|v| graph.fact(*v).clone()).collect();
        let cost = node.op.cost(&facts, &outputs);
        if cost.flops > MOST_FLOPS || cost.bytes > MOST_FLOPS || !node.op.bodies().is_empty() {
            return Ok(None);
        }
    }
    let mut all = Vec::new();
    for id in graph.inputs() {
        let Fact::Tensor(fact) = graph.fact(*id) else { return Ok(None) };
        let mut bindings = Bindings::new();
        for symbol in fact.shape.iter().flat_map(|d| d.symbols()) {
            bindings.set(symbol.clone(), OPEN_SIZE);
        }
        let shape = fact.shape.iter().map(|d| d.size(&bindings)).collect::<Result<Vec<_>>>()?;
        let Some(n) = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MOST_ELEMENTS) else {
            return Ok(None);
        };
        let value = |i: usize| if fact.dtype.kind() == TypeKind::Bool { i % 2 } else { i % 5 } as f64;
        let values: Vec<f64> = (0..n).map(value).collect();
        all.push(HostTensor::from_f64(fact.dtype, &shape, &values)?.into());
    }
    Ok(Some(all))
}
