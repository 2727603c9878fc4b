//! Text, tables and JSON for standard output.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Table, presets};
use lampyr::{Error, Result};
use serde::Serialize;

/// How a verb prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
    colour: bool,
}

fn wants_colour(terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb")
}

impl Output {
    /// For standard output.
    pub fn new(json: bool) -> Output {
        Output { json, colour: !json && wants_colour(std::io::stdout().is_terminal()) }
    }

    /// For standard error.
    pub fn errors() -> Output {
        Output { json: false, colour: wants_colour(std::io::stderr().is_terminal()) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// For headings and results.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// For errors.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For warnings.
    pub fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// The JSON of `value` where that was asked for, else `text`.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON.
    pub fn either(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<String> {
        if !self.json {
            return Ok(text());
        }
        serde_json::to_string_pretty(value).map_err(|e| Error::internal(format!("cannot write JSON: {e}")))
    }

    /// An aligned table; columns in `right` are set flush right.
    pub fn table(self, header: &[&str], right: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(header.iter().map(|h| match self.colour {
            true => Cell::new(h).add_attribute(Attribute::Bold),
            false => Cell::new(h),
        }));
        table.add_rows(rows);
        for &column in right {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let lines = table.to_string();
        lines.lines().map(|l| format!(" {}\n", l.trim_end())).collect()
    }

    /// Names and values below each other.
    pub fn pairs(self, pairs: &[(&str, String)]) -> String {
        let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        pairs.iter().map(|(name, value)| format!("  {name:width$}  {value}\n")).collect()
    }
}

/// Bytes in a unit that suits them.
pub fn bytes(n: usize) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A duration in a unit that suits it.
pub fn duration(d: Duration) -> String {
    match d.as_secs_f64() {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// Milliseconds, for JSON.
pub fn milliseconds(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}
