//! Unfinished work belongs in an issue: no marker words in tracked sources.

use std::path::Path;

use super::{Finding, files};

const WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const EXTENSIONS: &[&str] =
    &["rs", "py", "pyi", "wgsl", "cu", "cuh", "c", "cc", "cpp", "h", "hpp", "toml", "sh", "yml", "yaml", "metal"];

/// Reports the lines of tracked sources that hold a marker word.
pub fn check(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files::tracked(root) {
        if !files::has_extension(&file, EXTENSIONS) {
            continue;
        }
        for (index, line) in files::text(root, &file).unwrap_or_default().lines().enumerate() {
            if let Some(word) = WORDS.iter().find(|word| has_word(line, word)) {
                findings.push(Finding::new(&file, index + 1, format!("{word}: finish it or open an issue")));
            }
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        !before.ends_with(part_of_word) && !after.starts_with(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::fixture::places;

    #[test]
    fn marker_words_are_reported() {
        let marked: Vec<String> = WORDS.iter().map(|word| format!("\n// {word}: later\n")).collect();
        let files = [("a.rs", &*marked[0]), ("b.py", &marked[1]), ("c.wgsl", &marked[2])];
        assert_eq!(places(check, &files), ["a.rs:2", "b.py:2", "c.wgsl:2"]);
    }

    #[test]
    fn longer_words_and_prose_pass() {
        let longer = format!("let {}S = 1;\nlet A_{} = 2;\n", WORDS[0], WORDS[2]);
        let prose = format!("a page about {}\n", WORDS[1]);
        assert!(places(check, &[("a.rs", &longer), ("b.md", &prose), ("c.rs", "// todo list\n")]).is_empty());
    }
}
