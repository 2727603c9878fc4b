//! Models whose graph depends on the values of inputs, such as axes or steps: one compiled form for each set of values.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lampyr_base::{Error, Result};
use lampyr_compiler::Options;
use lampyr_ir::HostTensor;
use lampyr_onnx::Source;
use lampyr_runtime::session::{Session, Value};

/// Compiled forms that are kept.
const KEPT: usize = 8;

#[derive(Debug, Default)]
struct State {
    /// Names of the inputs whose values count.
    names: Vec<String>,
    options: Options,
    sessions: Vec<(Vec<HostTensor>, Arc<Session>)>,
}

/// The compiled forms of one model.
#[derive(Debug)]
pub(crate) struct ByValue {
    source: Source,
    inputs: Vec<String>,
    state: Mutex<State>,
}

impl ByValue {
    /// Nothing is compiled yet; `names` are the first inputs whose values count.
    pub fn new(source: Source, inputs: Vec<String>, names: Vec<String>) -> ByValue {
        ByValue { source, inputs, state: State { names, ..State::default() }.into() }
    }

    /// Forgets what was compiled under other options.
    pub fn compile(&self, options: &Options) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.options = options.clone();
        state.sessions.clear();
    }

    /// The form that ran last.
    ///
    /// # Errors
    /// When none has run.
    pub fn last(&self) -> Result<Arc<Session>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.sessions.last() {
            Some((_, session)) => Ok(session.clone()),
            None => {
                let names = state.names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
                Err(Error::graph(format!("the graph of this model depends on the values of its inputs {names}"))
                    .with_help("run it first"))
            }
        }
    }

    /// The form for these inputs.
    ///
    /// # Errors
    /// When the model cannot be built or compiled for their values.
    pub fn session(&self, inputs: &[Value]) -> Result<Arc<Session>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let key = self.values(&state.names, inputs)?;
            if let Some(at) = state.sessions.iter().position(|(k, _)| *k == key) {
                let found = state.sessions.remove(at);
                let session = found.1.clone();
                state.sessions.push(found);
                return Ok(session);
            }
            let fixed: HashMap<String, HostTensor> = state.names.iter().cloned().zip(key.iter().cloned()).collect();
            match self.source.import(fixed) {
                Ok(made) => {
                    let compiled = lampyr_compiler::compile(&made.graph, &state.options)?;
                    let session = Arc::new(Session::new(Arc::new(compiled)));
                    if state.sessions.len() >= KEPT {
                        state.sessions.remove(0);
                    }
                    state.sessions.push((key, session.clone()));
                    return Ok(session);
                }
                Err(stopped) => {
                    let before = state.names.len();
                    for name in stopped.needs {
                        if !state.names.contains(&name) {
                            state.names.push(name);
                        }
                    }
                    if state.names.len() == before {
                        return Err(stopped.error);
                    }
                    state.sessions.clear();
                }
            }
        }
    }

    fn values(&self, names: &[String], inputs: &[Value]) -> Result<Vec<HostTensor>> {
        let value = |name: &String| {
            let missing = || Error::not_found(format!("the model has no input `{name}`"));
            let at = self.inputs.iter().position(|n| n == name).ok_or_else(missing)?;
            inputs.get(at).ok_or_else(missing)?.tensor()?.to_host()
        };
        names.iter().map(value).collect()
    }
}
