use std::any::Any;
use std::sync::Arc;

use lampyr_base::{Device, Dim, Error, Result};
use lampyr_ir::{Builder, Class, Fact, HostTensor, Op, SequenceFact, Var, Vars};

use super::{run_and_record, sequence, short};
use crate::tensor::Tensor;

/// A live value of the eager builder.
#[derive(Clone, Debug)]
pub enum Value {
    /// One tensor.
    Tensor(Tensor),
    /// Tensors of one dtype.
    Sequence(Arc<Sequence>),
    /// A value that may be absent.
    Optional(Arc<Maybe>),
}

/// A value that may be absent, of which the kind is known.
#[derive(Clone, Debug)]
pub struct Maybe {
    /// What is known of the optional.
    pub fact: Fact,
    /// The value.
    pub value: Option<Value>,
}

/// Tensors of one dtype; the dtype is kept for empty ones.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Element type.
    pub dtype: lampyr_base::DType,
    /// Elements.
    pub items: Vec<Tensor>,
}

impl Sequence {
    fn fact(&self) -> Fact {
        let one = |t: &Tensor| SequenceFact {
            dtype: self.dtype,
            shape: Some(t.shape().iter().map(|&d| Some(Dim::from(d))).collect()),
        };
        let joined = self.items.iter().map(one).map(Ok).reduce(|a, b| a?.join(&b?));
        match joined {
            Some(Ok(fact)) => Fact::Sequence(fact),
            _ => Fact::sequence(self.dtype),
        }
    }
}

impl Value {
    /// A sequence of tensors of one dtype.
    pub fn sequence(dtype: lampyr_base::DType, items: Vec<Tensor>) -> Value {
        Value::Sequence(Arc::new(Sequence { dtype, items }))
    }

    /// As a builder's variable.
    pub fn var(&self) -> Var {
        match self {
            Value::Tensor(t) => t.var(),
            Value::Sequence(s) => Var::Live(s.clone() as Arc<dyn Any + Send + Sync>),
            Value::Optional(v) => Var::Live(v.clone() as Arc<dyn Any + Send + Sync>),
        }
    }

    /// From a variable of an eager builder.
    pub fn from_var(var: &Var) -> Result<Value> {
        if let Var::Live(any) = var {
            if let Ok(sequence) = any.clone().downcast::<Sequence>() {
                return Ok(Value::Sequence(sequence));
            }
            if let Ok(maybe) = any.clone().downcast::<Maybe>() {
                return Ok(Value::Optional(maybe));
            }
        }
        Tensor::from_var(var).map(Value::Tensor)
    }
}

/// Runs ops at once and records them on the tape.
#[derive(Clone, Copy, Debug)]
pub struct EagerBuilder {
    /// Where constants are made.
    pub device: Device,
}

impl EagerBuilder {
    /// A builder whose constants are made on `device`.
    pub fn on(device: Device) -> EagerBuilder {
        EagerBuilder { device }
    }
}

impl Default for EagerBuilder {
    fn default() -> EagerBuilder {
        EagerBuilder::on(Device::CPU)
    }
}

impl Builder for EagerBuilder {
    fn apply(&mut self, op: &dyn Op, inputs: &[Var]) -> Result<Vars> {
        if op.class() == Class::Control {
            return sequence::control(self, op, inputs);
        }
        if inputs.is_empty()
            && let Some(made) = op.decompose(self, inputs)
        {
            return made;
        }
        let tensors = inputs.iter().map(Tensor::from_var).collect::<Result<Vec<_>>>()?;
        let refs: Vec<&Tensor> = tensors.iter().collect();
        if let Some(made) = short(op, &refs)? {
            return Ok(smallvec::smallvec![made.var()]);
        }
        // Gradients written with other ops read hidden outputs of these.
        let all = op.visible_outputs().is_some();
        let made = run_and_record(op, &refs, all)?;
        // An output that was not made is only an unused place holder.
        let filler = made.iter().flatten().next().cloned();
        made.into_iter()
            .map(|t| {
                let t = t.or_else(|| filler.clone());
                t.map(|t| t.var()).ok_or_else(|| Error::internal("an op made no output").with_op(op.name()))
            })
            .collect()
    }

    fn fact(&self, var: &Var) -> Result<Fact> {
        match Value::from_var(var)? {
            Value::Tensor(t) => Ok(t.fact()),
            Value::Sequence(s) => Ok(s.fact()),
            Value::Optional(v) => Ok(v.fact.clone()),
        }
    }

    fn constant(&mut self, value: HostTensor) -> Result<Var> {
        Ok(Tensor::from_host(&value, self.device)?.var())
    }

    fn read(&mut self, var: &Var) -> Result<Option<HostTensor>> {
        Tensor::from_var(var)?.to_host().map(Some)
    }

    fn dims(&mut self, var: &Var) -> Result<Vec<Dim>> {
        Ok(Tensor::from_var(var)?.to_host()?.to_i64().into_iter().map(Dim::Known).collect())
    }
}
