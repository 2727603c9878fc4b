use std::any::Any;
use std::fmt;
use std::sync::Arc;

use lampyr_base::{DType, Dim, Error, Result};
use smallvec::SmallVec;

use crate::{Fact, HostTensor, Op, TensorFact, ValueId};

/// A value in the hands of a [`Builder`]: a node output of a graph under construction, or a live tensor.
#[derive(Clone)]
pub enum Var {
    /// A value of the graph being built.
    Node(ValueId),
    /// A live value; only the builder that made it knows its type.
    Live(Arc<dyn Any + Send + Sync>),
}

impl Var {
    /// The graph value.
    ///
    /// # Errors
    /// When this is a live value: two builders were mixed.
    pub fn node(&self) -> Result<ValueId> {
        match self {
            Var::Node(id) => Ok(*id),
            Var::Live(_) => Err(Error::internal("a live tensor was given to a graph builder")),
        }
    }
}

impl fmt::Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Var::Node(id) => write!(f, "%{}", id.0),
            Var::Live(_) => f.write_str("live"),
        }
    }
}

/// Several values.
pub type Vars = SmallVec<[Var; 2]>;

/// The one meeting point: modules, gradients, decompositions and importers make ops only through it. An eager builder
/// runs the op now; a graph builder appends a node.
pub trait Builder {
    /// Applies `op`; all outputs, hidden ones included.
    fn apply(&mut self, op: &dyn Op, inputs: &[Var]) -> Result<Vars>;

    /// What is known of `var`.
    fn fact(&self, var: &Var) -> Result<Fact>;

    /// A constant.
    fn constant(&mut self, value: HostTensor) -> Result<Var>;

    /// The value, when it is known now: always for eager builders, for constants in graph builders.
    fn read(&mut self, var: &Var) -> Result<Option<HostTensor>>;

    /// The elements of an integer tensor of rank 0 or 1 as sizes: numbers where they are known, expressions where they
    /// follow from shapes, otherwise fresh symbols that are bound when the graph runs.
    fn dims(&mut self, var: &Var) -> Result<Vec<Dim>>;

    /// Names the nodes made from now on, for messages and reports.
    fn scope(&mut self, _name: &str) {}
}

impl dyn Builder + '_ {
    /// Applies an op and returns its first output.
    pub fn one(&mut self, op: &dyn Op, inputs: &[Var]) -> Result<Var> {
        let mut all = self.apply(op, inputs)?;
        if all.is_empty() {
            return Err(Error::internal("an op without outputs was used as a value").with_op(op.name()));
        }
        Ok(all.swap_remove(0))
    }

    /// The tensor fact of `var`.
    pub fn tensor_fact(&self, var: &Var) -> Result<TensorFact> {
        match self.fact(var)? {
            Fact::Tensor(t) => Ok(t),
            other => Err(Error::dtype(format!("got {other} where a tensor is needed"))),
        }
    }

    /// A 0-d constant of `dtype`.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Result<Var> {
        self.constant(HostTensor::scalar_of(dtype, value)?)
    }
}

/// What [`Op::vjp`] may look at: the values the op asked to keep, and the facts of all.
pub struct Saved<'a> {
    /// Inputs that were kept.
    pub inputs: &'a [Option<Var>],
    /// Outputs that were kept.
    pub outputs: &'a [Option<Var>],
    /// Facts of all inputs.
    pub input_facts: &'a [Fact],
    /// Facts of all outputs.
    pub output_facts: &'a [Fact],
}

impl Saved<'_> {
    /// Input `i`.
    ///
    /// # Errors
    /// When [`Op::saves`] did not ask for it.
    pub fn input(&self, i: usize) -> Result<&Var> {
        let missing = || Error::internal(format!("input {i} was not kept for the gradient"));
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(missing)
    }

    /// Output `i`.
    ///
    /// # Errors
    /// When [`Op::saves`] did not ask for it.
    pub fn output(&self, i: usize) -> Result<&Var> {
        let missing = || Error::internal(format!("output {i} was not kept for the gradient"));
        self.outputs.get(i).and_then(Option::as_ref).ok_or_else(missing)
    }

    /// Tensor fact of input `i`.
    pub fn input_fact(&self, i: usize) -> Result<&TensorFact> {
        self.input_facts.get(i).ok_or_else(|| Error::internal(format!("no input {i}")))?.as_tensor()
    }

    /// Tensor fact of output `i`.
    pub fn output_fact(&self, i: usize) -> Result<&TensorFact> {
        self.output_facts.get(i).ok_or_else(|| Error::internal(format!("no output {i}")))?.as_tensor()
    }
}
