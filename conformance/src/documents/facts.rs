//! What the documents say of each op, read from its registry entry and its cases.

use std::collections::{BTreeMap, BTreeSet};

use lampyr_backend::{ArgInfo, Backend, Choice, resolve};
use lampyr_base::{DType, Dim, Layout};
use lampyr_ir::case::Case;
use lampyr_ir::{AttrMap, Class, Fact, Gradient, GraphBuilder, OpEntry, SequenceFact, checked_infer};
use lampyr_ops::registry;

use crate::loopback::loopback;

/// One op.
pub struct OpFacts {
    pub entry: &'static OpEntry,
    pub cases: usize,
    /// Fewest and most inputs, over all cases.
    pub inputs: (usize, usize),
    /// Numbers of visible outputs, over all cases.
    pub outputs: BTreeSet<usize>,
    pub gradient: String,
    pub sequences: bool,
    /// Attributes that may be left out although they have no default.
    pub optional: BTreeSet<&'static str>,
    pub cpu: BTreeSet<String>,
    pub loopback: BTreeSet<String>,
}

impl OpFacts {
    /// Whether Python can call it: its attributes have Python values, and it works on tensors.
    pub fn is_callable(&self) -> bool {
        !self.sequences && self.entry.attrs.iter().all(|a| !matches!(a.ty, "Graph" | "Op" | "ScalarExpr"))
    }
}

/// All ops of the registry, in its order.
pub fn gather() -> Vec<OpFacts> {
    let (cpu, loopback) = (lampyr_cpu::backend(), loopback());
    registry::builtin().iter().map(|entry| of(entry, &*cpu, &*loopback)).collect()
}

fn of(entry: &'static OpEntry, cpu: &dyn Backend, loopback: &dyn Backend) -> OpFacts {
    let cases = (entry.cases)();
    let mut facts = OpFacts {
        entry,
        cases: cases.len(),
        inputs: (usize::MAX, 0),
        outputs: BTreeSet::new(),
        gradient: String::new(),
        sequences: false,
        optional: BTreeSet::new(),
        cpu: BTreeSet::new(),
        loopback: BTreeSet::new(),
    };
    for case in &cases {
        let op = &*case.op;
        let arity = op.arity();
        facts.inputs = (facts.inputs.0.min(arity.min), facts.inputs.1.max(arity.max));
        facts.gradient = match op.gradient() {
            Gradient::Vjp => "vjp".to_string(),
            Gradient::Decompose => "of its decomposition".to_string(),
            Gradient::None(reason) => format!("none: {reason}"),
        };
        let given = inputs(case);
        facts.sequences |= given.iter().any(|f| !matches!(f, Fact::Tensor(_)));
        let Ok(made) = checked_infer(op, &given.iter().collect::<Vec<_>>()) else { continue };
        facts.sequences |= made.iter().any(|f| !matches!(f, Fact::Tensor(_)));
        facts.outputs.insert(op.visible_outputs().unwrap_or(made.len()));
        facts.cpu.insert(way(cpu, case, &given, &made));
        facts.loopback.insert(way(loopback, case, &given, &made));
    }
    if let Some(case) = cases.first() {
        facts.optional = optional(entry, case);
    }
    facts
}

fn inputs(case: &Case) -> Vec<Fact> {
    let fact = |input: &lampyr_ir::case::CaseInput| match input.sequence {
        None => Fact::fixed(input.dtype, &input.shape),
        Some(_) => Fact::Sequence(SequenceFact {
            dtype: input.dtype,
            shape: Some(input.shape.iter().map(|&d| Some(Dim::from(d))).collect()),
        }),
    };
    case.inputs.iter().map(fact).collect()
}

/// Tries the op without each attribute that has no default.
fn optional(entry: &OpEntry, case: &Case) -> BTreeSet<&'static str> {
    let all: BTreeMap<_, _> = case.op.attrs().into_iter().collect();
    let without = |name: &str| -> AttrMap {
        all.iter().filter(|(n, _)| **n != name).map(|(n, v)| (n.to_string(), v.clone())).collect()
    };
    let names = entry.attrs.iter().filter(|a| a.default.is_none()).map(|a| a.name);
    names.filter(|name| (entry.make)(without(name)).is_ok()).collect()
}

/// How a case runs on a device.
fn way(backend: &dyn Backend, case: &Case, given: &[Fact], made: &[Fact]) -> String {
    match case.op.class() {
        Class::Control => return "control".to_string(),
        Class::View => return "view".to_string(),
        _ => {}
    }
    let (given_args, made_args) = (operands(given), operands(made));
    let (given_args, made_args) = (infos(&given_args), infos(&made_args));
    match resolve(backend, &*case.op, &given_args, &made_args) {
        Choice::Kernel(kernel) => format!("`{}`", kernel.name()),
        Choice::Fallback(_) if decomposes(case, given) => "decompose".to_string(),
        Choice::Fallback(_) => "reference".to_string(),
    }
}

fn decomposes(case: &Case, given: &[Fact]) -> bool {
    let mut b = GraphBuilder::new("decompose");
    let vars: Vec<_> = given.iter().enumerate().map(|(i, fact)| b.input(&i.to_string(), fact.clone())).collect();
    matches!(case.op.decompose(&mut b, &vars), Some(Ok(_)))
}

/// Types and layouts; a size that depends on data counts as 1.
fn operands(facts: &[Fact]) -> Vec<(DType, Layout)> {
    let size = |d: &Dim| d.known().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    let operand = |fact: &Fact| {
        let tensor = fact.as_tensor().ok()?;
        let shape: Vec<usize> = tensor.shape.iter().map(size).collect();
        Some((tensor.dtype, Layout::contiguous(&shape)))
    };
    facts.iter().filter_map(operand).collect()
}

fn infos(operands: &[(DType, Layout)]) -> Vec<ArgInfo<'_>> {
    operands.iter().map(|(dtype, layout)| ArgInfo::new(*dtype, layout)).collect()
}
