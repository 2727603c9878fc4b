//! How tensors print: PyTorch's default format.

use std::fmt::Write;

use lampyr::functional::{Index, index};
use lampyr::ir::Numbers;
use lampyr::{DType, Device, Result, Tensor};

const WIDTH: usize = 80;
const THRESHOLD: usize = 1000;
const EDGE: usize = 3;
const PRECISION: usize = 4;
const PREFIX: &str = "tensor(";

/// The text of `t`.
pub fn format(t: &Tensor) -> Result<String> {
    let mut out = PREFIX.to_string();
    if t.is_empty() {
        out.push_str("[]");
        if t.rank() != 1 {
            let sizes = t.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            let _ = write!(out, ", size=({sizes})");
        }
    } else {
        let shown = if t.len() > THRESHOLD { edges(t)? } else { t.clone() };
        let words = words(&shown)?;
        let printer = Printer {
            width: words.iter().map(String::len).max().unwrap_or(0),
            words,
            cut: t.shape().iter().map(|&d| t.len() > THRESHOLD && d > 2 * EDGE).collect(),
            shape: shown.shape().to_vec(),
        };
        printer.block(&mut out, 0, 0, PREFIX.len());
    }
    if !matches!(t.dtype(), DType::F32 | DType::I64 | DType::Bool) || (t.is_empty() && t.dtype() != DType::F32) {
        let _ = write!(out, ", dtype=lampyr.{}", t.dtype());
    }
    if t.device() != Device::CPU {
        let _ = write!(out, ", device='{}'", t.device());
    }
    if t.requires_grad() {
        out.push_str(", requires_grad=True");
    }
    out.push(')');
    Ok(out)
}

/// The first and last elements of every long axis.
fn edges(t: &Tensor) -> Result<Tensor> {
    let mut shown = t.detach();
    for axis in 0..t.rank() {
        let n = t.shape()[axis];
        if n > 2 * EDGE {
            let part = |from: Option<i64>, to: Option<i64>| {
                let mut items = vec![Index::Slice(None, None, 1); axis];
                items.push(Index::Slice(from, to, 1));
                index(&shown, &items)
            };
            let (head, tail) = (part(None, Some(EDGE as i64))?, part(Some(-(EDGE as i64)), None)?);
            shown = lampyr::functional::cat(&[head, tail], axis as i64)?;
        }
    }
    Ok(shown)
}

fn words(t: &Tensor) -> Result<Vec<String>> {
    let host = t.to_host()?;
    let plain = |mut all: Vec<String>| {
        let width = all.iter().map(String::len).max().unwrap_or(0);
        if t.rank() > 0 {
            all.iter_mut().for_each(|w| *w = format!("{w:>width$}"));
        }
        all
    };
    Ok(match host.numbers() {
        Numbers::F(v) => plain(floats(&v)),
        _ if t.dtype() == DType::Bool => {
            plain(host.bytes().iter().map(|&b| if b != 0 { "True".to_string() } else { "False".to_string() }).collect())
        }
        Numbers::I(v) => plain(v.iter().map(i64::to_string).collect()),
        Numbers::U(v) => plain(v.iter().map(u64::to_string).collect()),
    })
}

fn floats(values: &[f64]) -> Vec<String> {
    let usual: Vec<f64> = values.iter().copied().filter(|v| v.is_finite() && *v != 0.0).map(f64::abs).collect();
    let (low, high) = usual.iter().fold((f64::INFINITY, 0.0f64), |(l, h), &v| (l.min(v), h.max(v)));
    let whole = usual.iter().all(|v| v.fract() == 0.0);
    let spread = !usual.is_empty() && (high / low > 1000.0 || high > 1e8);
    let scientific = !usual.is_empty() && if whole { high > 1e8 || high / low > 1e5 } else { spread || low < 1e-4 };
    values
        .iter()
        .map(|&v| match () {
            () if v.is_nan() => "nan".to_string(),
            () if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.to_string(),
            () if scientific => exponent(v),
            () if whole => format!("{v:.0}."),
            () => format!("{v:.PRECISION$}"),
        })
        .collect()
}

/// `1.0000e-05`, with at least two digits in the exponent.
fn exponent(v: f64) -> String {
    let text = format!("{v:.PRECISION$e}");
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
}

impl Printer {
    /// Writes the elements from `at` on that axes `axis` and later hold; `indent` is the column of the bracket.
    fn block(&self, out: &mut String, axis: usize, at: usize, indent: usize) {
        let Some(&n) = self.shape.get(axis) else {
            out.push_str(&self.words[at]);
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
                if self.cut[axis] && i == EDGE {
                    out.push_str("...");
                    out.push_str(&gap);
                }
                self.block(out, axis + 1, at + i * step, indent + 1);
            }
        }
        out.push(']');
    }

    fn row(&self, out: &mut String, at: usize, n: usize, cut: bool, indent: usize) {
        let per_line = (WIDTH.saturating_sub(indent) / (self.width + 2)).max(1);
        let mut words: Vec<&str> = self.words[at..at + n].iter().map(String::as_str).collect();
        if cut {
            words.insert(EDGE, " ...");
        }
        let lines: Vec<String> = words.chunks(per_line).map(|line| line.join(", ")).collect();
        out.push_str(&lines.join(&format!(",\n{}", " ".repeat(indent))));
    }
}
