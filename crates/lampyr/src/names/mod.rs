//! The public names: one table from which functions, methods, in-place methods, `out=` and stubs are made.
//!
//! A family of functions lists its names beside their Rust bodies in `functional/FAMILY.rs`. What is here reads the
//! signatures ([`Signature`]), finds the form that arguments fit ([`resolve`]) and runs it ([`run`]). A host language
//! gives its values through [`Source`].

mod bind;
mod call;
mod signature;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub use bind::{Read, Source, resolve};
pub use call::Call;
pub use signature::{Kind, Param, Returns, Role, Signature};
pub use table::{
    Callable, Entry, FFT, FUNCTIONAL, FUNCTIONAL_INPLACE, Form, INPLACE, LINALG, METHOD, RENEW, Run, SPECIAL, Space,
    TOP, TOP_INPLACE, Table, name, python, table,
};
pub use value::{Output, Value};
pub(crate) use write::check_kind;
pub use write::run;

use lampyr_base::Result;

/// A typed result as what the table's functions give back.
pub fn give<T: Into<Output>>(made: Result<T>) -> Result<Output> {
    made.map(Into::into)
}
