//! Steps whose shapes or attributes depend on data: resolved when they run.

use lampyr_backend::{Accepts, Arg, ArgInfo, Backend, Kernel, Reason, backend, missing};
use lampyr_base::{DType, Error, Layout, Result, ResultExt, Shape, SmallVec};
use lampyr_compiler::plan::{Operand, Step};
use lampyr_ir::{Class, Fact, OpRef, TensorFact};

use super::run::{Run, host, launch, note};
use super::{TensorValue, Value};
use crate::trace;

/// Integer vectors up to this length are read when inference may follow their elements.
const READ_LIMIT: usize = 64;

impl Run<'_> {
    /// Runs one data-dependent step.
    pub fn dynamic(&mut self, step: &Step, op: &OpRef, inputs: &[Operand], outputs: &[Option<Operand>]) -> Result<()> {
        let device = self.backend(step.device)?.clone();
        let start = if trace::enabled() { trace::now() } else { 0 };
        let op = op.substitute(&self.bindings).unwrap_or_else(|| op.clone());
        let mut values: Vec<TensorValue> = Vec::with_capacity(inputs.len());
        for o in inputs {
            let t = self.value(o)?.tensor()?.clone();
            values.push(if t.device() == device.device() { t } else { t.copy_to(&*device)? });
        }
        let (made, kernel, reason) = self.resolve(&*device, &op, &mut values, outputs)?;
        if trace::enabled() {
            let layouts: Vec<&Layout> = values.iter().map(|t| &t.layout).collect();
            note(op.name(), &step.name, kernel, device.device(), reason.code(), start, &layouts);
        }
        self.learn(step, &made)?;
        self.place(step, outputs, made)
    }

    fn resolve(
        &mut self,
        device: &dyn Backend,
        op: &OpRef,
        values: &mut [TensorValue],
        wanted: &[Option<Operand>],
    ) -> Result<(Vec<Option<Value>>, &'static str, Reason)> {
        let facts = values.iter().map(fact).collect::<Result<Vec<_>>>()?;
        let outs = op.infer(&facts.iter().collect::<Vec<_>>()).map_err(|e| e.with_inputs(&facts))?;
        let types = outs.iter().map(|f| f.as_tensor().cloned()).collect::<Result<Vec<_>>>()?;
        let known: Option<Vec<Shape>> = types.iter().map(TensorFact::fixed_shape).collect();
        if op.class() == Class::View
            && let Some(base) = values.first()
        {
            let mut view = op.view(&base.layout).map(|l| (base.clone(), l));
            if view.is_none() && !base.layout.is_contiguous() {
                let copy = base.copy_to(device)?;
                view = op.view(&copy.layout).map(|l| (copy, l));
            }
            if let Some((base, layout)) = view {
                let dtype = types.first().map_or(base.dtype, |t| t.dtype);
                let value = Value::Tensor(TensorValue { memory: base.memory, dtype, layout });
                return Ok((vec![Some(value)], "", Reason::View));
            }
        }
        for kernel in device.kernels().candidates(op.id()) {
            if let Some(made) = self.attempt(device, kernel, op, values, &types, known.as_deref(), wanted)? {
                return Ok((made, kernel.name(), Reason::Kernel));
            }
        }
        let reason = missing(device.kernels(), &**op);
        let inputs: Vec<Value> = values.iter().cloned().map(Value::Tensor).collect();
        let made = host(&**op, device.device(), reason, &inputs)?;
        let made = (made.iter().zip(wanted))
            .map(|(v, o)| match o {
                Some(_) => {
                    let t = v.tensor()?;
                    self.budget.take(t.bytes().len())?;
                    let value = Value::upload(device, v);
                    self.budget.give(t.bytes().len());
                    value.map(Some)
                }
                None => Ok(None),
            })
            .collect::<Result<_>>()?;
        Ok((made, "reference", reason))
    }

    #[allow(clippy::too_many_arguments)]
    fn attempt(
        &mut self,
        device: &dyn Backend,
        kernel: &'static dyn Kernel,
        op: &OpRef,
        values: &[TensorValue],
        types: &[TensorFact],
        known: Option<&[Shape]>,
        wanted: &[Option<Operand>],
    ) -> Result<Option<Vec<Option<Value>>>> {
        let copies: Vec<bool> = (values.iter().enumerate())
            .map(|(i, t)| !t.layout.is_contiguous() && kernel.accepts(&**op, i) == Accepts::Contiguous)
            .collect();
        let plain: Vec<Layout> = values.iter().map(|t| Layout::contiguous(&t.layout.shape)).collect();
        let ins: Vec<ArgInfo> = (values.iter().zip(&plain).zip(&copies))
            .map(|((t, p), copy)| ArgInfo::new(t.dtype, if *copy { p } else { &t.layout }))
            .collect();
        let guess = |shapes: &[Shape]| -> Vec<(DType, Layout)> {
            types.iter().zip(shapes).map(|(t, s)| (t.dtype, Layout::contiguous(s))).collect()
        };
        let accepts = |targets: &[(DType, Layout)]| {
            let outs: Vec<ArgInfo> = targets.iter().map(|(d, l)| ArgInfo::new(*d, l)).collect();
            kernel.supports(&**op, &ins, &outs)
        };
        if let Some(shapes) = known
            && !accepts(&guess(shapes))
        {
            return Ok(None);
        }
        let mut owned: Vec<TensorValue> = Vec::with_capacity(values.len());
        for (t, copy) in values.iter().zip(&copies) {
            owned.push(if *copy { t.copy_to(device)? } else { t.clone() });
        }
        let args: SmallVec<[Arg; 4]> = owned.iter().map(TensorValue::arg).collect();
        let targets = match known {
            Some(shapes) => guess(shapes),
            None => {
                // A kernel for another case of the op may not know how to measure this one.
                let sizes =
                    types.iter().map(|t| t.shape.iter().map(|d| d.known().unwrap_or(0).max(0) as usize).collect());
                if !accepts(&guess(&sizes.collect::<Vec<Shape>>())) {
                    return Ok(None);
                }
                match kernel.measure(device, &**op, &args) {
                    Some(shapes) => guess(&shapes?),
                    None => return Ok(None),
                }
            }
        };
        let mut outputs = Vec::with_capacity(targets.len());
        for ((dtype, layout), want) in targets.iter().zip(wanted) {
            outputs.push(match want {
                Some(_) => {
                    let too_large = || Error::shape("a tensor is too large");
                    let bytes = dtype.bytes_for(layout.len()).ok_or_else(too_large)?;
                    self.budget.take(bytes)?;
                    let memory = device.allocate(bytes);
                    self.budget.give(bytes);
                    Some(TensorValue { memory: memory?, dtype: *dtype, layout: layout.clone() })
                }
                None => None,
            });
        }
        let ins: Vec<ArgInfo> = args.iter().map(Arg::info).collect();
        let outs: Vec<ArgInfo> = targets.iter().map(|(d, l)| ArgInfo::new(*d, l)).collect();
        let scratch = kernel.workspace(&**op, &ins, &outs);
        let memory = if scratch > 0 { Some(device.allocate(scratch)?) } else { None };
        let layout = Layout::contiguous(&[scratch]);
        let workspace = memory.as_ref().map(|m| Arg::new(m, 0, DType::U8, &layout));
        let out_args: SmallVec<[Option<Arg>; 2]> = outputs.iter().map(|o| o.as_ref().map(TensorValue::arg)).collect();
        launch(device, kernel, &**op, &args, &out_args, workspace, &[])?;
        drop(out_args);
        Ok(Some(outputs.into_iter().map(|o| o.map(Value::Tensor)).collect()))
    }
}

/// What is known of a value; elements of small integer vectors are read on devices that the host can reach.
fn fact(t: &TensorValue) -> Result<Fact> {
    let small = t.dtype.is_integer() && t.layout.rank() <= 1 && t.layout.len() <= READ_LIMIT;
    if small && t.memory.host_ptr().is_some() {
        backend(t.device())?.synchronize().op("read")?;
        return Ok(TensorFact::of(&t.to_host()?).into());
    }
    Ok(t.fact().into())
}
