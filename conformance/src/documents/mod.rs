//! Files generated from the registry: the tables of ops and of ONNX operators, and the stub of the Python functions.

mod facts;
mod names;
mod onnx;
mod stub;
mod table;

use std::fs;
use std::io;
use std::path::Path;

use lampyr::names::Space;

/// A generated file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Where it lies below the root of the workspace.
    pub path: &'static str,
    /// What it holds.
    pub text: String,
}

/// All generated files as they ought to be. Registers the devices that the table names.
pub fn all() -> Vec<Document> {
    let ops = facts::gather();
    vec![
        Document { path: "docs/ops.md", text: table::render(&ops) },
        Document { path: "docs/onnx-support.md", text: onnx::render(&ops) },
        Document { path: "python/lampyr/_ops.pyi", text: stub::render(&ops) },
        Document { path: "python/lampyr/_top.pyi", text: names::functions(Space::Top) },
        Document { path: "python/lampyr/nn/_functional.pyi", text: names::functions(Space::Functional) },
        Document { path: "python/lampyr/_methods.pyi", text: names::methods() },
        Document { path: "python/lampyr/return_types.pyi", text: names::return_types() },
    ]
}

impl Document {
    /// Whether the file below `root` holds this text.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    pub fn is_current(&self, root: &Path) -> io::Result<bool> {
        match fs::read_to_string(root.join(self.path)) {
            Ok(text) => Ok(text.replace("\r\n", "\n") == self.text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes the file below `root`, first under another name, so that nobody reads half of it.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        let path = root.join(self.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&fresh, &self.text)?;
        fs::rename(&fresh, &path).inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })
    }
}
