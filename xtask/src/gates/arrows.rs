//! Crates depend in one direction: a crate may name crates of an earlier layer only.

use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use super::Finding;

/// The layers from the ground up. Crates in one layer do not name each other.
const LAYERS: &[&[&str]] = &[
    &["lampyr-base", "lampyr-derive"],
    &["lampyr-ir", "lampyr-kernels"],
    &["lampyr-ops"],
    &["lampyr-backend"],
    &["lampyr-compiler", "lampyr-cpu", "lampyr-gpu"],
    &["lampyr-wgpu", "lampyr-cuda"],
    &["lampyr-runtime"],
    &["lampyr-onnx", "lampyr-io"],
    &["lampyr"],
    &["lampyr-capi", "lampyr-cli", "lampyr-python"],
    &["lampyr-conformance"],
    &["xtask"],
];

/// Arrows that the layers would allow: backends name neither each other nor the compiler.
const FORBIDDEN: &[(&str, &str)] = &[
    ("lampyr-wgpu", "lampyr-compiler"),
    ("lampyr-wgpu", "lampyr-cpu"),
    ("lampyr-cuda", "lampyr-compiler"),
    ("lampyr-cuda", "lampyr-cpu"),
];

/// Reports the dependencies between workspace members that point the wrong way, and members without a layer.
pub fn check(root: &Path) -> Vec<Finding> {
    let manifest = root.join("Cargo.toml");
    let metadata = match MetadataCommand::new().manifest_path(&manifest).no_deps().exec() {
        Ok(metadata) => metadata,
        Err(error) => return vec![Finding::new("Cargo.toml", 1, format!("cargo metadata: {error}"))],
    };
    let packages = metadata.workspace_packages();
    let members: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    // Cargo resolves links in its own paths, so its root is the prefix that fits.
    let root = metadata.workspace_root.as_std_path();
    packages.iter().flat_map(|package| in_package(root, package, &members)).collect()
}

fn in_package(root: &Path, package: &Package, members: &[&str]) -> Vec<Finding> {
    let path = package.manifest_path.as_std_path();
    let file = path.strip_prefix(root).unwrap_or(path);
    let text = fs::read_to_string(path).unwrap_or_default();
    let name = package.name.as_str();
    let Some(own) = layer(name) else {
        return vec![Finding::new(file, 1, format!("{name} has no layer: add it to LAYERS of the gate `arrows`"))];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let other = dependency.name.as_str();
        if dependency.kind == DependencyKind::Development || !members.contains(&other) {
            continue;
        }
        let allowed = layer(other).is_none_or(|layer| layer < own) && !FORBIDDEN.contains(&(name, other));
        if !allowed {
            findings.push(Finding::new(file, line_of(&text, other), format!("{name} must not depend on {other}")));
        }
    }
    findings
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    let names =
        |line: &str| line.trim_start().strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    manifest.lines().position(names).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::fixture::places;

    /// A workspace of these packages, each with its dependencies and dev-dependencies.
    fn arrows(packages: &[(&str, &[&str], &[&str])]) -> Vec<String> {
        let mut files =
            vec![("Cargo.toml".to_owned(), "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n".to_owned())];
        for (name, normal, dev) in packages {
            let lines = |names: &[&str]| -> String {
                names.iter().map(|name| format!("{name} = {{ path = \"../{name}\" }}\n")).collect()
            };
            let package = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
            let text = format!("{package}[dependencies]\n{}[dev-dependencies]\n{}", lines(normal), lines(dev));
            files.push((format!("{name}/Cargo.toml"), text));
            files.push((format!("{name}/src/lib.rs"), String::new()));
        }
        let files: Vec<_> = files.iter().map(|(file, text)| (&**file, &**text)).collect();
        places(check, &files)
    }

    const NONE: &[&str] = &[];

    #[test]
    fn arrows_to_earlier_layers_pass() {
        let clean = arrows(&[
            ("lampyr-base", NONE, &["lampyr-cpu"]),
            ("lampyr-ops", &["lampyr-base"], NONE),
            ("lampyr-cpu", &["lampyr-ops", "lampyr-base"], NONE),
            ("lampyr-gpu", &["lampyr-base"], NONE),
            ("lampyr-wgpu", &["lampyr-gpu"], NONE),
            ("lampyr", &["lampyr-cpu"], NONE),
            ("lampyr-conformance", &["lampyr", "lampyr-base"], NONE),
        ]);
        assert_eq!(clean, [""; 0]);
    }

    #[test]
    fn wrong_arrows_are_reported() {
        for (from, to) in [
            ("lampyr-base", "lampyr-ir"),
            ("lampyr-derive", "lampyr-base"),
            ("lampyr-ops", "lampyr-cpu"),
            ("lampyr-cpu", "lampyr-compiler"),
            ("lampyr-compiler", "lampyr-cpu"),
            ("lampyr-wgpu", "lampyr-cuda"),
            ("lampyr-wgpu", "lampyr-cpu"),
            ("lampyr-runtime", "lampyr-onnx"),
            ("lampyr-cli", "lampyr-python"),
            ("lampyr", "xtask"),
        ] {
            let found = arrows(&[(from, &[to], NONE), (to, NONE, NONE)]);
            assert_eq!(found, [format!("{from}/Cargo.toml:6")], "{from} -> {to}");
        }
    }

    #[test]
    fn a_crate_without_a_layer_is_reported() {
        assert_eq!(arrows(&[("lampyr-new", NONE, NONE)]), ["lampyr-new/Cargo.toml:1"]);
    }
}
