//! Graphs that depend on the values of inputs.

use std::collections::HashMap;

use lampyr_base::{Bindings, DType, ErrorKind};
use lampyr_ir::{HostTensor, HostValue, interpret};
use lampyr_onnx::Source;
use lampyr_onnx::pb::{AttributeProto, ModelProto};
use prost::Message;

use crate::structure::{graph, input, model, node, set_dtype};

fn typed(name: &str, code: i32, sizes: &[i64]) -> lampyr_onnx::pb::ValueInfoProto {
    let mut info = input(name, sizes);
    set_dtype(&mut info, code);
    info
}

/// The sum of `x` over the axes given by the input `axes`, behind a sum with one.
fn reduction() -> ModelProto {
    let keep = AttributeProto { name: "keepdims".into(), i: Some(0), r#type: Some(2), ..AttributeProto::default() };
    let mut sum = node("ReduceSum", &["x", "other"], &["y"]);
    sum.attribute.push(keep);
    let mut g = graph(vec![node("Add", &["axes", "one"], &["other"]), sum], &[], &["y"]);
    g.input = vec![typed("x", 1, &[2, 3]), typed("axes", 7, &[1])];
    g.initializer = vec![one()];
    model(g)
}

fn one() -> lampyr_onnx::pb::TensorProto {
    lampyr_onnx::pb::TensorProto {
        name: "one".into(),
        dims: vec![1],
        data_type: 7,
        int64_data: vec![1],
        ..Default::default()
    }
}

fn fixed(axis: i64) -> HashMap<String, HostTensor> {
    HashMap::from([("axes".to_string(), HostTensor::ints(&[axis]).unwrap())])
}

#[test]
fn the_inputs_that_are_needed_are_named() {
    let source = Source::new(&reduction().encode_to_vec()).unwrap();
    let stopped = source.import(HashMap::new()).unwrap_err();
    assert_eq!(stopped.needs, ["axes"]);
    assert!(matches!(stopped.error.kind(), ErrorKind::Unsupported(_)), "{}", stopped.error);
    let refused = lampyr_onnx::load(&reduction().encode_to_vec()).unwrap_err();
    assert!(refused.help().is_some_and(|h| h.contains("`axes`")), "{refused}");
    assert_eq!(lampyr_onnx::check(&reduction().encode_to_vec()), []);
}

#[test]
fn their_values_make_the_graph() {
    let source = Source::new(&reduction().encode_to_vec()).unwrap();
    for (axis, want) in [(0, vec![3.0, 12.0]), (-1, vec![3.0, 5.0, 7.0])] {
        let made = source.import(fixed(axis)).unwrap();
        assert_eq!(made.inputs, ["x", "axes"]);
        let x = HostTensor::from_f64(DType::F32, &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let inputs = [HostValue::Tensor(x), HostValue::Tensor(HostTensor::ints(&[axis]).unwrap())];
        let got = interpret::reference(&made.graph, &inputs, &Bindings::new()).unwrap();
        assert_eq!(got[0].tensor().unwrap().to_f64(), want);
    }
}

#[test]
fn large_inputs_are_not_asked_for() {
    let mut m = reduction();
    m.graph.as_mut().unwrap().input[1] = typed("axes", 7, &[2, 2]);
    let stopped = Source::new(&m.encode_to_vec()).unwrap().import(HashMap::new()).unwrap_err();
    assert!(stopped.needs.is_empty());
}

#[test]
fn shapes_given_by_inputs_may_copy_sizes() {
    let mut g = graph(vec![node("Reshape", &["x", "shape"], &["y"])], &[], &["y"]);
    g.input = vec![typed("x", 1, &[2, 3]), typed("shape", 7, &[2])];
    let source = Source::new(&model(g).encode_to_vec()).unwrap();
    assert_eq!(source.import(HashMap::new()).unwrap_err().needs, ["shape"]);
    let shape = HashMap::from([("shape".to_string(), HostTensor::ints(&[0, -1]).unwrap())]);
    let made = source.import(shape).unwrap();
    assert_eq!(made.graph.fact(made.graph.outputs()[0]).to_string(), "float32[2, 3]");
}
