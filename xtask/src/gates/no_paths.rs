//! A tracked file names neither a folder of one machine nor the address of a package index.

use std::path::Path;

use super::{Finding, files};

/// Starts of absolute paths that only exist on somebody's machine. A letter, a digit or `_` must follow.
const PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!(":\\Us", "ers\\"),
];

/// Package indexes and the options that choose one.
const INDEXES: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("crates.io", "-index"),
    concat!("pypi.org", "/simple"),
    concat!("files.", "pythonhosted.org"),
    concat!("download.", "pytorch.org"),
    concat!("index", "-url"),
    concat!("find", "-links"),
];

/// Reports the lines of tracked text files that name a machine path or a package index.
pub fn check(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files::tracked(root) {
        if is_lock(&file) {
            continue;
        }
        for (index, line) in files::text(root, &file).unwrap_or_default().lines().enumerate() {
            if let Some(path) = PATHS.iter().find(|path| has_path(line, path)) {
                findings.push(Finding::new(&file, index + 1, format!("a path of one machine: {path}...")));
            }
            if let Some(address) = INDEXES.iter().find(|address| line.contains(**address)) {
                findings.push(Finding::new(&file, index + 1, format!("a package index: {address}")));
            }
        }
    }
    findings
}

fn is_lock(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".lock") || name == "package-lock.json"
}

/// Whether the line holds this start of a path where an absolute path can start; `a/b/` inside a relative path,
/// a URL or `~/` is none.
fn has_path(line: &str, start: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || "_-.~})]$*".contains(c);
    line.match_indices(start).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + start.len()..]);
        let absolute = if start.starts_with(':') { true } else { !before.ends_with(within) };
        absolute && after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::fixture::places;

    #[test]
    fn machine_paths_are_reported() {
        for path in PATHS {
            let text = format!("first\nread(\"C{path}ada/model.onnx\")\n").replace("C/", "/");
            assert_eq!(places(check, &[("docs/a.md", &text)]), ["docs/a.md:2"], "{path}");
        }
    }

    #[test]
    fn indexes_are_reported() {
        for address in INDEXES {
            assert_eq!(places(check, &[("a.toml", &format!("x = \"{address}\"\n"))]), ["a.toml:1"], "{address}");
        }
    }

    #[test]
    fn relative_paths_urls_and_lock_files_pass() {
        let relative: String = PATHS[..4].iter().map(|path| format!("docs{path}a ~{path}a ${{X}}{path}a\n")).collect();
        let url = format!("https://example.org{}page and {}<name>\n", PATHS[2], PATHS[2]);
        let lock = format!("source = \"https://{}/\"\n", INDEXES[0]);
        let binary = format!("\0{}ada\n", PATHS[2]);
        let files = [("a.md", &*relative), ("b.md", &url), ("Cargo.lock", &lock), ("m.onnx", &binary)];
        assert!(places(check, &files).is_empty());
    }
}
