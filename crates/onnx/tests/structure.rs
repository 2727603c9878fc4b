//! Names, order, functions and files: what the format allows, and errors for what it does not.

use std::path::Path;

use lampyr_base::{Bindings, Dim, Error, ErrorKind};
use lampyr_ir::interpret::reference;
use lampyr_ir::{Fact, HostTensor, HostValue};
use lampyr_onnx::pb::*;
use prost::Message;

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        ..NodeProto::default()
    }
}

pub fn input(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(DimensionValue::DimValue(d)) }).collect();
    let tensor = TensorType { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value: Some(TypeValue::TensorType(tensor)) }) }
}

pub fn set_dtype(info: &mut ValueInfoProto, code: i32) {
    if let Some(TypeProto { value: Some(TypeValue::TensorType(t)) }) = &mut info.r#type {
        t.elem_type = code;
    }
}

/// A graph whose inputs are vectors of two.
pub fn graph(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &[&str]) -> GraphProto {
    GraphProto {
        name: "test".into(),
        node: nodes,
        input: inputs.iter().map(|n| input(n, &[2])).collect(),
        output: outputs.iter().map(|n| input(n, &[2])).collect(),
        ..GraphProto::default()
    }
}

pub fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 18 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

pub fn refused(model: ModelProto) -> Error {
    lampyr_onnx::load(&model.encode_to_vec()).expect_err("this model must be refused")
}

fn run(model: &ModelProto, inputs: &[&[f32]]) -> Vec<Vec<f64>> {
    let read = lampyr_onnx::load(&model.encode_to_vec()).unwrap();
    let inputs: Vec<HostValue> = inputs.iter().map(|v| HostTensor::from_slice(&[v.len()], v).unwrap().into()).collect();
    let outputs = reference(&read.graph, &inputs, &Bindings::new()).unwrap();
    outputs.iter().map(|o| o.tensor().unwrap().to_f64()).collect()
}

fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), g: Some(graph), r#type: Some(5), ..AttributeProto::default() }
}

#[test]
fn everything_unsupported_is_listed_at_once() {
    let mut choice = node("If", &["c"], &["z"]);
    choice.attribute.push(body("then_branch", graph(vec![node("Inner", &["x"], &["t"])], &[], &["t"])));
    choice.attribute.push(body("else_branch", graph(vec![node("Relu", &["x"], &["e"])], &[], &["e"])));
    let named = |op: &str, name: &str| NodeProto { name: name.into(), ..node(op, &["x"], &[&format!("{name}_out")]) };
    let contributed = NodeProto { domain: "com.example".into(), ..named("Special", "sixth") };
    let unknown_set = NodeProto { domain: "org.other".into(), ..named("Special", "seventh") };
    let called = NodeProto { domain: "f".into(), ..named("Function", "eighth") };
    let nodes = vec![
        named("First", "one"),
        named("Relu", "two"),
        named("Second", "three"),
        named("First", "four"),
        choice,
        contributed,
        unknown_set,
        called,
    ];
    let mut m = model(graph(nodes, &["x", "c"], &["two_out"]));
    m.opset_import.push(OperatorSetIdProto { domain: "com.example".into(), version: 3 });
    m.functions.push(FunctionProto {
        name: "Function".into(),
        domain: "f".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Hidden", &["a"], &["b"])],
        ..FunctionProto::default()
    });
    m.graph.as_mut().unwrap().initializer.push(TensorProto {
        name: "words".into(),
        data_type: 8,
        ..TensorProto::default()
    });
    let error = refused(m);
    let ErrorKind::Unsupported(missing) = error.kind() else { panic!("{error}") };
    let nodes = |what: &str| missing.iter().find(|m| m.what.contains(what)).map(|m| m.nodes.join(" "));
    assert_eq!(nodes("First").as_deref(), Some("one four"));
    assert_eq!(nodes("Second").as_deref(), Some("three"));
    assert_eq!(nodes("operator Inner (operator set 18)").as_deref(), Some("t"));
    assert_eq!(nodes("com.example.Special (operator set 3)").as_deref(), Some("sixth"));
    assert_eq!(nodes("org.other.Special").as_deref(), Some("seventh"));
    assert_eq!(nodes("Hidden").as_deref(), Some("b"));
    assert_eq!(nodes("STRING").as_deref(), Some("words"));
    assert_eq!(missing.len(), 7, "{error}");
}

#[test]
fn nodes_stand_in_any_order() {
    let nodes = vec![node("Add", &["b", "x"], &["c"]), node("Add", &["a", "x"], &["b"]), node("Neg", &["x"], &["a"])];
    assert_eq!(run(&model(graph(nodes, &["x"], &["c"])), &[&[1.0, 2.0]]), [[1.0, 2.0]]);
}

#[test]
fn names_must_fit() {
    let cases = [
        (vec![node("Add", &["x", "gone"], &["y"])], ErrorKind::NotFound, "`gone`"),
        (vec![node("Add", &["x", "z"], &["y"]), node("Neg", &["y"], &["z"])], ErrorKind::Graph, "depends on itself"),
        (vec![node("Neg", &["y"], &["y"])], ErrorKind::Graph, "depends on itself"),
        (vec![node("Neg", &["x"], &["y"]), node("Relu", &["x"], &["y"])], ErrorKind::Graph, "made twice"),
        (vec![node("Neg", &["x"], &["x"])], ErrorKind::Graph, "made twice"),
        (vec![node("Neg", &["x"], &["other"])], ErrorKind::NotFound, "output `y`"),
        (vec![node("Neg", &["x"], &["y", "more"])], ErrorKind::Format, "`more`"),
        (vec![node("Add", &["x", ""], &["y"])], ErrorKind::Format, "input 1 is missing"),
        (vec![node("Add", &["x"], &["y"])], ErrorKind::Format, "input 1 is missing"),
    ];
    for (nodes, kind, text) in cases {
        let error = refused(model(graph(nodes, &["x"], &["y"])));
        assert_eq!(error.kind(), &kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = refused(model(graph(vec![node("Neg", &["x"], &["y"])], &["x", "x"], &["y"])));
    assert!(error.to_string().contains("two inputs"), "{error}");
}

#[test]
fn errors_name_the_node() {
    let wrong = NodeProto { name: "the_sum".into(), ..node("Add", &["x", "w"], &["y"]) };
    let mut g = graph(vec![wrong], &["x"], &["y"]);
    g.initializer.push(TensorProto {
        name: "w".into(),
        dims: vec![3],
        data_type: 1,
        float_data: vec![0.0; 3],
        ..TensorProto::default()
    });
    let error = refused(model(g));
    assert_eq!(error.kind(), &ErrorKind::Shape);
    assert!(error.to_string().contains("`the_sum`"), "{error}");
}

#[test]
fn outputs_may_be_inputs_constants_or_one_value() {
    let mut g = graph(vec![node("Neg", &["x"], &["y"])], &["x"], &["y", "y", "x", "w"]);
    g.initializer.push(TensorProto {
        name: "w".into(),
        dims: vec![2],
        data_type: 1,
        float_data: vec![5.0, 6.0],
        ..TensorProto::default()
    });
    let m = model(g);
    let want = [[-1.0, -2.0], [-1.0, -2.0], [1.0, 2.0], [5.0, 6.0]];
    assert_eq!(run(&m, &[&[1.0, 2.0]]), want);
    let again = lampyr_onnx::export(&lampyr_onnx::load(&m.encode_to_vec()).unwrap().graph).unwrap();
    assert_eq!(run(&ModelProto::decode(&again[..]).unwrap(), &[&[1.0, 2.0]]), want);
}

#[test]
fn open_sizes_are_symbols() {
    let mut g = graph(vec![node("Add", &["x", "x"], &["y"])], &[], &["y"]);
    let dim = [
        Some(DimensionValue::DimParam("batch".into())),
        None,
        Some(DimensionValue::DimValue(-1)),
        Some(DimensionValue::DimValue(4)),
    ];
    let shape = TensorShapeProto { dim: dim.into_iter().map(|value| Dimension { value }).collect() };
    let tensor = TensorType { elem_type: 1, shape: Some(shape) };
    g.input.push(ValueInfoProto {
        name: "x".into(),
        r#type: Some(TypeProto { value: Some(TypeValue::TensorType(tensor)) }),
    });
    let read = lampyr_onnx::load(&model(g).encode_to_vec()).unwrap().graph;
    let Fact::Tensor(fact) = read.fact(read.outputs()[0]) else { panic!() };
    assert_eq!(fact.shape[0], Dim::named("batch"));
    assert!(fact.shape[1].symbol().is_some() && fact.shape[2].symbol().is_some() && fact.shape[1] != fact.shape[2]);
    assert_eq!(fact.shape[3], Dim::Known(4));

    let mut g = graph(vec![node("Neg", &["x"], &["y"])], &["x"], &["y"]);
    if let Some(TypeProto { value: Some(TypeValue::TensorType(t)) }) = &mut g.input[0].r#type {
        t.shape = None;
    }
    assert!(refused(model(g)).to_string().contains("unknown rank"));
}

fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "f".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: nodes,
        ..FunctionProto::default()
    }
}

fn call(name: &str, from: &str, to: &str) -> NodeProto {
    NodeProto { domain: "f".into(), ..node(name, &[from], &[to]) }
}

#[test]
fn functions_that_never_end() {
    let mut m = model(graph(vec![call("F", "x", "y")], &["x"], &["y"]));
    m.functions.push(function("F", vec![call("F", "a", "b")]));
    assert!(refused(m).to_string().contains("nested"));

    let mut m = model(graph(vec![call("F0", "x", "y")], &["x"], &["y"]));
    for level in 0..60 {
        let next = format!("F{}", level + 1);
        m.functions.push(function(&format!("F{level}"), vec![call(&next, "a", "c"), call(&next, "c", "b")]));
    }
    m.functions.push(function("F60", vec![node("Neg", &["a"], &["b"])]));
    assert!(matches!(refused(m).kind(), ErrorKind::Unsupported(_)));

    let mut m = model(graph(vec![call("F", "x", "y")], &["x"], &["y"]));
    m.functions.push(function("F", vec![node("Neg", &["x"], &["b"])]));
    assert!(refused(m).to_string().contains("`x` is read but never made"));
}

#[test]
fn operator_sets_must_be_named() {
    let mut m = model(graph(vec![node("Neg", &["x"], &["y"])], &["x"], &["y"]));
    m.opset_import.clear();
    assert!(refused(m.clone()).to_string().contains("imports no operator set"));
    for (version, text) in [(0, "version 0"), (-5, "version -5"), (i64::MAX, "version")] {
        m.opset_import = vec![OperatorSetIdProto { domain: String::new(), version }];
        assert!(refused(m.clone()).to_string().contains(text));
    }
    m.opset_import = vec![OperatorSetIdProto { domain: "ai.onnx".into(), version: 18 }];
    assert_eq!(run(&m, &[&[1.0, 2.0]]), [[-1.0, -2.0]]);
    m.graph = None;
    assert!(refused(m).to_string().contains("no graph"));
}

/// A model in `folder` whose weights lie at `location`.
fn external(folder: &Path, location: &str, more: &[(&str, &str)]) -> Result<HostTensor, Error> {
    let mut g = graph(vec![node("Add", &["x", "w"], &["y"])], &["x"], &["y"]);
    let entry = |(key, value): (&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
    let external_data = std::iter::once(("location", location)).chain(more.iter().copied()).map(entry).collect();
    g.initializer.push(TensorProto {
        name: "w".into(),
        dims: vec![2],
        data_type: 1,
        data_location: 1,
        external_data,
        ..TensorProto::default()
    });
    let path = folder.join("model.onnx");
    std::fs::write(&path, model(g).encode_to_vec()).unwrap();
    let read = lampyr_onnx::load_path(&path)?;
    let zero = HostTensor::from_slice(&[2], &[0.0f32, 0.0]).unwrap();
    Ok(reference(&read.graph, &[zero.into()], &Bindings::new())?[0].tensor()?.clone())
}

#[test]
fn data_files_stay_in_their_folder() {
    let root = std::env::temp_dir().join(format!("lampyr-onnx-{}", std::process::id()));
    let folder = root.join("model");
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let bytes: Vec<u8> = [1.0f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    for file in ["model/data/w.bin", "model/w.bin", "secret.bin"] {
        std::fs::write(root.join(file), &bytes).unwrap();
    }
    std::fs::write(root.join("model/empty.bin"), []).unwrap();
    let values = |r: Result<HostTensor, Error>| r.map(|t| t.to_f64()).map_err(|e| e.to_string());
    assert_eq!(values(external(&folder, "w.bin", &[])), Ok(vec![1.0, 2.0]));
    assert_eq!(values(external(&folder, "data/w.bin", &[("offset", "4"), ("length", "8")])), Ok(vec![2.0, 3.0]));
    let absolute = root.join("secret.bin");
    let mut wrong =
        vec!["../secret.bin", "data/../../secret.bin", "..\\secret.bin", "C:\\w.bin", "", ".", "data", "nothing.bin"];
    wrong.push(absolute.to_str().unwrap());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, folder.join("link.bin")).unwrap();
        std::os::unix::fs::symlink(&root, folder.join("up")).unwrap();
        std::os::unix::fs::symlink(folder.join("w.bin"), folder.join("inside.bin")).unwrap();
        wrong.extend(["link.bin", "up/secret.bin"]);
        assert_eq!(values(external(&folder, "inside.bin", &[])), Ok(vec![1.0, 2.0]));
    }
    for location in wrong {
        let error = external(&folder, location, &[]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Format | ErrorKind::Io), "{location}: {error}");
        assert!(error.to_string().contains("`w`"), "{location}: {error}");
    }
    for more in [
        &[("offset", "8")][..],
        &[("offset", "18446744073709551615")],
        &[("offset", "-4")],
        &[("length", "12")],
        &[("length", "many")],
    ] {
        assert_eq!(external(&folder, "w.bin", more).unwrap_err().kind(), &ErrorKind::Format, "{more:?}");
    }
    assert!(external(&folder, "empty.bin", &[]).is_err());
    let bytes = std::fs::read(folder.join("model.onnx")).unwrap();
    assert!(lampyr_onnx::load(&bytes).unwrap_err().to_string().contains("load the model from its path"));
    std::fs::remove_dir_all(&root).unwrap();
}
