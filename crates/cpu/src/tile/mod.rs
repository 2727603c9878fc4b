//! The tile interpreter: runs scalar expressions over tensors, one primitive at a time on tiles that stay in the cache.

mod cache;
mod known;
mod nest;
mod operand;
mod program;
mod reader;
mod run;

pub(crate) use cache::compiled;
pub(crate) use known::Known;
pub(crate) use nest::{Nest, runs};
pub(crate) use operand::strided;
pub(crate) use program::{Program, work};
pub(crate) use reader::Reader;
pub(crate) use run::{Form, Tensor, execute, grain};
