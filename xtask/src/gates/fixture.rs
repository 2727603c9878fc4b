//! A small tree on disk for the gates' own tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use super::Finding;

/// A temporary folder that goes away with this value.
pub struct Fixture(PathBuf);

impl Fixture {
    /// A folder that holds these files: (path, text).
    pub fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = env::temp_dir().join(format!("lampyr-gates-{}-{next}", process::id()));
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.0
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The findings of a check over these files, as `file:line` with forward slashes.
pub fn places(check: fn(&Path) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
    let fixture = Fixture::new(files);
    let place = |finding: &Finding| format!("{}:{}", finding.file.display(), finding.line).replace('\\', "/");
    check(fixture.root()).iter().map(place).collect()
}
