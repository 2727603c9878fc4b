//! One op = one file + one line: every op file is listed in `ops! { family { name: Type, ... } ... }` and says
//! everything an op must say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

use super::source::{Source, group, is};
use super::{Finding, files};

const SOURCES: &str = "crates/ops/src";
const FUNCTIONS: &[&str] = &["infer", "reference", "cases"];

/// Reports op files that are not listed or incomplete, and listed ops that have no file.
pub fn check(root: &Path) -> Vec<Finding> {
    let list = Path::new(SOURCES).join("lib.rs");
    let op_files = op_files(root);
    let listed = files::text(root, &list).and_then(|text| Source::new(&text)).map(|source| listed(&source));
    let Some(mut listed) = listed else {
        return op_files.first().map(|_| Finding::new(list, 1, "this does not read as Rust")).into_iter().collect();
    };
    let mut findings = Vec::new();
    for ((family, name), file) in op_files {
        if listed.remove(&(family.clone(), name.clone())).is_none() {
            let message = format!("not listed: add `{name}: Type` to `{family}` in the ops! of {}", list.display());
            findings.push(Finding::new(&file, 1, message));
        }
        match files::text(root, &file).and_then(|text| Source::new(&text)) {
            Some(source) => findings.extend(missing(&source).into_iter().map(|what| Finding::new(&file, 1, what))),
            None => findings.push(Finding::new(&file, 1, "this does not read as Rust")),
        }
    }
    for ((family, name), line) in listed {
        if !root.join(SOURCES).join(&family).join(&name).join("mod.rs").is_file() {
            findings.push(Finding::new(&list, line, format!("listed without a file: {SOURCES}/{family}/{name}.rs")));
        }
    }
    findings
}

type Name = (String, String);

/// Every `family/name.rs`.
fn op_files(root: &Path) -> Vec<(Name, PathBuf)> {
    let all = files::rust_below(root, SOURCES).into_iter();
    all.filter_map(|file| {
        let below: Vec<_> = file.strip_prefix(SOURCES).ok()?.iter().map(|part| part.to_string_lossy()).collect();
        match &below[..] {
            [family, name] if name != "mod.rs" => {
                let name = name.trim_end_matches(".rs").to_owned();
                Some(((family.to_string(), name), file))
            }
            _ => None,
        }
    })
    .collect()
}

/// The ops in every `ops! { ... }` with the lines that list them.
fn listed(source: &Source) -> BTreeMap<Name, usize> {
    let calls = source.levels.iter().flat_map(|level| level.windows(3));
    let bodies = calls.filter(|call| is(&call[0], "ops") && is(&call[1], "!")).filter_map(|call| group(&call[2]));
    bodies.flat_map(|(_, families)| in_families(families)).collect()
}

fn in_families(families: TokenStream) -> Vec<(Name, usize)> {
    let tokens: Vec<_> = families.into_iter().collect();
    let mut ops = Vec::new();
    for pair in tokens.windows(2) {
        if let [TokenTree::Ident(family), body] = pair
            && let Some((_, entries)) = group(body)
        {
            let entries: Vec<_> = entries.into_iter().collect();
            for entry in entries.windows(3) {
                // `name: Type`, not the `::` of a path.
                if let [TokenTree::Ident(name), colon, TokenTree::Ident(_)] = entry
                    && is(colon, ":")
                {
                    let name_text = name.to_string().trim_start_matches("r#").to_owned();
                    ops.push(((family.to_string(), name_text), name.span().start().line));
                }
            }
        }
    }
    ops
}

fn missing(source: &Source) -> Vec<String> {
    let mut missing: Vec<_> = FUNCTIONS
        .iter()
        .filter(|name| !source.contains(&["fn", name]))
        .map(|name| format!("the op has no `fn {name}`"))
        .collect();
    let has_gradient = source.contains(&["fn", "vjp"])
        || source.contains(&["Gradient", ":", ":", "None", "("])
        || source.contains(&["Gradient", ":", ":", "Decompose"]);
    if !has_gradient {
        missing
            .push("the op has no `fn vjp` and does not say `Gradient::None(reason)` or `Gradient::Decompose`".into());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::fixture::{Fixture, places};

    const LIST: (&str, &str) = (
        "crates/ops/src/lib.rs",
        "mod macros;\nops! {\n    elementwise {\n        add: Add,\n        r#mod: elementwise::Mod,\n    }\n    shape { cast: Cast }\n}\n",
    );
    const OP: &str = "impl Op for A { fn infer() {} fn reference() {} fn cases() {} fn vjp() {} }";
    const CLEAN: [(&str, &str); 5] = [
        LIST,
        ("crates/ops/src/macros.rs", ""),
        ("crates/ops/src/elementwise/mod.rs", ""),
        ("crates/ops/src/elementwise/add.rs", OP),
        ("crates/ops/src/shape/cast.rs", OP),
    ];

    fn with<'a>(extra: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let clean = CLEAN.iter().chain(&[("crates/ops/src/elementwise/mod/mod.rs", "")]);
        clean.chain(extra).copied().collect()
    }

    #[test]
    fn a_complete_tree_passes() {
        assert_eq!(places(check, &with(&[])), [""; 0]);
        for gradient in ["fn gradient() { Gradient::None(\"integers\") }", "const G: Gradient = Gradient::Decompose;"] {
            let op = OP.replace("fn vjp() {}", gradient);
            assert_eq!(places(check, &with(&[("crates/ops/src/shape/cast.rs", &op)])), [""; 0], "{gradient}");
        }
    }

    #[test]
    fn unlisted_files_and_missing_files_are_reported() {
        let extra = with(&[("crates/ops/src/shape/slice.rs", OP)]);
        assert_eq!(places(check, &extra), ["crates/ops/src/shape/slice.rs:1"]);
        let wrong_family = with(&[("crates/ops/src/shape/add.rs", OP)]);
        assert_eq!(places(check, &wrong_family), ["crates/ops/src/shape/add.rs:1"]);
        assert_eq!(places(check, &CLEAN[..4]), ["crates/ops/src/lib.rs:5", "crates/ops/src/lib.rs:7"]);
    }

    #[test]
    fn incomplete_ops_are_reported() {
        for function in ["infer", "reference", "cases", "vjp"] {
            let op = OP.replace(&format!("fn {function}() {{}}"), &format!("/* fn {function} */"));
            let fixture = Fixture::new(&with(&[("crates/ops/src/shape/cast.rs", &op)]));
            let findings = check(fixture.root());
            assert_eq!(findings.len(), 1, "{function}: {findings:?}");
            assert!(findings[0].message.contains(&format!("`fn {function}`")), "{findings:?}");
        }
    }

    #[test]
    fn a_list_that_is_not_rust_is_reported() {
        let files = [("crates/ops/src/lib.rs", "ops! {"), CLEAN[3]];
        assert_eq!(places(check, &files), ["crates/ops/src/lib.rs:1"]);
    }
}
