//! ONNX operators on images in the versions that no op exports.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::interpret::ReferenceBuilder;
use lampyr_ir::onnx::OnnxAttr;
use lampyr_ir::{Builder, Fact, GraphBuilder, HostTensor, Var};
use lampyr_ops::registry;

use crate::onnx::Node;

fn node(op_type: &str, opset: u32, attrs: &[(&str, OnnxAttr)], outputs: usize) -> Node {
    let attrs = attrs.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    Node { op_type: op_type.to_string(), opset, attrs, outputs }
}

fn build(node: &Node, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vec<Var>> {
    let mapping = registry::onnx("", &node.op_type, node.opset).expect("the operator is known");
    Ok((mapping.build)(node, b, inputs)?.into_vec())
}

fn run(node: &Node, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
    let inputs: Vec<Option<Var>> = inputs.iter().cloned().map(|t| Some(ReferenceBuilder::value(t))).collect();
    let made = build(node, &mut ReferenceBuilder, &inputs)?;
    made.iter().map(|v| ReferenceBuilder::get(v)?.tensor().cloned()).collect()
}

fn floats(shape: &[usize], values: &[f64]) -> HostTensor {
    HostTensor::from_f64(DType::F32, shape, values).expect("as many numbers as elements")
}

fn counting(shape: &[usize]) -> HostTensor {
    let n: usize = shape.iter().product();
    floats(shape, &(1..=n).map(|i| i as f64).collect::<Vec<_>>())
}

fn ints(values: &[i64]) -> OnnxAttr {
    OnnxAttr::Ints(values.to_vec())
}

/// Resize of opset 10 takes the next element when it shrinks, Upsample the one before.
#[test]
fn resize_before_it_had_modes() -> Result<()> {
    let shrunk = run(&node("Resize", 10, &[], 1), &[counting(&[1, 1, 2, 4]), floats(&[4], &[1.0, 1.0, 0.6, 0.6])])?;
    assert_eq!((shrunk[0].shape(), shrunk[0].to_f64()), (&[1, 1, 1, 2][..], vec![1.0, 3.0]));
    let scales = [("scales", OnnxAttr::Floats(vec![1.0, 1.0, 1.0, 1.5]))];
    let grown = run(&node("Upsample", 7, &scales, 1), &[counting(&[1, 1, 1, 4])])?;
    assert_eq!(grown[0].to_f64(), [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
    let scales = floats(&[4], &[1.0, 1.0, 1.0, 2.0]);
    let linear = [("mode", OnnxAttr::Str("linear".to_string()))];
    let grown = run(&node("Upsample", 9, &linear, 1), &[counting(&[1, 1, 1, 3]), scales])?;
    assert_eq!(grown[0].to_f64(), [1.0, 1.5, 2.0, 2.5, 3.0, 3.0]);
    Ok(())
}

/// Sizes stay symbolic where scales are constant.
#[test]
fn resize_of_symbolic_sizes() -> Result<()> {
    let mut g = GraphBuilder::new("resize");
    let (h, w) = (Dim::named("h"), Dim::named("w"));
    let x = g.input("x", Fact::tensor(DType::F32, [Dim::Known(1), Dim::Known(3), h.clone(), w.clone()]));
    let scales = g.constant(floats(&[4], &[1.0, 1.0, 2.0, 0.6]))?;
    let y = build(&node("Resize", 13, &[], 1), &mut g, &[Some(x), None, Some(scales)])?;
    let fact = g.fact(&y[0])?;
    let want = [h.mul(&Dim::Known(2)), w.mul(&Dim::Known(3)).floor_div(&Dim::Known(5))];
    assert_eq!(fact.as_tensor()?.shape[2..], want);
    Ok(())
}

/// An image kept within a box grows along both axes by the smaller factor.
#[test]
fn resize_keeps_the_ratio() -> Result<()> {
    let sizes = HostTensor::ints(&[7, 8])?;
    for (policy, want) in [("not_larger", [7, 7]), ("not_smaller", [8, 8])] {
        let attrs = [("keep_aspect_ratio_policy", OnnxAttr::Str(policy.to_string())), ("axes", ints(&[2, 3]))];
        let inputs = [counting(&[1, 1, 2, 2]), floats(&[0], &[]), floats(&[0], &[]), sizes.clone()];
        assert_eq!(run(&node("Resize", 18, &attrs, 1), &inputs)?[0].shape()[2..], want, "{policy}");
    }
    Ok(())
}

/// ONNX counts indices of MaxPool in the whole tensor, by columns if asked to, also where sizes are unknown.
#[test]
fn max_pool_counts_in_the_whole_tensor() -> Result<()> {
    let attrs = |order: i64| {
        [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2])), ("storage_order", OnnxAttr::Int(order))]
    };
    let x = counting(&[1, 2, 4, 6]);
    let rows = run(&node("MaxPool", 12, &attrs(0), 2), std::slice::from_ref(&x))?;
    assert_eq!(rows[1].to_i64()[..6], [7, 9, 11, 19, 21, 23]);
    assert_eq!(rows[1].to_i64()[6], 24 + 7);
    let columns = run(&node("MaxPool", 12, &attrs(1), 2), std::slice::from_ref(&x))?;
    assert_eq!(columns[1].to_i64()[..6], [5, 13, 21, 7, 15, 23]);
    assert_eq!(columns[1].to_i64()[6], 24 + 5);
    let mut g = GraphBuilder::new("pool");
    let sizes = ["n", "c", "h", "w"].map(Dim::named);
    let input = g.input("x", Fact::tensor(DType::F32, sizes));
    let made = build(&node("MaxPool", 12, &attrs(1), 2), &mut g, &[Some(input)])?;
    g.output("indices", &made[1])?;
    let graph = g.finish();
    let mut bindings = lampyr_base::Bindings::new();
    lampyr_ir::interpret::bind(&graph, &[x.clone().into()], &mut bindings)?;
    let got = lampyr_ir::interpret::reference(&graph, &[x.into()], &bindings)?;
    assert_eq!(got[0].tensor()?.to_i64(), columns[1].to_i64());
    Ok(())
}

/// Output padding as large as the stride lies beyond every window.
#[test]
fn conv_transpose_beyond_its_windows() -> Result<()> {
    let attrs = [("strides", ints(&[2])), ("dilations", ints(&[4])), ("output_padding", ints(&[3]))];
    let bias = floats(&[1], &[10.0]);
    let y = run(&node("ConvTranspose", 11, &attrs, 1), &[counting(&[1, 1, 2]), floats(&[1, 1, 2], &[1.0, 1.0]), bias])?;
    let want = [11.0, 10.0, 12.0, 10.0, 11.0, 10.0, 12.0, 10.0, 10.0, 10.0];
    assert_eq!(y[0].to_f64(), want);
    let shape = [("output_shape", ints(&[1, 1, 5])), ("strides", ints(&[1]))];
    let y = run(&node("ConvTranspose", 11, &shape, 1), &[counting(&[1, 1, 2]), floats(&[1, 1, 2], &[1.0, 1.0])])?;
    assert_eq!(y[0].to_f64(), [1.0, 3.0, 2.0, 0.0, 0.0]);
    Ok(())
}

/// The largest elements and the norms of whole planes.
#[test]
fn global_pools() -> Result<()> {
    let x = floats(&[1, 2, 1, 2], &[3.0, -4.0, 0.0, 2.0]);
    let y = run(&node("GlobalMaxPool", 1, &[], 1), std::slice::from_ref(&x))?;
    assert_eq!((y[0].shape(), y[0].to_f64()), (&[1, 2, 1, 1][..], vec![3.0, 2.0]));
    let y = run(&node("GlobalLpPool", 2, &[], 1), std::slice::from_ref(&x))?;
    assert_eq!(y[0].to_f64(), [5.0, 2.0]);
    let y = run(&node("GlobalLpPool", 2, &[("p", OnnxAttr::Int(1))], 1), &[x])?;
    assert_eq!(y[0].to_f64(), [7.0, 2.0]);
    Ok(())
}
