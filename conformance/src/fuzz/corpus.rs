//! Models that inputs are made from: the small models of the tests, and the ops of all cases as models of one node.

use std::collections::BTreeMap;
use std::path::Path;

use lampyr_base::Result;
use lampyr_onnx::pb::ModelProto;
use lampyr_ops::registry;
use prost::Message;

use crate::graphs;

/// Models of at most this many bytes.
const LONGEST: usize = 20_000;
/// Cases per op.
const CASES: usize = 6;

fn files(folder: &Path, found: &mut BTreeMap<String, ModelProto>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "onnx")
            && let Ok(bytes) = std::fs::read(&path)
            && let Ok(mut model) = ModelProto::decode(&bytes[..])
        {
            shrink(&mut model);
            if model.encoded_len() <= LONGEST {
                found.insert(path.display().to_string(), model);
            }
        }
    }
}

/// Drops the elements of large weights; what is left still has their names and types.
fn shrink(model: &mut ModelProto) {
    for tensor in model.graph.iter_mut().flat_map(|g| &mut g.initializer) {
        if tensor.raw_data.as_ref().is_some_and(|b| b.len() > 512) {
            tensor.raw_data = Some(Vec::new().into());
            tensor.dims = vec![0];
        }
    }
}

/// All models, in an order that depends on nothing but the project's files.
///
/// # Errors
/// When a case cannot be built.
pub fn corpus() -> Result<Vec<ModelProto>> {
    let mut found = BTreeMap::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    let mut all: Vec<ModelProto> = found.into_values().collect();
    for entry in registry::builtin() {
        let cases = (entry.cases)();
        for case in cases.iter().step_by(cases.len().div_ceil(CASES).max(1)) {
            for symbolic in [false, true] {
                let Ok(graph) = graphs::alone(case, symbolic) else { continue };
                let Ok(bytes) = lampyr_onnx::export(&graph) else { continue };
                if bytes.len() <= LONGEST
                    && let Ok(model) = ModelProto::decode(&bytes[..])
                {
                    all.push(model);
                }
            }
        }
    }
    Ok(all)
}
