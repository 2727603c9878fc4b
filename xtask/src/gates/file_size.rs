//! No source file is over 800 lines; folders named `generated` or `pb` hold generated code and are excepted.

use std::path::Path;

use super::{Finding, files};

const MOST_LINES: usize = 800;
const EXTENSIONS: &[&str] = &["rs", "py", "wgsl", "cu", "hpp"];

/// Reports the tracked source files that are too long.
pub fn check(root: &Path) -> Vec<Finding> {
    let generated =
        |file: &Path| file.components().any(|part| part.as_os_str() == "generated" || part.as_os_str() == "pb");
    files::tracked(root)
        .into_iter()
        .filter(|file| files::has_extension(file, EXTENSIONS) && !generated(file))
        .filter_map(|file| {
            let lines = files::text(root, &file)?.lines().count();
            (lines > MOST_LINES).then(|| {
                Finding::new(file, MOST_LINES + 1, format!("{lines} lines, the most is {MOST_LINES}: split the file"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::fixture::places;

    #[test]
    fn long_files_are_reported() {
        let (longest, too_long) = ("\n".repeat(800), "\n".repeat(801));
        let files = [("a.rs", &*too_long), ("k/b.cu", &too_long), ("c.py", &longest), ("d.txt", &too_long)];
        assert_eq!(places(check, &files), ["a.rs:801", "k/b.cu:801"]);
    }

    #[test]
    fn generated_folders_are_excepted() {
        let text = "\n".repeat(801);
        assert!(places(check, &[("src/pb/onnx.rs", &text), ("generated/a.py", &text)]).is_empty());
        assert_eq!(places(check, &[("src/pbx/onnx.rs", &text)]).len(), 1);
    }
}
