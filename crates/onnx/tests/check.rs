//! Everything in the way of a model is found in one look.

use lampyr_base::ErrorKind;
use lampyr_onnx::pb::{AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto};
use lampyr_onnx::{Problem, check};
use prost::Message;

use crate::models::folder;
use crate::structure::{graph, input, model, node, refused};

fn named(op: &str, name: &str, inputs: &[&str]) -> NodeProto {
    NodeProto { name: name.into(), ..node(op, inputs, &[&format!("{name}_out")]) }
}

fn find<'a>(problems: &'a [Problem], what: &str) -> &'a Problem {
    problems.iter().find(|p| p.what.contains(what)).unwrap_or_else(|| panic!("no {what} in {problems:#?}"))
}

#[test]
fn a_good_model_has_no_problems() {
    let digits = folder("examples/digits/digits.onnx");
    assert_eq!(lampyr_onnx::check_path(&digits), []);
    assert_eq!(check(&std::fs::read(digits).unwrap()), []);
}

#[test]
fn unknown_operators_and_wrong_nodes_are_found_together() {
    let axis = AttributeProto { name: "axis".into(), i: Some(7), r#type: Some(2), ..AttributeProto::default() };
    let text = AttributeProto { name: "axis".into(), s: Some("x".into()), r#type: Some(3), ..axis.clone() };
    let concat = |name: &str, attribute: AttributeProto| {
        let mut n = named("Concat", name, &["x", "x"]);
        n.attribute.push(attribute);
        n
    };
    let nodes = vec![
        named("First", "one", &["x"]),
        named("Relu", "after", &["one_out"]),
        concat("far", axis),
        concat("wordy", text),
        named("First", "two", &["x"]),
        named("MatMul", "apart", &["x", "w"]),
        named("Relu", "fine", &["x"]),
    ];
    let mut g = graph(nodes, &["x"], &["after_out", "fine_out"]);
    g.input.push(input("w", &[3]));
    let m = model(g);
    let problems = check(&m.encode_to_vec());
    assert_eq!(problems.len(), 4, "{problems:#?}");
    let first = find(&problems, "operator First (operator set 18)");
    assert_eq!((first.kind, first.nodes.join(" ").as_str()), ("UnsupportedError", "one two"));
    assert_eq!(find(&problems, "axis 7").nodes, ["far"]);
    assert_eq!(find(&problems, "attribute `axis`").nodes, ["wordy"]);
    let apart = find(&problems, "matmul");
    assert_eq!((apart.kind, apart.nodes.join(" ").as_str()), ("ShapeError", "apart"));
}

#[test]
fn an_operator_set_that_is_too_new_is_refused() {
    let newest = lampyr_onnx::NEWEST_OPSET;
    let at = |version: u32, inside: u32| {
        let mut m = model(graph(vec![named("Relu", "one", &["x"])], &["x"], &["one_out"]));
        m.opset_import[0].version = version.into();
        let set = |version: u32| OperatorSetIdProto { domain: String::new(), version: version.into() };
        m.functions.push(FunctionProto {
            name: "twice".into(),
            domain: "own".into(),
            opset_import: vec![set(inside)],
            ..FunctionProto::default()
        });
        m
    };
    assert_eq!(check(&at(newest, newest).encode_to_vec()), []);
    for (model, of) in [(at(newest + 1, newest), "the model"), (at(newest, newest + 1), "function `twice`")] {
        let e = refused(model.clone());
        let what = format!("operator set {} of {of}", newest + 1);
        assert!(matches!(e.kind(), ErrorKind::Unsupported(_)) && e.message().contains(&what), "{e}");
        assert!(e.expected().is_some_and(|x| x.contains(&newest.to_string())) && e.help().is_some());
        let problems = check(&model.encode_to_vec());
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let problem = find(&problems, &what);
        assert!(problem.what.contains("expected version") && problem.help == e.help().map(str::to_string));
    }
}

#[test]
fn a_graph_that_does_not_hold_together_is_a_problem() {
    let problems = check(&model(graph(vec![node("Relu", &["nothing"], &["y"])], &["x"], &["y"])).encode_to_vec());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].what.contains("`nothing` is read but never made"), "{problems:?}");
    assert_eq!(check(b"\0").len(), 1);
    assert_eq!(lampyr_onnx::check_path(folder("examples/digits/nothing.onnx"))[0].kind, "IoError");
}

#[test]
fn several_unsupported_nodes_give_one_error() {
    let moved = |name: &str| {
        let mut n = named("ReduceSum", name, &["x", "axes"]);
        n.output = vec![format!("{name}_out")];
        n
    };
    let mut g = graph(vec![moved("one"), moved("two")], &["x"], &["one_out", "two_out"]);
    let mut axes = input("axes", &[1]);
    crate::structure::set_dtype(&mut axes, 7);
    g.input.push(axes);
    let error = refused(model(g));
    let ErrorKind::Unsupported(missing) = error.kind() else { panic!("{error}") };
    assert_eq!(missing.len(), 1, "{error}");
    assert_eq!(missing[0].nodes, ["one", "two"]);
}
