//! Tensors in files: NumPy's `.npy` and `.npz`.

mod npy;
mod npz;
mod replace;

use std::path::Path;

use lampyr_base::{Error, Result};
use lampyr_ir::HostTensor;

pub use npy::{read_npy, write_npy};
pub use npz::{read_npz, write_npz};
pub use replace::replace;

/// Named tensors.
pub type Named = Vec<(String, HostTensor)>;

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

fn unknown(path: &Path) -> Error {
    Error::value(format!("{} has no known extension", path.display())).with_expected(".npy or .npz")
}

/// # Errors
/// When `path` has no extension that [`save`] and [`load`] know.
pub fn check_extension(path: &Path) -> Result<()> {
    if matches!(extension(path).as_str(), "npy" | "npz") { Ok(()) } else { Err(unknown(path)) }
}

/// The tensors in a `.npz` file by name, or the one in a `.npy` file under the name `""`.
///
/// # Errors
/// When the file cannot be read, is damaged, or holds elements that no tensor can have.
pub fn load(path: impl AsRef<Path>) -> Result<Named> {
    let path = path.as_ref();
    let read = |e| Error::io(path, e);
    match extension(path).as_str() {
        "npz" => npz::read_npz(std::fs::File::open(path).map_err(read)?),
        "npy" => {
            let file = std::io::BufReader::new(std::fs::File::open(path).map_err(read)?);
            Ok(vec![(String::new(), npy::read_npy(file)?)])
        }
        _ => Err(unknown(path)),
    }
    .map_err(|e| Error::new(e.kind().clone(), format!("{}: {}", path.display(), e.message())).with_source(e))
}

/// Writes tensors to a `.npz` file, or one tensor to a `.npy` file. The file is written beside its place and renamed, so
/// that an earlier one stays whole when this fails.
///
/// # Errors
/// When the file cannot be written, or several tensors are given for a `.npy` file.
pub fn save(path: impl AsRef<Path>, tensors: &[(String, HostTensor)]) -> Result<()> {
    let path = path.as_ref();
    match (extension(path).as_str(), tensors) {
        ("npz", all) => replace(path, |file| npz::write_npz(file, all)),
        ("npy", [(_, one)]) => replace(path, |file| npy::write_npy(file, one)),
        ("npy", all) => Err(Error::value(format!("{} tensors do not fit in one .npy file", all.len()))
            .with_expected("one tensor")
            .with_help("name a .npz file")),
        _ => Err(unknown(path)),
    }
}
