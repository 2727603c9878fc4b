//! Models written by other tools, against the outputs of onnxruntime that are stored beside them.

use std::path::PathBuf;

use lampyr_base::{Bindings, DType};
use lampyr_ir::case::Tolerance;
use lampyr_ir::interpret::reference;
use lampyr_ir::{HostTensor, HostValue};
use serde_json::Value;

use crate::round_trip::close;

/// The folder of a part of the repository.
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn tensor(value: &Value) -> HostTensor {
    let dtype = DType::from_name(value["dtype"].as_str().unwrap()).unwrap();
    let shape: Vec<usize> = value["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| f64::from(u8::from(v.as_bool().unwrap())));
    let values: Vec<f64> = value["values"].as_array().unwrap().iter().map(number).collect();
    HostTensor::from_f64(dtype, &shape, &values).unwrap()
}

fn values(list: &Value) -> Vec<HostValue> {
    let one = |v: &Value| match v.as_array() {
        Some(items) => HostValue::Sequence(items.iter().map(tensor).collect()),
        None => HostValue::Tensor(tensor(v)),
    };
    list.as_array().unwrap().iter().map(one).collect()
}

fn check(name: &str) -> Result<(), String> {
    let folder = folder("conformance/models");
    let model = lampyr_onnx::load_path(folder.join(format!("{name}.onnx"))).map_err(|e| format!("{name}: {e}"))?;
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let data: Value = serde_json::from_str(&text).unwrap();
    let runs = data["inputs"].as_array().unwrap().iter().zip(data["outputs"].as_array().unwrap());
    for (k, (inputs, outputs)) in runs.enumerate() {
        let got =
            reference(&model.graph, &values(inputs), &Bindings::new()).map_err(|e| format!("{name}, run {k}: {e}"))?;
        let want = values(outputs);
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let tolerance = Tolerance { absolute: 1e-5, relative: 1e-5 };
            close(got.tensor().unwrap(), want.tensor().unwrap(), tolerance)
                .map_err(|e| format!("{name}, run {k}, output {i}: {e}"))?;
        }
    }
    Ok(())
}

#[test]
fn models_give_what_onnxruntime_gives() {
    let mut names: Vec<String> = std::fs::read_dir(folder("conformance/models"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".onnx").map(str::to_string))
        .collect();
    names.sort();
    assert!(names.len() >= 10, "{names:?}");
    let failures: Vec<String> = names.iter().filter_map(|n| check(n).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
