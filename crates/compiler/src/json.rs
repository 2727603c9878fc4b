//! Just enough JSON for reports.

use std::fmt::Write;

/// A value that is written as JSON.
pub enum Json {
    /// Text.
    Text(String),
    /// A float; `null` when it is not finite.
    Number(f64),
    /// A whole number.
    Whole(u64),
    /// A truth value.
    Bool(bool),
    /// A list.
    List(Vec<Json>),
    /// Names and values.
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    /// The text of this value.
    pub fn write(&self) -> String {
        let mut out = String::new();
        self.push(&mut out);
        out
    }

    fn push(&self, out: &mut String) {
        match self {
            Json::Text(t) => quote(t, out),
            Json::Number(n) if n.is_finite() => {
                let _ = write!(out, "{n:e}");
            }
            Json::Number(_) => out.push_str("null"),
            Json::Whole(n) => {
                let _ = write!(out, "{n}");
            }
            Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Json::List(all) => {
                out.push('[');
                for (i, v) in all.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    v.push(out);
                }
                out.push(']');
            }
            Json::Object(all) => {
                out.push('{');
                for (i, (name, v)) in all.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    v.push(out);
                }
                out.push('}');
            }
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl From<&str> for Json {
    fn from(t: &str) -> Json {
        Json::Text(t.to_string())
    }
}

impl From<usize> for Json {
    fn from(n: usize) -> Json {
        Json::Whole(n as u64)
    }
}

impl<T: Into<Json>> FromIterator<T> for Json {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Json {
        Json::List(all.into_iter().map(Into::into).collect())
    }
}
