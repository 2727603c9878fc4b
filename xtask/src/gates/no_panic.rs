//! Nothing in shipped code panics by intent. A line that must may say why: `// panic-ok: reason`, on it or above it.

use std::path::{Path, PathBuf};

use proc_macro2::TokenTree;

use super::source::{self, Source, group, is};
use super::{Finding, files};

const MACROS: &[&str] = &["panic", "todo", "unimplemented", "unreachable", "dbg"];
const METHODS: &[&str] = &["unwrap", "expect"];
const EXCUSE: &str = "// panic-ok:";

/// Reports the places in shipped code that panic, and excuses that give no reason.
pub fn check(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut only_tests: Vec<PathBuf> = Vec::new();
    for folder in files::shipped_sources(root) {
        for file in files::rust_below(root, folder) {
            let Some(text) = files::text(root, &file) else { continue };
            match Source::new(&text) {
                Some(source) => {
                    only_tests.extend(source.test_modules.iter().flat_map(|name| source::module_places(&file, name)));
                    findings.extend(in_file(&file, &text, &source));
                }
                None => findings.push(Finding::new(file, 1, "this does not read as Rust")),
            }
        }
    }
    findings.retain(|finding| !only_tests.iter().any(|place| finding.file.starts_with(place)));
    findings
}

fn in_file(file: &Path, text: &str, source: &Source) -> Vec<Finding> {
    let lines: Vec<_> = text.lines().collect();
    let unreasoned = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| excuse(line) == Some(""))
        .map(|(index, _)| Finding::new(file, index + 1, format!("`{EXCUSE}` needs a reason")));
    let panics = source
        .levels
        .iter()
        .flat_map(|level| panics(level))
        .filter(|&(line, _)| !is_excused(&lines, line))
        .map(|(line, what)| Finding::new(file, line, format!("{what} in shipped code: return an error instead")));
    let mut findings: Vec<_> = unreasoned.chain(panics).collect();
    findings.sort_by_key(|finding| finding.line);
    findings
}

fn panics(level: &[TokenTree]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, token) in level.iter().enumerate() {
        let TokenTree::Ident(ident) = token else { continue };
        let (name, line) = (ident.to_string(), ident.span().start().line);
        let before = at.checked_sub(1).map(|before| &level[before]);
        let follows = |word: &str| level.get(at + 1).is_some_and(|next| is(next, word));
        let body = || level.get(at + 2).is_some_and(|next| group(next).is_some());
        if MACROS.contains(&&*name) && follows("!") && body() {
            found.push((line, format!("{name}!")));
        } else if METHODS.contains(&&*name) && before.is_some_and(|sign| is(sign, ".")) && follows("(") {
            found.push((line, format!(".{name}()")));
        } else if METHODS.contains(&&*name) && before.is_some_and(|sign| is(sign, ":")) {
            found.push((line, format!("::{name}")));
        }
    }
    found
}

/// The reason that a line gives, if it holds an excuse.
fn excuse(line: &str) -> Option<&str> {
    line.find(EXCUSE).map(|at| line[at + EXCUSE.len()..].trim())
}

fn is_excused(lines: &[&str], line: usize) -> bool {
    let reasoned = |line: &str| excuse(line).is_some_and(|reason| !reason.is_empty());
    let mut above = lines[..line - 1].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
    reasoned(lines[line - 1]) || above.any(|line| reasoned(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::fixture::places;

    const FILE: &str = "crates/a/src/lib.rs";

    #[test]
    fn panics_are_reported() {
        for code in [
            "panic!(\"x\")",
            "todo!()",
            "unimplemented!{}",
            "dbg!(x)",
            "unreachable![]",
            "x.lock().unwrap()",
            "x.expect(\"y\")",
            "x\n.unwrap\n()",
            "x.map(Option::unwrap)",
            "vec![x.unwrap()]",
            "m! { a => b.unwrap() }",
        ] {
            let found = places(check, &[(FILE, &format!("fn f() {{ {code}; }}\n"))]);
            assert_eq!(found.len(), 1, "{code}: {found:?}");
        }
        let text = "//! x\n\nfn f() {\n    a.unwrap();\n}\n";
        assert_eq!(places(check, &[("python/src/lib.rs", text)]), ["python/src/lib.rs:4"]);
    }

    #[test]
    fn clean_code_passes() {
        for code in [
            "/// ```\n/// x.unwrap();\n/// ```\nfn f() { panic != x; x.unwrap_or(1); x.unwrap_or_else(f) } // .unwrap()",
            "fn f() { \"panic!(\"; std::panic::catch_unwind(f); }",
            "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }",
            "fn unwrap(self) {} fn expect(&mut self) {}",
        ] {
            assert_eq!(places(check, &[(FILE, code)]), [""; 0], "{code}");
        }
        let elsewhere = "fn f() { x.unwrap() }";
        assert!(places(check, &[("crates/a/tests/a.rs", elsewhere), ("xtask/src/a.rs", elsewhere)]).is_empty());
    }

    #[test]
    fn files_that_only_tests_see_pass() {
        let unwraps = "fn f() { x.unwrap() }";
        let files = [(FILE, "#[cfg(test)]\nmod a;\nmod b;"), ("crates/a/src/a.rs", unwraps)];
        assert!(places(check, &files).is_empty());
        let nested = [files[0], ("crates/a/src/a/c.rs", unwraps), ("crates/a/src/b.rs", unwraps)];
        assert_eq!(places(check, &nested), ["crates/a/src/b.rs:1"]);
    }

    #[test]
    fn an_excuse_needs_a_reason() {
        let ok = "fn f() {\n    a.unwrap(); // panic-ok: a is set above\n    // panic-ok: b too,\n    // always\n    b.unwrap();\n}\n";
        assert!(places(check, &[(FILE, ok)]).is_empty());
        let bare = "fn f() {\n    a.unwrap(); // panic-ok:\n}\n";
        assert_eq!(places(check, &[(FILE, bare)]), [format!("{FILE}:2"), format!("{FILE}:2")]);
        let far = "fn f() {\n    // panic-ok: a is set\n    g();\n    a.unwrap();\n}\n";
        assert_eq!(places(check, &[(FILE, far)]), [format!("{FILE}:4")]);
    }

    #[test]
    fn a_file_that_is_not_rust_is_reported() {
        assert_eq!(places(check, &[(FILE, "fn f( {")]), [format!("{FILE}:1")]);
    }
}
