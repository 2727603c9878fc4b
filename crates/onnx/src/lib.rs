//! ONNX models: reading them into graphs, and writing graphs as models.

mod export;
mod external;
mod import;
pub mod pb;
pub mod sizes;
mod tensor;

pub use export::{export, export_within};
pub use import::{
    Imported, NEWEST_OPSET, NamedFact, Problem, Source, Stopped, check, check_path, load, load_path, probe,
};
