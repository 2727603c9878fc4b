//! Values and gradients that torch computed for the cases, as a file: written by `goldens/make.py` from the dump of the
//! cases that this module makes.

use std::collections::BTreeMap;

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::Case;
use lampyr_ir::{AttrValue, Class, HostTensor, HostValue, OpEntry};
use lampyr_ops::registry;
use serde_json::{Map, Value, json};

use crate::{graphs, runner};

/// Elements above which a case is not stored.
const LIMIT: usize = 130;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A tensor in the files: dtype, shape, hexadecimal bytes.
pub fn encode(t: &HostTensor) -> Value {
    json!([t.dtype().name(), t.shape(), hex(t.bytes())])
}

/// The tensor that [`encode`] or `make.py` wrote.
pub fn decode(value: &Value) -> Result<HostTensor> {
    let bad = || Error::format(format!("not a golden tensor: {value}"));
    let parts = value.as_array().filter(|p| p.len() == 3).ok_or_else(bad)?;
    let dtype = parts[0].as_str().and_then(DType::from_name).ok_or_else(bad)?;
    let shape: Option<Vec<usize>> =
        parts[1].as_array().ok_or_else(bad)?.iter().map(|d| Some(d.as_u64()? as usize)).collect();
    let hex = parts[2].as_str().ok_or_else(bad)?;
    let bytes: Option<Vec<u8>> =
        (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect();
    HostTensor::copy_bytes(dtype, &shape.ok_or_else(bad)?, &bytes.ok_or_else(bad)?)
}

fn attr(value: &AttrValue) -> Option<Value> {
    Some(match value {
        AttrValue::None => Value::Null,
        AttrValue::Bool(v) => json!(v),
        AttrValue::Int(v) => json!(v),
        AttrValue::Float(v) => json!(v),
        AttrValue::Str(v) => json!(v),
        AttrValue::DType(v) => json!(v.name()),
        AttrValue::Ints(v) => json!(v),
        AttrValue::Floats(v) => json!(v),
        AttrValue::Dim(v) => json!(v.known()?),
        AttrValue::Dims(v) => json!(v.iter().map(|d| d.known()).collect::<Option<Vec<_>>>()?),
        _ => return None,
    })
}

/// Name of a case in the files.
pub fn key(entry: &OpEntry, case: &Case) -> String {
    format!("{}/{}", entry.name, case.name)
}

/// The cases that torch is asked for: small ones on tensors, with plain attributes.
pub fn wanted() -> Vec<(String, Case)> {
    let mut all = Vec::new();
    for entry in registry::builtin() {
        for case in (entry.cases)() {
            let small = case.inputs.iter().all(|i| i.shape.iter().product::<usize>() <= LIMIT && i.sequence.is_none());
            if small && case.op.attrs().iter().all(|(_, v)| attr(v).is_some()) {
                all.push((key(entry, &case), case));
            }
        }
    }
    all
}

/// Everything `make.py` needs to know; with `complete`, also the outputs by reference and the case as an ONNX model,
/// for the Python tests.
pub fn dump(complete: bool) -> Result<Value> {
    let mut rows = Map::new();
    for (key, case) in wanted() {
        let attrs: BTreeMap<_, _> = case.op.attrs().into_iter().filter_map(|(n, v)| Some((n, attr(&v)?))).collect();
        let inputs = case
            .values()?
            .iter()
            .map(|v| match v {
                HostValue::Tensor(t) => Ok(encode(t)),
                _ => Err(Error::internal("sequence in a golden case")),
            })
            .collect::<Result<Vec<_>>>()?;
        let mut row = json!({ "op": case.op.name(), "attrs": attrs, "inputs": inputs, "gradient": case.gradient });
        if complete {
            let outputs = runner::reference(&case)?;
            if case.op.class() == Class::Control || outputs.iter().any(|v| v.tensor().is_err()) {
                continue;
            }
            row["outputs"] = outputs.iter().map(|v| v.tensor().map(encode)).collect::<Result<Vec<_>>>()?.into();
            if case.op.to_onnx(&graphs::facts(&case, false)?.iter().collect::<Vec<_>>()).is_some() {
                let model = lampyr_onnx::export(&graphs::alone(&case, false)?)?;
                row["onnx"] = hex(&model).into();
            }
            let tolerance = runner::tolerance(&case, &outputs);
            row["tolerance"] = json!([tolerance.absolute, tolerance.relative]);
        }
        rows.insert(key, row);
    }
    Ok(Value::Object(rows))
}

/// What torch said of one case.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Digest of the inputs it was computed from.
    pub digest: String,
    /// Visible outputs that torch has.
    pub outputs: Vec<HostTensor>,
    /// First gradients per input, where stored.
    pub first: Option<Vec<Option<HostTensor>>>,
    /// Second gradients per input, where stored.
    pub second: Option<Vec<Option<HostTensor>>>,
}

/// FNV-1a over the bytes of all inputs: tells when a golden is out of date.
pub fn digest(inputs: &[HostValue]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for t in inputs.iter().filter_map(|v| v.tensor().ok()) {
        for b in t.bytes() {
            hash = (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// Reads the golden file.
pub fn parse(text: &str) -> Result<BTreeMap<String, Golden>> {
    let bad = |what: &str| Error::format(format!("the golden file is damaged: {what}"));
    let root: Value = serde_json::from_str(text).map_err(|e| bad(&e.to_string()))?;
    let list = |v: &Value| -> Result<Vec<Option<HostTensor>>> {
        v.as_array()
            .ok_or_else(|| bad("a list is missing"))?
            .iter()
            .map(|x| if x.is_null() { Ok(None) } else { decode(x).map(Some) })
            .collect()
    };
    let mut all = BTreeMap::new();
    for (key, row) in root["cases"].as_object().ok_or_else(|| bad("no cases"))? {
        let optional = |name: &str| row.get(name).filter(|v| !v.is_null()).map(list).transpose();
        let golden = Golden {
            digest: row["digest"].as_str().unwrap_or_default().to_string(),
            outputs: list(&row["outputs"])?.into_iter().flatten().collect(),
            first: optional("first")?,
            second: optional("second")?,
        };
        all.insert(key.clone(), golden);
    }
    Ok(all)
}
