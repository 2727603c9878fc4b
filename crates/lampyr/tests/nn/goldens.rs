//! What PyTorch computed, from `conformance/nn/goldens.json`, and modules filled as there.

use std::path::Path;

use lampyr::nn::{Module, StateDict};
use lampyr::{Result, Tensor};
use serde_json::Value;

use super::numbers::{floats, raw};

pub fn goldens() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/nn/goldens.json");
    serde_json::from_slice(&std::fs::read(path).expect("goldens")).expect("JSON")
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// Small weights, positive variances, no batches so far.
pub fn fill(module: &dyn Module, name: &str) -> Result<()> {
    let made = module.state_dict().into_iter().map(|(key, t)| {
        let value = if key.ends_with("num_batches_tracked") {
            Tensor::from_slice(&[0i64], &[])?
        } else {
            let low = if key.ends_with("running_var") { 0.5 } else { -0.5 };
            let high = if low > 0.0 { 1.5 } else { 0.5 };
            Tensor::from_slice(&raw(&format!("{name}{key}"), t.shape(), low, high), t.shape())?
        };
        Ok((key, value))
    });
    let state = made.collect::<Result<StateDict>>()?;
    module.load_state_dict(&state, true).map(drop)
}

pub fn close(tensor: &Tensor, wanted: &Value, what: &str) -> Result<()> {
    let (got, wanted) = (tensor.to_host()?.to_f64(), numbers(wanted));
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(&wanted).enumerate() {
        assert!((a - b).abs() <= 2e-5 + 2e-4 * b.abs(), "{what}: element {i} is {a}, not {b}");
    }
    Ok(())
}

/// Compares names, outputs, gradients and buffers of one layer with PyTorch's.
pub fn compare(
    name: &str,
    module: &dyn Module,
    inputs: &[Tensor],
    run: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<()> {
    let golden = &goldens()["layers"][name];
    let keys: Vec<String> = module.state_dict().iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(serde_json::to_value(keys).expect("names"), golden["keys"], "{name}");
    fill(module, name)?;
    for x in inputs.iter().filter(|x| x.dtype().is_float()) {
        x.requires_grad_(true)?;
    }
    let outputs = run(inputs)?;
    let wanted = golden["outputs"].as_array().expect("outputs");
    assert_eq!(outputs.len(), wanted.len(), "{name}");
    let mut total = Tensor::full(&[], 0.0, lampyr::DType::F32, lampyr::Device::CPU)?;
    for (i, (y, wanted)) in outputs.iter().zip(wanted).enumerate() {
        close(y, &wanted["data"], &format!("output {i} of {name}"))?;
        total = total.add(&y.mul(&floats(&format!("{name}seed{i}"), y.shape())?)?.sum(&[], false)?)?;
    }
    total.backward()?;
    let grads: Vec<Tensor> = inputs.iter().cloned().chain(module.parameters()).filter_map(|t| t.grad()).collect();
    let wanted = golden["grads"].as_array().expect("gradients");
    assert_eq!(grads.len(), wanted.len(), "gradients of {name}");
    for (i, (grad, wanted)) in grads.iter().zip(wanted).enumerate() {
        close(grad, wanted, &format!("gradient {i} of {name}"))?;
    }
    let buffers = module.named_buffers();
    let wanted = golden["buffers"].as_array().expect("buffers");
    assert_eq!(buffers.len(), wanted.len(), "buffers of {name}");
    buffers.iter().zip(wanted).try_for_each(|((key, b), wanted)| close(b, wanted, &format!("{key} of {name}")))
}
