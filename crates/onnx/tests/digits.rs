//! The example model.

use lampyr_base::{Bindings, DType, Dim};
use lampyr_ir::HostTensor;
use lampyr_ir::case::Tolerance;
use lampyr_ir::interpret::reference;

use crate::models::folder;
use crate::round_trip::close;

/// Probabilities by onnxruntime 1.31 for pixels `(37 * i mod 17) / 16`.
const EXPECTED: [f64; 20] = [
    2.9639567e-15,
    1.6594111e-14,
    6.1612282e-14,
    6.3218307e-5,
    3.5701836e-12,
    2.0394568e-10,
    6.8733075e-10,
    1.3116409e-14,
    0.99993145,
    5.4225179e-6,
    3.809218e-17,
    1.2289414e-16,
    4.3439456e-17,
    9.8794445e-8,
    2.9786127e-14,
    1.8404419e-12,
    2.3925567e-10,
    1.145957e-18,
    0.99999976,
    1.0368608e-7,
];

#[test]
fn the_example_classifies() {
    let model = lampyr_onnx::load_path(folder("examples/digits/digits.onnx")).unwrap();
    assert_eq!((model.opset, model.ir_version), (18, 8));
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
