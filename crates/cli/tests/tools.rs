//! `check`, and `run` with arrays, sizes and files of outputs.

use std::path::{Path, PathBuf};

use lampyr::HostTensor;
use lampyr::onnx::pb::{Dimension, DimensionValue, TensorShapeProto, TensorType, TypeProto, TypeValue};
use lampyr::onnx::pb::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};

use prost::Message;

use crate::{example, failure, json, model, scratch, text};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn port(name: &str, sizes: &[&str]) -> ValueInfoProto {
    let dim = |s: &&str| Dimension {
        value: Some(match s.parse() {
            Ok(n) => DimensionValue::DimValue(n),
            Err(_) => DimensionValue::DimParam(s.to_string()),
        }),
    };
    let shape = Some(TensorShapeProto { dim: sizes.iter().map(dim).collect() });
    let tensor = TensorType { elem_type: 1, shape };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value: Some(TypeValue::TensorType(tensor)) }) }
}

fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: name.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// `sum = a + b`, `product = a * b`, with a symbolic size `seq`.
fn two_by_two(name: &str, extra: Vec<NodeProto>) -> String {
    let mut nodes = vec![node("Add", "adder", &["a", "b"], "sum"), node("Mul", "", &["a", "b"], "product")];
    nodes.extend(extra);
    let graph = GraphProto {
        name: "two".into(),
        node: nodes,
        input: vec![port("a", &["seq", "2"]), port("b", &["2"])],
        output: vec![port("sum", &["seq", "2"]), port("product", &["seq", "2"])],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 18 }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    shown(&scratch(name, &model.encode_to_vec()))
}

fn floats(shape: &[usize], values: &[f64]) -> HostTensor {
    HostTensor::from_f64(lampyr::DType::F64, shape, values).unwrap()
}

#[test]
fn check_of_a_good_model() {
    assert!(text(&["check", &model()]).contains("can run here"));
    let found = json(&["check", &model()]);
    assert_eq!(found["ok"], true);
    assert!(found["problems"].as_array().unwrap().is_empty());
    assert!(found["slow"].as_array().unwrap().is_empty(), "{found}");
}

#[test]
fn check_lists_everything_at_once() {
    let extra = vec![
        node("Nope", "first", &["a"], "x"),
        node("Gemm", "second", &["b", "b"], "y"),
        node("Nope", "third", &["y"], "z"),
    ];
    let bad = two_by_two("bad.onnx", extra);
    let out = crate::lampyr(&["check", &bad]);
    assert_eq!(out.status.code(), Some(1));
    let told = crate::stdout(&out);
    for part in ["cannot run here", "operator Nope", "first, third", "second"] {
        assert!(told.contains(part), "no {part}: {told}");
    }
    let out = crate::lampyr(&["check", &bad, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((found["ok"].as_bool(), found["problems"].as_array().map(Vec::len)), (Some(false), Some(2)), "{found}");
    for name in ["missing.onnx", "noise.onnx"] {
        let noise = path(name);
        if name == "noise.onnx" {
            std::fs::write(&noise, b"this is no model").unwrap();
        }
        let out = crate::lampyr(&["check", &shown(&noise)]);
        assert_eq!(out.status.code(), Some(1));
        assert!(crate::stdout(&out).contains("1 thing is in the way"), "{}", crate::stdout(&out));
    }
}

#[test]
fn arrays_in_and_out() {
    let two = two_by_two("two.onnx", Vec::new());
    let (a, b) = (floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), floats(&[2], &[10.0, 20.0]));
    let both = path("both.npz");
    lampyr::io::save(&both, &[("b".into(), b.clone()), ("a".into(), a.clone())]).unwrap();
    let out = path("out.npz");
    let found = json(&["run", &two, "--input", &shown(&both), "--output", &shown(&out), "--dim", "seq=3"]);
    assert_eq!(found["outputs"][0]["shape"], serde_json::json!([3, 2]));
    assert_eq!(found["outputs"][0]["max"], 26.0);
    assert!(found.get("top").is_none());
    let made = lampyr::io::load(&out).unwrap();
    assert_eq!((made[0].0.as_str(), made[1].0.as_str()), ("sum", "product"));
    assert_eq!(made[1].1.to_f64(), [10.0, 40.0, 30.0, 80.0, 50.0, 120.0]);

    let (one, other) = (path("a.npy"), path("b.npy"));
    lampyr::io::save(&one, &[(String::new(), a)]).unwrap();
    lampyr::io::save(&other, &[(String::new(), b)]).unwrap();
    let told = text(&["run", &two, "--input", &format!("b={}", shown(&other)), "--input", &shown(&one)]);
    for part in ["input", "a.npy", "output", "sum", "product", "26.00000", "latency"] {
        assert!(told.contains(part), "no {part}: {told}");
    }
    let disagreeing = ["run", &two, "--input", &shown(&both), "--dim", "seq=4"];
    assert!(failure(&disagreeing, 1).contains("`seq` is 3"));
    let several = ["run", &two, "--input", &shown(&both), "--output", &shown(&path("out.npy"))];
    assert!(failure(&several, 1).contains(".npz"));
    assert!(failure(&["run", &two, "--output", "out.txt"], 1).contains(".npy or .npz"));
    assert!(failure(&["run", &two, "--input", &shown(&one)], 1).contains("no file was given for input `b`"));
    let ints = path("ints.npy");
    lampyr::io::save(&ints, &[(String::new(), HostTensor::ints(&[1, 2]).unwrap())]).unwrap();
    let wrong = format!("b={}", shown(&ints));
    assert!(failure(&["run", &two, "--input", &shown(&one), "--input", &wrong], 1).contains("int64"));
}

#[test]
fn made_up_inputs_have_the_sizes_asked_for() {
    let two = two_by_two("made_up.onnx", Vec::new());
    let found = json(&["run", &two, "--dim", "seq=77"]);
    assert_eq!(found["inputs"][0]["shape"], serde_json::json!([77, 2]));
    assert_eq!(found["inputs"][0]["source"], "made up");
    assert!(failure(&["run", &two, "--dim", "length=7"], 1).contains("seq"));
    assert!(failure(&["run", &two, "--top", "5", "--dim", "seq=3"], 1).contains("one score per class"));
}

#[test]
fn photographs_are_read() {
    let photo = path("7.jpg");
    image::open(example("7.png")).unwrap().to_rgb8().save(&photo).unwrap();
    assert_eq!(json(&["run", &model(), "--input", &shown(&photo)])["prediction"], "7");
}
