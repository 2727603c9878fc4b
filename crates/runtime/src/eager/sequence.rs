use lampyr_base::{Error, Result};
use lampyr_ir::{Builder, Op, Var, Vars};
use lampyr_ops::build::{SequenceAt, SequenceConstruct, SequenceEmpty, SequenceInsert, SequenceLength};
use smallvec::smallvec;

use super::builder::Value;
use super::{EagerBuilder, Sequence};
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

fn sequence(b: &EagerBuilder, op: &dyn Op, inputs: &[Var], inferred: &lampyr_ir::Facts) -> Result<Option<Value>> {
    let any = op.as_any();
    let items = |i: usize| match Value::from_var(&inputs[i])? {
        Value::Sequence(s) => Ok(s),
        Value::Tensor(_) => Err(Error::dtype("got a tensor where a sequence is needed")),
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
    } else {
        return Ok(None);
    };
    Ok(Some(made))
}
