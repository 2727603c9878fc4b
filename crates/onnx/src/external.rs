//! Tensor elements in files beside the model ("External Data" of the ONNX IR specification).

use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lampyr_base::{Error, Result};
use lampyr_ir::HostBytes;
use memmap2::Mmap;
use prost::bytes::Bytes;

use crate::pb::TensorProto;

/// A mapped file; `None` when it is empty.
pub type Mapped = Arc<Option<Mmap>>;

/// All bytes of a mapped file.
pub struct Whole(pub Mapped);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref().map_or(&[][..], |m| &m[..])
    }
}

/// Bytes of a mapped file.
struct Region {
    file: Mapped,
    start: usize,
    end: usize,
}

impl HostBytes for Region {
    fn bytes(&self) -> &[u8] {
        let all = (*self.file).as_ref().map_or(&[][..], |m| &m[..]);
        all.get(self.start..self.end).unwrap_or_default()
    }

    #[cfg(unix)]
    fn release(&self) {
        /// No system has larger pages for mapped files; only whole ones are given back.
        const PAGE: usize = 1 << 16;
        let (first, last) = (self.start.next_multiple_of(PAGE), self.end / PAGE * PAGE);
        if let (Some(map), true) = ((*self.file).as_ref(), first < last) {
            // SAFETY: the mapping is of a file and nobody writes to it, so pages that go are read from the file again.
            // Advice that the system refuses changes nothing.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first, last - first) };
        }
    }
}

/// Bytes in memory.
struct Raw(Bytes);

impl HostBytes for Raw {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Maps `path` into memory.
pub fn map(path: &Path) -> Result<Option<Mmap>> {
    let io = |e| Error::io(path, e);
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(Error::format(format!("{} is not a file", path.display())));
    }
    if meta.len() == 0 {
        return Ok(None);
    }
    // SAFETY: the mapping is read-only and private to this process; as with every mapped file, another process that
    // truncates it meanwhile is outside what can be guarded against.
    unsafe { Mmap::map(&file) }.map(Some).map_err(io)
}

/// The files beside a model, each mapped once.
#[derive(Default)]
pub struct Files {
    folder: Option<PathBuf>,
    /// The file of the model itself.
    model: Option<Mapped>,
    mapped: HashMap<PathBuf, Mapped>,
}

impl Files {
    /// Files in `folder`; without one there are none.
    pub fn new(folder: Option<&Path>) -> Files {
        Files { folder: folder.map(Path::to_path_buf), model: None, mapped: HashMap::new() }
    }

    /// Notes the file that the model was read from.
    pub fn set_model(&mut self, model: Mapped) {
        self.model = Some(model);
    }

    /// `part` of the bytes of a model, as part of its mapped file where it lies in one.
    pub fn part(&self, part: Bytes) -> Arc<dyn HostBytes> {
        if let Some(file) = &self.model {
            let all = (**file).as_ref().map_or(&[][..], |m| &m[..]);
            let start = (part.as_ptr() as usize).wrapping_sub(all.as_ptr() as usize);
            if start < all.len() && part.len() <= all.len() - start {
                return Arc::new(Region { file: file.clone(), start, end: start + part.len() });
            }
        }
        Arc::new(Raw(part))
    }

    /// The `need` bytes of `tensor`.
    pub fn bytes(&mut self, tensor: &TensorProto, need: usize) -> Result<Arc<dyn HostBytes>> {
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.trim().parse::<usize>().map(Some).map_err(|_| {
                Error::format(format!("external data has {key} `{text}`")).with_expected("a number of bytes")
            }),
        };
        let location = entry("location").ok_or_else(|| Error::format("external data without a location"))?;
        let start = number("offset")?.unwrap_or(0);
        if let Some(length) = number("length")?
            && length != need
        {
            return Err(
                Error::format(format!("external data has {length} bytes")).with_expected(format!("{need} bytes"))
            );
        }
        let path = self.resolve(location)?;
        let file = match self.mapped.get(&path) {
            Some(file) => file.clone(),
            None => {
                let file = Arc::new(map(&path)?);
                self.mapped.insert(path, file.clone());
                file
            }
        };
        let size = (*file).as_ref().map_or(0, |m| m.len());
        let end = start.checked_add(need).filter(|&end| end <= size).ok_or_else(|| {
            Error::format(format!("external data `{location}` has {size} bytes"))
                .with_expected(format!("{need} bytes from byte {start} on"))
                .with_help("the data file is truncated or belongs to another model")
        })?;
        Ok(Arc::new(Region { file, start, end }))
    }

    /// The file `location`, which must lie in the folder of the model, links followed.
    fn resolve(&self, location: &str) -> Result<PathBuf> {
        let outside = || {
            Error::format(format!("external data `{location}` lies outside the folder of the model"))
                .with_expected("a relative path to a file in that folder or below")
                .with_help("put the data file beside the model")
        };
        let folder = self.folder.as_deref().ok_or_else(|| {
            Error::not_found(format!("the elements of this tensor lie in the file `{location}`"))
                .with_help("load the model from its path instead of from bytes")
        })?;
        let parts = location.split(['/', '\\']);
        let plain = parts.clone().all(|p| !p.is_empty() && p != ".." && !p.contains(':'));
        let relative: PathBuf = parts.collect();
        if !plain || relative.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(outside());
        }
        let io = |path: &Path, e| Error::io(path, e);
        let folder = folder.canonicalize().map_err(|e| io(folder, e))?;
        let path = folder.join(relative);
        let path = path.canonicalize().map_err(|e| io(&path, e))?;
        if path.starts_with(&folder) { Ok(path) } else { Err(outside()) }
    }
}
