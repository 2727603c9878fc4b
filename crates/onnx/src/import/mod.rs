//! From the bytes of a model to a graph.

mod build;
mod check;
mod facts;
mod names;
mod node;
mod scan;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use lampyr_base::{Error, Result};
use lampyr_ir::{Fact, Graph, HostTensor};
use prost::Message;
use prost::bytes::Bytes;

use crate::external::{Files, Mapped, Whole, map};
use crate::pb::{FunctionProto, GraphProto, ModelProto, OperatorSetIdProto};

/// A model that was read.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The graph. Named sizes are symbols of the same name, sizes without a name symbols of their own.
    pub graph: Graph,
    /// Names of the graph's inputs in the file, in order; inputs that have a value in the file are constants instead.
    pub inputs: Vec<String>,
    /// Names of the graph's outputs in the file, in order.
    pub outputs: Vec<String>,
    /// Version of the standard operator set that the model imports.
    pub opset: u32,
    /// Versions of all operator sets by domain; the standard one is called `""`.
    pub opsets: BTreeMap<String, u32>,
    /// Version of the file format.
    pub ir_version: i64,
    /// Tool that wrote the model, with its version.
    pub producer: String,
    /// Documentation in the file.
    pub doc: String,
    /// Named texts in the file.
    pub metadata: BTreeMap<String, String>,
}

/// Reads a model from bytes. Tensors whose elements lie in other files need [`load_path`].
///
/// # Errors
/// [`lampyr_base::ErrorKind::Unsupported`] with everything that the model needs and this build lacks;
/// [`lampyr_base::ErrorKind::Format`] or [`lampyr_base::ErrorKind::Graph`] when the bytes are no valid model.
pub fn load(bytes: &[u8]) -> Result<Imported> {
    without_values(Source::new(bytes)?.import(HashMap::new()))
}

/// As [`load`]; also whether the construction of a graph was begun, which tells fuzzers how far their inputs get.
pub fn probe(bytes: &[u8]) -> (bool, Result<Imported>) {
    match Source::new(bytes) {
        Ok(source) => (source.scan().is_ok(), without_values(source.import(HashMap::new()))),
        Err(e) => (false, Err(e)),
    }
}

/// Reads a model and the data files beside it. Files are mapped, so weights are read when they are used.
///
/// # Errors
/// As [`load`], and when a file cannot be read or lies outside the folder of the model.
pub fn load_path(path: impl AsRef<Path>) -> Result<Imported> {
    without_values(Source::open(path)?.import(HashMap::new()))
}

pub use check::{Problem, check, check_path};

/// Versions of operator sets by domain.
pub(crate) type Opsets = BTreeMap<String, u32>;

/// The domain under which operators are registered.
pub(crate) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn opsets(list: &[OperatorSetIdProto]) -> Result<Opsets> {
    let mut all = Opsets::new();
    for set in list {
        let name = domain(&set.domain);
        let version = u32::try_from(set.version).ok().filter(|&v| v > 0).ok_or_else(|| {
            Error::format(format!("operator set `{name}` has version {}", set.version)).with_expected("1 or more")
        })?;
        if all.insert(name.to_string(), version).is_some_and(|before| before != version) {
            return Err(Error::format(format!("operator set `{name}` is imported in two versions")));
        }
    }
    Ok(all)
}

/// The newest version of the standard operator set whose operators are known.
pub const NEWEST_OPSET: u32 = 28;

/// # Errors
/// [`lampyr_base::ErrorKind::Unsupported`] when the standard operator set is newer than [`NEWEST_OPSET`], since its
/// operators may mean something else.
fn check_version(of: &str, versions: &Opsets) -> Result<()> {
    match versions.get("") {
        Some(&got) if got > NEWEST_OPSET => Err(Error::unsupported(format!("operator set {got} of {of}"))
            .with_expected(format!("version {NEWEST_OPSET} or older"))
            .with_help("export the model for an older operator set, convert it with `onnx.version_converter`, or use a newer Lampyr")),
        _ => Ok(()),
    }
}

/// What all parts of one import share.
struct Importer<'m> {
    functions: HashMap<[&'m str; 3], &'m FunctionProto>,
    files: std::cell::RefCell<Files>,
    /// Nodes that may still be made, so that functions that call each other cannot fill the memory.
    nodes_left: std::cell::Cell<usize>,
    /// What nodes failed on; building goes on after them, so that one look finds all.
    problems: std::cell::RefCell<Vec<Error>>,
    /// Values of inputs that are taken for constants.
    fixed: HashMap<String, HostTensor>,
    /// Inputs whose values nodes need before they can be built.
    needs: std::cell::RefCell<BTreeSet<String>>,
    /// What these nodes failed on.
    waiting: std::cell::RefCell<Vec<Error>>,
    /// Inputs of the sub-graph in the making whose values its nodes need.
    asked_inside: std::cell::RefCell<Vec<String>>,
}

/// The most nodes of one model after functions are written out.
const MOST_NODES: usize = 500_000;

impl<'m> Importer<'m> {
    fn function(&self, node: &'m crate::pb::NodeProto) -> Option<&'m FunctionProto> {
        self.functions.get(&[domain(&node.domain), &node.op_type, &node.overload]).copied()
    }

    /// The first operator set of the model or its functions that is too new.
    fn check_versions(&self, versions: &Opsets) -> Result<()> {
        check_version("the model", versions)?;
        let mut functions: Vec<_> = self.functions.values().collect();
        functions.sort_by_key(|f| (&f.domain, &f.name, &f.overload));
        functions.iter().try_for_each(|f| check_version(&format!("function `{}`", f.name), &opsets(&f.opset_import)?))
    }
}

/// What both reading and checking begin with.
fn decode(model: std::result::Result<ModelProto, prost::DecodeError>) -> Result<ModelProto> {
    model.map_err(|e| {
        Error::format(format!("this is not an ONNX model: {e}"))
            .with_source(e)
            .with_help("the file is damaged, cut off or of another kind")
    })
}

/// A model taken apart far enough to be built.
struct Opened<'m> {
    importer: Importer<'m>,
    graph: &'m GraphProto,
    versions: Opsets,
}

impl<'m> Opened<'m> {
    fn new(model: &'m ModelProto, folder: Option<&Path>) -> Result<Opened<'m>> {
        let graph = model.graph.as_ref().ok_or_else(|| {
            Error::format("this is not an ONNX model: it has no graph")
                .with_help("the file is damaged, cut off or of another kind")
        })?;
        let mut versions = opsets(&model.opset_import)?;
        if versions.is_empty() && model.ir_version.unwrap_or(0) < 3 {
            versions.insert(String::new(), 1);
        }
        let mut functions = HashMap::new();
        for f in &model.functions {
            if functions.insert([domain(&f.domain), &f.name, &f.overload], f).is_some() {
                return Err(Error::format(format!("function `{}` of domain `{}` occurs twice", f.name, f.domain)));
            }
        }
        let importer = Importer {
            functions,
            files: Files::new(folder).into(),
            nodes_left: MOST_NODES.into(),
            problems: Vec::new().into(),
            fixed: HashMap::new(),
            needs: BTreeSet::new().into(),
            waiting: Vec::new().into(),
            asked_inside: Vec::new().into(),
        };
        Ok(Opened { importer, graph, versions })
    }
}

/// A model that is in memory but not yet a graph.
#[derive(Clone, Debug)]
pub struct Source {
    model: ModelProto,
    folder: Option<PathBuf>,
    file: Option<Mapped>,
}

/// Why a model has not become a graph.
#[derive(Debug)]
pub struct Stopped {
    /// What is missing or wrong.
    pub error: Error,
    /// The inputs whose values are needed first; when there are none, no values help.
    pub needs: Vec<String>,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped { error, needs: Vec::new() }
    }
}

/// The name and the fact of an input or output.
pub type NamedFact = (String, Fact);

impl Source {
    /// The model in these bytes.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::Format`] when they are none.
    pub fn new(bytes: &[u8]) -> Result<Source> {
        Ok(Source { model: decode(ModelProto::decode(bytes))?, folder: None, file: None })
    }

    /// The model in a file, which is mapped.
    ///
    /// # Errors
    /// As [`Source::new`], and when the file cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Source> {
        let path = path.as_ref();
        let file: Mapped = std::sync::Arc::new(map(path)?);
        let bytes = Bytes::from_owner(Whole(file.clone()));
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let model = decode(ModelProto::decode(bytes))?;
        Ok(Source { model, folder: Some(folder.to_path_buf()), file: Some(file) })
    }

    fn scan(&self) -> Result<()> {
        let Opened { importer, graph, versions } = Opened::new(&self.model, self.folder.as_deref())?;
        importer.check_versions(&versions)?;
        importer.scan(graph, &versions)
    }

    /// The graph, with the inputs named in `fixed` taken for constants. They stay inputs, whose values are not read.
    ///
    /// # Errors
    /// As [`load`]. When the graph depends on the values of inputs, such as axes or steps, their names are given.
    pub fn import(&self, fixed: HashMap<String, HostTensor>) -> std::result::Result<Imported, Stopped> {
        let model = &self.model;
        let Opened { mut importer, graph: proto, versions } = Opened::new(model, self.folder.as_deref())?;
        importer.fixed = fixed;
        if let Some(file) = &self.file {
            importer.files.borrow_mut().set_model(file.clone());
        }
        importer.check_versions(&versions)?;
        importer.scan(proto, &versions)?;
        let built = importer.model_graph(proto, &versions);
        let needs: Vec<String> = importer.needs.take().into_iter().collect();
        let problems = importer.problems.take();
        let failed = problems.is_empty() && !needs.is_empty();
        let graph = match built {
            Ok(_) if failed => {
                let error = Error::unsupported(format!("a graph that depends on the values of {}", needs.join(", ")));
                return Err(Stopped { error, needs });
            }
            Ok(graph) => graph,
            Err(e) => {
                let error = check::summary(if failed { importer.waiting.take() } else { problems }, e);
                return Err(Stopped { error, needs: if failed { needs } else { Vec::new() } });
            }
        };
        let text = |list: Vec<&str>| list.into_iter().map(str::to_string).collect();
        Ok(Imported {
            inputs: text(inputs(proto).map(|i| i.name.as_str()).collect()),
            outputs: text(proto.output.iter().map(|o| o.name.as_str()).collect()),
            graph,
            opset: self.opset(),
            opsets: versions,
            ir_version: model.ir_version.unwrap_or(0),
            producer: self.producer(),
            doc: model.doc_string.clone(),
            metadata: self.metadata(),
        })
    }

    /// Version of the standard operator set that the model imports; 0 when it imports none.
    pub fn opset(&self) -> u32 {
        opsets(&self.model.opset_import).ok().and_then(|all| all.get("").copied()).unwrap_or(0)
    }

    /// Tool that wrote the model, with its version.
    pub fn producer(&self) -> String {
        format!("{} {}", self.model.producer_name, self.model.producer_version).trim().to_string()
    }

    /// Named texts in the file.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect()
    }

    /// Inputs and outputs as the file declares them.
    ///
    /// # Errors
    /// When the file leaves a type open.
    pub fn declared(&self) -> Result<(Vec<NamedFact>, Vec<NamedFact>)> {
        let proto = self.model.graph.as_ref().ok_or_else(|| Error::format("the model has no graph"))?;
        let fact = |info: &crate::pb::ValueInfoProto| Ok((info.name.clone(), facts::declared(info)?));
        let outputs = proto.output.iter().map(fact).collect::<Result<_>>()?;
        Ok((inputs(proto).map(fact).collect::<Result<_>>()?, outputs))
    }
}

/// The inputs that have no value in the file.
fn inputs(proto: &GraphProto) -> impl Iterator<Item = &crate::pb::ValueInfoProto> {
    let constants: std::collections::HashSet<&str> = proto.initializer.iter().map(|t| t.name.as_str()).collect();
    proto.input.iter().filter(move |i| !constants.contains(i.name.as_str()))
}

fn without_values(made: std::result::Result<Imported, Stopped>) -> Result<Imported> {
    made.map_err(|stopped| match stopped.needs.as_slice() {
        [] => stopped.error,
        names => {
            let list = names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            stopped.error.with_help(format!("the graph depends on the values of the inputs {list}"))
        }
    })
}
