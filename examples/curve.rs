//! A progress bar in the terminal and a loss curve as SVG.

use std::fmt::Write;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total` steps; its message is shown behind it.
pub fn bar(total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("train [{bar:32}] {pos}/{len} {elapsed} ({eta} left) {msg}");
    let bar = ProgressBar::new(total as u64);
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("#.."));
    }
    bar
}

/// The mean of the last `count` values.
pub fn recent(values: &[f64], count: usize) -> f64 {
    let last = &values[values.len().saturating_sub(count)..];
    last.iter().sum::<f64>() / last.len().max(1) as f64
}

/// Draws `losses` per step, thin, and smoothed, thick, on a logarithmic axis.
pub fn write_svg(path: &Path, losses: &[f64], title: &str) -> std::io::Result<()> {
    let (width, height) = (640.0, 360.0);
    let (left, top, right, bottom) = (56.0, 32.0, 16.0, 40.0);
    let positive = || losses.iter().copied().filter(|v| *v > 0.0);
    let low = positive().fold(f64::MAX, f64::min).log10();
    let high = positive().fold(f64::MIN_POSITIVE, f64::max).log10();
    let high = if high > low { high } else { low + 1.0 };
    let last = losses.len().saturating_sub(1).max(1);
    let x = |step: usize| left + (width - left - right) * step as f64 / last as f64;
    let y = |value: f64| top + (height - top - bottom) * (high - value.log10().max(low)) / (high - low);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    // Writing to a string does not fail.
    let mut line = |text: std::fmt::Arguments| {
        let _ = writeln!(out, "{text}");
    };
    for tick in low.floor() as i32..=high.ceil() as i32 {
        for value in [1.0, 2.0, 5.0].map(|part| part * 10f64.powi(tick)) {
            if (low..=high).contains(&value.log10()) {
                let (at, end) = (y(value), width - right);
                line(format_args!(r##"<line x1="{left}" x2="{end}" y1="{at:.1}" y2="{at:.1}" stroke="#ddd"/>"##));
                let (beside, below) = (left - 6.0, at + 4.0);
                line(format_args!(r#"<text x="{beside}" y="{below:.1}" text-anchor="end">{value}</text>"#));
            }
        }
    }
    for step in (0..5).map(|k| last * k / 4) {
        let (at, below) = (x(step), height - 20.0);
        line(format_args!(r#"<text x="{at:.1}" y="{below}" text-anchor="middle">{step}</text>"#));
    }
    let mut mean = losses.first().copied().unwrap_or_default();
    let smooth: Vec<f64> = losses
        .iter()
        .map(|v| {
            mean = 0.97 * mean + 0.03 * v;
            mean
        })
        .collect();
    let every = losses.len().div_ceil(600).max(1);
    for (values, look) in [(losses, r#"stroke-opacity="0.3""#), (&smooth, r#"stroke-width="2""#)] {
        let points = values.iter().enumerate().step_by(every).fold(String::new(), |mut text, (i, v)| {
            let _ = write!(text, "{:.1},{:.1} ", x(i), y(*v));
            text
        });
        line(format_args!(r##"<polyline fill="none" stroke="#1f6feb" {look} points="{}"/>"##, points.trim_end()));
    }
    std::fs::write(path, out + "</svg>\n")
}
