//! A sub-graph run again and again.

use std::sync::Arc;

use lampyr_base::{Bindings, DType, Dim, Error, Result, ResultExt};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::interpret;
use lampyr_ir::onnx::OnnxMapping;
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, Graph, GraphBuilder, HostTensor, HostValue, Op, OpType, Saved,
    Saves, TensorFact, Var, Vars,
};

use crate::bodies::{Outside, check_same_kind, check_single, facts_of, fresh, single, stack};
use crate::build::{concat, unsqueeze};
use crate::common;

/// Runs `body` up to a number of times and while a condition holds, as ONNX Loop does.
///
/// Inputs: the most iterations (when `has_trip`), the first condition (when `has_cond`), `carried` values, and captured
/// values. The body takes the iteration number, the condition, the carried and the captured values, and gives the next
/// condition (which counts only when `has_cond`), the next carried values, and scan results. Outputs: the carried values
/// at the end, and the scan results of all iterations along a new first axis.
#[derive(Clone, Debug, Attrs)]
pub struct Loop {
    /// One iteration.
    pub body: Arc<Graph>,
    /// Whether the first input bounds the number of iterations.
    #[attr(default = true)]
    pub has_trip: bool,
    /// Whether there is a condition.
    #[attr(default = true)]
    pub has_cond: bool,
    /// How many values go from one iteration to the next.
    pub carried: i64,
}

/// Runs `body`; see [`Loop`].
pub fn loop_(
    b: &mut dyn Builder,
    body: Arc<Graph>,
    trip: Option<&Var>,
    condition: Option<&Var>,
    carried: &[Var],
    captured: &[Var],
) -> Result<Vars> {
    let op = Loop { body, has_trip: trip.is_some(), has_cond: condition.is_some(), carried: carried.len() as i64 };
    let inputs: Vec<Var> = trip.into_iter().chain(condition).chain(carried).chain(captured).cloned().collect();
    b.apply(&op, &inputs)
}

impl Loop {
    /// Number of inputs before the carried values.
    pub(crate) fn offset(&self) -> usize {
        usize::from(self.has_trip) + usize::from(self.has_cond)
    }

    /// Number of carried values, checked against the body and the number of inputs.
    pub(crate) fn count(&self, inputs: usize) -> Result<usize> {
        let carried = usize::try_from(self.carried).unwrap_or(usize::MAX);
        let fits = carried < self.body.outputs().len()
            && carried.saturating_add(2) <= self.body.inputs().len()
            && inputs + 2 == self.body.inputs().len() + self.offset();
        if !fits || self.offset() == 0 {
            return Err(Error::graph(format!(
                "{inputs} inputs, {} of them carried, for a loop body with {} inputs and {} outputs",
                self.carried,
                self.body.inputs().len(),
                self.body.outputs().len()
            ))
            .with_expected("a trip count or a condition, and one body input for every other input, after two"));
        }
        Ok(carried)
    }

    fn carried_fact(&self, outside: &Outside, k: usize, first: &Fact) -> Result<Fact> {
        let before = self.body.fact(self.body.inputs()[2 + k]);
        let after = self.body.fact(self.body.outputs()[1 + k]);
        Ok(match (first, before, after) {
            (Fact::Tensor(first), Fact::Tensor(before), Fact::Tensor(after)) => {
                let sizes = first.shape.iter().zip(before.shape.iter().zip(&after.shape));
                let shape = sizes.map(|(f, (b, a))| match b == a {
                    true => common::same_dim(f, b),
                    false => Ok(fresh()),
                });
                Fact::Tensor(TensorFact::new(first.dtype, shape.collect::<Result<Vec<Dim>>>()?))
            }
            (Fact::Sequence(first), _, Fact::Sequence(after)) => {
                let Fact::Sequence(after) = outside.fact(&Fact::Sequence(after.clone())) else {
                    return Err(Error::internal("a sequence fact changed its kind"));
                };
                Fact::Sequence(first.join(&after)?)
            }
            (_, _, after) => outside.fact(after),
        })
    }
}

impl Op for Loop {
    fn arity(&self) -> Arity {
        Arity::at_least(self.offset())
    }

    fn class(&self) -> Class {
        Class::Control
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let carried = self.count(inputs.len())?;
        let (o, body) = (self.offset(), &*self.body);
        if self.has_trip {
            check_single("the trip count", inputs[0], &[DType::I32, DType::I64])?;
        }
        if self.has_cond {
            check_single("the condition", inputs[o - 1], &[DType::Bool])?;
            check_single("the next condition", body.fact(body.outputs()[0]), &[DType::Bool])?;
        }
        let mut outside = Outside::new(inputs);
        for (i, given) in inputs[o..].iter().enumerate() {
            let inside = body.fact(body.inputs()[2 + i]);
            check_same_kind(if i < carried { "a carried value" } else { "a captured value" }, inside, given)?;
            if i >= carried {
                outside.bind_fact(inside, given);
                continue;
            }
            let after = body.fact(body.outputs()[1 + i]);
            check_same_kind("the next carried value", inside, after)?;
            if let (Fact::Tensor(inside), Fact::Tensor(after), Fact::Tensor(given)) = (inside, after, given) {
                let sizes = inside.shape.iter().zip(after.shape.iter().zip(&given.shape));
                sizes.filter(|(x, (y, _))| x == y).for_each(|(x, (_, g))| outside.bind(x, g));
            }
        }
        let mut facts = Facts::new();
        for k in 0..carried {
            facts.push(self.carried_fact(&outside, k, inputs[o + k])?);
        }
        let trip = match inputs[0].as_tensor() {
            Ok(TensorFact { known: Some(known), .. }) if self.has_trip && !self.has_cond => known.first().cloned(),
            _ => None,
        };
        let trip = trip.map_or_else(fresh, |n| n.maximum(&Dim::Known(0)));
        for v in &body.outputs()[1 + carried..] {
            let Fact::Tensor(t) = outside.fact(body.fact(*v)) else {
                return Err(Error::unsupported("scan results that are not tensors"));
            };
            facts.push(Fact::tensor(t.dtype, std::iter::once(trip.clone()).chain(t.shape)));
        }
        Ok(facts)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let carried = self.count(inputs.len())?;
        let o = self.offset();
        let trip = if self.has_trip { single(inputs[0].tensor()?)? } else { i64::MAX };
        let mut go = !self.has_cond || single(inputs[o - 1].tensor()?)? != 0;
        let mut state = inputs[o..o + carried].to_vec();
        let mut scans: Vec<Vec<HostTensor>> = vec![Vec::new(); self.body.outputs().len() - 1 - carried];
        let mut i = 0i64;
        while go && i < trip {
            let mut args: Vec<HostValue> = vec![HostTensor::scalar(i).into(), HostTensor::scalar(true).into()];
            args.append(&mut state);
            args.extend_from_slice(&inputs[o + carried..]);
            let mut made = interpret::reference(&self.body, &args, &Bindings::new())?.into_iter();
            if let (Some(next), true) = (made.next(), self.has_cond) {
                go = single(next.tensor()?)? != 0;
            }
            state.extend(made.by_ref().take(carried));
            for (rows, row) in scans.iter_mut().zip(made) {
                rows.push(row.tensor()?.clone());
            }
            i += 1;
        }
        let facts = facts_of(inputs)?;
        let facts = self.infer(&facts.iter().collect::<Vec<_>>())?;
        for (rows, fact) in scans.iter().zip(facts.iter().skip(carried)) {
            state.push(stack(rows, fact.as_tensor()?)?);
        }
        Ok(state)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        crate::loops::vjp(self, b, s, grads, needs)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(unroll(self, b, inputs))
    }

    fn bodies(&self) -> Vec<Arc<Graph>> {
        vec![self.body.clone()]
    }
}

fn unroll(op: &Loop, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
    let unknown = |what: &str| Error::graph(format!("the {what} of this loop is not known before the graph runs"));
    let carried = op.count(inputs.len())?;
    let o = op.offset();
    let trip = match op.has_trip {
        true => single(&b.read(&inputs[0])?.ok_or_else(|| unknown("trip count"))?)?,
        false => i64::MAX,
    };
    let mut condition = match op.has_cond {
        true => inputs[o - 1].clone(),
        false => b.constant(HostTensor::scalar(true))?,
    };
    let mut state = inputs[o..o + carried].to_vec();
    let mut scans: Vec<Vec<Var>> = vec![Vec::new(); op.body.outputs().len() - 1 - carried];
    let mut i = 0i64;
    while i < trip {
        if op.has_cond && single(&b.read(&condition)?.ok_or_else(|| unknown("condition"))?)? == 0 {
            break;
        }
        let mut args = vec![b.constant(HostTensor::scalar(i))?, condition.clone()];
        args.append(&mut state);
        args.extend_from_slice(&inputs[o + carried..]);
        let mut made = interpret::inline(b, &op.body, &args)?.into_iter();
        if let (Some(next), true) = (made.next(), op.has_cond) {
            condition = next;
        }
        state.extend(made.by_ref().take(carried));
        for (rows, row) in scans.iter_mut().zip(made) {
            rows.push(unsqueeze(b, &row, &[0])?);
        }
        i += 1;
    }
    let facts = inputs.iter().map(|v| b.fact(v)).collect::<Result<Vec<_>>>()?;
    let facts = op.infer(&facts.iter().collect::<Vec<_>>()).op("loop")?;
    let mut result: Vars = state.into_iter().collect();
    for (rows, fact) in scans.iter().zip(facts.iter().skip(carried)) {
        result.push(match rows.as_slice() {
            [] => b.constant(stack(&[], fact.as_tensor()?)?.tensor()?.clone())?,
            rows => concat(b, rows, 0)?,
        });
    }
    Ok(result)
}

impl OpType for Loop {
    const NAME: &'static str = "loop";
    const DOC: &'static str = "A sub-graph run again and again, with values carried along and results collected.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("Loop", 1, crate::loops::from_onnx),
            OnnxMapping::range("Scan", 8, 8, crate::scans::scan_8),
            OnnxMapping::new("Scan", 9, crate::scans::scan_9),
            OnnxMapping::new("LinearAttention", 27, crate::onnx_state::linear_attention),
            OnnxMapping::new("SequenceMap", 17, crate::scans::sequence_map),
        ]
    }

    fn cases() -> Vec<Case> {
        let body = || -> Result<Graph> {
            let mut g = GraphBuilder::new("body");
            g.input("iteration", Fact::fixed(DType::I64, &[]));
            let go = g.input("go", Fact::fixed(DType::Bool, &[]));
            let x = g.input("x", Fact::fixed(DType::F64, &[3]));
            let y = g.input("y", Fact::fixed(DType::F64, &[3]));
            let sum = crate::build::add(&mut g, &x, &y)?;
            g.output("go", &go)?;
            g.output("sum", &sum)?;
            g.output("all", &sum)?;
            Ok(g.finish())
        };
        let Ok(body) = body() else { return Vec::new() };
        let op = Loop { body: Arc::new(body), has_trip: true, has_cond: true, carried: 1 };
        let x = || CaseInput::new(DType::F64, &[3]);
        [("counted", 4.0, 1.0), ("never", 0.0, 1.0), ("refused", 4.0, 0.0)]
            .into_iter()
            .map(|(name, trip, go)| {
                let trip = CaseInput::new(DType::I64, &[]).values(&[trip]);
                let go = CaseInput::new(DType::Bool, &[]).values(&[go]);
                Case::new(name, &op, vec![trip, go, x(), x()]).with_gradient()
            })
            .collect()
    }
}
