//! Rust source as tokens, without what only tests see. Comments and string literals cannot match a rule here.

use std::iter;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What a Rust file ships.
#[derive(Default)]
pub struct Source {
    /// The tokens of every level of nesting, test-only items left out; groups stand in their level and are a level too.
    pub levels: Vec<Vec<TokenTree>>,
    /// The modules in other files that only tests see, declared at the top level.
    pub test_modules: Vec<String>,
}

impl Source {
    /// Reads a file's text; `None` when it is not Rust.
    pub fn new(text: &str) -> Option<Self> {
        let stream: TokenStream = text.parse().ok()?;
        let mut source = Self::default();
        source.add_level(stream, true);
        Some(source)
    }

    fn add_level(&mut self, stream: TokenStream, top: bool) {
        let tokens: Vec<_> = stream.into_iter().collect();
        let mut kept = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            match attribute(&tokens[at..]) {
                Some((attribute, true, _)) if is_test_only(&attribute) => break,
                Some((attribute, false, _)) if is_test_only(&attribute) => {
                    let end = at + item_length(&tokens[at..]);
                    if top {
                        self.test_modules.extend(module_file(&tokens[at..end]));
                    }
                    at = end;
                }
                Some((_, _, length)) => at += length,
                None => {
                    kept.push(tokens[at].clone());
                    at += 1;
                }
            }
        }
        let nested: Vec<_> = kept.iter().filter_map(|token| group(token).map(|(_, stream)| stream)).collect();
        self.levels.push(kept);
        for stream in nested {
            self.add_level(stream, false);
        }
    }

    /// Whether these words and signs follow one another somewhere: identifiers, single signs, and `(` for any group in
    /// parentheses.
    pub fn contains(&self, pattern: &[&str]) -> bool {
        self.levels.iter().any(|level| {
            level.windows(pattern.len()).any(|tokens| iter::zip(tokens, pattern).all(|(token, word)| is(token, word)))
        })
    }
}

/// Whether the token is this identifier or sign, or with `(`, `[`, `{` a group of that kind.
pub fn is(token: &TokenTree, word: &str) -> bool {
    match token {
        TokenTree::Ident(ident) => ident == word,
        TokenTree::Punct(punct) => word.chars().eq([punct.as_char()]),
        TokenTree::Group(group) => match group.delimiter() {
            Delimiter::Parenthesis => word == "(",
            Delimiter::Bracket => word == "[",
            Delimiter::Brace => word == "{",
            Delimiter::None => false,
        },
        TokenTree::Literal(_) => false,
    }
}

/// The delimiter and content of a group.
pub fn group(token: &TokenTree) -> Option<(Delimiter, TokenStream)> {
    match token {
        TokenTree::Group(group) => Some((group.delimiter(), group.stream())),
        _ => None,
    }
}

/// The files (and folders of files) that a module declared in `file` may stand in.
pub fn module_places(file: &Path, module: &str) -> [PathBuf; 2] {
    let parent = file.parent().unwrap_or(Path::new(""));
    let stem = file.file_stem().unwrap_or_default();
    let base = if ["mod", "lib", "main"].iter().any(|name| stem == *name) { parent.into() } else { parent.join(stem) };
    [base.join(format!("{module}.rs")), base.join(module)]
}

/// The attribute that these tokens start with: its content, whether it is an inner one, and how many tokens it takes.
fn attribute(tokens: &[TokenTree]) -> Option<(TokenStream, bool, usize)> {
    match tokens {
        [hash, body, ..] if is(hash, "#") && is(body, "[") => Some((group(body)?.1, false, 2)),
        [hash, bang, body, ..] if is(hash, "#") && is(bang, "!") && is(body, "[") => Some((group(body)?.1, true, 3)),
        _ => None,
    }
}

/// `test`, `cfg(test)`, `cfg(all(test, ...))`.
fn is_test_only(attribute: &TokenStream) -> bool {
    let tokens: Vec<_> = attribute.clone().into_iter().collect();
    match &tokens[..] {
        [word] => is(word, "test"),
        [cfg, predicate] if is(cfg, "cfg") => group(predicate).is_some_and(|(_, predicate)| requires_test(predicate)),
        _ => false,
    }
}

fn requires_test(predicate: TokenStream) -> bool {
    let tokens: Vec<_> = predicate.into_iter().collect();
    tokens.split(|token| is(token, ",")).any(|part| match part {
        [word] => is(word, "test"),
        [all, parts] if is(all, "all") => group(parts).is_some_and(|(_, parts)| requires_test(parts)),
        _ => false,
    })
}

/// How many tokens the item with its attributes takes: to its `;`, its block, or in a list the next comma.
fn item_length(tokens: &[TokenTree]) -> usize {
    let mut at = 0;
    while let Some((_, _, length)) = attribute(&tokens[at..]) {
        at += length;
    }
    const ITEMS: [&str; 16] = [
        "pub", "mod", "fn", "use", "const", "static", "struct", "enum", "impl", "trait", "type", "unsafe", "async",
        "extern", "let", "union",
    ];
    let is_item = tokens.get(at).is_some_and(|token| ITEMS.iter().any(|word| is(token, word)));
    let ends = |token: &TokenTree| is(token, ";") || is(token, "{") || (!is_item && is(token, ","));
    tokens[at..].iter().position(ends).map_or(tokens.len(), |length| at + length + 1)
}

/// The name in `mod name;`.
fn module_file(item: &[TokenTree]) -> Option<String> {
    match item {
        [.., module, TokenTree::Ident(name), end] if is(module, "mod") && is(end, ";") => Some(name.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, word: &str) -> bool {
        Source::new(text).unwrap().contains(&[word])
    }

    #[test]
    fn test_only_items_are_left_out() {
        for item in [
            "#[cfg(test)] mod tests { fn hidden() {} }",
            "#[cfg(all(test, unix))] fn hidden<A, B>(a: A) { b() }",
            "#[cfg(test)] #[allow(unused)] use a::{hidden, b};",
            "#[test] fn hidden() {}",
            "impl A { #[cfg(test)] pub fn hidden(&self) {} }",
            "fn a() { B { #[cfg(test)] b: hidden(1), c } }",
            "mod a { #![cfg(test)] fn hidden() {} }",
            "/// hidden\nfn a() { \"hidden\"; /* hidden */ } // hidden",
        ] {
            let text = format!("{item}\nfn seen() {{}}");
            assert!(!has(&text, "hidden"), "{item}");
            assert!(has(&text, "seen"), "{item}");
        }
    }

    #[test]
    fn other_items_stay() {
        for item in [
            "#[cfg(not(test))] fn seen() {}",
            "#[cfg(any(test, unix))] fn seen() {}",
            "#[cfg(unix)] mod tests { fn seen() {} }",
            "fn a() { B { #[cfg(test)] b: 1, c: seen() } }",
            "a! { b => [seen] }",
        ] {
            assert!(has(item, "seen"), "{item}");
        }
    }

    #[test]
    fn test_modules_in_other_files_are_named() {
        let source = Source::new("#[cfg(test)] mod a; mod b; #[cfg(test)] mod c { } #[cfg(test)] pub mod d;").unwrap();
        assert_eq!(source.test_modules, ["a", "d"]);
        assert_eq!(module_places(Path::new("src/lib.rs"), "a")[0], Path::new("src/a.rs"));
        assert_eq!(module_places(Path::new("src/x.rs"), "a")[0], Path::new("src/x/a.rs"));
    }
}
