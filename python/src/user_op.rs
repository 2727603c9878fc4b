//! Ops that a user writes in Python.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use lampyr::ir::{
    Arity, AttrMap, AttrValue, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpAttrs, OpId, OpRef, Saved,
    Saves, TensorFact, Var,
};
use lampyr::{Device, Dim, Error, Result, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::argument::required;
use crate::dtype::{object, parse};
use crate::error::{self, run, user};
use crate::tensor::PyTensor;

struct Callbacks {
    id: OpId,
    name: &'static str,
    forward: Py<PyAny>,
    infer: Py<PyAny>,
    vjp: Option<Py<PyAny>>,
}

/// An op whose meaning is in Python functions.
#[derive(Clone)]
struct PyOp(Arc<Callbacks>);

impl fmt::Debug for PyOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl OpAttrs for PyOp {
    fn id(&self) -> OpId {
        self.0.id
    }
    fn name(&self) -> &'static str {
        self.0.name
    }
    fn attrs(&self) -> Vec<(&'static str, AttrValue)> {
        Vec::new()
    }
    fn to_ref(&self) -> OpRef {
        OpRef::new(self.clone())
    }
    fn substitute(&self, _: &lampyr::Bindings) -> Option<OpRef> {
        None
    }
    fn remake(&self, _: AttrMap) -> Option<OpRef> {
        None
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a callback returned, as a list: one object stands for itself.
fn many<'py>(ob: Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if ob.cast::<PyList>().is_ok() || (ob.cast::<PyTuple>().is_ok()) {
        return ob.try_iter()?.collect();
    }
    Ok(vec![ob])
}

fn tensor_of(ob: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    Ok(required(ob).and_then(|a| a.tensor())?)
}

fn objects<'py>(py: Python<'py>, all: &[Tensor]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, all.iter().map(|t| PyTensor::of(t.clone())))
}

impl PyOp {
    fn call_infer(&self, py: Python<'_>, inputs: &[&Fact]) -> PyResult<Facts> {
        let mut symbols: HashMap<String, Dim> = HashMap::new();
        let given = PyList::empty(py);
        for fact in inputs {
            let fact = fact.as_tensor().map_err(error::Failure::from)?;
            let shape = PyList::empty(py);
            for dim in &fact.shape {
                match dim.known() {
                    Some(n) => shape.append(n)?,
                    None => {
                        let name = dim.to_string();
                        shape.append(&name)?;
                        symbols.insert(name, dim.clone());
                    }
                }
            }
            given.append((object(py, fact.dtype)?, shape.to_tuple()))?;
        }
        let made = self.0.infer.call1(py, (given,))?.into_bound(py);
        let single = made.cast::<PyTuple>().is_ok();
        let rows = if single { vec![made] } else { many(made)? };
        rows.iter()
            .map(|row| {
                let (dtype, shape): (Bound<'_, PyAny>, Vec<Bound<'_, PyAny>>) = row.extract()?;
                let dims = shape.iter().map(|d| match d.extract::<String>() {
                    Ok(name) => Ok(symbols.get(&name).cloned().unwrap_or_else(|| Dim::named(&name))),
                    Err(_) => d.extract::<usize>().map(Dim::from),
                });
                Ok(Fact::Tensor(TensorFact::new(parse(&dtype)?, dims.collect::<PyResult<Vec<_>>>()?)))
            })
            .collect()
    }

    fn call_forward(&self, py: Python<'_>, inputs: &[Tensor]) -> PyResult<Vec<Tensor>> {
        let made = self.0.forward.call1(py, (objects(py, inputs)?,))?.into_bound(py);
        many(made)?.iter().map(tensor_of).collect()
    }

    fn call_vjp(
        &self,
        py: Python<'_>,
        vjp: &Py<PyAny>,
        inputs: &[Tensor],
        outputs: &[Tensor],
        grads: &[Option<Tensor>],
    ) -> PyResult<Vec<Option<Tensor>>> {
        let grads = PyList::new(py, grads.iter().map(|g| g.clone().map(PyTensor::of)))?;
        let made = vjp.call1(py, (objects(py, inputs)?, objects(py, outputs)?, grads))?.into_bound(py);
        let read = |ob: &Bound<'_, PyAny>| if ob.is_none() { Ok(None) } else { tensor_of(ob).map(Some) };
        many(made)?.iter().map(read).collect()
    }
}

impl Op for PyOp {
    fn arity(&self) -> Arity {
        Arity::at_least(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Python::attach(|py| self.call_infer(py, inputs)).map_err(|e| user("infer", e).with_op(self.0.name))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let tensors = inputs.iter().map(|v| Tensor::from_host(v.tensor()?, Device::CPU)).collect::<Result<Vec<_>>>()?;
        let made = Python::attach(|py| self.call_forward(py, &tensors))
            .map_err(|e| user("forward", e).with_op(self.0.name))?;
        let made = made.iter().map(|t| t.to_host()).collect::<Result<Vec<_>>>()?;
        let facts: Vec<Fact> = tensors.iter().map(|t| Fact::fixed(t.dtype(), t.shape())).collect();
        let expected = self.infer(&facts.iter().collect::<Vec<_>>())?;
        let found: Facts = made.iter().map(|t| Fact::fixed(t.dtype(), t.shape())).collect();
        if found != expected {
            let list = |facts: &Facts| facts.iter().map(Fact::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::shape(format!("forward returned {}", list(&found)))
                .with_expected(format!("{}, as infer says", list(&expected)))
                .with_op(self.0.name));
        }
        Ok(made.into_iter().map(HostValue::Tensor).collect())
    }

    fn gradient(&self) -> Gradient {
        match self.0.vjp {
            Some(_) => Gradient::Vjp,
            None => Gradient::None("it was registered without a vjp"),
        }
    }

    fn saves(&self) -> Saves {
        if self.0.vjp.is_some() { Saves::ALL } else { Saves::NOTHING }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(vjp) = &self.0.vjp else {
            return Err(Error::autograd("this op was registered without a vjp").with_op(self.0.name));
        };
        let _ = b;
        let eager = |var: &Var| match var {
            Var::Live(_) => Tensor::from_var(var),
            Var::Node(_) => Err(Error::unsupported("the gradient of an op written in Python inside a compiled graph")
                .with_op(self.0.name)
                .with_help("train this model without compiling it")),
        };
        let inputs = (0..s.inputs.len()).map(|i| eager(s.input(i)?)).collect::<Result<Vec<_>>>()?;
        let outputs = (0..s.outputs.len()).map(|i| eager(s.output(i)?)).collect::<Result<Vec<_>>>()?;
        let grads = grads.iter().map(|g| g.as_ref().map(eager).transpose()).collect::<Result<Vec<_>>>()?;
        let made = Python::attach(|py| self.call_vjp(py, vjp, &inputs, &outputs, &grads))
            .map_err(|e| user("vjp", e).with_op(self.0.name))?;
        if made.len() != needs.len() {
            return Err(Error::value(format!("vjp returned {} gradients", made.len()))
                .with_expected(format!("{}, one per input (None where there is none)", needs.len()))
                .with_op(self.0.name));
        }
        Ok(made.into_iter().zip(needs).map(|(g, need)| g.filter(|_| *need).map(|g| g.var())).collect())
    }

    fn deterministic(&self) -> bool {
        false
    }
}

/// A registered op: call it with tensors.
#[pyclass(frozen, module = "lampyr")]
pub struct UserOp {
    op: OpRef,
    /// Its name in the table of ops.
    #[pyo3(get)]
    name: String,
}

#[pymethods]
impl UserOp {
    #[pyo3(signature = (*inputs))]
    fn __call__<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyTuple>) -> error::Result<Bound<'py, PyAny>> {
        let inputs = inputs.iter().map(|x| required(&x)?.tensor()).collect::<error::Result<Vec<_>>>()?;
        let refs: Vec<&Tensor> = inputs.iter().collect();
        let made = run(py, 0.0, || lampyr::apply(&*self.op, &refs))?;
        crate::runtime::outputs(py, made.into_vec())
    }

    fn __repr__(&self) -> String {
        format!("<user op {}>", self.name)
    }
}

fn callable(ob: &Bound<'_, PyAny>, what: &str) -> error::Result<Py<PyAny>> {
    if ob.is_callable() {
        return Ok(ob.clone().unbind());
    }
    Err(Error::dtype(format!("{what} is not callable")).with_expected("a function").into())
}

/// Registers an op written in Python.
///
/// `forward(inputs)` gets a list of tensors and returns a tensor or a list of them; `infer(inputs)` gets a list of
/// (dtype, shape) and returns such a list for the outputs (a size that is not known yet is a string); `vjp(inputs,
/// outputs, grads)` returns one gradient per input, or None.
#[pyfunction]
#[pyo3(signature = (name, forward, infer, vjp = None))]
pub fn register_op(
    name: &str,
    forward: &Bound<'_, PyAny>,
    infer: &Bound<'_, PyAny>,
    vjp: Option<&Bound<'_, PyAny>>,
) -> error::Result<UserOp> {
    let forward_doc: Option<String> = forward.getattr("__doc__").ok().and_then(|d| d.extract().ok());
    let (forward, infer) = (callable(forward, "forward")?, callable(infer, "infer")?);
    let vjp = vjp.map(|f| callable(f, "vjp")).transpose()?;
    let doc = forward_doc.unwrap_or_else(|| "Registered from Python.".to_string());
    let op = lampyr::register_op(name, &doc, |id, name| {
        OpRef::new(PyOp(Arc::new(Callbacks { id, name, forward, infer, vjp })))
    })?;
    Ok(UserOp { op, name: name.to_string() })
}
