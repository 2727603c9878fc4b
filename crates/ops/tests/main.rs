//! Every op of the registry against its own plain reference, over all its cases.

mod control;
mod decompositions;
mod facts;
mod gradients;
mod imports;
mod indices;
mod negative;
mod onnx;
mod scalars;
mod support;
mod vision;
