use std::sync::Arc;

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::{Builder, Op, Var, Vars};
use lampyr_ops::build::{
    ConcatFromSequence, Optional, OptionalGetElement, OptionalHasElement, OptionalNone, SequenceAt, SequenceConstruct,
    SequenceEmpty, SequenceErase, SequenceInsert, SequenceLength, SplitToSequence, concat, squeeze, unsqueeze,
};
use smallvec::smallvec;

use super::builder::Value;
use super::{EagerBuilder, Maybe, Sequence};
use crate::promote::Scalar;
use crate::tensor::Tensor;

/// Runs a control op. Bodies are inlined and the tensors of sequences stay the tensors they are, so the tape sees
/// through both.
pub(super) fn control(b: &mut EagerBuilder, op: &dyn Op, inputs: &[Var]) -> Result<Vars> {
    let facts = inputs.iter().map(|v| b.fact(v)).collect::<Result<Vec<_>>>()?;
    let inferred = lampyr_ir::checked_infer(op, &facts.iter().collect::<Vec<_>>())?;
    if let Some(made) = sequence(b, op, inputs, &inferred).transpose() {
        return Ok(smallvec![made.map_err(|e| e.with_op(op.name()).with_inputs(&facts))?.var()]);
    }
    match op.decompose(b as &mut dyn Builder, inputs) {
        Some(made) => made,
        None => Err(Error::internal("a control op without eager form").with_op(op.name())),
    }
}

fn sequence(b: &mut EagerBuilder, op: &dyn Op, inputs: &[Var], inferred: &lampyr_ir::Facts) -> Result<Option<Value>> {
    let any = op.as_any();
    let items = |i: usize| match Value::from_var(&inputs[i])? {
        Value::Sequence(s) => Ok(s),
        Value::Tensor(_) => Err(Error::dtype("got a tensor where a sequence is needed")),
        Value::Optional(_) => Err(Error::dtype("got an optional where a sequence is needed")),
    };
    let position = |i: usize| inputs.get(i).map(|v| Tensor::from_var(v)?.item().map(|p| p as i64)).transpose();
    let dtype = inferred[0].dtype();
    let made = if any.is::<SequenceConstruct>() {
        Value::sequence(dtype, inputs.iter().map(Tensor::from_var).collect::<Result<_>>()?)
    } else if any.is::<SequenceEmpty>() {
        Value::sequence(dtype, Vec::new())
    } else if any.is::<SequenceInsert>() {
        let mut list = items(0)?.items.clone();
        let n = list.len() as i64;
        let given = position(2)?.unwrap_or(n);
        let at = if given < 0 { given + n } else { given };
        if at < 0 || at > n {
            return Err(Error::index(format!("position {given} in a sequence of {n} tensors"))
                .with_expected(format!("{}..={n}", -n)));
        }
        list.insert(at as usize, Tensor::from_var(&inputs[1])?);
        Value::sequence(dtype, list)
    } else if any.is::<SequenceAt>() {
        let list: &Sequence = &*items(0)?;
        let n = list.items.len() as i64;
        let given = position(1)?.unwrap_or(0);
        let at = if given < 0 { given + n } else { given };
        let found = usize::try_from(at).ok().and_then(|i| list.items.get(i));
        Value::Tensor(found.cloned().ok_or_else(|| {
            Error::index(format!("position {given} in a sequence of {n} tensors")).with_expected(format!("{}..{n}", -n))
        })?)
    } else if any.is::<SequenceLength>() {
        let n = items(0)?.items.len() as i64;
        Value::Tensor(Tensor::scalar(Scalar::Int(n), dtype, b.device)?)
    } else if any.is::<SequenceErase>() {
        let mut list = items(0)?.items.clone();
        list.remove(lampyr_ops::common::element(position(1)?.unwrap_or(-1), list.len())?);
        Value::sequence(dtype, list)
    } else if let Some(op) = any.downcast_ref::<SplitToSequence>() {
        parts(b, op, inputs, dtype)?
    } else if let Some(op) = any.downcast_ref::<ConcatFromSequence>() {
        let mut list: Vec<Var> = items(0)?.items.iter().map(Tensor::var).collect();
        if list.is_empty() {
            return Err(Error::value("an empty sequence gives no tensor"));
        }
        if op.new_axis {
            list = list.iter().map(|v| unsqueeze(b, v, &[op.axis])).collect::<Result<_>>()?;
        }
        Value::from_var(&concat(b, &list, op.axis)?)?
    } else if any.is::<Optional>() {
        Value::Optional(Arc::new(Maybe { fact: inferred[0].clone(), value: Some(Value::from_var(&inputs[0])?) }))
    } else if any.is::<OptionalNone>() {
        Value::Optional(Arc::new(Maybe { fact: inferred[0].clone(), value: None }))
    } else if any.is::<OptionalGetElement>() {
        match Value::from_var(&inputs[0])? {
            Value::Optional(v) => v.value.clone().ok_or_else(|| Error::value("the optional value is absent"))?,
            other => other,
        }
    } else if any.is::<OptionalHasElement>() {
        let there = !matches!(Value::from_var(&inputs[0])?, Value::Optional(v) if v.value.is_none());
        Value::Tensor(Tensor::scalar(Scalar::Bool(there), dtype, b.device)?)
    } else {
        return Ok(None);
    };
    Ok(Some(made))
}

fn parts(b: &mut EagerBuilder, op: &SplitToSequence, inputs: &[Var], dtype: DType) -> Result<Value> {
    let x = Tensor::from_var(&inputs[0])?;
    let axis = lampyr_ops::common::axis(op.axis, x.shape().len())?;
    let n = x.shape().get(axis).map_or(0, |&n| n as i64);
    let sizes: Vec<i64> = match inputs.get(1) {
        None => vec![1; n as usize],
        Some(sizes) => {
            let sizes = Tensor::from_var(sizes)?;
            let number = sizes.shape().is_empty();
            let list = sizes.to_host()?.to_i64();
            match list.as_slice() {
                [each] if number && *each < 1 => {
                    return Err(Error::value(format!("parts of {each} elements")).with_expected("1 or more"));
                }
                [each] if number => (0..n).step_by(*each as usize).map(|start| (*each).min(n - start)).collect(),
                _ => list,
            }
        }
    };
    let sizes: Vec<Dim> = sizes.into_iter().map(Dim::Known).collect();
    let mut list = lampyr_ops::build::split(b, &inputs[0], op.axis, &sizes)?;
    if inputs.len() == 1 && !op.keepdims {
        list = list.iter().map(|v| squeeze(b, v, &[op.axis])).collect::<Result<_>>()?;
    }
    Ok(Value::sequence(dtype, list.iter().map(Tensor::from_var).collect::<Result<_>>()?))
}
