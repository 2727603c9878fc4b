//! Models from ONNX files.

use std::path::PathBuf;
use std::sync::Arc;

use lampyr::ir::Fact;
use lampyr::runtime::session::{TensorValue, Value};
use lampyr::{Error, Memory, Options, Tensor};
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use pyo3::{IntoPyObjectExt, intern};

use crate::dtype::{PyDType, object};
use crate::error::{Result, run};
use crate::tensor::PyTensor;

type Ob<'py> = Bound<'py, PyAny>;

const ALWAYS: f64 = f64::INFINITY;

/// A model: compiled when it is first called; several threads may call it at once.
#[pyclass(frozen, weakref, module = "lampyr")]
pub struct Model(Arc<lampyr::Model>);

/// An input or output of a model.
#[pyclass(frozen, module = "lampyr")]
pub struct Port(lampyr::Port);

#[pymethods]
impl Port {
    /// Name in the file.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Element type.
    #[getter]
    fn dtype(&self, py: Python<'_>) -> PyResult<Py<PyDType>> {
        object(py, self.0.dtype())
    }

    /// Sizes: numbers, or names of sizes that are not fixed.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let size = |d: &lampyr::Dim| match d.known() {
            Some(n) => n.into_bound_py_any(py),
            None => d.to_string().into_bound_py_any(py),
        };
        PyTuple::new(py, self.0.dims().iter().map(size).collect::<PyResult<Vec<_>>>()?)
    }

    fn __repr__(&self) -> String {
        format!("<{} {}>", self.0.name, self.0.fact)
    }
}

/// Bytes that one run takes.
#[pyclass(frozen, get_all, module = "lampyr")]
pub struct ModelMemory {
    arena_bytes: usize,
    unplanned_bytes: usize,
    lower_bound_bytes: usize,
    weight_bytes: usize,
    output_bytes: usize,
}

#[pymethods]
impl ModelMemory {
    fn __repr__(&self) -> String {
        format!(
            "ModelMemory(arena_bytes={}, unplanned_bytes={}, lower_bound_bytes={}, weight_bytes={}, output_bytes={})",
            self.arena_bytes, self.unplanned_bytes, self.lower_bound_bytes, self.weight_bytes, self.output_bytes
        )
    }
}

/// What the compiler did and why.
#[pyclass(frozen, module = "lampyr")]
pub struct Explanation(lampyr::Explanation);

#[pymethods]
impl Explanation {
    /// As JSON text.
    fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// As a page with the memory map.
    fn to_html(&self) -> String {
        self.0.to_html()
    }

    /// The memory map as SVG text.
    fn memory_map(&self) -> String {
        self.0.memory_map()
    }

    fn _repr_html_(&self) -> String {
        self.0.to_html()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        self.0.to_string()
    }
}

/// The tensor that a Python object stands for as an input; arrays are shared, read-only ones too.
fn input(ob: &Ob<'_>, dtype: Option<lampyr::DType>) -> Result<Tensor> {
    if let Ok(t) = ob.cast::<PyTensor>() {
        return Ok(t.get().t().clone());
    }
    if crate::argument::number(ob)?.is_none()
        && let Some(t) = crate::interop::array(ob, true)?
    {
        return Ok(t);
    }
    crate::tensor::from_data(ob, dtype)
}

/// What a Python object stands for as an input of which `fact` is known: a list for a sequence, `None` for an absent
/// optional.
fn value(ob: &Ob<'_>, fact: Option<&Fact>) -> Result<Value> {
    match fact {
        Some(Fact::Optional(_)) if ob.is_none() => Ok(Value::Optional(None)),
        Some(Fact::Optional(inner)) => Ok(Value::Optional(Some(Box::new(value(ob, Some(inner))?)))),
        Some(Fact::Sequence(items)) if ob.is_instance_of::<PyList>() || ob.is_instance_of::<PyTuple>() => {
            let item = |item: PyResult<Ob<'_>>| Ok(TensorValue::of(&input(&item?, Some(items.dtype))?)?);
            Ok(Value::Sequence(ob.try_iter()?.map(item).collect::<Result<_>>()?))
        }
        _ => Ok(Value::Tensor(TensorValue::of(&input(ob, fact.map(Fact::dtype))?)?)),
    }
}

/// `made` as a Python value; what shares memory with an input is copied, since that may be another library's.
fn output<'py>(py: Python<'py>, made: &Value, inputs: &[Value]) -> Result<Ob<'py>> {
    let address = |t: &TensorValue| t.memory.host_ptr().map(|p| p.as_ptr() as usize);
    let tensor = |t: &TensorValue| -> Result<Ob<'py>> {
        let mut shared = false;
        inputs.iter().for_each(|v| v.each(&mut |i| shared |= address(i) == address(t)));
        let t = t.to_tensor()?;
        let t = if shared { t.copy_contiguous()? } else { t };
        Ok(Bound::new(py, PyTensor::of(t))?.into_any())
    };
    match made {
        Value::Tensor(t) => tensor(t),
        Value::Sequence(all) => Ok(PyList::new(py, all.iter().map(tensor).collect::<Result<Vec<_>>>()?)?.into_any()),
        Value::Optional(None) => Ok(py.None().into_bound(py)),
        Value::Optional(Some(inner)) => output(py, inner, inputs),
    }
}

fn borrowed(shapes: &Option<Vec<Vec<usize>>>) -> Option<Vec<&[usize]>> {
    shapes.as_ref().map(|all| all.iter().map(Vec::as_slice).collect())
}

impl Model {
    /// Runs the model on inputs by position and by name; all outputs in order.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        named: Vec<(String, Ob<'py>)>,
    ) -> Result<Vec<Ob<'py>>> {
        let ports = self.0.inputs();
        let mut positional = Vec::with_capacity(ports.len());
        for (i, ob) in inputs.iter().enumerate() {
            positional.push(value(&ob, ports.get(i).map(|p| &p.fact))?);
        }
        let mut by_name: Vec<(String, Value)> = Vec::new();
        for (name, ob) in named {
            let port = ports.iter().find(|p| p.name == name);
            by_name.push((name, value(&ob, port.map(|p| &p.fact))?));
        }
        let given: Vec<(&str, Value)> = by_name.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
        let all = self.0.in_order(&positional, &given)?;
        let model = &self.0;
        let made = run(py, ALWAYS, || model.run_values(all.clone()))?;
        for warning in lampyr::runtime::trace::take_warnings() {
            let text = std::ffi::CString::new(warning).unwrap_or_default();
            PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1)?;
        }
        made.iter().map(|v| output(py, v, &all)).collect()
    }
}

#[pymethods]
impl Model {
    /// Inputs in order.
    #[getter]
    fn inputs(&self) -> Vec<Port> {
        self.0.inputs().iter().cloned().map(Port).collect()
    }

    /// Outputs in order.
    #[getter]
    fn outputs(&self) -> Vec<Port> {
        self.0.outputs().iter().cloned().map(Port).collect()
    }

    /// Version of the standard operator set.
    #[getter]
    fn opset(&self) -> u32 {
        self.0.opset()
    }

    /// Tool that wrote the file.
    #[getter]
    fn producer(&self) -> &str {
        self.0.producer()
    }

    /// Compiles the model; an earlier compiled form is replaced.
    #[pyo3(signature = (*, fuse = true, inference = true, device = None, threads = None, memory_cap = None))]
    fn compile<'py>(
        slf: Bound<'py, Self>,
        fuse: bool,
        inference: bool,
        device: Option<&Ob<'py>>,
        threads: Option<usize>,
        memory_cap: Option<usize>,
    ) -> Result<Bound<'py, Self>> {
        let mut options = Options { fuse, inference, threads, memory_cap, ..Options::default() };
        options.policy.device = crate::dtype::device(device)?;
        let model = &slf.get().0;
        run(slf.py(), ALWAYS, || model.compile(&options))?;
        Ok(slf)
    }

    /// Runs the model. One output comes as it is, several as a tuple.
    #[pyo3(signature = (*inputs, **named))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> Result<Ob<'py>> {
        let named = named.into_iter().flatten().map(|(name, ob)| Ok((name.extract()?, ob)));
        let mut made = self.evaluate(py, inputs, named.collect::<PyResult<Vec<(String, Ob<'py>)>>>()?)?;
        if made.len() == 1 {
            return Ok(made.swap_remove(0));
        }
        Ok(PyTuple::new(py, made)?.into_any())
    }

    /// Runs the model on inputs by name and returns outputs by name: all, or those asked for.
    #[pyo3(signature = (inputs, outputs = None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyDict>,
        outputs: Option<Vec<String>>,
    ) -> Result<Bound<'py, PyDict>> {
        let ports = self.0.outputs();
        for name in outputs.iter().flatten() {
            if ports.iter().all(|p| p.name != *name) {
                let known = ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ");
                return Err(Error::not_found(format!("the model has no output `{name}`")).with_expected(known).into());
            }
        }
        let named = inputs.iter().map(|(name, ob)| Ok((name.extract()?, ob)));
        let made = self.evaluate(py, &PyTuple::empty(py), named.collect::<PyResult<Vec<(String, Ob<'py>)>>>()?)?;
        let result = PyDict::new(py);
        for (port, value) in ports.iter().zip(made) {
            if outputs.as_ref().is_none_or(|wanted| wanted.contains(&port.name)) {
                result.set_item(&port.name, value)?;
            }
        }
        Ok(result)
    }

    /// Memory of a run with inputs of these shapes; by default those of the last run, else of the file, where sizes
    /// that are not fixed count as 1.
    #[pyo3(signature = (shapes = None))]
    fn memory(&self, py: Python<'_>, shapes: Option<Vec<Vec<usize>>>) -> Result<ModelMemory> {
        let shapes = borrowed(&shapes);
        let Memory { arena_bytes, unplanned_bytes, lower_bound_bytes, weight_bytes, output_bytes } =
            run(py, ALWAYS, || self.0.memory(shapes.as_deref()))?;
        Ok(ModelMemory { arena_bytes, unplanned_bytes, lower_bound_bytes, weight_bytes, output_bytes })
    }

    /// What the compiler did and why; shapes as for `memory`.
    #[pyo3(signature = (shapes = None))]
    fn explain(&self, py: Python<'_>, shapes: Option<Vec<Vec<usize>>>) -> Result<Explanation> {
        let shapes = borrowed(&shapes);
        Ok(Explanation(run(py, ALWAYS, || self.0.explain(shapes.as_deref()))?))
    }

    fn __repr__(&self) -> String {
        let list = |ports: &[lampyr::Port]| {
            ports.iter().map(|p| format!("{}: {}", p.name, p.fact)).collect::<Vec<_>>().join(", ")
        };
        format!("<Model ({}) -> ({})>", list(self.0.inputs()), list(self.0.outputs()))
    }
}

/// An ONNX model as Python code names it.
enum Named {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

fn source(ob: &Ob<'_>) -> Result<Named> {
    let py = ob.py();
    if let Ok(bytes) = ob.cast::<PyBytes>() {
        return Ok(Named::Bytes(bytes.as_bytes().to_vec()));
    }
    if ob.hasattr(intern!(py, "SerializeToString"))? {
        return Ok(Named::Bytes(ob.call_method0(intern!(py, "SerializeToString"))?.extract()?));
    }
    let path = ob.extract().map_err(|_| {
        crate::error::Failure::from(
            Error::dtype(format!("a {} is not a model", crate::interop::type_name(ob)))
                .with_expected("a path, bytes or an onnx.ModelProto"),
        )
    })?;
    Ok(Named::Path(path))
}

/// Reads an ONNX model from a file or from its bytes.
#[pyfunction]
pub fn load_onnx(source: &Ob<'_>) -> Result<Model> {
    let named = self::source(source)?;
    let model = run(source.py(), ALWAYS, || match named {
        Named::Bytes(bytes) => lampyr::Model::from_bytes(&bytes),
        Named::Path(path) => lampyr::Model::load(path),
    })?;
    Ok(Model(Arc::new(model)))
}

/// One thing that keeps a model from running, or makes it slow.
#[pyclass(frozen, get_all, module = "lampyr.onnx")]
pub struct Problem {
    kind: String,
    what: String,
    nodes: Vec<String>,
    help: Option<String>,
}

#[pymethods]
impl Problem {
    fn __repr__(&self) -> String {
        let at = if self.nodes.is_empty() { String::new() } else { format!(" (at {})", self.nodes.join(", ")) };
        let help = self.help.as_ref().map(|h| format!("; {h}")).unwrap_or_default();
        format!("{}: {}{at}{help}", self.kind, self.what)
    }
}

/// Whether a model can run here, and everything that is in the way. True where it can run.
#[pyclass(frozen, get_all, module = "lampyr.onnx")]
pub struct Check {
    ok: bool,
    problems: Vec<Py<Problem>>,
    slow: Vec<Py<Problem>>,
}

#[pymethods]
impl Check {
    fn __bool__(&self) -> bool {
        self.ok
    }

    fn __repr__(&self) -> String {
        let mut text = if self.ok { "can run here".to_string() } else { "cannot run here".to_string() };
        for problem in &self.problems {
            text += &format!("\n  {}", problem.get().__repr__());
        }
        for slow in &self.slow {
            text += &format!("\n  slow: {}", slow.get().__repr__());
        }
        text
    }
}

/// Lists everything that keeps an ONNX model from running here, without running it.
#[pyfunction]
pub fn check_onnx(source: &Ob<'_>) -> Result<Check> {
    let py = source.py();
    let named = self::source(source)?;
    let found = run(py, ALWAYS, || {
        Ok(match named {
            Named::Bytes(bytes) => lampyr::check_bytes(&bytes),
            Named::Path(path) => lampyr::check(path),
        })
    })?;
    let (mut problems, mut slow) = (Vec::new(), Vec::new());
    for p in &found.problems {
        let (kind, what, nodes, help) = (p.kind.to_string(), p.what.clone(), p.nodes.clone(), p.help.clone());
        problems.push(Py::new(py, Problem { kind, what, nodes, help })?);
    }
    for s in &found.slow {
        let (kind, what, nodes) = (s.reason.to_string(), s.op.to_string(), s.nodes.clone());
        slow.push(Py::new(py, Problem { kind, what, nodes, help: None })?);
    }
    Ok(Check { ok: found.ok(), problems, slow })
}
