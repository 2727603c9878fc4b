//! Runs the `lampyr` binary the way a user does.

mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits").join(name).display().to_string()
}

fn model() -> String {
    example("digits.onnx")
}

fn scratch(name: &str, contents: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

fn lampyr<S: AsRef<str>>(args: &[S]) -> Output {
    let args = args.iter().map(AsRef::as_ref);
    Command::new(env!("CARGO_BIN_EXE_lampyr")).args(args).output().unwrap()
}

fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8(out.stderr.clone()).unwrap()
}

/// Standard output of a run that must succeed.
fn text<S: AsRef<str>>(args: &[S]) -> String {
    let out = lampyr(args);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(!stdout(&out).contains('\x1b'), "colours without a terminal");
    stdout(&out)
}

fn json<S: AsRef<str>>(args: &[S]) -> Value {
    let mut args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    args.push("--json");
    serde_json::from_str(&text(&args)).unwrap()
}

/// Standard error of a run that must fail with `code`, and that prints nothing else.
fn failure<S: AsRef<str>>(args: &[S], code: i32) -> String {
    let out = lampyr(args);
    let message = stderr(&out);
    assert_eq!(out.status.code(), Some(code), "{message}");
    assert_eq!(stdout(&out), "");
    assert!(message.starts_with("error:") && !message.contains("panicked"), "{message}");
    message
}

#[test]
fn all_digits_are_recognised() {
    for digit in 0..10 {
        let found = json(&["run", &model(), "--input", &example(&format!("{digit}.png"))]);
        assert_eq!(found["prediction"], digit.to_string());
    }
}

#[test]
fn run() {
    let args = ["run", &model(), "--input", &example("7.png"), "--top", "3"];
    let shown = text(&args);
    assert!(shown.starts_with("prediction: 7\n"), "{shown}");
    for part in ["rank", "probability", "latency: first run", "warm runs", "compiler:", "fusions, arena"] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    let found = json(&args);
    let top = found["top"].as_array().unwrap();
    assert_eq!(top.len(), 3);
    assert!(top.windows(2).all(|w| w[0]["score"].as_f64() >= w[1]["score"].as_f64()));
    assert!(found["latency"]["median_ms"].as_f64().unwrap() > 0.0);
    assert!(found["compiler"]["nodes_after"].as_u64() <= found["compiler"]["nodes_before"].as_u64());
    assert!(found["compiler"]["arena_bytes"].as_u64() <= found["compiler"]["unplanned_bytes"].as_u64());
}

#[test]
fn run_with_a_named_input_and_other_labels() {
    let input = json(&["inspect", &model()])["inputs"][0]["name"].as_str().unwrap().to_string();
    let labels = scratch("labels.txt", b"zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n");
    let given = format!("{input}={}", example("7.png"));
    let found = json(&["run", &model(), "--input", &given, "--labels", &labels.display().to_string()]);
    assert_eq!(found["prediction"], "seven");
    assert_eq!(found["top"][0]["index"], 7);
}

#[test]
fn pictures_are_resized_and_made_gray() {
    let large = image::open(example("7.png")).unwrap().resize_exact(112, 112, image::imageops::FilterType::Triangle);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("large.png");
    large.to_rgb8().save(&path).unwrap();
    assert_eq!(json(&["run", &model(), "--input", &path.display().to_string()])["prediction"], "7");
}

#[test]
fn inspect() {
    let shown = text(&["inspect", &model()]);
    for part in ["opset", "parameters", "symbolic sizes", "input", "output", "conv"] {
        assert!(shown.to_lowercase().contains(part), "no {part}: {shown}");
    }
    let found = json(&["inspect", &model()]);
    assert!(found["parameters"].as_u64().unwrap() > 1000);
    assert_eq!(found["inputs"].as_array().unwrap().len(), 1);
    let ops: u64 = found["ops"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(ops), found["nodes"].as_u64());
}

#[test]
fn inspect_shows_inferred_shapes() {
    assert!(!text(&["inspect", &model()]).contains("makes"));
    let shown = text(&["inspect", &model(), "--nodes"]);
    let found = json(&["inspect", &model()]);
    let values = found["values"].as_array().unwrap();
    assert_eq!(values.len() as u64, found["nodes"].as_u64().unwrap());
    for value in values {
        assert!(shown.contains(value["outputs"][0]["fact"].as_str().unwrap()), "{value}");
    }
}

#[test]
fn explain() {
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explain.html");
    let shown = text(&["explain", &model(), "--html", &page.display().to_string()]);
    for part in ["passes", "fusions", "placements", "memory", "cpu"] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("<svg") && html.contains("</html>"));
    let found = json(&["explain", &model()]);
    assert!(!found["compile"]["passes"].as_array().unwrap().is_empty());
    assert!(found["plan"]["arena_bytes"].as_u64().is_some());
}

#[test]
fn bench() {
    let shown = text(&["bench", &model(), "--runs", "5"]);
    for part in ["runs", "first", "min", "median", "p95"] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    let found = json(&["bench", &model(), "--runs", "5"]);
    assert_eq!(found["runs"], 5);
    assert!(found["min_ms"].as_f64() <= found["median_ms"].as_f64());
    assert!(found["median_ms"].as_f64() <= found["p95_ms"].as_f64());
}

#[test]
fn bench_with_a_symbolic_size() {
    let found = json(&["inspect", &model()]);
    let symbol = found["symbols"][0].as_str().expect("digits.onnx has a symbolic batch");
    let found = json(&["bench", &model(), "--runs", "2", "--dim", &format!("{symbol}=8")]);
    assert_eq!(found["shapes"][0][0], 8);
    let message = failure(&["bench", &model(), "--dim", "no_such_size=8"], 1);
    assert!(message.contains("no_such_size") && message.contains(symbol), "{message}");
}

#[test]
fn info() {
    let shown = text(&["info"]);
    for part in [env!("CARGO_PKG_VERSION"), "simd", "threads", "devices", "ops"] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    let found = json(&["info"]);
    assert_eq!(found["devices"][0]["name"], "cpu");
    assert!(found["ops"].as_u64().unwrap() > 50 && found["threads"].as_u64().unwrap() > 0);
}

#[test]
fn knobs() {
    assert!(text(&["knobs"]).contains("LAMPYR_THREADS"));
    let found = json(&["knobs"]);
    assert!(found.as_array().unwrap().iter().any(|k| k["name"] == "LAMPYR_SIMD" && k["default"] == "auto"));
}

#[test]
fn a_bad_knob_is_reported() {
    let out = Command::new(env!("CARGO_BIN_EXE_lampyr")).arg("info").env("LAMPYR_THREADS", "many").output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(stderr(&out).starts_with("warning: LAMPYR_THREADS=many"), "{}", stderr(&out));
}

#[test]
fn bad_models() {
    let whole = std::fs::read(model()).unwrap();
    let truncated = scratch("truncated.onnx", &whole[..whole.len() / 2]);
    let noise = scratch("noise.onnx", b"this is no model");
    let empty = scratch("empty.onnx", b"");
    for path in [truncated, noise, empty, PathBuf::from("missing.onnx"), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))] {
        let path = path.display().to_string();
        for verb in ["inspect", "explain", "bench"] {
            assert!(failure(&[verb, &path], 1).contains("help:"), "{verb} {path}");
            failure(&[verb, &path, "--json"], 1);
        }
        failure(&["run", &path, "--input", &example("7.png")], 1);
    }
}

#[test]
fn bad_inputs() {
    let picture = std::fs::read(example("7.png")).unwrap();
    let truncated = scratch("truncated.png", &picture[..picture.len() / 2]).display().to_string();
    for input in ["missing.png", &truncated, &model(), &format!("nothing={}", example("7.png"))] {
        failure(&["run", &model(), "--input", input], 1);
    }
    let twice = ["run", &model(), "--input", &example("7.png"), "--input", &example("8.png")];
    assert!(failure(&twice, 1).contains("one input too many"));
    failure(&["run", &model(), "--input", &example("7.png"), "--labels", "missing.txt"], 1);
}

#[test]
fn wrong_usage() {
    failure(&["bench", &model(), "--dim", "batch"], 2);
    failure(&["bench", &model(), "--dim", "batch=0"], 2);
    failure(&["bench", &model(), "--runs", "0"], 2);
    failure(&["run", &model(), "--dim", "batch=none"], 2);
    failure(&["no-such-verb"], 2);
}
