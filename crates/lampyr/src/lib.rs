//! Lampyr: tensors, automatic differentiation and compiled models.
//!
//! Tensors compute at once: see [`Tensor`] and [`functional`]. Models come from ONNX files ([`Model`]) or are built by
//! hand ([`Graph`]) and run compiled. Models to be trained are made of [`nn`] and [`optim`].

// `#[derive(Module)]` names this crate as its users do.
extern crate self as lampyr;

mod by_value;
mod check;
mod explain;
pub mod functional;
mod graph;
mod model;
pub mod names;
pub mod nn;
pub mod optim;
pub mod random;
mod recording;
mod start;
mod user;

pub use check::{Check, Slow, check, check_bytes};
pub use explain::Explanation;
pub use graph::{CompiledGraph, Graph, GraphValue, Runtime};
pub use lampyr_backend as backend;
pub use lampyr_base::pool::{num_threads, set_num_threads};
pub use lampyr_base::{
    Bindings, DType, Device, DeviceKind, Dim, Element, Error, ErrorKind, Layout, Missing, Result, Shape, TypeKind,
    bf16, f16, knobs,
};
pub use lampyr_compiler as compiler;
pub use lampyr_compiler::{Options, Policy};
pub use lampyr_io as io;
pub use lampyr_ir as ir;
pub use lampyr_ir::{AttrMap, AttrValue, HostTensor};
pub use lampyr_onnx as onnx;
pub use lampyr_onnx::Problem;
pub use lampyr_ops as ops;
pub use lampyr_runtime as runtime;
pub use lampyr_runtime::{
    EagerBuilder, GradOptions, Scalar, Tensor, apply, backward, default_dtype, grad, is_grad_enabled, no_grad,
    promote_types, result_type, set_default_dtype, set_grad_enabled, with_grad_mode,
};
pub use model::{Memory, Model, Port};
pub use recording::{Input, record_graph};
pub use start::{init, reset_peak_memory};
pub use user::{make_op, register_op};

/// Compiles and runs the programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
