//! A node as ops see it.

use std::collections::HashMap;

use lampyr_base::{Error, Result, ResultExt};
use lampyr_ir::onnx::{OnnxAttr, OnnxBody, OnnxNode};
use lampyr_ir::{Builder, Fact};
use prost::bytes::Bytes;

use super::Importer;
use super::build::{Frame, Values};
use crate::pb::{AttributeProto, AttributeType, GraphProto, NodeProto};
use crate::tensor;

/// A node with its attributes resolved.
pub struct NodeView<'a, 'm> {
    pub name: String,
    pub proto: &'m NodeProto,
    pub opset: u32,
    pub attrs: HashMap<&'m str, OnnxAttr>,
    pub graphs: HashMap<&'m str, &'m GraphProto>,
    pub importer: &'a Importer<'m>,
    pub frame: &'a Frame<'m>,
    pub values: &'a Values<'m>,
}

fn text(bytes: &Bytes) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::format("a text is not UTF-8"))
}

/// The kind of an attribute; files before IR version 2 leave it to the field that is set.
fn kind(attr: &AttributeProto) -> AttributeType {
    let said = attr.r#type.and_then(|t| AttributeType::try_from(t).ok()).unwrap_or(AttributeType::Undefined);
    match said {
        AttributeType::Undefined if attr.f.is_some() => AttributeType::Float,
        AttributeType::Undefined if attr.i.is_some() => AttributeType::Int,
        AttributeType::Undefined if attr.s.is_some() => AttributeType::String,
        AttributeType::Undefined if attr.t.is_some() => AttributeType::Tensor,
        AttributeType::Undefined if attr.g.is_some() => AttributeType::Graph,
        AttributeType::Undefined if !attr.floats.is_empty() => AttributeType::Floats,
        AttributeType::Undefined if !attr.ints.is_empty() => AttributeType::Ints,
        AttributeType::Undefined if !attr.strings.is_empty() => AttributeType::Strings,
        said => said,
    }
}

impl<'a, 'm> NodeView<'a, 'm> {
    pub fn new(
        importer: &'a Importer<'m>,
        frame: &'a Frame<'m>,
        values: &'a Values<'m>,
        proto: &'m NodeProto,
        name: String,
        opset: u32,
    ) -> Result<NodeView<'a, 'm>> {
        let (attrs, graphs) = (HashMap::new(), HashMap::new());
        let mut view = NodeView { name, proto, opset, attrs, graphs, importer, frame, values };
        for attr in &proto.attribute {
            if let Some(value) = frame.resolve(attr) {
                view.add(&attr.name, value).map_err(|e| {
                    let context = format!("attribute `{}`", attr.name);
                    Error::new(e.kind().clone(), format!("{context}: {e}"))
                })?;
            }
        }
        Ok(view)
    }

    fn add(&mut self, name: &'m str, attr: &'m AttributeProto) -> Result<()> {
        let value = match kind(attr) {
            AttributeType::Float => OnnxAttr::Float(attr.f.unwrap_or(0.0)),
            AttributeType::Int => OnnxAttr::Int(attr.i.unwrap_or(0)),
            AttributeType::String => OnnxAttr::Str(attr.s.as_ref().map_or(Ok(String::new()), text)?),
            AttributeType::Floats => OnnxAttr::Floats(attr.floats.clone()),
            AttributeType::Ints => OnnxAttr::Ints(attr.ints.clone()),
            AttributeType::Strings => OnnxAttr::Strs(attr.strings.iter().map(text).collect::<Result<_>>()?),
            AttributeType::Tensor => {
                let t = attr.t.as_ref().ok_or_else(|| Error::format("the tensor is missing"))?;
                OnnxAttr::Tensor(tensor::read(t, &mut self.importer.files.borrow_mut())?)
            }
            AttributeType::Graph => {
                let graph = attr.g.as_ref().ok_or_else(|| Error::format("the graph is missing"))?;
                self.graphs.insert(name, graph);
                return Ok(());
            }
            AttributeType::TypeProto => {
                let ty = attr.tp.as_ref().ok_or_else(|| Error::format("the type is missing"))?;
                OnnxAttr::Type(super::facts::fact(ty, name)?)
            }
            // No operator that is known reads the other kinds.
            _ => return Ok(()),
        };
        self.attrs.insert(name, value);
        Ok(())
    }
}

impl OnnxNode for NodeView<'_, '_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn op_type(&self) -> &str {
        &self.proto.op_type
    }

    fn opset(&self) -> u32 {
        self.opset
    }

    fn attr(&self, name: &str) -> Option<&OnnxAttr> {
        self.attrs.get(name)
    }

    fn output_count(&self) -> usize {
        self.proto.output.iter().rposition(|o| !o.is_empty()).map_or(0, |last| last + 1)
    }

    fn has_output(&self, i: usize) -> bool {
        self.proto.output.get(i).is_some_and(|o| !o.is_empty())
    }

    fn body(&self, name: &str, b: &mut dyn Builder, inputs: &[Fact]) -> Result<OnnxBody> {
        let graph = self.graphs.get(name).ok_or_else(|| Error::format(format!("attribute `{name}` is missing")))?;
        self.importer.body(self.frame, graph, self.values, b, inputs).node(&self.name)
    }
}
