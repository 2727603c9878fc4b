//! Damaged files give errors, never a panic, an abort or a hang.

use lampyr_base::ErrorKind;
use lampyr_ir::case::SplitMix;
use lampyr_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use prost::Message;

use crate::models::folder;
use crate::structure::{graph, input, model, node, refused};

fn digits() -> Vec<u8> {
    std::fs::read(folder("examples/digits/digits.onnx")).unwrap()
}

fn flip(bytes: &[u8], rng: &mut SplitMix, count: usize) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    for _ in 0..count {
        let at = rng.next_u64() as usize % copy.len();
        copy[at] ^= 1 << (rng.next_u64() % 8);
    }
    copy
}

#[test]
fn files_that_were_cut_off() {
    let bytes = digits();
    for end in (0..bytes.len()).step_by(97) {
        assert!(lampyr_onnx::load(&bytes[..end]).is_err(), "the first {end} bytes were read");
    }
}

#[test]
fn files_with_flipped_bits() {
    let bytes = digits();
    let mut rng = SplitMix(20);
    let mut read = 0;
    for i in 0..5000 {
        read += usize::from(lampyr_onnx::load(&flip(&bytes, &mut rng, 1 + i % 4)).is_ok());
    }
    assert!((1000..5000).contains(&read), "{read} of 5000 were read");
}

#[test]
fn small_models_with_flipped_bits() {
    let mut rng = SplitMix(21);
    for entry in std::fs::read_dir(folder("conformance/models")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "onnx") {
            let bytes = std::fs::read(&path).unwrap();
            for i in 0..2000 {
                _ = lampyr_onnx::load(&flip(&bytes, &mut rng, 1 + i % 3));
            }
        }
    }
}

#[test]
fn structure_of_the_example_with_flipped_bits() {
    let mut model = ModelProto::decode(&digits()[..]).unwrap();
    for tensor in model.graph.iter_mut().flat_map(|g| &mut g.initializer) {
        if tensor.dims.iter().product::<i64>() > 320 {
            tensor.dims = vec![0];
            tensor.raw_data = Some(Vec::new().into());
        }
    }
    let bytes = model.encode_to_vec();
    let mut rng = SplitMix(22);
    for i in 0..5000 {
        _ = lampyr_onnx::load(&flip(&bytes, &mut rng, 1 + i % 3));
    }
}

#[test]
fn things_that_are_no_models() {
    for bytes in [&b""[..], b"\0", b"PK\x03\x04", b"{}", &[0xff; 64], &[0x3a; 1000]] {
        assert!(lampyr_onnx::load(bytes).is_err());
    }
    let missing = lampyr_onnx::load_path(folder("examples/digits/nothing.onnx")).unwrap_err();
    assert_eq!(missing.kind(), &ErrorKind::Io);
    assert!(lampyr_onnx::load_path(folder("examples/digits")).is_err());
}

fn with_tensor(tensor: TensorProto) -> ModelProto {
    let mut g = graph(vec![node("Add", &["x", "w"], &["y"])], &["x"], &["y"]);
    g.initializer.push(TensorProto { name: "w".into(), ..tensor });
    model(g)
}

#[test]
fn tensors_whose_sizes_lie() {
    let big = 1i64 << 60;
    for (dims, bytes) in [
        (vec![big, big], 0),
        (vec![big], 16),
        (vec![i64::MAX, 4], 16),
        (vec![-1], 4),
        (vec![i64::MIN], 4),
        (vec![2], 4),
        (vec![2], 12),
        (vec![], 0),
        (vec![big, 0], 4),
    ] {
        let raw = Some(vec![0u8; bytes].into());
        let error =
            refused(with_tensor(TensorProto { dims: dims.clone(), data_type: 1, raw_data: raw, ..Default::default() }));
        assert!(matches!(error.kind(), ErrorKind::Format | ErrorKind::Shape), "{dims:?}: {error}");
        assert!(error.to_string().contains("`w`"), "{dims:?}: {error}");
        let typed = TensorProto { dims, data_type: 1, float_data: vec![0.0; bytes / 4], ..Default::default() };
        refused(with_tensor(typed));
    }
    for code in [1, 2, 5, 7, 9, 10, 11, 12, 16] {
        refused(with_tensor(TensorProto { dims: vec![3], data_type: code, ..Default::default() }));
    }
}

#[test]
fn sizes_that_overflow_in_operators() {
    let huge: &[i64] = &[1 << 60, 1 << 60, 1 << 60, 1 << 60];
    let ints = |name: &str, v: &[i64]| AttributeProto {
        name: name.into(),
        ints: v.to_vec(),
        r#type: Some(7),
        ..Default::default()
    };
    let extremes = [&[i64::MAX, i64::MAX][..], &[i64::MIN, 1], &[0, 0], &[-1, -1], &[1 << 62, 1 << 62], &[], &[1]];
    for list in extremes {
        for name in ["kernel_shape", "strides", "dilations", "pads", "output_padding", "output_shape"] {
            for op in ["MaxPool", "Conv", "ConvTranspose"] {
                for mode in ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"] {
                    let mut n = node(op, if op == "MaxPool" { &["x"] } else { &["x", "x"] }, &["y", "i"]);
                    if op != "MaxPool" {
                        n.output.truncate(1);
                    }
                    n.attribute.push(ints(name, list));
                    if name != "kernel_shape" && op == "MaxPool" {
                        n.attribute.push(ints("kernel_shape", &[2, 2]));
                    }
                    let text = Some(mode.as_bytes().to_vec().into());
                    n.attribute.push(AttributeProto {
                        name: "auto_pad".into(),
                        s: text,
                        r#type: Some(3),
                        ..Default::default()
                    });
                    let mut g = graph(vec![n], &[], &["y"]);
                    g.input.push(input("x", huge));
                    _ = lampyr_onnx::load(&model(g).encode_to_vec());
                }
            }
        }
    }
    for op in
        ["Flatten", "Gemm", "MatMul", "GlobalAveragePool", "Softmax", "Transpose", "Shape", "ReduceSum", "Identity"]
    {
        let mut g = graph(
            vec![node(op, &["x", "x"][..1 + usize::from(op.contains('M') || op == "Gemm")], &["y"])],
            &[],
            &["y"],
        );
        g.input.push(input("x", if op == "Gemm" { &huge[..2] } else { huge }));
        _ = lampyr_onnx::load(&model(g).encode_to_vec());
    }
}

/// A length-delimited field.
fn field(tag: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(tag << 3 | 2, &mut out);
    prost::encoding::encode_varint(body.len() as u64, &mut out);
    out.extend_from_slice(body);
    out
}

#[test]
fn graphs_nested_too_deep() {
    let mut body = Vec::new();
    for _ in 0..5000 {
        body = field(1, &field(5, &field(6, &body)));
    }
    assert_eq!(lampyr_onnx::load(&field(7, &body)).unwrap_err().kind(), &ErrorKind::Format);

    let mut inner = graph(vec![node("Identity", &["x"], &["y"])], &[], &["y"]);
    for depth in 0..25 {
        let mut n = NodeProto { name: format!("level{depth}"), ..node("If", &["c"], &["y"]) };
        for name in ["then_branch", "else_branch"] {
            let g = if name == "then_branch" {
                inner.clone()
            } else {
                graph(vec![node("Identity", &["x"], &["y"])], &[], &["y"])
            };
            n.attribute.push(AttributeProto { name: name.into(), g: Some(g), r#type: Some(5), ..Default::default() });
        }
        inner = GraphProto { node: vec![n], ..graph(vec![], &[], &["y"]) };
    }
    inner.input.push(input("x", &[2]));
    let mut flag = input("c", &[]);
    crate::structure::set_dtype(&mut flag, 9);
    inner.input.push(flag);
    let loaded = lampyr_onnx::load(&model(inner).encode_to_vec()).unwrap();
    assert_eq!(loaded.graph.inputs().len(), 2);
}
