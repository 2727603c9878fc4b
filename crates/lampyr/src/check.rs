//! Whether a model can run here, and everything in the way when it cannot.

use std::path::Path;

use lampyr_base::Result;
use lampyr_onnx::Problem;

use crate::Model;

/// An op for which the device has no kernel: it runs on the plain host reference, correctly and slowly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Name of the op.
    pub op: &'static str,
    /// Why: `no_kernel`, `kernel_refused` or `user_op`.
    pub reason: &'static str,
    /// Its nodes.
    pub nodes: Vec<String>,
}

/// What was found out about a model without running it.
#[derive(Debug, Default)]
pub struct Check {
    /// The model; absent when it cannot be read.
    pub model: Option<Model>,
    /// Everything that keeps it from running; empty when it can run.
    pub problems: Vec<Problem>,
    /// Ops that run slowly.
    pub slow: Vec<Slow>,
}

impl Check {
    /// Whether the model can run here.
    pub fn ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn of(model: Result<Model>, list: impl FnOnce() -> Vec<Problem>) -> Check {
        let mut check = Check::default();
        let model = match model {
            Ok(model) if model.depends_on_values() => {
                check.model = Some(model);
                return check;
            }
            other => other,
        };
        match model.and_then(|model| model.session().map(|session| (model, session))) {
            Ok((model, session)) => {
                for p in &session.executable().report().placements {
                    if !matches!(p.reason, "no_kernel" | "kernel_refused" | "user_op") {
                        continue;
                    }
                    match check.slow.iter_mut().find(|s| (s.op, s.reason) == (p.op, p.reason)) {
                        Some(slow) => slow.nodes.push(p.node.clone()),
                        None => check.slow.push(Slow { op: p.op, reason: p.reason, nodes: vec![p.node.clone()] }),
                    }
                }
                check.model = Some(model);
            }
            Err(e) => {
                check.problems = list();
                if check.problems.is_empty() {
                    // The graph was built; it is the compiler that refuses it.
                    check.problems = Problem::of(&e);
                }
            }
        }
        check
    }
}

/// Checks a file and the data files beside it.
pub fn check(path: impl AsRef<Path>) -> Check {
    let path = path.as_ref();
    Check::of(Model::load(path), || lampyr_onnx::check_path(path))
}

/// Checks the bytes of a file.
pub fn check_bytes(bytes: &[u8]) -> Check {
    Check::of(Model::from_bytes(bytes), || lampyr_onnx::check(bytes))
}
