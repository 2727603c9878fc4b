//! The steps of `ARCHITECTURE.md`, "Add an op" and "Add a backend kernel", performed in a copy of the workspace.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One step: a new file, or lines behind a line.
struct Step {
    file: String,
    after: Option<String>,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// `KEY="VALUE"` or `KEY=VALUE` in the first line of a fenced block.
fn tag(line: &str, key: &str) -> Option<String> {
    let rest = line.split_once(&format!(" {key}="))?.1;
    match rest.strip_prefix('"') {
        Some(quoted) => Some(quoted.split_once('"')?.0.to_string()),
        None => Some(rest.split_whitespace().next()?.to_string()),
    }
}

fn steps() -> Vec<Step> {
    let guide = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the guide");
    let mut steps = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if let (true, Some(file)) = (line.starts_with("```"), tag(line, "file")) {
            let text: Vec<_> = lines.by_ref().take_while(|l| *l != "```").collect();
            steps.push(Step { file, after: tag(line, "after"), text: text.join("\n") + "\n" });
        }
    }
    steps
}

/// The files that Cargo needs, from the tree as it is, with `steps` performed.
fn tree(steps: &[Step]) -> BTreeMap<String, Vec<u8>> {
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git");
    assert!(list.status.success(), "git ls-files failed");
    let names = String::from_utf8(list.stdout).expect("names in UTF-8");
    let mut files: BTreeMap<String, Vec<u8>> =
        names.lines().filter_map(|name| Some((name.to_string(), fs::read(root().join(name)).ok()?))).collect();
    for step in steps {
        let Some(after) = &step.after else {
            let old = files.insert(step.file.clone(), step.text.clone().into_bytes());
            assert!(old.is_none(), "{} exists already", step.file);
            continue;
        };
        let bytes = files.get_mut(&step.file).unwrap_or_else(|| panic!("there is no {}", step.file));
        let old = String::from_utf8(bytes.clone()).expect("text");
        let mut places = 0;
        let edited: String = old
            .lines()
            .map(|line| {
                let here = line.trim() == after;
                places += usize::from(here);
                format!("{line}\n{}", if here { &step.text } else { "" })
            })
            .collect();
        assert_eq!(places, 1, "{} has {places} lines `{after}`", step.file);
        *bytes = edited.into_bytes();
    }
    files
}

/// Makes `folder` hold exactly these files. Equal ones are not written again, so that Cargo keeps what it built.
fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let manifest = folder.join("files.txt");
    for stale in fs::read_to_string(&manifest).unwrap_or_default().lines().filter(|name| !files.contains_key(*name)) {
        let _ = fs::remove_file(folder.join(stale));
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|old| old == *bytes) {
            continue;
        }
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(&path, bytes).expect("the file is written");
    }
    fs::write(manifest, files.keys().map(|name| format!("{name}\n")).collect::<String>()).expect("the list is written");
}

fn cargo(folder: &Path, target: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    // What is tested is right or wrong at any level, and a low one compiles faster.
    command.env("CARGO_TARGET_DIR", target).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    command.args(arguments).current_dir(folder).output().expect("cargo starts")
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const USED: &str = "
#[test]
fn the_added_kernel_is_used() {
    let added: Vec<_> = all().into_iter().filter(|p| p.case.op.name() == \"squared_relu\").collect();
    assert!(added.iter().any(|p| p.inputs[0].dtype == DType::F32));
    for p in added {
        let name = p.kernel().unwrap().name();
        assert_eq!(name == \"cpu_squared_relu\", p.inputs[0].dtype == DType::F32, \"{}: {name}\", p.name);
    }
}
";

#[test]
fn the_steps_of_the_guide_work() {
    // Cargo gives `<target>/tmp`.
    let cache: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder").join("how-to-add");
    let (folder, target) = (cache.join("workspace"), cache.join("target"));
    let all = steps();
    assert!(all.len() >= 5, "the guide has {} tagged blocks", all.len());

    let mut files = tree(&all);
    files.get_mut("crates/cpu/tests/main/cases.rs").expect("the CPU's tests").extend_from_slice(USED.as_bytes());
    write(&folder, &files);
    let test = ["test", "--release", "--offline", "-p", "lampyr-ops", "-p", "lampyr-cpu", "--test", "main", "--"];
    let names = [
        "finite_differences",
        "agree_with_the_reference",
        "agrees_with_the_reference",
        "have_expressions",
        "the_added_kernel_is_used",
    ];
    let output = cargo(&folder, &target, &[&test[..], &names[..]].concat());
    let text = shown(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the_added_kernel_is_used ... ok"), "{text}");

    // A copy of its own, so that what is built in the first one stays valid for the next run.
    let folder = cache.join("unlisted");
    let unlisted: Vec<_> =
        all.into_iter().filter(|step| step.file == "crates/ops/src/elementwise/squared_relu.rs").collect();
    write(&folder, &tree(&unlisted));
    let output = cargo(&folder, &target, &["run", "--release", "--offline", "-p", "xtask", "--", "gates", "op-files"]);
    let text = shown(&output);
    assert!(!output.status.success() && text.contains("squared_relu.rs:1: not listed"), "{text}");
}
