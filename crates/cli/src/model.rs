//! The one place that knows how the library reads, compiles and runs models.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lampyr::ir::Fact;
use lampyr::{
    Bindings, DType, Device, Dim, Error, ErrorKind, Explanation, HostTensor, Model, Port, Result, Tensor, TypeKind,
};
use serde::Serialize;

/// A model file that was read and compiled.
pub struct Loaded {
    /// Where it was read from.
    pub path: PathBuf,
    /// The model.
    pub model: Model,
    /// How long reading took.
    pub load: Duration,
    /// How long compiling took.
    pub compile: Duration,
}

/// What the compiler did, in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Compiled {
    /// Nodes in the file.
    pub nodes_before: usize,
    /// Nodes that run.
    pub nodes_after: usize,
    /// Fusions done.
    pub fusions: usize,
    /// Planned memory of intermediate results.
    pub arena_bytes: usize,
    /// The same without sharing.
    pub unplanned_bytes: usize,
    /// Weights, packed forms included.
    pub weight_bytes: usize,
}

/// Reads a model without compiling it.
///
/// # Errors
/// As [`Model::load`].
pub fn read(path: &Path) -> Result<Model> {
    if path.is_dir() {
        return Err(Error::value(format!("{} is a folder", path.display())).with_help("name an .onnx file"));
    }
    Model::load(path).map_err(|e| match e.kind() {
        ErrorKind::Io if !path.exists() => e.with_help("check the path; a model is an .onnx file"),
        ErrorKind::Format => {
            let help = e.help().unwrap_or("a model is a complete .onnx file").to_string();
            Error::format(format!("{}: {}", path.display(), e.message())).with_source(e).with_help(help)
        }
        _ if e.help().is_none() => e.with_help(format!("is {} a complete ONNX model?", path.display())),
        _ => e,
    })
}

impl Loaded {
    /// Reads and compiles a model.
    ///
    /// # Errors
    /// When the file is no model, or the graph breaks a rule.
    pub fn open(path: &Path) -> Result<Loaded> {
        let start = Instant::now();
        let model = read(path)?;
        let load = start.elapsed();
        let start = Instant::now();
        model.session()?;
        Ok(Loaded { path: path.to_path_buf(), model, load, compile: start.elapsed() })
    }

    /// What the compiler did, for inputs of these shapes.
    pub fn compiled(&self, shapes: &[Vec<usize>]) -> Result<Compiled> {
        let memory = self.model.memory(Some(&slices(shapes)))?;
        let session = self.model.session()?;
        let executable = session.executable();
        Ok(Compiled {
            nodes_before: self.model.graph().len(),
            nodes_after: executable.graph().len(),
            fusions: executable.report().fusions.iter().filter(|f| f.taken).count(),
            arena_bytes: memory.arena_bytes,
            unplanned_bytes: memory.unplanned_bytes,
            weight_bytes: memory.weight_bytes,
        })
    }

    /// All that the compiler did and why, for inputs of these shapes.
    pub fn explain(&self, shapes: &[Vec<usize>]) -> Result<Explanation> {
        self.model.explain(Some(&slices(shapes)))
    }

    /// Runs the model once and says how long that took.
    pub fn time(&self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Duration)> {
        let start = Instant::now();
        let outputs = self.model.run(inputs)?;
        Ok((outputs, start.elapsed()))
    }

    /// Shapes of all inputs; sizes that `dims` does not name are 1.
    ///
    /// # Errors
    /// When `dims` has a name that the model has not, or an input is no tensor.
    pub fn shapes(&self, dims: &[(String, usize)]) -> Result<Vec<Vec<usize>>> {
        let symbols: Vec<_> = self.model.inputs().iter().flat_map(Port::dims).flat_map(Dim::symbols).collect();
        let mut bindings = Bindings::new();
        for symbol in &symbols {
            bindings.set(symbol.clone(), 1);
        }
        for (name, size) in dims {
            let Some(symbol) = symbols.iter().find(|s| s.name() == name) else {
                let known: Vec<_> = bindings.iter().map(|(s, _)| s.name().to_string()).collect();
                let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
                return Err(Error::not_found(format!("the model has no symbolic size `{name}`")).with_expected(known));
            };
            bindings.set(symbol.clone(), i64::try_from(*size).unwrap_or(i64::MAX));
        }
        self.model.inputs().iter().map(|port| shape_of(port, &bindings)).collect()
    }
}

fn slices(shapes: &[Vec<usize>]) -> Vec<&[usize]> {
    shapes.iter().map(Vec::as_slice).collect()
}

fn shape_of(port: &Port, bindings: &Bindings) -> Result<Vec<usize>> {
    match &port.fact {
        Fact::Tensor(t) => t.shape.iter().map(|d| d.size(bindings)).collect(),
        _ => Err(Error::value(format!("input `{}` is no tensor", port.name))
            .with_help("use the library for models that take sequences or optionals")),
    }
}

/// A made-up input: floats in [0, 1), zeros of all other types.
///
/// # Errors
/// When there is no memory for it.
pub fn made_up(dtype: DType, shape: &[usize]) -> Result<Tensor> {
    let too_large = || Error::shape(format!("an input of shape {shape:?} is too large"));
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
    if dtype.kind() != TypeKind::Float {
        return Tensor::from_host(&HostTensor::zeros(dtype, shape)?, Device::CPU);
    }
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| too_large())?;
    let mut state = 1u64;
    values.extend((0..len).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    }));
    Tensor::from_host(&HostTensor::from_f64(dtype, shape, &values)?, Device::CPU)
}
