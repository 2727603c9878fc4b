//! Which files a gate looks at.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that are never part of the source where git cannot say so.
const SKIPPED: &[&str] = &["target", "dist", "node_modules", "__pycache__"];

/// The files that git tracks below `root`, relative to it and sorted; every file where `root` is not a git checkout
/// (an unpacked archive).
pub fn tracked(root: &Path) -> Vec<PathBuf> {
    let listed = root.join(".git").exists().then(|| {
        Command::new("git").current_dir(root).args(["ls-files", "-z"]).output().ok().filter(|git| git.status.success())
    });
    let mut files: Vec<PathBuf> = match listed.flatten() {
        Some(git) => String::from_utf8_lossy(&git.stdout).split_terminator('\0').map(PathBuf::from).collect(),
        None => {
            let mut files = Vec::new();
            walk(root, root, &mut files);
            files
        }
    };
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files
}

/// Every `.rs` file below `root/folder`, tracked or not, relative to `root` and sorted.
pub fn rust_below(root: &Path, folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(root, &root.join(folder), &mut files);
    files.retain(|file| has_extension(file, &["rs"]));
    files.sort();
    files
}

/// Every `src` folder whose code reaches a user: those of the crates and of the Python module.
pub fn shipped_sources(root: &Path) -> Vec<PathBuf> {
    let mut crates: Vec<_> = fs::read_dir(root.join("crates"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| Path::new("crates").join(entry.file_name()).join("src"))
        .collect();
    crates.sort();
    crates.push("python/src".into());
    crates
}

/// Whether the file's extension is one of these.
pub fn has_extension(file: &Path, extensions: &[&str]) -> bool {
    file.extension().and_then(OsStr::to_str).is_some_and(|extension| extensions.contains(&extension))
}

/// The file's text; `None` when it cannot be read or is not text.
pub fn text(root: &Path, file: &Path) -> Option<String> {
    fs::read_to_string(root.join(file)).ok().filter(|text| !text.contains('\0'))
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_file() {
            files.extend(path.strip_prefix(root).map(Path::to_path_buf));
        } else if kind.is_dir() {
            let name = name.to_string_lossy();
            let generated = name.ends_with("_cache") || name.ends_with("venv") || name == ".git";
            if !generated && !SKIPPED.contains(&name.as_ref()) {
                walk(root, &path, files);
            }
        }
    }
}
