//! Models from ONNX files.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lampyr_base::{DType, Dim, Error, Result, Shape};
use lampyr_compiler::{Options, Plan, Request};
use lampyr_ir::{Fact, Graph};
use lampyr_onnx::{Imported, Source};
use lampyr_runtime::Tensor;
use lampyr_runtime::session::{Session, TensorValue, Value};

use crate::by_value::ByValue;
use crate::explain::Explanation;

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Name in the file.
    pub name: String,
    /// Type and shape; sizes may be symbols.
    pub fact: Fact,
}

impl Port {
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.fact.dtype()
    }

    /// Sizes of a tensor; nothing for sequences and optionals.
    pub fn dims(&self) -> &[Dim] {
        match &self.fact {
            Fact::Tensor(t) => &t.shape,
            _ => &[],
        }
    }
}

/// Bytes that one run of a model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Planned memory of intermediate results.
    pub arena_bytes: usize,
    /// The same without sharing.
    pub unplanned_bytes: usize,
    /// No plan can be smaller.
    pub lower_bound_bytes: usize,
    /// Weights, packed forms included.
    pub weight_bytes: usize,
    /// Outputs.
    pub output_bytes: usize,
}

/// A model: read from an ONNX file, compiled when it is first run. Several threads may run it at once.
#[derive(Debug)]
pub struct Model {
    graph: Graph,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    opset: u32,
    producer: String,
    metadata: BTreeMap<String, String>,
    session: RwLock<Option<Arc<Session>>>,
    /// Shapes of the last run, for reports.
    last: Mutex<Option<Vec<Option<Shape>>>>,
    /// Where the graph depends on the values of inputs: the forms of the model.
    by_value: Option<ByValue>,
}

impl Model {
    /// Reads a model and the data files beside it.
    ///
    /// # Errors
    /// When the file cannot be read, is no model, or needs what this build lacks; everything that is missing is listed.
    pub fn load(path: impl AsRef<Path>) -> Result<Model> {
        crate::init();
        Model::read(Source::open(path)?)
    }

    /// Reads a model from the bytes of a file.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Model> {
        crate::init();
        Model::read(Source::new(bytes)?)
    }

    fn read(source: Source) -> Result<Model> {
        match source.import(HashMap::new()) {
            Ok(made) => Ok(Model::new(made)),
            Err(stopped) if stopped.needs.is_empty() => Err(stopped.error),
            Err(stopped) => {
                let Ok((inputs, outputs)) = source.declared() else { return Err(stopped.error) };
                let port = |(name, fact): (String, Fact)| Port { name, fact };
                let names = inputs.iter().map(|(name, _)| name.clone()).collect();
                Ok(Model {
                    graph: Graph::new(""),
                    inputs: inputs.into_iter().map(port).collect(),
                    outputs: outputs.into_iter().map(port).collect(),
                    opset: source.opset(),
                    producer: source.producer(),
                    metadata: source.metadata(),
                    session: RwLock::new(None),
                    last: Mutex::new(None),
                    by_value: Some(ByValue::new(source, names, stopped.needs)),
                })
            }
        }
    }

    fn new(read: Imported) -> Model {
        let graph = read.graph;
        let ports = |names: &[String], ids: &[lampyr_ir::ValueId]| {
            names.iter().zip(ids).map(|(n, v)| Port { name: n.clone(), fact: graph.fact(*v).clone() }).collect()
        };
        Model {
            inputs: ports(&read.inputs, graph.inputs()),
            outputs: ports(&read.outputs, graph.outputs()),
            opset: read.opset,
            producer: read.producer,
            metadata: read.metadata,
            graph,
            session: RwLock::new(None),
            last: Mutex::new(None),
            by_value: None,
        }
    }

    /// Whether the graph depends on the values of inputs, so that it is made and compiled when these are given.
    pub fn depends_on_values(&self) -> bool {
        self.by_value.is_some()
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Outputs in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Version of the standard operator set.
    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// Tool that wrote the file.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// Named texts in the file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The graph as it was read; empty where it depends on the values of inputs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Compiles the model; an earlier compiled form is replaced.
    ///
    /// # Errors
    /// When the graph breaks a rule, or the device does not exist.
    pub fn compile(&self, options: &Options) -> Result<()> {
        if let Some(forms) = &self.by_value {
            forms.compile(options);
            return Ok(());
        }
        let made = Arc::new(Session::new(Arc::new(lampyr_compiler::compile(&self.graph, options)?)));
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(())
    }

    /// The compiled model; compiles it with the usual options when that has not been done. The form that ran last where
    /// the graph depends on the values of inputs.
    pub fn session(&self) -> Result<Arc<Session>> {
        if let Some(forms) = &self.by_value {
            return forms.last();
        }
        if let Some(session) = &*self.session.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(session.clone());
        }
        let mut slot = self.session.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*slot {
            return Ok(session.clone());
        }
        let executable = lampyr_compiler::compile(&self.graph, &Options::default())?;
        let made = Arc::new(Session::new(Arc::new(executable)));
        *slot = Some(made.clone());
        Ok(made)
    }

    /// Runs the model on tensors in the order of its inputs.
    ///
    /// # Errors
    /// When number, types or shapes do not fit, an output is a sequence, or a kernel fails.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let values = inputs.iter().map(|t| TensorValue::of(t).map(Value::Tensor)).collect::<Result<Vec<_>>>()?;
        self.run_values(values)?.iter().map(|v| v.tensor()?.to_tensor()).collect()
    }

    /// Runs the model on inputs by name.
    ///
    /// # Errors
    /// As [`Model::run`], and when a name is unknown, missing or given twice.
    pub fn run_named(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>> {
        self.run(&self.in_order(&[], inputs)?)
    }

    /// Inputs in order from those given by position, then by name.
    ///
    /// # Errors
    /// When a name is unknown, missing or given twice.
    pub fn in_order<T: Clone>(&self, positional: &[T], named: &[(&str, T)]) -> Result<Vec<T>> {
        let names = || self.inputs.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ");
        if positional.len() > self.inputs.len() {
            return Err(Error::value(format!("{} inputs were given", positional.len())).with_expected(format!(
                "{}: {}",
                self.inputs.len(),
                names()
            )));
        }
        let mut slots: Vec<Option<T>> = positional.iter().cloned().map(Some).collect();
        slots.resize(self.inputs.len(), None);
        for (name, value) in named {
            let at =
                self.inputs.iter().position(|p| p.name == *name).ok_or_else(|| {
                    Error::not_found(format!("the model has no input `{name}`")).with_expected(names())
                })?;
            if slots[at].replace(value.clone()).is_some() {
                return Err(Error::value(format!("input `{name}` was given twice")));
            }
        }
        let missing: Vec<_> =
            slots.iter().zip(&self.inputs).filter(|(s, _)| s.is_none()).map(|(_, p)| &p.name).collect();
        if !missing.is_empty() {
            let list = missing.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            return Err(Error::not_found(format!("missing inputs: {list}")).with_expected(names()));
        }
        Ok(slots.into_iter().flatten().collect())
    }

    /// Runs the model on any values.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_values(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        let inputs = self.check(inputs)?;
        let session = match &self.by_value {
            Some(forms) => forms.session(&inputs)?,
            None => self.session()?,
        };
        let shapes = shapes_of(&inputs);
        let made = session.run(inputs)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(shapes);
        Ok(made)
    }

    /// The inputs, those for optionals wrapped.
    fn check(&self, mut inputs: Vec<Value>) -> Result<Vec<Value>> {
        if inputs.len() != self.inputs.len() {
            let names = self.inputs.iter().map(|p| format!("{} {}", p.name, p.fact)).collect::<Vec<_>>().join(", ");
            return Err(Error::value(format!("{} inputs were given", inputs.len()))
                .with_expected(format!("{}: {names}", self.inputs.len())));
        }
        for (value, port) in inputs.iter_mut().zip(&self.inputs) {
            if matches!(&port.fact, Fact::Optional(inner) if value.fits(inner)) {
                *value = Value::Optional(Some(Box::new(value.clone())));
            }
            if !value.fits(&port.fact) {
                return Err(Error::dtype(format!("input `{}` is {}", port.name, value.describe()))
                    .with_expected(port.fact.to_string())
                    .with_help("convert it first"));
            }
        }
        Ok(inputs)
    }

    /// The plan for input shapes; for none: those of the last run, else the model's own with 1 for unknown sizes.
    ///
    /// # Errors
    /// When the shapes do not fit the model.
    pub fn plan(&self, shapes: Option<&[&[usize]]>) -> Result<Arc<Plan>> {
        let session = self.session()?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = match (shapes, last) {
            (Some(shapes), _) => Request::shapes(shapes),
            (None, Some(shapes)) => Request { shapes, ..Request::default() },
            (None, None) => {
                let assumed = |d: &Dim| d.known().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
                let shape = |p: &Port| match &p.fact {
                    Fact::Tensor(t) => Some(t.shape.iter().map(assumed).collect()),
                    _ => None,
                };
                Request { shapes: self.inputs.iter().map(shape).collect(), ..Request::default() }
            }
        };
        session.executable().plan(&request)
    }

    /// Memory of one run, see [`Model::plan`] for which shapes.
    pub fn memory(&self, shapes: Option<&[&[usize]]>) -> Result<Memory> {
        let plan = self.plan(shapes)?;
        Ok(Memory {
            arena_bytes: plan.arena_bytes(),
            unplanned_bytes: plan.unplanned_bytes(),
            lower_bound_bytes: plan.lower_bound_bytes(),
            weight_bytes: self.session()?.executable().weight_bytes(),
            output_bytes: plan.output_bytes(),
        })
    }

    /// What the compiler did and why, see [`Model::plan`] for which shapes.
    pub fn explain(&self, shapes: Option<&[&[usize]]>) -> Result<Explanation> {
        let (session, plan) = (self.session()?, self.plan(shapes)?);
        let executable = session.executable();
        Ok(Explanation::new(executable.report().clone(), executable.explain(&plan)))
    }
}

fn shapes_of(values: &[Value]) -> Vec<Option<Shape>> {
    let shape = |v: &Value| match v {
        Value::Tensor(t) => Some(t.layout.shape.clone()),
        _ => None,
    };
    values.iter().map(shape).collect()
}
