//! The intermediate representation: what an op is ([`Op`]), what is known of a value ([`Fact`]), graphs of ops and the
//! one meeting point of eager and compiled execution ([`Builder`]).

extern crate self as lampyr_ir;

pub mod attr;
pub mod autodiff;
mod builder;
pub mod case;
mod fact;
mod graph;
mod graph_builder;
mod host;
pub mod interpret;
pub mod onnx;
mod op;
pub mod passes;
mod patch;
pub mod scalar;
mod symbols;
pub mod verify;
mod wires;

pub use attr::{AttrField, AttrMap, AttrSpec, AttrValue};
pub use builder::{Builder, Saved, Var, Vars};
pub use fact::{Fact, Facts, KNOWN_LIMIT, MemoryFormat, SequenceFact, TensorFact};
pub use graph::{Graph, Node, NodeId, Source, ValueId, ValueInfo};
pub use graph_builder::GraphBuilder;
pub use host::{HostBytes, HostTensor, HostValue, Numbers};
pub use lampyr_derive::Attrs;
pub use op::{
    Arity, Autocast, Class, Cost, Gradient, Listed, Op, OpAttrs, OpEntry, OpId, OpRef, OpType, Promote, ReduceKind,
    Rewrite, Rule, Saves, checked_infer,
};
pub use patch::Patch;
pub use wires::Wires;
