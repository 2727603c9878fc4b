//! Graphs built by hand.

use std::sync::Arc;

use lampyr_base::{DType, Device, Dim, Error, Result};
use lampyr_compiler::Options;
use lampyr_ir::{AttrMap, Builder, Fact, GraphBuilder, HostTensor, TensorFact, Var, passes, verify};
use lampyr_runtime::Tensor;
use lampyr_runtime::session::{Session, TensorValue, Value};

/// The largest constant, in bytes, that [`Graph::optimize`] makes.
const FOLD_LIMIT: usize = 1 << 20;

/// A device and its memory.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    device: Device,
}

impl Runtime {
    /// The CPU.
    ///
    /// # Errors
    /// Never for now; devices may be missing.
    pub fn new() -> Result<Runtime> {
        Runtime::on(Device::CPU)
    }

    /// A device.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn on(device: Device) -> Result<Runtime> {
        crate::init();
        lampyr_backend::backend(device)?;
        Ok(Runtime { device })
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.device
    }

    /// A float32 tensor of zeros.
    pub fn alloc(&self, shape: &[usize]) -> Result<Tensor> {
        Tensor::full(shape, 0.0, DType::F32, self.device)
    }
}

/// A value of a [`Graph`].
#[derive(Clone, Debug)]
pub struct GraphValue(Var);

struct Weight {
    name: String,
    data: HostTensor,
}

/// A graph under construction.
///
/// ```
/// # fn main() -> lampyr::Result<()> {
/// use lampyr::{Graph, Runtime, Tensor};
///
/// let rt = Runtime::new()?;
/// let mut graph = Graph::new();
///
/// let input = graph.add_input("input", &[1, 10])?;
/// let w = graph.add_weight("weight", &[10, 5])?;
/// let out = graph.add_op("matmul", &[input, w])?;
///
/// graph.mark_output(out)?;
/// graph.set_weight("weight", &Tensor::full(&[10, 5], 0.5, lampyr::DType::F32, rt.device())?)?;
/// graph.optimize()?;
///
/// let executable = graph.compile(&rt)?;
/// let buf = rt.alloc(&[1, 10])?;
/// let outputs = executable.execute(&[buf])?;
/// assert_eq!(outputs[0].shape(), [1, 5]);
///
/// let ones = Tensor::full(&[1, 10], 1.0, lampyr::DType::F32, rt.device())?;
/// assert_eq!(executable.execute(&[ones])?[0].to_vec::<f32>()?, [5.0; 5]);
/// # Ok(())
/// # }
/// ```
pub struct Graph {
    builder: GraphBuilder,
    /// Inputs in the order of the builder: those of the caller and the weights.
    slots: Vec<Option<Weight>>,
    /// Names of the outputs.
    marked: Vec<String>,
    optimize: bool,
}

impl Default for Graph {
    fn default() -> Graph {
        Graph::new()
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        crate::init();
        Graph { builder: GraphBuilder::new("graph"), slots: Vec::new(), marked: Vec::new(), optimize: false }
    }

    fn free(&self, name: &str) -> Result<()> {
        let graph = self.builder.graph();
        match graph.inputs().iter().any(|v| graph.value(*v).name == name) {
            true => Err(Error::value(format!("there is an input or weight called `{name}` already"))),
            false => Ok(()),
        }
    }

    /// Adds a float32 input.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_input(&mut self, name: &str, shape: &[usize]) -> Result<GraphValue> {
        let dims: Vec<Dim> = shape.iter().map(|&d| Dim::from(d)).collect();
        self.add_input_of(name, DType::F32, &dims)
    }

    /// Adds an input of any type; sizes may be symbols ([`Dim::named`]).
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_input_of(&mut self, name: &str, dtype: DType, shape: &[Dim]) -> Result<GraphValue> {
        self.free(name)?;
        self.slots.push(None);
        Ok(GraphValue(self.builder.input(name, Fact::Tensor(TensorFact::new(dtype, shape.iter().cloned())))))
    }

    /// Adds a float32 weight of zeros; see [`Graph::set_weight`].
    ///
    /// # Errors
    /// When the name is taken, or the shape is too large.
    pub fn add_weight(&mut self, name: &str, shape: &[usize]) -> Result<GraphValue> {
        self.weight(name, HostTensor::zeros(DType::F32, shape)?)
    }

    /// Adds a weight with its elements.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_weight_data(&mut self, name: &str, data: &Tensor) -> Result<GraphValue> {
        self.weight(name, data.to_host()?)
    }

    fn weight(&mut self, name: &str, data: HostTensor) -> Result<GraphValue> {
        self.free(name)?;
        let fact = Fact::fixed(data.dtype(), data.shape());
        self.slots.push(Some(Weight { name: name.to_string(), data }));
        Ok(GraphValue(self.builder.input(name, fact)))
    }

    /// Replaces the elements of a weight.
    ///
    /// # Errors
    /// When there is no such weight, or type or shape differ.
    pub fn set_weight(&mut self, name: &str, data: &Tensor) -> Result<()> {
        let weight = self.slots.iter_mut().flatten().find(|w| w.name == name);
        let weight = weight.ok_or_else(|| Error::not_found(format!("there is no weight called `{name}`")))?;
        let data = data.to_host()?;
        if data.dtype() != weight.data.dtype() || data.shape() != weight.data.shape() {
            return Err(Error::shape(format!("weight `{name}` cannot be {}", data.describe()))
                .with_expected(weight.data.describe()));
        }
        weight.data = data;
        Ok(())
    }

    /// Adds an op by its name in the registry; its first output.
    ///
    /// # Errors
    /// When there is no such op, or the inputs do not fit it.
    pub fn add_op(&mut self, name: &str, inputs: &[GraphValue]) -> Result<GraphValue> {
        let made = self.add_op_with(name, inputs, AttrMap::new())?;
        made.into_iter().next().ok_or_else(|| Error::graph("the op has no output").with_op(name))
    }

    /// Adds an op with attributes; its outputs.
    ///
    /// # Errors
    /// When there is no such op, or the inputs or attributes do not fit it.
    pub fn add_op_with(&mut self, name: &str, inputs: &[GraphValue], attrs: AttrMap) -> Result<Vec<GraphValue>> {
        let op = crate::make_op(name, attrs)?;
        let vars: Vec<Var> = inputs.iter().map(|v| v.0.clone()).collect();
        let visible = op.visible_outputs().unwrap_or(usize::MAX);
        Ok(self.builder.apply(&*op, &vars)?.into_iter().take(visible).map(GraphValue).collect())
    }

    /// Declares an output; the order of calls is that of the results.
    ///
    /// # Errors
    /// When the value belongs to another graph.
    pub fn mark_output(&mut self, value: GraphValue) -> Result<()> {
        let name = format!("output_{}", self.marked.len());
        self.mark_output_as(&name, value)
    }

    /// Declares an output with a name of its own.
    ///
    /// # Errors
    /// When the value belongs to another graph.
    pub fn mark_output_as(&mut self, name: &str, value: GraphValue) -> Result<()> {
        self.builder.output(name, &value.0)?;
        self.marked.push(name.to_string());
        Ok(())
    }

    /// Checks the graph, and has it folded, freed of dead code and fused when it is compiled. Without this call the
    /// graph runs as it was written.
    ///
    /// # Errors
    /// When the graph breaks a rule.
    pub fn optimize(&mut self) -> Result<()> {
        verify::verify(self.builder.graph())?;
        self.optimize = true;
        Ok(())
    }

    /// The graph with its weights as constants.
    ///
    /// # Errors
    /// When there is no output.
    pub fn to_ir(&self) -> Result<lampyr_ir::Graph> {
        if self.marked.is_empty() {
            return Err(Error::graph("the graph has no output").with_help("call mark_output"));
        }
        let body = self.builder.graph();
        let mut b = GraphBuilder::new(&body.name);
        let mut inputs = Vec::with_capacity(self.slots.len());
        for (slot, id) in self.slots.iter().zip(body.inputs()) {
            let info = body.value(*id);
            inputs.push(match slot {
                None => b.input(&info.name, info.fact.clone()),
                Some(weight) => {
                    let var = b.constant(weight.data.clone())?;
                    b.name(&var, &weight.name)?;
                    var
                }
            });
        }
        for (name, var) in self.marked.iter().zip(b.inline(body, &inputs)?) {
            b.output(name, &var)?;
        }
        let mut graph = b.finish();
        if self.optimize {
            passes::fold_constants(&mut graph, FOLD_LIMIT)?;
            passes::common_subexpressions(&mut graph)?;
            passes::dead_code(&mut graph);
        }
        Ok(graph)
    }

    /// Compiles the graph for a device.
    ///
    /// # Errors
    /// When there is no output.
    pub fn compile(&self, runtime: &Runtime) -> Result<CompiledGraph> {
        let mut options = Options { fuse: self.optimize, ..Options::default() };
        options.policy.device = runtime.device;
        let executable = lampyr_compiler::compile(&self.to_ir()?, &options)?;
        Ok(CompiledGraph { session: Session::new(Arc::new(executable)) })
    }
}

/// A compiled graph; several threads may run it at once.
#[derive(Debug)]
pub struct CompiledGraph {
    session: Session,
}

impl CompiledGraph {
    /// Runs the graph on tensors in the order in which its inputs were added.
    ///
    /// # Errors
    /// When number, types or shapes do not fit, or a kernel fails.
    pub fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let values = inputs.iter().map(|t| TensorValue::of(t).map(Value::Tensor)).collect::<Result<Vec<_>>>()?;
        self.session.run(values)?.iter().map(|v| v.tensor()?.to_tensor()).collect()
    }

    /// The session behind it.
    pub fn session(&self) -> &Session {
        &self.session
    }
}
