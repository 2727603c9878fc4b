//! Random graphs: every prefix of the pass list leaves the results alone.

use std::sync::Arc;

use lampyr_base::{DType, Dim};
use lampyr_compiler::{Options, Request, pass_names};
use lampyr_ir::case::SplitMix;
use lampyr_ir::{Fact, Graph, GraphBuilder, HostValue, Var};
use lampyr_ops::build::*;
use lampyr_runtime::session::{Session, Value};

use super::{assert_same, build, eager_options, random_tensor, reference};
use crate::suite::memory::check_plan;

const N: usize = 3;

/// A random graph over `x: [n, 4]`, `y: [4]` and weights.
pub fn graph(seed: u64, dtype: DType) -> Graph {
    let mut rng = SplitMix(seed);
    let mut pick = move |n: usize| (rng.next_u64() % n as u64) as usize;
    let mut g = GraphBuilder::new(&format!("random{seed}"));
    let x = g.input("x", Fact::tensor(dtype, [Dim::named("n"), Dim::Known(4)]));
    let y = g.input("y", Fact::fixed(dtype, &[4]));
    let w = lampyr_ir::Builder::constant(&mut g, random_tensor(dtype, &[4, 4], seed)).unwrap();
    let half = lampyr_ir::Builder::constant(&mut g, random_tensor(dtype, &[], seed + 1)).unwrap();
    let mut wide: Vec<Var> = vec![x];
    let mut narrow: Vec<Var> = vec![y, half];
    for _ in 0..5 + pick(18) {
        let a = wide[pick(wide.len())].clone();
        let b = wide[pick(wide.len())].clone();
        let c = narrow[pick(narrow.len())].clone();
        let made = match pick(14) {
            0 => add(&mut g, &a, &b),
            1 => mul(&mut g, &a, &c),
            2 => sub(&mut g, &c, &a),
            3 => relu(&mut g, &a),
            4 => tanh(&mut g, &a),
            5 => matmul(&mut g, &a, &w),
            6 => matmul(&mut g, &a, &w).and_then(|m| add(&mut g, &m, &c)).and_then(|m| relu(&mut g, &m)),
            7 => transpose(&mut g, &a, &[1, 0])
                .and_then(|t| relu(&mut g, &t))
                .and_then(|t| transpose(&mut g, &t, &[1, 0])),
            8 => {
                let t = cast(&mut g, &a, DType::F64).unwrap();
                tanh(&mut g, &t).and_then(|t| cast(&mut g, &t, dtype))
            }
            9 => reduce_mean(&mut g, &a, &[1], true).and_then(|m| sub(&mut g, &a, &m)),
            10 => identity(&mut g, &a),
            11 => {
                narrow.push(reduce_sum(&mut g, &a, &[0], false).unwrap());
                continue;
            }
            12 => {
                narrow.push(add(&mut g, &c, &c).unwrap());
                continue;
            }
            _ => neg(&mut g, &a).and_then(|t| exp(&mut g, &t)).and_then(|t| tanh(&mut g, &t)),
        };
        wide.push(made.unwrap());
    }
    let last = wide.len() - 1;
    for (i, v) in [last, last / 2, pick(wide.len())].iter().enumerate() {
        g.output(&format!("out{i}"), &wide[*v]).unwrap();
    }
    g.output("small", narrow.last().unwrap()).unwrap();
    g.finish()
}

pub fn inputs(seed: u64, dtype: DType, n: usize) -> Vec<HostValue> {
    vec![random_tensor(dtype, &[n, 4], seed).into(), random_tensor(dtype, &[4], seed + 7).into()]
}

#[test]
fn passes_leave_results_alone() {
    for seed in 0..60 {
        let dtype = [DType::F32, DType::F64, DType::F16][seed as usize % 3];
        let plain = graph(seed, dtype);
        let given = inputs(seed, dtype, N);
        let want = reference(&plain, &given);
        let exe = build(&plain, &eager_options());
        assert_same(&want, &reference(exe.graph(), &given), true, &format!("seed {seed}\n{plain}\n{}", exe.graph()));
        let names: Vec<String> = exe.outputs().map(|p| p.name.to_string()).collect();
        assert_eq!(names.len(), 4);
    }
}

#[test]
fn every_prefix_of_the_pass_list_is_right() {
    for seed in 100..110 {
        let plain = graph(seed, DType::F32);
        let given = inputs(seed, DType::F32, N);
        let want = reference(&plain, &given);
        for stop in 0..=pass_names().len() {
            let exe = build(&plain, &Options { stop_after: Some(stop), ..eager_options() });
            assert_same(&want, &reference(exe.graph(), &given), true, &format!("seed {seed}, {stop} passes"));
            assert_eq!(exe.report().passes.len(), stop);
        }
    }
}

#[test]
fn plans_are_sound_for_every_shape() {
    for seed in 200..240 {
        let plain = graph(seed, DType::F32);
        for options in [Options::default(), eager_options()] {
            let exe = build(&plain, &options);
            for n in [0, 1, 5, 1000] {
                let plan = exe.plan(&Request::shapes(&[&[n, 4], &[4]])).unwrap();
                check_plan(&exe, &plan);
            }
            assert_eq!(exe.plans_made(), 4);
            exe.plan(&Request::shapes(&[&[5, 4], &[4]])).unwrap();
            assert_eq!(exe.plans_made(), 4);
        }
    }
}

#[test]
fn sessions_agree_with_the_reference() {
    for seed in 300..400 {
        let dtype = [DType::F32, DType::F64][seed as usize % 2];
        let plain = graph(seed, dtype);
        let fused = Session::new(Arc::new(build(&plain, &Options { verify: true, ..Options::default() })));
        let unfused = Session::new(Arc::new(build(&plain, &Options { stop_after: Some(0), ..Options::default() })));
        let cpu = lampyr_backend::backend(lampyr_base::Device::CPU).unwrap();
        for n in [1, 6, 33] {
            let given = inputs(seed, dtype, n);
            let want = reference(&plain, &given);
            for session in [&fused, &unfused] {
                let values = given.iter().map(|v| Value::upload(&*cpu, v).unwrap()).collect();
                let got: Vec<HostValue> = session.run(values).unwrap().iter().map(|v| v.to_host().unwrap()).collect();
                assert_same(&want, &got, false, &format!("seed {seed}, n {n}\n{plain}"));
            }
        }
    }
}
