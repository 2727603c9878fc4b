//! The tiny models of `conformance/zoo` beside what torch makes of them; `python -m zoo.small` writes the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lampyr::{DType, Device, HostTensor, Model, Tensor};
use serde_json::{Map, Value};

const LIMIT: f64 = 1e-4;
const MODELS: usize = 27;
/// Float inputs are stored as whole numbers of this fraction.
const STEP: f64 = 16.0;

struct Stored {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Stored {
    fn read(path: &Path) -> Stored {
        let bytes = fs::read(path).expect("the file is there");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + length]).expect("the header is JSON");
        Stored { header, data: bytes[8 + length..].to_vec() }
    }

    fn tensor(&self, key: &str) -> HostTensor {
        let entry = &self.header[key];
        let (shape, range) = (numbers(&entry["shape"]), numbers(&entry["data_offsets"]));
        let dtype = match entry["dtype"].as_str().expect("a dtype") {
            "I8" => DType::I8,
            "F32" => DType::F32,
            "U8" => DType::U8,
            "I32" => DType::I32,
            "I64" => DType::I64,
            "BOOL" => DType::Bool,
            other => panic!("{other}"),
        };
        HostTensor::copy_bytes(dtype, &shape, &self.data[range[0]..range[1]]).expect("as many bytes as the shape needs")
    }

    /// Keys of one trial that begin so, in order of the file.
    fn names(&self, trial: usize, kind: &str) -> Vec<String> {
        let prefix = format!("{trial}.{kind}.");
        let mut found: Vec<(u64, String)> = (self.header.iter())
            .filter_map(|(k, v)| Some((v["data_offsets"][0].as_u64()?, k.strip_prefix(&prefix)?.to_owned())))
            .collect();
        found.sort();
        found.into_iter().map(|(_, name)| name).collect()
    }
}

fn numbers(v: &Value) -> Vec<usize> {
    serde_json::from_value(v.clone()).expect("whole numbers")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo")
}

fn difference(made: &Tensor, shape: &[usize], step: usize, want: &[f64]) -> Result<(), String> {
    if made.shape() != shape {
        return Err(format!("shape {:?}, {shape:?} expected", made.shape()));
    }
    let host = made.to_host().map_err(|e| e.to_string())?;
    let got: Vec<f64> = host.to_f64().into_iter().step_by(step).collect();
    if got.len() != want.len() {
        return Err(format!("{} elements, {} expected", got.len(), want.len()));
    }
    let largest = want.iter().fold(1e-30, |m: f64, v| m.max(v.abs()));
    let worst = got.iter().zip(want).fold(0.0, |m: f64, (a, b)| if (a - b).abs() <= m { m } else { (a - b).abs() });
    if worst / largest <= LIMIT { Ok(()) } else { Err(format!("relative error {:.1e}", worst / largest)) }
}

/// All trials of one model on one compiled form.
fn run(path: &Path) -> Result<(), String> {
    let stored = Stored::read(&path.with_extension("safetensors"));
    let about: BTreeMap<String, String> =
        serde_json::from_value(stored.header["__metadata__"].clone()).expect("texts by name");
    let model = Model::load(path).map_err(|e| e.to_string())?;
    for trial in 0.. {
        let inputs = stored.names(trial, "in");
        if inputs.is_empty() {
            return if trial > 0 { Ok(()) } else { Err("nothing is stored".to_owned()) };
        }
        let mut given = Vec::new();
        for port in model.inputs() {
            let host = stored.tensor(&format!("{trial}.in.{}", port.name));
            let scale = if port.dtype() == DType::F32 { 1.0 / STEP } else { 1.0 };
            let values: Vec<f64> = host.to_f64().iter().map(|v| v * scale).collect();
            let host = HostTensor::from_f64(port.dtype(), host.shape(), &values);
            let tensor = host.and_then(|h| Tensor::from_host(&h, Device::CPU)).map_err(|e| e.to_string())?;
            given.push((port.name.as_str(), tensor));
        }
        let made = model.run_named(&given).map_err(|e| format!("trial {trial}: {e}"))?;
        for (tensor, name) in made.iter().zip(stored.names(trial, "out")) {
            let key = format!("{trial}.out.{name}");
            let form: Value = serde_json::from_str(&about[&key]).expect("JSON");
            let step = form["step"].as_u64().expect("a number") as usize;
            difference(tensor, &numbers(&form["shape"]), step, &stored.tensor(&key).to_f64())
                .map_err(|e| format!("trial {trial}, {name}: {e}"))?;
        }
    }
    Ok(())
}

#[test]
fn tiny_models_of_the_zoo_agree_with_torch() {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .expect("conformance/zoo is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    assert!(paths.len() >= MODELS, "{} models", paths.len());
    let failures: Vec<String> = (paths.iter())
        .filter_map(|path| Some(format!("{}: {}", path.file_stem()?.display(), run(path).err()?)))
        .collect();
    assert!(failures.is_empty(), "{} of {} models:\n{}", failures.len(), paths.len(), failures.join("\n"));
}

#[test]
fn a_wrong_output_is_found() {
    let made = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).expect("a tensor");
    assert_eq!(difference(&made, &[2, 2], 3, &[1.0, 4.0]), Ok(()));
    assert!(difference(&made, &[4], 3, &[1.0, 4.0]).is_err());
    assert!(difference(&made, &[2, 2], 3, &[1.0, 4.001]).is_err());
    assert!(difference(&made, &[2, 2], 3, &[1.0, f64::NAN]).is_err());
}
