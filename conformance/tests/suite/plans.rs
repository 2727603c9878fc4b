//! Memory plans, checked by code that knows only their reports.

use std::path::Path;

use lampyr_base::{DType, Result};
use lampyr_compiler::{Options, Request, compile};
use lampyr_conformance::plan_check::Plan;
use lampyr_ir::case::SplitMix;
use lampyr_ir::{Fact, Graph, GraphBuilder, TensorFact, Var};
use lampyr_ops::build::*;

/// Concatenations, residuals and products of many sizes.
fn graph(seed: u64) -> Graph {
    let mut rng = SplitMix(seed);
    let mut pick = move |n: usize| (rng.next_u64() % n as u64) as usize;
    let mut g = GraphBuilder::new("plan");
    let x = g.input("x", Fact::fixed(DType::F32, &[1, 8, 16]));
    let mut all: Vec<Var> = vec![x];
    for _ in 0..6 + pick(30) {
        let a = all[pick(all.len())].clone();
        let b = all[pick(all.len())].clone();
        let made = match pick(6) {
            0 => concat(&mut g, &[a, b], 1),
            1 => concat(&mut g, &[a.clone(), b, a], 0).and_then(|c| reduce_sum(&mut g, &c, &[0], true)),
            2 => transpose(&mut g, &a, &[0, 2, 1]).and_then(|t| matmul(&mut g, &a, &t)).and_then(|m| {
                let w = matmul(&mut g, &m, &a)?;
                add(&mut g, &w, &a)
            }),
            3 => tanh(&mut g, &a),
            4 => softmax(&mut g, &a, -1),
            _ => reduce_mean(&mut g, &a, &[1], true).and_then(|m| sub(&mut g, &a, &m)),
        };
        if let Ok(v) = made {
            all.push(v);
        }
    }
    let last = all.len() - 1;
    g.output("last", &all[last]).unwrap();
    g.output("half", &all[last / 2]).unwrap();
    g.finish()
}

fn try_report(graph: &Graph, shapes: &[&[usize]]) -> Result<String> {
    let exe = compile(graph, &Options::default())?;
    let plan = exe.plan(&Request::shapes(shapes))?;
    Ok(exe.explain(&plan).to_json())
}

fn report(graph: &Graph, shapes: &[&[usize]]) -> String {
    try_report(graph, shapes).unwrap()
}

#[test]
fn reports_hold() {
    lampyr_cpu::register();
    let mut worst: f64 = 1.0;
    for seed in 0..60 {
        let figures = Plan::parse(&report(&graph(seed), &[&[1, 8, 16]])).unwrap().check();
        let figures = figures.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        worst = worst.max(figures.arena as f64 / figures.bound.max(1) as f64);
    }
    assert!(worst <= 1.05, "an arena is {worst} times its bound");
}

#[test]
fn models_hold() {
    lampyr_cpu::register();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let Ok(model) = lampyr::Model::load(&path) else { continue };
        let facts: Vec<_> = model.graph().inputs().iter().map(|v| model.graph().fact(*v).as_tensor()).collect();
        if facts.iter().any(Result::is_err) {
            continue;
        }
        // Not every model takes every size.
        let sized = |open: i64| -> Option<String> {
            let shape = |t: &&TensorFact| t.shape.iter().map(|d| d.known().unwrap_or(open) as usize).collect();
            let shapes: Vec<Vec<usize>> = facts.iter().flatten().map(shape).collect();
            try_report(model.graph(), &shapes.iter().map(Vec::as_slice).collect::<Vec<_>>()).ok()
        };
        let json = (1..8).find_map(sized).unwrap_or_else(|| panic!("{} has no plan", path.display()));
        Plan::parse(&json).unwrap().check().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        checked += 1;
    }
    assert!(checked > 3, "only {checked} models");
}

#[test]
fn a_damaged_plan_is_found() {
    lampyr_cpu::register();
    let plan = (0..)
        .map(|seed| Plan::parse(&report(&graph(seed), &[&[1, 8, 16]])).unwrap())
        .find(|p| p.slots.len() > 4)
        .unwrap();
    plan.check().unwrap();
    let damaged = |damage: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        damage(&mut plan);
        plan.check().err()
    };
    let busy = |plan: &Plan| {
        (0..plan.slots.len())
            .flat_map(|i| (0..plan.slots.len()).map(move |j| (i, j)))
            .find(|&(i, j)| {
                let (a, b) = (&plan.slots[i], &plan.slots[j]);
                i != j && a.start <= b.end && b.start <= a.end && a.bytes > 0 && b.bytes > 0
            })
            .unwrap()
    };
    let overlap = damaged(&|p| {
        let (i, j) = busy(p);
        p.slots[i].offset = p.slots[j].offset;
    });
    assert!(overlap.unwrap().contains("overlap"));
    let short = damaged(&|p| {
        let used = p.steps.iter().rposition(|s| !s.reads.is_empty()).unwrap();
        let slot = p.steps[used].reads[0];
        p.slots[slot].end = used - 1;
        p.slots[slot].start = p.slots[slot].start.min(used - 1);
    });
    assert!(short.unwrap().contains("outside its life"));
    assert!(damaged(&|p| p.slots[0].bytes += 640).is_some());
    assert!(damaged(&|p| p.arena_bytes -= 64).unwrap().contains("arena"));
    assert!(damaged(&|p| p.lower_bound_bytes -= 64).unwrap().contains("lower bound"));
    assert!(damaged(&|p| p.greedy_bytes += 64).unwrap().contains("greedy"));
    assert!(damaged(&|p| p.slots[1].offset += 8).is_some());
}
