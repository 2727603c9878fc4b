//! The example model.

use lampyr_base::{Bindings, DType, Dim};
use lampyr_ir::HostTensor;
use lampyr_ir::case::Tolerance;
use lampyr_ir::interpret::reference;

use crate::models::folder;
use crate::round_trip::close;

/// Probabilities by onnxruntime 1.31 for pixels `(37 * i mod 17) / 16`.
const EXPECTED: [f64; 20] = [
    3.9665096e-10,
    8.920201e-11,
    7.344037e-06,
    0.30213445,
    2.7264932e-10,
    6.618641e-07,
    2.169609e-09,
    3.229934e-09,
    0.69780636,
    5.1122366e-05,
    1.5335319e-10,
    2.7493413e-10,
    6.867766e-05,
    0.47378168,
    5.983137e-11,
    1.3769039e-07,
    9.149255e-09,
    8.578024e-10,
    0.5261478,
    1.6748165e-06,
];

#[test]
fn the_example_classifies() {
    let model = lampyr_onnx::load_path(folder("examples/digits/digits.onnx")).unwrap();
    assert_eq!((model.opset, model.ir_version), (15, 8));
    assert_eq!(
        (model.inputs.as_slice(), model.outputs.as_slice()),
        (&["image".into()][..], &["probabilities".into()][..])
    );
    let input = model.graph.fact(model.graph.inputs()[0]).as_tensor().unwrap();
    assert_eq!(input.shape[0], Dim::named("batch"));
    let output = model.graph.fact(model.graph.outputs()[0]).as_tensor().unwrap();
    assert_eq!(output.shape.as_slice(), &[Dim::named("batch"), Dim::Known(10)]);

    let pixels: Vec<f32> = (0..128).map(|i| (i * 37 % 17) as f32 / 16.0).collect();
    let image = HostTensor::from_slice(&[2, 1, 8, 8], &pixels).unwrap();
    let got = reference(&model.graph, &[image.into()], &Bindings::new()).unwrap();
    let got = got[0].tensor().unwrap();
    let want = HostTensor::from_f64(DType::F32, &[2, 10], &EXPECTED).unwrap();
    close(got, &want, Tolerance { absolute: 1e-7, relative: 1e-4 }).unwrap();
    for row in got.to_f64().chunks(10) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn bytes_and_path_give_the_same_graph() {
    let path = folder("examples/digits/digits.onnx");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(lampyr_onnx::load(&bytes).unwrap().graph, lampyr_onnx::load_path(&path).unwrap().graph);
}
