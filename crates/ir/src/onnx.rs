//! The plain traits through which an op sees an ONNX node. Nothing here knows protobuf.

use std::sync::Arc;

use lampyr_base::{DType, Error, Result};

use crate::builder::{Builder, Var, Vars};
use crate::{Graph, HostTensor};

/// One attribute of an ONNX node.
#[derive(Clone, Debug)]
pub enum OnnxAttr {
    /// INT
    Int(i64),
    /// FLOAT
    Float(f32),
    /// STRING
    Str(String),
    /// INTS
    Ints(Vec<i64>),
    /// FLOATS
    Floats(Vec<f32>),
    /// STRINGS
    Strs(Vec<String>),
    /// TENSOR
    Tensor(HostTensor),
    /// TYPE_PROTO
    Type(crate::Fact),
    /// GRAPH: the body, closed over the values it captured, which the importer appended to its inputs.
    Graph(OnnxBody),
}

/// A sub-graph attribute: a closed graph and the outer values behind its last inputs.
#[derive(Clone, Debug)]
pub struct OnnxBody {
    /// The body. Its own inputs come first, captured values after them.
    pub graph: Arc<Graph>,
    /// The outer values of the captured inputs, in order.
    pub captured: Vec<Var>,
}

/// A node of an ONNX file, as ops see it.
pub trait OnnxNode {
    /// Node name, for messages.
    fn name(&self) -> &str;
    /// Operator.
    fn op_type(&self) -> &str;
    /// Version of the operator set that the model imports for this operator's domain.
    fn opset(&self) -> u32;
    /// An attribute.
    fn attr(&self, name: &str) -> Option<&OnnxAttr>;
    /// Number of outputs that the node names (trailing empty ones not counted).
    fn output_count(&self) -> usize;
    /// Whether output `i` is named, that is, wanted.
    fn has_output(&self, i: usize) -> bool;
    /// Builds a sub-graph attribute whose own inputs have these facts (for Loop and Scan, where the file does not say).
    fn body(&self, name: &str, b: &mut dyn Builder, inputs: &[crate::Fact]) -> Result<OnnxBody>;
}

impl dyn OnnxNode + '_ {
    fn wrong(&self, name: &str, want: &str) -> Error {
        Error::format(format!("attribute `{name}` has the wrong type"))
            .with_expected(want.to_string())
            .with_op(self.op_type())
    }

    /// Integer attribute or default.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.attr(name) {
            None => Ok(default),
            Some(OnnxAttr::Int(v)) => Ok(*v),
            Some(_) => Err(self.wrong(name, "an integer")),
        }
    }

    /// Float attribute or default.
    pub fn float(&self, name: &str, default: f64) -> Result<f64> {
        match self.attr(name) {
            None => Ok(default),
            Some(OnnxAttr::Float(v)) => Ok(f64::from(*v)),
            Some(_) => Err(self.wrong(name, "a float")),
        }
    }

    /// Integers attribute, if present.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        match self.attr(name) {
            None => Ok(None),
            Some(OnnxAttr::Ints(v)) => Ok(Some(v.clone())),
            Some(_) => Err(self.wrong(name, "integers")),
        }
    }

    /// Text attribute or default.
    pub fn text(&self, name: &str, default: &str) -> Result<String> {
        match self.attr(name) {
            None => Ok(default.to_string()),
            Some(OnnxAttr::Str(v)) => Ok(v.clone()),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    /// Data type attribute (an ONNX `TensorProto.DataType` number), if present.
    pub fn dtype(&self, name: &str) -> Result<Option<DType>> {
        match self.attr(name) {
            None => Ok(None),
            Some(OnnxAttr::Int(v)) => match dtype_from_onnx(*v as i32) {
                Some(d) => Ok(Some(d)),
                None => Err(Error::unsupported(unknown_dtype(*v as i32)).with_op(self.op_type())),
            },
            Some(_) => Err(self.wrong(name, "a data type")),
        }
    }
}

/// Input `i` of a node.
///
/// # Errors
/// [`lampyr_base::ErrorKind::Format`] when it is absent.
pub fn required(inputs: &[Option<Var>], i: usize) -> Result<Var> {
    optional(inputs, i).ok_or_else(|| Error::format(format!("input {i} is missing")))
}

/// Input `i` of a node, if present.
pub fn optional(inputs: &[Option<Var>], i: usize) -> Option<Var> {
    inputs.get(i).cloned().flatten()
}

/// Translates a node: applies ops to `b` and returns the node's outputs.
pub type OnnxBuild = fn(&dyn OnnxNode, &mut dyn Builder, &[Option<Var>]) -> Result<Vars>;

/// One ONNX operator that an op implements.
#[derive(Clone, Copy)]
pub struct OnnxMapping {
    /// Operator.
    pub op_type: &'static str,
    /// Domain; empty for the standard one.
    pub domain: &'static str,
    /// First opset of the meaning implemented.
    pub since: u32,
    /// Last opset, where a later one means something else.
    pub until: Option<u32>,
    /// The translation.
    pub build: OnnxBuild,
}

impl OnnxMapping {
    /// An operator of the standard domain from opset `since` on.
    pub const fn new(op_type: &'static str, since: u32, build: OnnxBuild) -> OnnxMapping {
        OnnxMapping { op_type, domain: "", since, until: None, build }
    }

    /// The same for a range of opsets.
    pub const fn range(op_type: &'static str, since: u32, until: u32, build: OnnxBuild) -> OnnxMapping {
        OnnxMapping { op_type, domain: "", since, until: Some(until), build }
    }
}

/// The ONNX node that stands for an op. Inputs of the op come first; `extra` constants follow them, in order (`None`:
/// the op's own input at that place).
#[derive(Clone, Debug, Default)]
pub struct OnnxExport {
    /// Operator.
    pub op_type: String,
    /// Smallest opset in which the node means this.
    pub opset: u32,
    /// Attributes.
    pub attrs: Vec<(String, OnnxAttr)>,
    /// Constant inputs appended after the op's inputs.
    pub extra: Vec<HostTensor>,
    /// How many outputs the node has (hidden ones are left out).
    pub outputs: usize,
}

impl OnnxExport {
    /// A node with one output and no attributes.
    pub fn new(op_type: &str, opset: u32) -> OnnxExport {
        OnnxExport { op_type: op_type.to_string(), opset, attrs: Vec::new(), extra: Vec::new(), outputs: 1 }
    }

    /// Adds an attribute.
    pub fn attr(mut self, name: &str, value: OnnxAttr) -> OnnxExport {
        self.attrs.push((name.to_string(), value));
        self
    }

    /// Appends a constant input.
    pub fn input(mut self, value: HostTensor) -> OnnxExport {
        self.extra.push(value);
        self
    }
}

/// The data type with this `TensorProto.DataType` number.
pub fn dtype_from_onnx(code: i32) -> Option<DType> {
    Some(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        _ => return None,
    })
}

/// Name of an element type number that no [`DType`] stands for.
pub fn unknown_dtype(code: i32) -> String {
    let name = match code {
        0 => return "an undefined data type".to_string(),
        8 => "STRING",
        14 => "COMPLEX64",
        15 => "COMPLEX128",
        17 => "FLOAT8E4M3FN",
        18 => "FLOAT8E4M3FNUZ",
        19 => "FLOAT8E5M2",
        20 => "FLOAT8E5M2FNUZ",
        21 => "UINT4",
        22 => "INT4",
        23 => "FLOAT4E2M1",
        24 => "FLOAT8E8M0",
        25 => "UINT2",
        26 => "INT2",
        27 => "FLOAT6E2M3",
        28 => "FLOAT6E3M2",
        _ => return format!("data type number {code}"),
    };
    format!("data type {name}")
}

/// The `TensorProto.DataType` number of a data type.
pub fn dtype_to_onnx(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::BF16 => 16,
    }
}
