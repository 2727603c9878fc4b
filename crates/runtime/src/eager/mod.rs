//! Running ops as they are called.

mod builder;
mod fallback;
mod fast;
pub(crate) mod record;
mod sequence;
mod views;

pub(crate) use fallback::note;

pub use builder::{EagerBuilder, Maybe, Sequence, Value};
pub use views::Cut;
pub(crate) use views::{How, strided_view, view_as};

use lampyr_backend::{Accepts, Arg, ArgInfo, Backend, Choice, Kernel, Launch, Reason, resolve};
use lampyr_base::{DType, Error, Layout, Result, ResultExt, Shape};
use lampyr_ir::{Class, Fact, Facts, Op, Saves};
use smallvec::SmallVec;

use crate::batch;
use crate::recorder;
use crate::tape::{no_grad, recording, watched};
use crate::tensor::Tensor;
use crate::trace;

/// Outputs of one op; hidden ones are `None` when nothing needs them.
pub(crate) type Outputs = SmallVec<[Option<Tensor>; 2]>;

/// Applies `op` to tensors of one device and records it on the tape where a gradient is wanted. Hidden outputs are not
/// among the results.
pub fn apply(op: &dyn Op, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 2]>> {
    match short(op, inputs)? {
        Some(made) => Ok(smallvec::smallvec![made]),
        None => long(op, inputs),
    }
}

/// The first output of `op`, as [`apply`] makes it.
pub fn apply_one(op: &dyn Op, inputs: &[&Tensor]) -> Result<Tensor> {
    if let Some(made) = short(op, inputs)? {
        return Ok(made);
    }
    let mut made = long(op, inputs)?;
    if made.is_empty() {
        return Err(Error::internal("an op made no output").with_op(op.name()));
    }
    Ok(made.swap_remove(0))
}

/// The only output of a plain elementwise `op` on plain tensors, recorded; `None` where the call is another.
fn short(op: &dyn Op, inputs: &[&Tensor]) -> Result<Option<Tensor>> {
    let mut made = fast::small(op, inputs)?;
    if made.is_none() && !batch::any(inputs) {
        made = fast::direct(op, inputs)?;
    }
    if let Some(made) = &made
        && watched(inputs.iter().all(|t| t.untouched()))
    {
        watch(op, inputs, made)?;
    }
    Ok(made)
}

fn long(op: &dyn Op, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 2]>> {
    let visible = op.visible_outputs().unwrap_or(usize::MAX);
    let made = run_and_record(op, inputs, false)?;
    made.into_iter()
        .take(visible)
        .map(|t| t.ok_or_else(|| Error::internal("an output was not made").with_op(op.name())))
        .collect()
}

/// Puts an op with one output onto the tape and into the graph, where these are wanted.
fn watch(op: &dyn Op, inputs: &[&Tensor], made: &Tensor) -> Result<()> {
    if recorder::is_recording() {
        recorder::note(op, inputs, &smallvec::smallvec![Some(made.clone())])?;
    }
    if recording()
        && let Some(edges) = record::edges(op, inputs)?
    {
        let needs: SmallVec<[bool; 4]> = edges.iter().map(Option::is_some).collect();
        record::record(op, inputs, &[Some(made.clone())], edges, op.saves_for(&needs))?;
    }
    Ok(())
}

/// Runs `op` and records it; hidden outputs are made where its gradient needs them, or all of them when `all`.
pub(crate) fn run_and_record(op: &dyn Op, inputs: &[&Tensor], all: bool) -> Result<Outputs> {
    crate::determinism::check(op)?;
    if let Some(other) = inputs.iter().find(|t| t.device() != inputs[0].device()) {
        return Err(Error::device(format!(
            "inputs are on different devices: {} and {}",
            inputs[0].device(),
            other.device()
        ))
        .with_op(op.name())
        .with_help("move them to one device first"));
    }
    let spread = if recording() && batch::any(inputs) { spread(inputs)? } else { Vec::new() };
    let refs: SmallVec<[&Tensor; 4]> = spread.iter().collect();
    let inputs = if spread.is_empty() { inputs } else { &refs };
    let edges = if recording() { record::edges(op, inputs)? } else { None };
    let saves = match &edges {
        Some(edges) => op.saves_for(&edges.iter().map(Option::is_some).collect::<SmallVec<[bool; 4]>>()),
        None => Saves::NOTHING,
    };
    let hidden = edges.is_some();
    let wanted = |k: usize| all || hidden && saves.outputs >> k.min(31) & 1 == 1;
    let outputs = if recorder::is_recording() {
        recorder::unwatched(|| compute(op, inputs, &wanted))?
    } else {
        compute(op, inputs, &wanted)?
    };
    if let Some(edges) = edges {
        record::record(op, inputs, &outputs, edges, saves)?;
    }
    if op.class() == Class::View
        && let (Some(Some(out)), Some(base)) = (outputs.first(), inputs.first())
        && std::sync::Arc::ptr_eq(out.storage(), base.storage())
    {
        record::note_view(op, base, out);
    }
    if recorder::is_recording() {
        recorder::note(op, inputs, &outputs)?;
    }
    Ok(outputs)
}

/// The inputs, those that need a gradient with a place for each element that any of them stands for.
fn spread(inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let lead = batch::lead(inputs)?;
    inputs.iter().map(|t| if t.requires_grad() { batch::spread_to(t, &lead) } else { Ok((*t).clone()) }).collect()
}

/// Runs `op` without recording; `wanted` says which hidden outputs are made.
pub(crate) fn compute(op: &dyn Op, inputs: &[&Tensor], wanted: &dyn Fn(usize) -> bool) -> Result<Outputs> {
    if batch::any(inputs) {
        return batch::compute(op, inputs, wanted);
    }
    if let Some(made) = fast::elementwise(op, inputs)? {
        return Ok(smallvec::smallvec![Some(made)]);
    }
    let facts: SmallVec<[Fact; 4]> = inputs.iter().map(|t| value_fact(t)).collect();
    let refs: SmallVec<[&Fact; 4]> = facts.iter().collect();
    let inferred = lampyr_ir::checked_infer(op, &refs)?;
    if op.class() == Class::View {
        return view(op, inputs[0], &inferred).map(|t| smallvec::smallvec![Some(t)]);
    }
    let device = inputs.first().map_or(lampyr_base::Device::CPU, |t| t.device());
    let backend = lampyr_backend::backend(device)?;
    let infos: SmallVec<[ArgInfo; 4]> = inputs.iter().map(|t| t.arg().info()).collect();
    let layouts = output_layouts(&inferred);
    let types: SmallVec<[DType; 2]> = inferred.iter().map(Fact::dtype).collect();
    let known: SmallVec<[Layout; 2]> =
        layouts.iter().map(|l| l.clone().unwrap_or_else(|| Layout::contiguous(&[]))).collect();
    let out_infos: SmallVec<[ArgInfo; 2]> = known.iter().zip(&types).map(|(l, &d)| ArgInfo::new(d, l)).collect();
    match resolve(&*backend, op, &infos, &out_infos) {
        Choice::Kernel(kernel) => {
            let start = if trace::enabled() { trace::now() } else { 0 };
            let made = run_kernel(&*backend, kernel, op, inputs, layouts, &types, wanted);
            fallback::note(op, kernel.name(), device, Reason::Kernel.code(), start, inputs);
            made.map_err(|e| context(e, op, inputs))
        }
        Choice::Fallback(reason) => no_grad(|| fallback::run(&*backend, op, inputs, reason)),
    }
}

fn context(e: Error, op: &dyn Op, inputs: &[&Tensor]) -> Error {
    e.with_op(op.name()).with_inputs(inputs.iter().map(|t| format!("{}{:?}", t.dtype(), t.shape())))
}

fn value_fact(t: &Tensor) -> Fact {
    t.fact()
}

/// Row-major layouts of outputs whose sizes are known.
fn output_layouts(facts: &Facts) -> SmallVec<[Option<Layout>; 2]> {
    facts
        .iter()
        .map(|f| match f {
            Fact::Tensor(t) => t.fixed_shape().map(|s| Layout::contiguous(&s)),
            _ => None,
        })
        .collect()
}

pub(crate) fn view(op: &dyn Op, base: &Tensor, inferred: &Facts) -> Result<Tensor> {
    if let Some(layout) = op.view(base.layout()) {
        return Ok(base.relaid(layout));
    }
    let copy = base.copy_contiguous()?;
    let layout = op
        .view(copy.layout())
        .ok_or_else(|| Error::internal(format!("no view of {}", inferred[0])).with_op(op.name()))?;
    Ok(copy.relaid(layout))
}

#[allow(clippy::too_many_arguments)]
fn run_kernel(
    backend: &dyn Backend,
    kernel: &'static dyn Kernel,
    op: &dyn Op,
    inputs: &[&Tensor],
    layouts: SmallVec<[Option<Layout>; 2]>,
    types: &[DType],
    wanted: &dyn Fn(usize) -> bool,
) -> Result<Outputs> {
    let mut copies: SmallVec<[Option<Tensor>; 4]> = SmallVec::new();
    for (i, t) in inputs.iter().enumerate() {
        let copy = kernel.accepts(op, i) == Accepts::Contiguous && !t.is_contiguous();
        copies.push(if copy { Some(t.copy_contiguous()?) } else { None });
    }
    let args: SmallVec<[Arg; 4]> = inputs.iter().zip(&copies).map(|(t, c)| c.as_ref().unwrap_or(t).arg()).collect();
    let shapes: SmallVec<[Shape; 2]> = if layouts.iter().all(Option::is_some) {
        layouts.into_iter().flatten().map(|l| l.shape).collect()
    } else {
        match kernel.measure(backend, op, &args) {
            Some(shapes) => shapes.op(op.name())?,
            None => return Err(Error::internal("a kernel cannot tell the sizes of its outputs").with_op(op.name())),
        }
    };
    let visible = op.visible_outputs().unwrap_or(usize::MAX);
    let mut outputs: Outputs = SmallVec::new();
    for (k, (shape, &dtype)) in shapes.iter().zip(types).enumerate() {
        let make = k < visible || wanted(k);
        outputs.push(if make { Some(Tensor::empty(shape, dtype, backend.device())?) } else { None });
    }
    let out_args: SmallVec<[Option<Arg>; 2]> = outputs.iter().map(|o| o.as_ref().map(Tensor::arg)).collect();
    let infos: SmallVec<[ArgInfo; 4]> = args.iter().map(Arg::info).collect();
    let out_layouts: SmallVec<[Layout; 2]> = shapes.iter().map(|s| Layout::contiguous(s)).collect();
    let out_infos: SmallVec<[ArgInfo; 2]> = out_layouts.iter().zip(types).map(|(l, &d)| ArgInfo::new(d, l)).collect();
    let need = kernel.workspace(op, &infos, &out_infos);
    let workspace = if need > 0 { Some(Tensor::empty(&[need], DType::U8, backend.device())?) } else { None };
    let launch = Launch {
        op,
        inputs: &args,
        outputs: &out_args,
        workspace: workspace.as_ref().map(Tensor::arg),
        packed: &[],
        backend,
    };
    backend.enqueue(kernel, &launch)?;
    drop(out_args);
    Ok(outputs)
}
