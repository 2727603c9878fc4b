//! Steps that run sub-graphs or work on sequences.

use lampyr_backend::{Backend, Reason};
use lampyr_base::{Error, Layout, Result};
use lampyr_compiler::Executable;
use lampyr_compiler::plan::{Operand, Step};
use lampyr_ir::{HostTensor, OpRef};
use lampyr_ops::build::{If, Loop};

use super::run::{Run, execute, host, note};
use super::{TensorValue, Value};
use crate::trace;

/// The single element of an integer or `bool` tensor.
fn single(value: &Value) -> Result<i64> {
    let all = value.tensor()?.to_host()?.to_i64();
    match all.as_slice() {
        [one] => Ok(*one),
        _ => Err(Error::shape(format!("got {} elements", all.len())).with_expected("one element")),
    }
}

impl Run<'_> {
    /// Runs one control step.
    pub fn control(&mut self, step: &Step, op: &OpRef, inputs: &[Operand], outputs: &[Option<Operand>]) -> Result<()> {
        let device = self.backend(step.device)?.clone();
        let start = if trace::enabled() { trace::now() } else { 0 };
        let op = op.substitute(&self.bindings).unwrap_or_else(|| op.clone());
        let values = inputs.iter().map(|o| self.value(o)).collect::<Result<Vec<_>>>()?;
        let exe = self.exe;
        let bodies = step.node.map_or(&[][..], |id| exe.bodies(id));
        let made = match (op.downcast::<If>(), op.downcast::<Loop>(), bodies) {
            (Some(_), _, [then_body, else_body]) => self.branch(then_body, else_body, &values)?,
            (_, Some(l), [body]) => self.repeat(&*device, l, body, &values)?,
            _ => None,
        };
        let made = match made {
            Some(made) => made,
            None => {
                let made = host(&*op, device.device(), Reason::Control, &values)?;
                made.iter().map(|v| Value::upload(&*device, v)).collect::<Result<_>>()?
            }
        };
        let mut owned = Vec::with_capacity(made.len());
        for value in made {
            owned.push(Some(match value {
                Value::Tensor(t) => Value::Tensor(self.own(t)?),
                Value::Sequence(all) => Value::Sequence(all.into_iter().map(|t| self.own(t)).collect::<Result<_>>()?),
                other => other,
            }));
        }
        note(op.name(), &step.name, "", device.device(), step.reason.code(), start, &[]);
        self.learn(step, &owned)?;
        self.place(step, outputs, owned)
    }

    fn branch(&mut self, then: &Executable, other: &Executable, values: &[Value]) -> Result<Option<Vec<Value>>> {
        let Some((condition, captured)) = values.split_first() else { return Ok(None) };
        let body = if single(condition)? != 0 { then } else { other };
        let outer = self.bindings.clone();
        execute(body, self.pool, self.budget, captured.to_vec(), &[], &outer).map(Some)
    }

    fn repeat(
        &mut self,
        device: &dyn Backend,
        op: &Loop,
        body: &Executable,
        values: &[Value],
    ) -> Result<Option<Vec<Value>>> {
        let offset = usize::from(op.has_trip) + usize::from(op.has_cond);
        let carried = usize::try_from(op.carried).unwrap_or(usize::MAX);
        if values.len() < offset.saturating_add(carried) || offset == 0 {
            return Err(Error::value(format!("a loop with {} inputs", values.len())));
        }
        let trip = if op.has_trip { single(&values[0])? } else { i64::MAX };
        let mut go = !op.has_cond || single(&values[offset - 1])? != 0;
        if !go || trip <= 0 {
            // The reference knows the shapes of scans over nothing.
            return Ok(None);
        }
        let (first, captured) = values[offset..].split_at(carried);
        let mut state = first.to_vec();
        let scan_count = body.graph().outputs().len().saturating_sub(1 + carried);
        let mut scans: Vec<Vec<TensorValue>> = vec![Vec::new(); scan_count];
        let mut i = 0i64;
        let outer = self.bindings.clone();
        let yes = Value::Tensor(TensorValue::upload(device, &HostTensor::scalar(true))?);
        while go && i < trip {
            let mut args = vec![Value::Tensor(TensorValue::upload(device, &HostTensor::scalar(i))?), yes.clone()];
            args.append(&mut state);
            args.extend_from_slice(captured);
            let made = execute(body, self.pool, self.budget, args, &[], &outer)?;
            let mut made = made.into_iter();
            if let (Some(next), true) = (made.next(), op.has_cond) {
                go = single(&next)? != 0;
            }
            state.extend(made.by_ref().take(carried));
            for (rows, row) in scans.iter_mut().zip(made) {
                let row = row.tensor()?.clone();
                self.budget.take(row.memory.len())?;
                rows.push(row);
            }
            i += 1;
        }
        for rows in &scans {
            state.push(Value::Tensor(stack(device, rows)?));
            self.budget.give(rows.iter().map(|t| t.memory.len()).sum());
        }
        Ok(Some(state))
    }
}

/// The rows along a new first axis.
fn stack(device: &dyn Backend, rows: &[TensorValue]) -> Result<TensorValue> {
    let Some(first) = rows.first() else { return Err(Error::internal("a stack of nothing")) };
    let mut shape = first.layout.shape.clone();
    shape.insert(0, rows.len());
    let layout = Layout::contiguous(&shape);
    let bytes = first.dtype.bytes_for(layout.len()).ok_or_else(|| Error::shape("a tensor is too large"))?;
    let whole = TensorValue { memory: device.allocate(bytes)?, dtype: first.dtype, layout };
    let count = first.layout.len();
    for (i, row) in rows.iter().enumerate() {
        if row.layout.shape != first.layout.shape || row.dtype != first.dtype {
            return Err(Error::shape(format!(
                "iterations give results of shapes {:?} and {:?}",
                first.layout.shape.as_slice(),
                row.layout.shape.as_slice()
            )));
        }
        let mut part = TensorValue {
            memory: whole.memory.clone(),
            dtype: whole.dtype,
            layout: Layout::contiguous(&first.layout.shape),
        };
        part.layout.offset = i * count;
        device.copy(&row.arg(), &part.arg())?;
    }
    Ok(whole)
}
