//! Patterns of primitive ops, written as exporters write them.

use std::f64::consts::{PI, SQRT_2};

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, Var};
use lampyr_ops::build::*;

use super::{assert_same, build, eager_options, random_tensor, reference};

pub fn scalar(g: &mut GraphBuilder, x: f64) -> Var {
    g.constant(HostTensor::from_f64(DType::F32, &[], &[x]).unwrap()).unwrap()
}

/// A graph over `x: [2, 3, 8]`.
pub fn over_x(make: impl FnOnce(&mut GraphBuilder, &Var) -> Result<Var>) -> Graph {
    let mut g = GraphBuilder::new("pattern");
    let x = g.input("x", Fact::fixed(DType::F32, &[2, 3, 8]));
    let y = make(&mut g, &x).unwrap();
    g.output("y", &y).unwrap();
    g.finish()
}

/// The compiled graph is `ops`, in order, and gives the same results.
pub fn becomes(plain: &Graph, ops: &[&str]) {
    let exe = build(plain, &eager_options());
    let order = exe.graph().order().unwrap();
    let names: Vec<&str> = order.iter().map(|id| exe.graph().node(*id).unwrap().op.name()).collect();
    assert_eq!(names, ops, "{plain}\n{}\n{:?}", exe.graph(), exe.report().fusions);
    let given: Vec<_> = (plain.inputs().iter().enumerate())
        .map(|(i, v)| {
            let fact = plain.fact(*v).as_tensor().unwrap();
            let shape: Vec<usize> = fact.shape.iter().map(|d| d.known().unwrap_or(3) as usize).collect();
            random_tensor(fact.dtype, &shape, 11 + i as u64).into()
        })
        .collect();
    assert_same(&reference(plain, &given), &reference(exe.graph(), &given), false, "recognised");
}

fn softmax_of(g: &mut GraphBuilder, x: &Var, shift: bool, axis: i64) -> Result<(Var, Var)> {
    let x = if shift {
        let most = reduce_max(g, x, &[axis], true)?;
        sub(g, x, &most)?
    } else {
        x.clone()
    };
    let e = exp(g, &x)?;
    let s = reduce_sum(g, &e, &[axis], true)?;
    Ok((e, s))
}

#[test]
fn softmax_from_its_parts() {
    for shift in [false, true] {
        for axis in [-1, 1] {
            let plain = over_x(|g, x| {
                let (e, s) = softmax_of(g, x, shift, axis)?;
                div(g, &e, &s)
            });
            becomes(&plain, &["softmax"]);
        }
    }
}

#[test]
fn a_softmax_whose_sum_is_read_stays() {
    let mut g = GraphBuilder::new("kept");
    let x = g.input("x", Fact::fixed(DType::F32, &[4, 5]));
    let (e, s) = softmax_of(&mut g, &x, true, 1).unwrap();
    let y = div(&mut g, &e, &s).unwrap();
    g.output("y", &y).unwrap();
    g.output("s", &s).unwrap();
    let exe = build(&g.finish(), &eager_options());
    let refused = exe.report().fusions.iter().find(|f| f.pattern == "softmax").unwrap();
    assert!(!refused.taken && refused.reason == "a value inside is read elsewhere" && refused.nodes.len() == 5);
    assert!(exe.graph().nodes().all(|(_, n)| n.op.name() != "softmax"));
}

#[test]
fn gelu_in_every_order() {
    for form in 0..5 {
        let plain = over_x(|g, x| {
            let (half, one, root) = (scalar(g, 0.5), scalar(g, 1.0), scalar(g, SQRT_2));
            let z = match form {
                0 | 1 => div(g, x, &root)?,
                _ => {
                    let c = scalar(g, 1.0 / SQRT_2);
                    mul(g, &c, x)?
                }
            };
            let e = erf(g, &z)?;
            let s = if form == 1 { add(g, &one, &e)? } else { add(g, &e, &one)? };
            match form {
                0 => mul(g, x, &s).and_then(|p| mul(g, &p, &half)),
                1 => mul(g, &s, x).and_then(|p| mul(g, &half, &p)),
                2 => mul(g, x, &half).and_then(|p| mul(g, &p, &s)),
                3 => mul(g, &s, &half).and_then(|p| mul(g, x, &p)),
                _ => {
                    let two = scalar(g, 2.0);
                    mul(g, x, &s).and_then(|p| div(g, &p, &two))
                }
            }
        });
        becomes(&plain, &["gelu"]);
    }
}

#[test]
fn gelu_by_the_tangent() {
    for form in 0..3 {
        let plain = over_x(|g, x| {
            let (half, one, k, c) = (scalar(g, 0.5), scalar(g, 1.0), scalar(g, (2.0 / PI).sqrt()), scalar(g, 0.044715));
            let square = mul(g, x, x)?;
            let u = match form {
                0 => {
                    let cube = mul(g, &square, x)?;
                    let t = mul(g, &cube, &c)?;
                    add(g, x, &t).and_then(|t| mul(g, &t, &k))?
                }
                1 => {
                    let cube = mul(g, x, &square)?;
                    let t = mul(g, &c, &cube)?;
                    add(g, &t, x).and_then(|t| mul(g, &k, &t))?
                }
                _ => {
                    let t = mul(g, &square, &c)?;
                    let t = add(g, &one, &t)?;
                    let kx = mul(g, x, &k)?;
                    mul(g, &kx, &t)?
                }
            };
            let t = tanh(g, &u)?;
            let s = add(g, &t, &one)?;
            let h = mul(g, x, &half)?;
            mul(g, &h, &s)
        });
        becomes(&plain, &["gelu"]);
    }
}

#[test]
fn a_near_gelu_is_none() {
    let plain = over_x(|g, x| {
        let (half, one, root) = (scalar(g, 0.5), scalar(g, 1.0), scalar(g, 1.5));
        let z = div(g, x, &root)?;
        let s = erf(g, &z).and_then(|e| add(g, &e, &one))?;
        mul(g, x, &s).and_then(|p| mul(g, &p, &half))
    });
    let exe = build(&plain, &eager_options());
    let refused = exe.report().fusions.iter().find(|f| f.pattern == "gelu").unwrap();
    assert_eq!(refused.reason, "the argument inside is not that of the function");
}

#[test]
fn a_recognised_op_keeps_its_gradient() {
    let plain = over_x(|g, x| {
        let (e, s) = softmax_of(g, x, true, -1)?;
        div(g, &e, &s)
    });
    let exe = build(&plain, &eager_options());
    let mut joint = GraphBuilder::resume(exe.graph().clone());
    let (x, y) = (Var::Node(exe.graph().inputs()[0]), Var::Node(exe.graph().outputs()[0]));
    let seed = joint.constant(HostTensor::zeros(DType::F32, &[2, 3, 8]).unwrap()).unwrap();
    let ops = lampyr_ops::gradient::OPS;
    assert!(lampyr_ir::autodiff::gradients(&mut joint, ops, &[(y, seed)], &[x]).unwrap()[0].is_some());
}

#[test]
fn transposes_and_reshapes_cancel() {
    let known = |sizes: &[i64]| sizes.iter().map(|n| Dim::Known(*n)).collect::<Vec<_>>();
    let plain = over_x(|g, x| {
        let t = transpose(g, x, &[2, 0, 1])?;
        let t = transpose(g, &t, &[1, 2, 0])?;
        let r = reshape(g, &t, known(&[6, 8]))?;
        let r = unsqueeze(g, &r, &[1])?;
        let r = transpose(g, &r, &[1, 0, 2])?;
        let r = reshape(g, &r, known(&[2, 3, 8]))?;
        relu(g, &r)
    });
    becomes(&plain, &["relu"]);
    let plain = over_x(|g, x| {
        let r = reshape(g, x, known(&[2, 3, 4, 2]))?;
        let flat = reshape(g, &r, known(&[6, 4, 2]))?;
        let t = transpose(g, &flat, &[0, 2, 1])?;
        let r = reshape(g, &t, known(&[2, 3, 2, 4]))?;
        relu(g, &r)
    });
    becomes(&plain, &["reshape", "transpose", "relu"]);
}

#[test]
fn a_gather_of_one_is_a_view() {
    let plain = over_x(|g, x| {
        let at = g.constant(HostTensor::scalar(-2i64))?;
        let y = gather(g, x, &at, 1)?;
        relu(g, &y)
    });
    becomes(&plain, &["slice", "squeeze", "relu"]);
}
