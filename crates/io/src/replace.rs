//! Files that are either the old one or the new one, never a half.

use std::fs::{self, File};
use std::path::Path;

use lampyr_base::{Error, Result};

/// Writes a file beside `path` and renames it to `path` when `write` has succeeded.
///
/// # Errors
/// When a file cannot be made or renamed, or `write` fails; `path` is then as it was.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let io = |e| Error::io(path, e);
    let name = path.file_name().ok_or_else(|| Error::value(format!("{} names no file", path.display())))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.part", std::process::id()));
    let temporary = path.with_file_name(beside);
    let mut file = File::create(&temporary).map_err(io)?;
    let done = write(&mut file).and_then(|()| file.sync_all().map_err(io));
    drop(file);
    let done = done.and_then(|()| fs::rename(&temporary, path).map_err(io));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}
