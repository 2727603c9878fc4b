//! How tensors print: PyTorch's format and its options.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use lampyr::functional::{Index, index};
use lampyr::ir::Numbers;
use lampyr::{DType, Device, Error, Result, Tensor};
use pyo3::prelude::*;

#[derive(Clone, Copy)]
struct Options {
    precision: usize,
    threshold: f64,
    edge: usize,
    width: usize,
    scientific: Option<bool>,
}

const DEFAULT: Options = Options { precision: 4, threshold: 1000.0, edge: 3, width: 80, scientific: None };
const SHORT: Options = Options { precision: 2, edge: 2, ..DEFAULT };
const FULL: Options = Options { threshold: f64::INFINITY, ..DEFAULT };

static OPTIONS: Mutex<Options> = Mutex::new(DEFAULT);
const PREFIX: &str = "tensor(";

/// How tensors print: digits after the point, number of elements from which only the edges of axes are shown, elements
/// at each edge, characters of a line, and whether numbers have exponents (by default where they need them). A profile
/// is `default`, `short` or `full`.
#[pyfunction]
#[pyo3(signature = (precision = None, threshold = None, edgeitems = None, linewidth = None, profile = None,
    sci_mode = None))]
pub fn set_printoptions(
    precision: Option<usize>,
    threshold: Option<f64>,
    edgeitems: Option<usize>,
    linewidth: Option<usize>,
    profile: Option<&str>,
    sci_mode: Option<bool>,
) -> crate::error::Result<()> {
    let mut options = OPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut new = match profile {
        None => *options,
        Some("default") => DEFAULT,
        Some("short") => SHORT,
        Some("full") => FULL,
        Some(other) => {
            return Err(Error::value(format!("print profile `{other}`"))
                .with_expected("default, short or full")
                .into());
        }
    };
    // More digits than a float64 has are zeros.
    new.precision = precision.unwrap_or(new.precision).min(1000);
    new.threshold = threshold.unwrap_or(new.threshold);
    new.edge = edgeitems.unwrap_or(new.edge);
    new.width = linewidth.unwrap_or(new.width);
    new.scientific = sci_mode;
    *options = new;
    Ok(())
}

/// The text of `t`; `history` says how it was made, where that is known.
pub fn format(t: &Tensor, history: Option<String>) -> Result<String> {
    let options = *OPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = PREFIX.to_string();
    let usual = t.dtype() == lampyr::default_dtype() || matches!(t.dtype(), DType::I64 | DType::Bool);
    let mut suffixes = Vec::new();
    if t.device() != Device::CPU {
        suffixes.push(format!("device='{}'", t.device()));
    }
    if t.is_empty() {
        out.push_str("[]");
        if t.rank() != 1 {
            let sizes = t.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            suffixes.push(format!("size=({sizes}{})", if t.rank() == 1 { "," } else { "" }));
        }
        if t.dtype() != lampyr::default_dtype() {
            suffixes.push(format!("dtype=lampyr.{}", t.dtype()));
        }
    } else {
        let cut = t.len() as f64 > options.threshold;
        let shown = if cut { edges(t, options.edge)? } else { t.detach() };
        let (words, width) = words(&shown, &options)?;
        let printer = Printer {
            width,
            words,
            cut: t.shape().iter().map(|&d| cut && d > 2 * options.edge).collect(),
            shape: shown.shape().to_vec(),
            options,
        };
        printer.block(&mut out, 0, 0, PREFIX.len());
        if !usual {
            suffixes.push(format!("dtype=lampyr.{}", t.dtype()));
        }
    }
    if let Some(name) = history {
        suffixes.push(format!("grad_fn=<{name}>"));
    } else if t.requires_grad() {
        suffixes.push("requires_grad=True".into());
    }
    // A suffix goes to a line of its own where it does not fit.
    let mut used = out.len() - out.rfind('\n').map_or(0, |i| i + 1) + 2;
    for suffix in suffixes {
        if used + suffix.len() + 2 > options.width {
            let _ = write!(out, ",\n{}{suffix}", " ".repeat(PREFIX.len()));
            used = PREFIX.len() + suffix.len();
        } else {
            let _ = write!(out, ", {suffix}");
            used += suffix.len() + 2;
        }
    }
    out.push(')');
    Ok(out)
}

/// The first and last elements of every long axis.
fn edges(t: &Tensor, edge: usize) -> Result<Tensor> {
    let mut shown = t.detach();
    for axis in 0..t.rank() {
        let n = t.shape()[axis];
        if n > 2 * edge {
            let part = |from: i64, to: i64| {
                let mut items = vec![Index::Slice(None, None, 1); axis];
                items.push(Index::Slice(Some(from), Some(to), 1));
                index(&shown, &items)
            };
            let (head, tail) = (part(0, edge as i64)?, part((n - edge) as i64, n as i64)?);
            shown = lampyr::functional::cat(&[head, tail], axis as i64)?;
        }
    }
    Ok(shown)
}

/// The elements as text, and the width that they are set to.
fn words(t: &Tensor, options: &Options) -> Result<(Vec<String>, usize)> {
    let host = t.to_host()?;
    let mut width = None;
    let mut all: Vec<String> = match host.numbers() {
        Numbers::F(v) => {
            let (all, wide) = floats(&v, options);
            width = Some(wide);
            all
        }
        _ if t.dtype() == DType::Bool => {
            host.bytes().iter().map(|&b| if b != 0 { "True".to_string() } else { "False".to_string() }).collect()
        }
        Numbers::I(v) => v.iter().map(i64::to_string).collect(),
        Numbers::U(v) => v.iter().map(u64::to_string).collect(),
    };
    let width = width.unwrap_or_else(|| all.iter().map(String::len).max().unwrap_or(0));
    all.iter_mut().for_each(|w| *w = format!("{w:>width$}"));
    Ok((all, width))
}

/// The width is that of the finite numbers other than zero.
fn floats(values: &[f64], options: &Options) -> (Vec<String>, usize) {
    let counts = |v: &f64| v.is_finite() && *v != 0.0;
    let (low, high) =
        values.iter().filter(|v| counts(v)).fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v.abs()), h.max(v.abs())));
    let any = high > 0.0;
    let whole = values.iter().filter(|v| counts(v)).all(|v| v.fract() == 0.0);
    let automatic = high / low > 1000.0 || high > 1e8 || low < 1e-4;
    let scientific = any && options.scientific.unwrap_or(automatic);
    let precision = options.precision;
    let text = |v: f64| match () {
        () if v.is_nan() => "nan".to_string(),
        () if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.to_string(),
        () if scientific => exponent(v, precision),
        () if whole => format!("{v:.0}."),
        () => format!("{v:.precision$}"),
    };
    let width = values.iter().filter(|v| counts(v)).map(|v| text(*v).len()).max().unwrap_or(1);
    (values.iter().map(|&v| text(v)).collect(), width)
}

/// `1.0000e-05`, with at least two digits in the exponent.
fn exponent(v: f64, precision: usize) -> String {
    let text = format!("{v:.precision$e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |p| ('-', p));
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}

struct Printer {
    words: Vec<String>,
    width: usize,
    shape: Vec<usize>,
    cut: Vec<bool>,
    options: Options,
}

impl Printer {
    /// Writes the elements from `at` on that axes `axis` and later hold; `indent` is the column of the bracket.
    fn block(&self, out: &mut String, axis: usize, at: usize, indent: usize) {
        let Some(&n) = self.shape.get(axis) else {
            out.push_str(self.words.get(at).map_or("", String::as_str));
            return;
        };
        out.push('[');
        if axis + 1 == self.shape.len() {
            self.row(out, at, n, self.cut[axis], indent + 1);
        } else {
            let step: usize = self.shape[axis + 1..].iter().product();
            let gap = format!(",{}{}", "\n".repeat(self.shape.len() - axis - 1), " ".repeat(indent + 1));
            for i in 0..n {
                if i > 0 {
                    out.push_str(&gap);
                }
                if self.cut[axis] && i == self.options.edge {
                    out.push_str("...");
                    out.push_str(&gap);
                }
                self.block(out, axis + 1, at + i * step, indent + 1);
            }
            if self.cut[axis] && n == 0 {
                out.push_str("...");
            }
        }
        out.push(']');
    }

    fn row(&self, out: &mut String, at: usize, n: usize, cut: bool, indent: usize) {
        let per_line = ((self.options.width + 1).saturating_sub(indent) / (self.width + 2)).max(1);
        let mut words: Vec<&str> = self.words[at..at + n].iter().map(String::as_str).collect();
        if cut {
            words.insert(self.options.edge, " ...");
        }
        let lines: Vec<String> = words.chunks(per_line).map(|line| line.join(", ")).collect();
        out.push_str(&lines.join(&format!(",\n{}", " ".repeat(indent))));
    }
}
