//! Graphs built by hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyr::{Dim, Runtime, Tensor};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::argument::required;
use crate::error::{Result, run};

type Ob<'py> = Bound<'py, PyAny>;

/// A value of a graph under construction.
#[pyclass(frozen, module = "lampyr")]
pub struct GraphValue(lampyr::GraphValue);

/// A graph under construction.
#[pyclass(frozen, module = "lampyr")]
pub struct Graph(Mutex<lampyr::Graph>);

/// A compiled graph; several threads may call it at once.
#[pyclass(frozen, module = "lampyr")]
pub struct CompiledGraph(Arc<lampyr::CompiledGraph>);

impl Graph {
    /// Waits with the interpreter released: the holder may be running a callback in Python.
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, lampyr::Graph> {
        self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Graph {
    #[new]
    fn new() -> Graph {
        Graph(Mutex::new(lampyr::Graph::new()))
    }

    /// Adds an input; a size that is not fixed is a name.
    #[pyo3(signature = (name, shape, dtype = None))]
    fn add_input(&self, py: Python<'_>, name: &str, shape: Vec<Ob<'_>>, dtype: Option<&Ob<'_>>) -> Result<GraphValue> {
        let dims = shape.iter().map(|d| match d.extract::<String>() {
            Ok(symbol) => Ok(Dim::named(&symbol)),
            Err(_) => d.extract::<usize>().map(Dim::from),
        });
        let dims = dims.collect::<PyResult<Vec<_>>>()?;
        let dtype = crate::dtype::parse_or(dtype, lampyr::DType::F32)?;
        Ok(GraphValue(self.lock(py).add_input_of(name, dtype, &dims)?))
    }

    /// Adds a weight with its elements.
    fn add_weight(&self, py: Python<'_>, name: &str, data: &Ob<'_>) -> Result<GraphValue> {
        let data = required(data)?.tensor()?;
        Ok(GraphValue(self.lock(py).add_weight_data(name, &data)?))
    }

    /// Replaces the elements of a weight.
    fn set_weight(&self, py: Python<'_>, name: &str, data: &Ob<'_>) -> Result<()> {
        let data = required(data)?.tensor()?;
        Ok(self.lock(py).set_weight(name, &data)?)
    }

    /// Adds an op by its name in the table of ops, with attributes by keyword. One output comes as it is, several as a
    /// tuple.
    #[pyo3(signature = (name, inputs, **attributes))]
    fn add_op<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        inputs: Vec<Bound<'py, GraphValue>>,
        attributes: Option<&Bound<'py, PyDict>>,
    ) -> Result<Ob<'py>> {
        let inputs: Vec<lampyr::GraphValue> = inputs.iter().map(|v| v.get().0.clone()).collect();
        let map = crate::runtime::attributes(attributes)?;
        let mut made = self.lock(py).add_op_with(name, &inputs, map)?;
        if made.len() == 1 {
            return Ok(Bound::new(py, GraphValue(made.swap_remove(0)))?.into_any());
        }
        Ok(PyTuple::new(py, made.into_iter().map(GraphValue))?.into_any())
    }

    /// Declares an output; the order of calls is that of the results.
    #[pyo3(signature = (value, name = None))]
    fn mark_output(&self, py: Python<'_>, value: &Bound<'_, GraphValue>, name: Option<&str>) -> Result<()> {
        let value = value.get().0.clone();
        let mut graph = self.lock(py);
        match name {
            Some(name) => graph.mark_output_as(name, value)?,
            None => graph.mark_output(value)?,
        }
        Ok(())
    }

    /// The graph as the bytes of an ONNX model.
    fn to_onnx<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let ir = self.lock(py).to_ir()?;
        Ok(PyBytes::new(py, &lampyr::onnx::export(&ir)?))
    }

    /// Checks the graph, and has it simplified and fused when it is compiled.
    fn optimize(&self, py: Python<'_>) -> Result<()> {
        Ok(self.lock(py).optimize()?)
    }

    /// Compiles the graph for a device.
    #[pyo3(signature = (device = None))]
    fn compile(&self, py: Python<'_>, device: Option<&Ob<'_>>) -> Result<CompiledGraph> {
        let runtime = Runtime::on(crate::dtype::device(device)?)?;
        Ok(CompiledGraph(Arc::new(self.lock(py).compile(&runtime)?)))
    }
}

#[pymethods]
impl CompiledGraph {
    /// Runs the graph on tensors in the order in which its inputs were added.
    #[pyo3(signature = (*inputs))]
    fn __call__<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyTuple>) -> Result<Ob<'py>> {
        let inputs = inputs.iter().map(|x| required(&x)?.tensor()).collect::<Result<Vec<Tensor>>>()?;
        let made = run(py, f64::INFINITY, || self.0.execute(&inputs))?;
        crate::runtime::outputs(py, made)
    }
}

/// An input of a recorded function: name, example, and the axes of any size with the names of the sizes.
type Example<'py> = (String, Ob<'py>, Vec<(usize, String)>);

/// Calls `call` on a list of tensors while its ops are recorded; the bytes of an ONNX model that computes the tensors it
/// returns. Weights become initializers of their names.
#[pyfunction]
#[pyo3(name = "_record_onnx", signature = (call, inputs, weights, outputs, opset_version = None))]
pub fn record_onnx<'py>(
    py: Python<'py>,
    call: &Ob<'py>,
    inputs: Vec<Example<'py>>,
    weights: Vec<(String, Ob<'py>)>,
    outputs: Vec<String>,
    opset_version: Option<u32>,
) -> Result<Bound<'py, PyBytes>> {
    let input = |(name, example, axes): Example<'py>| {
        Ok::<_, crate::error::Failure>(lampyr::Input { name, example: required(&example)?.tensor()?, axes })
    };
    let inputs = inputs.into_iter().map(input).collect::<Result<Vec<_>>>()?;
    let weights = weights.into_iter().map(|(n, t)| Ok((n, required(&t)?.tensor()?))).collect::<Result<Vec<_>>>()?;
    let mut run = |given: &[Tensor]| {
        let made = (|| -> PyResult<Vec<Tensor>> {
            let list = pyo3::types::PyList::new(py, given.iter().map(|t| crate::tensor::PyTensor::of(t.clone())))?;
            Ok(crate::argument::tensors(&call.call1((list,))?)?)
        })();
        made.map_err(|e| crate::error::raised("the recorded function", e))
    };
    let graph = lampyr::record_graph(&inputs, &weights, &outputs, &mut run)?;
    Ok(PyBytes::new(py, &lampyr::onnx::export_within(&graph, opset_version)?))
}
