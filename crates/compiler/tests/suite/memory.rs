use lampyr_base::ErrorKind;
use lampyr_compiler::memory::{ALIGN, Slot, assign, lower_bound};
use lampyr_compiler::plan::{Action, Operand, Place, Plan};
use lampyr_compiler::{Executable, Options, Request, memory_map_svg};
use lampyr_ir::case::SplitMix;

use super::{build, random};

/// Written independently of the planner: no two slots that are live at one step share a byte, and all steps stay inside
/// what their slots promise.
pub fn check_plan(exe: &Executable, plan: &Plan) {
    for (d, arena) in plan.arenas.iter().enumerate() {
        let mut peak = 0;
        for step in 0..plan.steps.len() {
            let mut live: Vec<(usize, usize)> = plan
                .slots
                .iter()
                .filter(|s| s.device == d && s.bytes > 0 && s.start <= step && step <= s.end)
                .map(|s| (s.offset, s.offset + s.bytes))
                .collect();
            live.sort_unstable();
            assert!(live.windows(2).all(|w| w[0].1 <= w[1].0), "slots overlap at step {step}: {live:?}");
            assert!(live.iter().all(|(from, to)| from % ALIGN == 0 && *to <= arena.bytes));
            peak = peak.max(live.iter().map(|(from, to)| to - from).sum());
        }
        assert!(arena.bytes >= peak && arena.bytes >= arena.lower_bound && arena.lower_bound >= peak);
        assert!(arena.bytes <= arena.greedy_bytes);
    }
    let mut written = vec![false; plan.slots.len()];
    for (i, step) in plan.steps.iter().enumerate() {
        let (mut reads, mut writes): (Vec<&Operand>, Vec<&Operand>) = (Vec::new(), Vec::new());
        match &step.action {
            Action::Kernel { inputs, outputs, workspace, .. } => {
                reads.extend(inputs);
                writes.extend(outputs.iter().flatten());
                writes.extend(workspace);
            }
            Action::Reference { inputs, outputs, .. }
            | Action::Call { inputs, outputs, .. }
            | Action::Dynamic { inputs, outputs, .. }
            | Action::Control { inputs, outputs, .. } => {
                reads.extend(inputs);
                writes.extend(outputs.iter().flatten());
            }
            Action::Copy { from, to } | Action::Transfer { from, to, .. } => {
                reads.push(from);
                writes.push(to);
            }
            Action::Bind { from, .. } => reads.push(from),
        }
        for o in reads.iter().chain(&writes) {
            if let Place::Slot(s) = o.place {
                let slot = &plan.slots[s];
                assert!(slot.start <= i && i <= slot.end, "step {i} uses slot {s} outside its life");
                let (_, high) = o.layout.span();
                assert!(o.layout.is_empty() || high * o.dtype.size() <= slot.bytes);
            }
        }
        for o in reads {
            if let Place::Slot(s) = o.place {
                assert!(written[s], "step {i} reads slot {s} before it is written");
            }
        }
        for o in writes {
            if let Place::Slot(s) = o.place {
                written[s] = true;
            }
        }
    }
    let report = exe.explain(plan);
    assert!(report.to_json().starts_with("{\"arena_bytes\":"));
    assert!(memory_map_svg(&report).ends_with("</svg>\n"));
}

#[test]
fn random_slots_never_overlap() {
    let mut rng = SplitMix(5);
    let mut ratio: f64 = 1.0;
    for round in 0..200 {
        let n = 1 + rng.next_u64() as usize % 60;
        let mut slots: Vec<Slot> = (0..n)
            .map(|_| {
                let start = rng.next_u64() as usize % 40;
                let end = start + rng.next_u64() as usize % 12;
                Slot { device: 0, bytes: rng.next_u64() as usize % 5000, start, end, offset: 0 }
            })
            .collect();
        let a = assign(&mut slots, 0);
        assert_eq!(a.lower_bound, lower_bound(&slots, 0).0);
        assert!(a.bytes >= a.lower_bound && a.bytes <= a.greedy_bytes, "round {round}");
        ratio = ratio.max(a.bytes as f64 / a.lower_bound.max(1) as f64);
        for (i, x) in slots.iter().enumerate() {
            for y in slots[i + 1..].iter().filter(|y| y.overlaps(x) && x.bytes > 0 && y.bytes > 0) {
                assert!(x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset);
            }
        }
    }
    assert!(ratio < 1.25, "the search leaves {ratio} of the lower bound");
}

#[test]
fn huge_sizes_do_not_overflow() {
    let half = usize::MAX / 2;
    let mut slots: Vec<Slot> = (0..4).map(|i| Slot { device: 0, bytes: half, start: 0, end: i, offset: 0 }).collect();
    assert_eq!(assign(&mut slots, 0).bytes, usize::MAX);
}

#[test]
fn a_cap_names_the_peak() {
    let graph = random::graph(3, lampyr_base::DType::F32);
    let exe = build(&graph, &Options { memory_cap: Some(4096), ..Options::default() });
    assert!(exe.plan(&Request::shapes(&[&[1, 4], &[4]])).is_ok());
    let e = exe.plan(&Request::shapes(&[&[100_000, 4], &[4]])).err().unwrap();
    assert!(matches!(e.kind(), ErrorKind::OutOfMemory { limit: Some(4096), .. }));
    assert!(e.message().contains("the peak is at step"), "{e}");
}
