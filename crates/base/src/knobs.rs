//! Every environment knob is one typed, documented static listed in [`all`]; `lampyr knobs` prints them.

use std::sync::OnceLock;

/// A setting read once from an environment variable. A value that does not parse is reported by [`Knob::problem`] and
/// the default is used.
#[derive(Debug)]
pub struct Knob {
    /// Environment variable.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Default value, as text.
    pub default: &'static str,
    /// What values are accepted, as text.
    pub accepts: &'static str,
    check: fn(&str) -> bool,
    value: OnceLock<(String, Option<String>)>,
}

impl Knob {
    const fn new(
        name: &'static str,
        default: &'static str,
        accepts: &'static str,
        check: fn(&str) -> bool,
        doc: &'static str,
    ) -> Knob {
        Knob { name, doc, default, accepts, check, value: OnceLock::new() }
    }

    fn read(&self) -> &(String, Option<String>) {
        self.value.get_or_init(|| match std::env::var(self.name) {
            Ok(v) if (self.check)(&v) => (v, None),
            Ok(v) => (
                self.default.to_string(),
                Some(format!("{}={v} is not {}; using {}", self.name, self.accepts, self.default)),
            ),
            Err(_) => (self.default.to_string(), None),
        })
    }

    /// The value in force, as text.
    pub fn value(&self) -> &str {
        &self.read().0
    }

    /// Why the value given in the environment was not taken, if it was not.
    pub fn problem(&self) -> Option<&str> {
        self.read().1.as_deref()
    }

    /// The value as a whole number; `None` for `auto` and `none`.
    pub fn number(&self) -> Option<usize> {
        self.value().parse().ok()
    }

    /// The value as a switch.
    pub fn on(&self) -> bool {
        matches!(self.value(), "1" | "true" | "on")
    }
}

fn is_switch(v: &str) -> bool {
    matches!(v, "0" | "1" | "true" | "false" | "on" | "off")
}

fn is_number_or_auto(v: &str) -> bool {
    matches!(v, "auto" | "none") || v.parse::<usize>().is_ok()
}

fn is_positive_or_auto(v: &str) -> bool {
    v == "auto" || v.parse::<usize>().is_ok_and(|n| n > 0)
}

fn is_simd(v: &str) -> bool {
    matches!(v, "auto" | "scalar" | "avx2" | "avx512" | "neon")
}

fn is_fallback(v: &str) -> bool {
    matches!(v, "warn" | "error" | "silent")
}

/// Threads of the CPU pool, the caller included.
pub static THREADS: Knob = Knob::new(
    "LAMPYR_THREADS",
    "auto",
    "a positive number or auto",
    is_positive_or_auto,
    "threads of the CPU pool, the caller included; auto is the number of cores this process may use",
);
/// Highest SIMD tier used.
pub static SIMD: Knob = Knob::new(
    "LAMPYR_SIMD",
    "auto",
    "one of auto, scalar, avx2, avx512, neon",
    is_simd,
    "highest SIMD tier the CPU kernels use; auto takes the best the processor has",
);
/// What a missing kernel does.
pub static FALLBACK: Knob = Knob::new(
    "LAMPYR_FALLBACK",
    "warn",
    "one of warn, error, silent",
    is_fallback,
    "what happens when an op runs on the host reference because a device has no kernel for it",
);
/// Memory cap of the host allocator.
pub static MEMORY_LIMIT: Knob = Knob::new(
    "LAMPYR_MEMORY_LIMIT",
    "none",
    "a number of bytes or none",
    is_number_or_auto,
    "cap in bytes of the host allocator's live memory",
);
/// Verifier between compiler passes.
pub static VERIFY: Knob =
    Knob::new("LAMPYR_VERIFY", "0", "0 or 1", is_switch, "run the graph verifier between all compiler passes");
/// Number of compiler passes to run.
pub static STOP_AFTER: Knob = Knob::new(
    "LAMPYR_STOP_AFTER",
    "none",
    "a number or none",
    is_number_or_auto,
    "stop the compiler after this many passes, to find the one that breaks a model",
);

/// All knobs, in the order in which they are printed.
pub fn all() -> [&'static Knob; 6] {
    [&THREADS, &SIMD, &FALLBACK, &MEMORY_LIMIT, &VERIFY, &STOP_AFTER]
}
