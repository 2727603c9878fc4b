//! From the bytes of a model to a graph.

mod build;
mod check;
mod facts;
mod names;
mod node;
mod scan;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use lampyr_base::{Error, Result};
use lampyr_ir::Graph;
use prost::Message;
use prost::bytes::Bytes;

use crate::external::{Files, map};
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
    read(ModelProto::decode(bytes), None, &mut false)
}

/// As [`load`]; also whether the construction of a graph was begun, which tells fuzzers how far their inputs get.
pub fn probe(bytes: &[u8]) -> (bool, Result<Imported>) {
    let mut begun = false;
    let read = read(ModelProto::decode(bytes), None, &mut begun);
    (begun, read)
}

/// Reads a model and the data files beside it. Files are mapped, so weights are read when they are used.
///
/// # Errors
/// As [`load`], and when a file cannot be read or lies outside the folder of the model.
pub fn load_path(path: impl AsRef<Path>) -> Result<Imported> {
    let path = path.as_ref();
    let bytes = map(path)?.map_or_else(Bytes::new, Bytes::from_owner);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    read(ModelProto::decode(bytes), Some(folder), &mut false)
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

/// What all parts of one import share.
struct Importer<'m> {
    functions: HashMap<[&'m str; 3], &'m FunctionProto>,
    files: std::cell::RefCell<Files>,
    /// Nodes that may still be made, so that functions that call each other cannot fill the memory.
    nodes_left: std::cell::Cell<usize>,
    /// What nodes failed on; building goes on after them, so that one look finds all.
    problems: std::cell::RefCell<Vec<Error>>,
}

/// The most nodes of one model after functions are written out.
const MOST_NODES: usize = 500_000;

impl<'m> Importer<'m> {
    fn function(&self, node: &'m crate::pb::NodeProto) -> Option<&'m FunctionProto> {
        self.functions.get(&[domain(&node.domain), &node.op_type, &node.overload]).copied()
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
        };
        Ok(Opened { importer, graph, versions })
    }
}

fn read(
    model: std::result::Result<ModelProto, prost::DecodeError>,
    folder: Option<&Path>,
    begun: &mut bool,
) -> Result<Imported> {
    let model = decode(model)?;
    let Opened { importer, graph: proto, versions } = Opened::new(&model, folder)?;
    importer.scan(proto, &versions)?;
    *begun = true;
    let built = importer.model_graph(proto, &versions);
    let graph = built.map_err(|e| check::summary(importer.problems.take(), e))?;
    let constants: std::collections::HashSet<&str> = proto.initializer.iter().map(|t| t.name.as_str()).collect();
    let text = |list: Vec<&str>| list.into_iter().map(str::to_string).collect();
    Ok(Imported {
        inputs: text(proto.input.iter().map(|i| i.name.as_str()).filter(|n| !constants.contains(n)).collect()),
        outputs: text(proto.output.iter().map(|o| o.name.as_str()).collect()),
        graph,
        opset: versions.get("").copied().unwrap_or(0),
        opsets: versions,
        ir_version: model.ir_version.unwrap_or(0),
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_string(),
        doc: model.doc_string.clone(),
        metadata: model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect(),
    })
}
