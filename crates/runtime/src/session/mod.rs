//! Running compiled graphs: sessions, their memory, and the values that go in and out.

mod arena;
mod control;
mod dynamic;
mod run;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lampyr_base::{Bindings, Result};
use lampyr_compiler::Executable;

pub use value::{TensorValue, Value};

use arena::{Arenas, Budget};

/// A compiled graph kept resident on its device with its buffers. Several threads may run it at once; each run takes
/// an arena of its own from a pool.
#[derive(Debug)]
pub struct Session {
    executable: Arc<Executable>,
    arenas: Arenas,
    peak: AtomicUsize,
}

impl Session {
    /// A session without buffers; the first run of a shape makes them.
    pub fn new(executable: Arc<Executable>) -> Session {
        Session { executable, arenas: Arenas::default(), peak: AtomicUsize::new(0) }
    }

    /// The compiled graph.
    pub fn executable(&self) -> &Arc<Executable> {
        &self.executable
    }

    /// Runs the graph once.
    ///
    /// # Errors
    /// When inputs do not fit the graph, the memory cap is reached, or a kernel fails.
    pub fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        self.run_donating(inputs, &[])
    }

    /// As [`Session::run`]; the memory of the inputs at these positions may be overwritten, and outputs may lie in it.
    /// Memory that another input shares is left alone.
    pub fn run_donating(&self, inputs: Vec<Value>, donated: &[usize]) -> Result<Vec<Value>> {
        let mut budget = Budget::new(self.executable.options().memory_cap);
        let result = run::execute(&self.executable, &self.arenas, &mut budget, inputs, donated, &Bindings::new());
        self.peak.fetch_max(budget.peak(), Ordering::Relaxed);
        result
    }

    /// Gives back the arenas that no run uses.
    pub fn trim(&self) {
        self.arenas.trim();
    }

    /// Bytes of arenas kept between runs.
    pub fn resident_bytes(&self) -> usize {
        self.arenas.bytes()
    }

    /// The most bytes (arenas, outputs and data-dependent values) that one run has used.
    pub fn peak_bytes(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}
