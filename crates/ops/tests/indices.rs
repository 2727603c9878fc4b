//! Ranges, reductions and indices: facts, refusals and ONNX meanings that no case covers.

use lampyr_base::{DType, Dim, ErrorKind, Result};
use lampyr_ir::interpret::ReferenceBuilder;
use lampyr_ir::onnx::OnnxAttr;
use lampyr_ir::{Builder, Fact, GraphBuilder, HostTensor, TensorFact, Var};
use lampyr_ops::build::*;

use crate::imports::import;

fn floats(shape: &[usize], values: &[f64]) -> HostTensor {
    HostTensor::from_f64(DType::F32, shape, values).expect("numbers for the shape")
}

fn ints(values: &[i64]) -> HostTensor {
    HostTensor::ints(values).expect("a vector")
}

/// A range between known sizes has a known size, and folds of sizes stay expressions.
#[test]
fn ranges_and_folds_of_sizes_stay_symbolic() -> Result<()> {
    let mut g = GraphBuilder::new("sizes");
    let n = Dim::named("n");
    let sizes =
        TensorFact::new(DType::I64, [Dim::Known(3)]).with_known(Some([n.clone(), Dim::Known(6), Dim::Known(2)].into()));
    let s = g.input("s", Fact::Tensor(sizes));
    let known = |g: &GraphBuilder, v: &Var| Ok::<_, lampyr_base::Error>(g.fact(v)?.as_tensor()?.known.clone());
    let shape = |g: &GraphBuilder, v: &Var| Ok::<_, lampyr_base::Error>(g.fact(v)?.as_tensor()?.shape.to_vec());
    let scalar = |g: &mut GraphBuilder, x: i64| g.constant(HostTensor::scalar(x));
    let (zero, one, two, ten) = (scalar(&mut g, 0)?, scalar(&mut g, 1)?, scalar(&mut g, 2)?, scalar(&mut g, 10)?);
    let first = gather(&mut g, &s, &zero, 0)?;
    let counted = arange(&mut g, &zero, &first, &one)?;
    assert_eq!(shape(&g, &counted)?, std::slice::from_ref(&n));
    let back = scalar(&mut g, -1)?;
    let counted = arange(&mut g, &first, &zero, &back)?;
    assert_eq!(shape(&g, &counted)?, std::slice::from_ref(&n));
    let small = arange(&mut g, &two, &ten, &two)?;
    let want: Vec<Dim> = [2, 4, 6, 8].map(Dim::Known).to_vec();
    assert_eq!(known(&g, &small)?.as_deref(), Some(&want[..]));
    let product = reduce_prod(&mut g, &s, &[], false)?;
    assert_eq!(known(&g, &product)?.as_deref(), Some(&[n.mul(&Dim::Known(12))][..]));
    let total = reduce_sum(&mut g, &s, &[0], true)?;
    assert_eq!(known(&g, &total)?.as_deref(), Some(&[n.add(&Dim::Known(8))][..]));
    let ends = cumsum(&mut g, &s, 0, false, false)?;
    let want = [n.clone(), n.add(&Dim::Known(6)), n.add(&Dim::Known(8))];
    assert_eq!(known(&g, &ends)?.as_deref(), Some(&want[..]));
    let most = reduce_max(&mut g, &ends, &[], false)?;
    assert_eq!(known(&g, &most)?.as_deref(), Some(&[n.add(&Dim::Known(8))][..]));
    Ok(())
}

/// A constant range of floats is made while the model is read, so its size is known.
#[test]
fn constant_ranges_of_floats_have_a_size() -> Result<()> {
    let made = import("Range", 11, &[], &[0.0, 1.0, 0.25].map(|x| floats(&[], &[x])))?;
    assert_eq!(made[0], floats(&[4], &[0.0, 0.25, 0.5, 0.75]));
    let none = import("Range", 11, &[], &[0.0, 1.0, 0.0].map(|x| floats(&[], &[x])));
    assert_eq!(none.expect_err("no step").kind(), &ErrorKind::Value);
    Ok(())
}

/// Indices outside the axis are refused, whichever op takes them.
#[test]
fn indices_out_of_range_are_refused() {
    let b: &mut dyn Builder = &mut ReferenceBuilder;
    let var = |t: HostTensor| ReferenceBuilder::value(t);
    let x = var(floats(&[2, 3], &[0.0; 6]));
    let tuple = |v: &[i64]| var(ints(v).reshaped(&[1, v.len()]).expect("a tuple"));
    let update = var(floats(&[1], &[1.0]));
    let line = var(floats(&[1, 1], &[1.0]));
    for at in [[2, 0], [0, 3], [-3, 0], [0, i64::MIN], [i64::MAX, 0]] {
        let kind = gather_nd(b, &x, &tuple(&at), 0).expect_err("outside").kind().clone();
        assert_eq!(kind, ErrorKind::Index, "{at:?}");
        let kind = scatter_nd(b, &x, &tuple(&at), &update, "add").expect_err("outside").kind().clone();
        assert_eq!(kind, ErrorKind::Index, "{at:?}");
    }
    for at in [3, -4, i64::MIN] {
        let kind = scatter_elements(b, &x, &tuple(&[at]), &line, 1, "none").expect_err("outside").kind().clone();
        assert_eq!(kind, ErrorKind::Index, "{at}");
    }
    assert!(gather_nd(b, &x, &tuple(&[0, 0, 0]), 0).is_err(), "more indices than axes");
    assert!(gather_nd(b, &x, &tuple(&[0]), -1).is_err(), "a negative number of axes");
    assert!(scatter_nd(b, &x, &tuple(&[0, 0]), &update, "mean").is_err(), "an unknown reduction");
}

/// What ONNX defines for reductions of nothing, of `bool`, and over no axes at all.
#[test]
fn odd_reductions() -> Result<()> {
    let keep = [("keepdims", OnnxAttr::Int(0))];
    let empty = HostTensor::zeros(DType::F32, &[2, 0])?;
    let axis = ints(&[1]);
    for (op, want) in [
        ("ReduceMin", f64::INFINITY),
        ("ReduceProd", 1.0),
        ("ReduceL1", 0.0),
        ("ReduceL2", 0.0),
        ("ReduceSumSquare", 0.0),
        ("ReduceLogSum", f64::NEG_INFINITY),
        ("ReduceLogSumExp", f64::NEG_INFINITY),
    ] {
        let y = import(op, 20, &keep, &[empty.clone(), axis.clone()])?;
        assert_eq!((y[0].shape(), y[0].to_f64()), (&[2][..], vec![want, want]), "{op}");
    }
    let bytes = HostTensor::zeros(DType::U8, &[2, 0])?;
    assert_eq!(import("ReduceMin", 20, &keep, &[bytes, axis.clone()])?[0].to_i64(), [255, 255]);
    let flags = HostTensor::from_slice(&[2, 2], &[true, false, true, true])?;
    let least = import("ReduceMin", 20, &keep, &[flags.clone(), axis.clone()])?;
    assert_eq!(least[0], HostTensor::from_slice(&[2], &[false, true])?);
    let most = import("ReduceMax", 20, &keep, &[flags, axis])?;
    assert_eq!(most[0], HostTensor::from_slice(&[2], &[true, true])?);
    let none = [("noop_with_empty_axes", OnnxAttr::Int(1))];
    let x = floats(&[2], &[-3.0, 4.0]);
    for (op, want) in [
        ("ReduceL1", [3.0, 4.0]),
        ("ReduceL2", [3.0, 4.0]),
        ("ReduceSumSquare", [9.0, 16.0]),
        ("ReduceProd", [-3.0, 4.0]),
    ] {
        assert_eq!(import(op, 18, &none, std::slice::from_ref(&x))?[0], floats(&[2], &want), "{op}");
    }
    let whole = HostTensor::from_i64(DType::I32, &[2], &[3, 4])?;
    assert_eq!(import("ReduceL2", 18, &keep, &[whole])?[0].to_i64(), [5]);
    Ok(())
}

/// Older spellings and optional inputs of index operators.
#[test]
fn odd_index_operators() -> Result<()> {
    let x = floats(&[1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let at = HostTensor::from_i64(DType::I64, &[1, 2], &[1, -2])?;
    let y = import("Scatter", 9, &[("axis", OnnxAttr::Int(1))], &[x, at, floats(&[1, 2], &[1.1, 2.1])])?;
    assert_eq!(y[0], floats(&[1, 5], &[1.0, 1.1, 3.0, 2.1, 5.0]));
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let picks = HostTensor::from_slice(&[2], &[false, true])?;
    let axis = [("axis", OnnxAttr::Int(1))];
    let y = import("Compress", 11, &axis, &[x.clone(), picks.clone()])?;
    assert_eq!(y[0], floats(&[2, 1], &[2.0, 5.0]));
    assert_eq!(import("Compress", 11, &[], &[x, picks])?[0], floats(&[1], &[2.0]));
    let indices = floats(&[3], &[0.0, -7.0, 8.0]);
    let y = import("OneHot", 11, &[], &[indices, floats(&[1], &[3.0]), ints(&[2, 5])])?;
    assert_eq!(y[0].to_i64(), [5, 2, 2, 2, 2, 2, 2, 2, 2]);
    let boxes = floats(&[1, 2, 4], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    let scores = floats(&[1, 1, 2], &[0.5, 0.9]);
    let none = import("NonMaxSuppression", 11, &[], &[boxes.clone(), scores.clone()])?;
    assert_eq!(none[0].shape(), [0, 3]);
    let one = import("NonMaxSuppression", 11, &[], &[boxes, scores, ints(&[9])])?;
    assert_eq!(one[0].to_i64(), [0, 0, 1]);
    Ok(())
}
