//! Patterns of primitive ops, written as exporters write them.

use std::f64::consts::{PI, SQRT_2};

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, HostValue, TensorFact, ValueId, Var};
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
    let given = given(plain);
    assert_same(&reference(plain, &given), &reference(exe.graph(), &given), false, "recognised");
}

/// The compiled graph holds one `op` and gives the same results.
fn becomes_with(plain: &Graph, op: &str) {
    let exe = build(plain, &eager_options());
    let count = exe.graph().nodes().filter(|(_, n)| n.op.name() == op).count();
    assert_eq!(count, 1, "{}\n{:?}", exe.graph(), exe.report().fusions);
    let given = given(plain);
    assert_same(&reference(plain, &given), &reference(exe.graph(), &given), false, "recognised");
}

/// Random inputs; symbolic sizes are 3.
fn given(plain: &Graph) -> Vec<HostValue> {
    let make = |(i, v): (usize, &ValueId)| {
        let fact = plain.fact(*v).as_tensor().unwrap();
        let shape: Vec<usize> = fact.shape.iter().map(|d| d.known().unwrap_or(3) as usize).collect();
        random_tensor(fact.dtype, &shape, 11 + i as u64).into()
    };
    plain.inputs().iter().enumerate().map(make).collect()
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

fn weight(g: &mut GraphBuilder, shape: &[usize], salt: u64) -> Var {
    g.constant(random_tensor(DType::F32, shape, salt)).unwrap()
}

/// `x` without its mean, and the variance.
fn moments(g: &mut GraphBuilder, x: &Var) -> Result<(Var, Var)> {
    let mean = reduce_mean(g, x, &[-1], true)?;
    let d = sub(g, x, &mean)?;
    let square = mul(g, &d, &d)?;
    Ok((d, reduce_mean(g, &square, &[2], true)?))
}

#[test]
fn layer_norm_in_every_order() {
    for form in 0..4 {
        let plain = over_x(|g, x| {
            let (d, variance) = moments(g, x)?;
            let epsilon = scalar(g, 1e-5);
            let s = if form == 1 { add(g, &epsilon, &variance)? } else { add(g, &variance, &epsilon)? };
            let root = sqrt(g, &s)?;
            let y = if form == 2 {
                let one = scalar(g, 1.0);
                let r = div(g, &one, &root)?;
                mul(g, &r, &d)?
            } else {
                div(g, &d, &root)?
            };
            let (scale, bias) = (weight(g, &[8], 3), weight(g, &[8], 4));
            match form {
                3 => Ok(y),
                1 => mul(g, &scale, &y).and_then(|y| add(g, &bias, &y)),
                _ => mul(g, &y, &scale).and_then(|y| add(g, &y, &bias)),
            }
        });
        becomes(&plain, &["layer_norm"]);
    }
}

#[test]
fn a_residual_stays_outside_the_norm() {
    let plain = over_x(|g, x| {
        let (d, variance) = moments(g, x)?;
        let epsilon = scalar(g, 1e-5);
        let root = add(g, &variance, &epsilon).and_then(|s| sqrt(g, &s))?;
        let y = div(g, &d, &root)?;
        let scale = weight(g, &[8], 3);
        let y = mul(g, &y, &scale)?;
        add(g, &y, x)
    });
    becomes(&plain, &["layer_norm", "add"]);
}

#[test]
fn rms_norm_in_every_order() {
    for form in 0..3 {
        let plain = over_x(|g, x| {
            let square = mul(g, x, x)?;
            let mean = reduce_mean(g, &square, &[-1], true)?;
            let epsilon = scalar(g, 1e-6);
            let root = add(g, &mean, &epsilon).and_then(|s| sqrt(g, &s))?;
            let y = if form == 0 {
                div(g, x, &root)?
            } else {
                let one = scalar(g, 1.0);
                let r = div(g, &one, &root)?;
                mul(g, x, &r)?
            };
            let scale = weight(g, &[8], 3);
            if form == 2 { mul(g, &scale, &y) } else { mul(g, &y, &scale) }
        });
        becomes(&plain, &["rms_norm"]);
    }
}

/// Heads `[2, 2, 3, 4]` out of `x`.
fn heads(g: &mut GraphBuilder, x: &Var) -> Result<Var> {
    let known = [2, 3, 2, 4].map(Dim::Known).to_vec();
    reshape(g, x, known).and_then(|r| transpose(g, &r, &[0, 2, 1, 3]))
}

#[test]
fn attention_as_exporters_write_it() {
    for form in 0..7 {
        let plain = over_x(|g, x| {
            let (wk, wv) = (weight(g, &[8, 8], 5), weight(g, &[8, 8], 6));
            let (k, v) = (matmul(g, x, &wk)?, matmul(g, x, &wv)?);
            let (q, mut k, v) = (heads(g, x)?, heads(g, &k)?, heads(g, &v)?);
            k = if form == 1 {
                // As torch writes it for tensors of more than three axes.
                let flat = reshape(g, &k, [4, 3, 4].map(Dim::Known).to_vec())?;
                let t = transpose(g, &flat, &[0, 2, 1])?;
                reshape(g, &t, [2, 2, 4, 3].map(Dim::Known).to_vec())?
            } else {
                transpose(g, &k, &[0, 1, 3, 2])?
            };
            let (root, half) = (scalar(g, 0.5f64.sqrt()), scalar(g, 0.5));
            let mut s = match form {
                0 | 1 => {
                    let (q, k) = (mul(g, &q, &root)?, mul(g, &root, &k)?);
                    matmul(g, &q, &k)?
                }
                2 => {
                    let two = scalar(g, 2.0);
                    matmul(g, &q, &k).and_then(|s| div(g, &s, &two))?
                }
                _ => matmul(g, &q, &k).and_then(|s| mul(g, &s, &half))?,
            };
            match form {
                2 | 3 => {
                    let mask = weight(g, &[1, 1, 3, 3], 8);
                    s = add(g, &s, &mask)?;
                }
                4 => {
                    let keep = g.constant(HostTensor::from_slice(
                        &[3, 3],
                        &[true, false, false, true, true, false, true, true, true],
                    )?)?;
                    let low = scalar(g, f64::NEG_INFINITY);
                    s = where_(g, &keep, &s, &low)?;
                }
                5 => {
                    let hide = g.constant(HostTensor::from_slice(&[3], &[false, true, false])?)?;
                    let (zero, low) = (scalar(g, 0.0), scalar(g, f64::NEG_INFINITY));
                    let mask = where_(g, &hide, &low, &zero)?;
                    let more = weight(g, &[3, 3], 9);
                    s = add(g, &s, &mask).and_then(|s| add(g, &more, &s))?;
                }
                6 => {
                    // Windows: the first axis is split for the mask.
                    let mask = weight(g, &[1, 2, 1, 3, 3], 10);
                    let split = reshape(g, &s, [1, 2, 2, 3, 3].map(Dim::Known).to_vec())?;
                    let sum = add(g, &split, &mask)?;
                    s = reshape(g, &sum, [2, 2, 3, 3].map(Dim::Known).to_vec())?;
                }
                _ => {}
            }
            let p = softmax(g, &s, -1)?;
            matmul(g, &p, &v)
        });
        let exe = build(&plain, &eager_options());
        let count = |name: &str| exe.graph().nodes().filter(|(_, n)| n.op.name() == name).count();
        let found = (count("scaled_dot_product_attention"), count("softmax"), count("matmul"));
        assert_eq!(found, (1, 0, 2), "form {form}\n{}\n{:?}", exe.graph(), exe.report().fusions);
        let given = [random_tensor(DType::F32, &[2, 3, 8], 11).into()];
        assert_same(&reference(&plain, &given), &reference(exe.graph(), &given), false, &format!("form {form}"));
    }
}

/// The sum of tokens and a table cut to their number has as many rows as there are tokens, which the mask shows too.
#[test]
fn attention_behind_a_table_cut_to_the_length() {
    let mut g = GraphBuilder::new("cut");
    let steps = Dim::named("steps");
    let x = g.input("x", Fact::Tensor(TensorFact::new(DType::F32, [Dim::named("n"), steps.clone(), Dim::Known(8)])));
    let mask = g.input("mask", Fact::Tensor(TensorFact::new(DType::F32, [Dim::named("n"), steps.clone()])));
    let table = weight(&mut g, &[1, 6, 8], 3);
    let made = (|| -> Result<Var> {
        let g = &mut g;
        let positions = narrow(g, &table, 1, Dim::Known(0), steps.clone())?;
        let x = add(g, &x, &positions)?;
        let sizes = g.fact(&x)?.as_tensor()?.shape.clone();
        let mut apart = |axes: [i64; 4]| -> Result<Var> {
            let shape = vec![sizes[0].clone(), sizes[1].clone(), Dim::Known(2), Dim::Known(4)];
            reshape(g, &x, shape).and_then(|r| transpose(g, &r, &axes))
        };
        let (q, v, k) = (apart([0, 2, 1, 3])?, apart([0, 2, 1, 3])?, apart([0, 2, 3, 1])?);
        let half = scalar(g, 0.5);
        let s = matmul(g, &q, &k).and_then(|s| mul(g, &s, &half))?;
        let mask = unsqueeze(g, &mask, &[1, 2])?;
        let p = add(g, &s, &mask).and_then(|s| softmax(g, &s, -1))?;
        let guard = isnan(g, &p)?;
        let zero = scalar(g, 0.0);
        let p = where_(g, &guard, &zero, &p)?;
        matmul(g, &p, &v)
    })();
    g.output("y", &made.unwrap()).unwrap();
    becomes_with(&g.finish(), "scaled_dot_product_attention");
}

#[test]
fn rotary_embedding_from_its_parts() {
    for equal in [true, false] {
        let plain = over_x(|g, x| {
            let mut angles = |salt: u64| {
                let half = random_tensor(DType::F32, &[3, 4], salt).to_f64();
                let other = random_tensor(DType::F32, &[3, 4], salt + u64::from(!equal)).to_f64();
                let rows = (0..3)
                    .flat_map(|i| half[i * 4..][..4].iter().chain(&other[i * 4..][..4]).copied().collect::<Vec<f64>>());
                let all: Vec<f64> = rows.collect();
                g.constant(HostTensor::from_f64(DType::F32, &[3, 8], &all).unwrap()).unwrap()
            };
            let (cos, sin) = (angles(1), angles(5));
            let front = narrow(g, x, -1, Dim::Known(0), Dim::Known(4))?;
            let back = narrow(g, x, -1, Dim::Known(4), Dim::Known(i64::MAX))?;
            let back = neg(g, &back)?;
            let turned = concat(g, &[back, front], -1)?;
            let (a, b) = (mul(g, x, &cos)?, mul(g, &turned, &sin)?);
            add(g, &a, &b)
        });
        if equal {
            becomes(&plain, &["rotary_embedding"]);
        } else {
            let exe = build(&plain, &eager_options());
            let refused = exe.report().fusions.iter().find(|f| f.pattern == "rotary_embedding").unwrap();
            assert_eq!(refused.reason, "the halves of cosines and sines may differ");
        }
    }
}

#[test]
fn a_gemm_of_rows_is_a_product() {
    let plain = over_x(|g, x| {
        let rows = reshape(g, x, [6, 8].map(Dim::Known).to_vec())?;
        let (w, bias) = (weight(g, &[5, 8], 1), weight(g, &[5], 2));
        let op = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let y = gemm(g, &op, &rows, &w, Some(&bias))?;
        let y = reshape(g, &y, [2, 3, 5].map(Dim::Known).to_vec())?;
        tanh(g, &y)
    });
    becomes(&plain, &["fused_contraction"]);
}
