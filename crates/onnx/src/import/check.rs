//! Everything that is in the way of a model, at once.

use std::path::Path;

use lampyr_base::{Error, ErrorKind, Missing, Result};
use prost::Message;
use prost::bytes::Bytes;

use super::{Opened, decode};
use crate::external::map;
use crate::pb::ModelProto;

/// One thing that keeps a model from running here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Class of the error, as [`ErrorKind::name`] has it; `UnsupportedError` for what this build lacks.
    pub kind: &'static str,
    /// What is missing or wrong.
    pub what: String,
    /// The nodes, tensors or inputs that it concerns.
    pub nodes: Vec<String>,
    /// What to do, where that is known.
    pub help: Option<String>,
}

/// Lists all that keeps the model in these bytes from being built; nothing when it can be.
pub fn check(bytes: &[u8]) -> Vec<Problem> {
    problems(decode(ModelProto::decode(bytes)), None)
}

/// As [`check`], for a file and the data files beside it.
pub fn check_path(path: impl AsRef<Path>) -> Vec<Problem> {
    let path = path.as_ref();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let bytes = map(path).map(|file| file.map_or_else(Bytes::new, Bytes::from_owner));
    problems(bytes.and_then(|bytes| decode(ModelProto::decode(bytes))), Some(folder))
}

fn problems(model: Result<ModelProto>, folder: Option<&Path>) -> Vec<Problem> {
    let mut list = Vec::new();
    let found = model.and_then(|model| {
        let Opened { importer, graph, versions } = Opened::new(&model, folder)?;
        for found in [importer.check_versions(&versions), importer.scan(graph, &versions)] {
            list.extend(found.err().iter().flat_map(Problem::of));
        }
        let built = importer.model_graph(graph, &versions);
        let failed = importer.problems.take();
        list.extend(failed.iter().flat_map(Problem::of));
        // Without a failed node the graph itself is wrong; nodes that wait for values of inputs are built when it runs.
        if failed.is_empty() && importer.needs.borrow().is_empty() { built.map(drop) } else { Ok(()) }
    });
    if let Err(e) = found {
        list.extend(Problem::of(&e));
    }
    let mut merged: Vec<Problem> = Vec::new();
    for problem in list {
        match merged.iter_mut().find(|p| (p.kind, &p.what) == (problem.kind, &problem.what)) {
            Some(known) => {
                for node in problem.nodes {
                    if !known.nodes.contains(&node) {
                        known.nodes.push(node);
                    }
                }
            }
            None => merged.push(problem),
        }
    }
    merged
}

/// What is missing according to `error`, with its operator and node.
fn missing(error: &Error) -> Vec<Missing> {
    let own: Vec<String> = error.node().map(str::to_string).into_iter().collect();
    let named = |m: &Missing| Missing {
        what: match error.op() {
            Some(op) if !m.what.starts_with("operator ") => format!("{op}: {}", m.what),
            _ => m.what.clone(),
        },
        nodes: if m.nodes.is_empty() { own.clone() } else { m.nodes.clone() },
    };
    error.missing().iter().map(named).collect()
}

impl Problem {
    /// What `error` says: one problem, or one for each thing that is missing.
    pub fn of(error: &Error) -> Vec<Problem> {
        let kind = error.kind().name();
        if matches!(error.kind(), ErrorKind::Unsupported(_)) {
            let expected = error.expected().map(|e| format!("; expected {e}")).unwrap_or_default();
            let help = error.help().map(str::to_string);
            let problem = |m: Missing| Problem {
                kind,
                what: format!("{}{expected}", m.what),
                nodes: m.nodes,
                help: help.clone(),
            };
            return missing(error).into_iter().map(problem).collect();
        }
        let op = error.op().map(|op| format!("{op}: ")).unwrap_or_default();
        let expected = error.expected().map(|e| format!("; expected {e}")).unwrap_or_default();
        vec![Problem {
            kind,
            what: format!("{op}{}{expected}", error.message()),
            nodes: error.node().map(str::to_string).into_iter().collect(),
            help: error.help().map(str::to_string),
        }]
    }
}

/// One error for all that nodes failed on; `last` where no node did.
pub(super) fn summary(problems: Vec<Error>, last: Error) -> Error {
    match problems.as_slice() {
        [] => last,
        [one] => one.clone(),
        several => match several.iter().find(|e| !matches!(e.kind(), ErrorKind::Unsupported(_))) {
            Some(wrong) => wrong.clone(),
            None => {
                let mut all: Vec<Missing> = Vec::new();
                for item in several.iter().flat_map(missing) {
                    match all.iter_mut().find(|m| m.what == item.what) {
                        Some(known) => known.nodes.extend(item.nodes),
                        None => all.push(item),
                    }
                }
                Error::unsupported_list(all)
            }
        },
    }
}
