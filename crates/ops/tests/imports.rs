//! Meanings of ONNX operators that no op exports, and shape arithmetic on symbols.

use lampyr_base::{DType, Dim, ErrorKind, Result};
use lampyr_ir::interpret::ReferenceBuilder;
use lampyr_ir::onnx::OnnxAttr;
use lampyr_ir::{Builder, Fact, GraphBuilder, HostTensor, TensorFact, Var};
use lampyr_ops::build::*;
use lampyr_ops::registry;

use crate::onnx::Node;

pub fn import(op_type: &str, opset: u32, attrs: &[(&str, OnnxAttr)], inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
    let node = Node {
        op_type: op_type.to_string(),
        opset,
        attrs: attrs.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
        outputs: 1,
    };
    let inputs: Vec<Option<Var>> = inputs.iter().cloned().map(|t| Some(ReferenceBuilder::value(t))).collect();
    let mapping = registry::onnx("", op_type, opset).expect("the operator is known");
    let outputs = (mapping.build)(&node, &mut ReferenceBuilder, &inputs)?;
    outputs.iter().map(|v| ReferenceBuilder::get(v)?.tensor().cloned()).collect()
}

fn x() -> HostTensor {
    HostTensor::from_f64(DType::F32, &[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0]).expect("eight numbers")
}

/// Before opset 13 softmax works on all axes from `axis` on (default 1) as one.
#[test]
fn old_softmax_flattens() {
    let y = import("Softmax", 11, &[], &[x()]).expect("softmax");
    let sums: Vec<f64> = y[0].to_f64().chunks(4).map(|row| row.iter().sum()).collect();
    assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6), "{sums:?}");
    let y = import("Softmax", 13, &[], &[x()]).expect("softmax");
    let sums: Vec<f64> = y[0].to_f64().chunks(2).map(|row| row.iter().sum()).collect();
    assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6), "{sums:?}");
}

/// Axes are an attribute before opset 13 (18 for means and maxima), an input from then on, and none may mean "no axis".
#[test]
fn reductions_read_their_axes_where_the_opset_keeps_them() {
    let axes = OnnxAttr::Ints(vec![1]);
    let keep = ("keepdims", OnnxAttr::Int(0));
    for (op, since) in [("ReduceSum", 13), ("ReduceMean", 18), ("ReduceMax", 18)] {
        let old = import(op, since - 1, &[("axes", axes.clone()), keep.clone()], &[x()]).expect(op);
        let new =
            import(op, since, std::slice::from_ref(&keep), &[x(), HostTensor::ints(&[1]).expect("axes")]).expect(op);
        assert_eq!(old, new, "{op}");
        assert_eq!(old[0].shape(), [2, 2]);
        let same = import(op, since, &[("noop_with_empty_axes", OnnxAttr::Int(1))], &[x()]).expect(op);
        assert_eq!(same[0], x(), "{op}");
    }
}

/// ONNX defines the maximum of nothing as the lowest value; the op itself refuses.
#[test]
fn the_maximum_of_nothing() {
    let empty = HostTensor::zeros(DType::I8, &[2, 0]).expect("no elements");
    let axes = HostTensor::ints(&[1]).expect("axes");
    let y = import("ReduceMax", 20, &[("keepdims", OnnxAttr::Int(0))], &[empty.clone(), axes]).expect("a maximum");
    assert_eq!(y[0].to_i64(), [-128, -128]);
    let error = reduce_max(&mut ReferenceBuilder, &ReferenceBuilder::value(empty), &[1], false).expect_err("refused");
    assert_eq!(error.kind(), &ErrorKind::Shape);
}

/// In inference and without a ratio ONNX Dropout passes its input through; in training the seed decides.
#[test]
fn dropout_modes() {
    let flag = |on: bool| HostTensor::scalar(on);
    let ratio = |r: f32| HostTensor::scalar(r);
    assert_eq!(import("Dropout", 13, &[], &[x()]).expect("inference")[0], x());
    assert_eq!(import("Dropout", 13, &[], &[x(), ratio(0.0), flag(true)]).expect("nothing dropped")[0], x());
    let seed = [("seed", OnnxAttr::Int(3))];
    let once = import("Dropout", 13, &seed, &[x(), ratio(0.5), flag(true)]).expect("training");
    assert_eq!(once, import("Dropout", 13, &seed, &[x(), ratio(0.5), flag(true)]).expect("training"));
    assert!(once[0].to_f64().iter().zip(x().to_f64()).all(|(y, x)| *y == 0.0 || *y == 2.0 * x));
}

/// Arithmetic on the elements of shapes stays symbolic, and numbers that a type cannot hold are not claimed.
#[test]
fn shape_arithmetic_keeps_symbols() -> Result<()> {
    let mut g = GraphBuilder::new("shapes");
    let n = Dim::named("n");
    let sizes = TensorFact::new(DType::I64, [Dim::Known(2)]).with_known(Some([n.clone(), Dim::Known(6)].into()));
    let s = g.input("s", Fact::Tensor(sizes));
    let known = |g: &GraphBuilder, v: &Var| Ok::<_, lampyr_base::Error>(g.fact(v)?.as_tensor()?.known.clone());
    let two = g.constant(HostTensor::ints(&[2])?)?;
    let doubled = mul(&mut g, &s, &two)?;
    let halved = div(&mut g, &doubled, &two)?;
    assert_eq!(known(&g, &halved)?, known(&g, &s)?);
    let minus = g.constant(HostTensor::ints(&[-1])?)?;
    let unset = equal(&mut g, &s, &minus)?;
    let chosen = where_(&mut g, &unset, &minus, &s)?;
    assert_eq!(known(&g, &chosen)?, known(&g, &s)?);
    let less = sub(&mut g, &s, &two)?;
    let quotient = div(&mut g, &less, &two)?;
    let quotient = known(&g, &quotient)?.expect("a quotient of either sign");
    for size in [7, 2, 1] {
        let mut bindings = lampyr_base::Bindings::new();
        n.symbols().into_iter().for_each(|s| bindings.set(s, size));
        assert_eq!(quotient[0].eval(&bindings), Some((size - 2) / 2), "rounded towards zero");
    }
    let byte = g.constant(HostTensor::from_i64(DType::I8, &[1], &[100])?)?;
    let wrapped = add(&mut g, &byte, &byte)?;
    assert_eq!(known(&g, &wrapped)?, None);
    let wide = cast(&mut g, &byte, DType::I64)?;
    assert_eq!(known(&g, &wide)?.as_deref(), Some(&[Dim::Known(100)][..]));
    Ok(())
}

/// A file in a family folder is a line of `ops!`.
#[test]
fn every_op_file_is_listed() -> std::io::Result<()> {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let list = std::fs::read_to_string(source.join("lib.rs"))?;
    for family in std::fs::read_dir(&source)?.filter_map(|f| f.ok().map(|f| f.path())).filter(|p| p.is_dir()) {
        for file in std::fs::read_dir(family)? {
            let path = file?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().to_string();
            assert!(list.contains(&format!("        {name}: ")), "{} is not listed in lib.rs", path.display());
        }
    }
    Ok(())
}
