//! Measured seconds per call, kept in a small versioned text file between runs.
//!
//! Line 1 is `lampyr-tuning 1`; every other line is `device<TAB>op<TAB>inputs<TAB>seconds`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use lampyr_base::{Device, Error, Result};
use lampyr_ir::{Fact, Op};

const HEADER: &str = "lampyr-tuning 1";

/// Measured costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    entries: BTreeMap<(String, String, String), f64>,
}

fn key(device: Device, op: &dyn Op, inputs: &[&Fact]) -> (String, String, String) {
    let inputs = inputs.iter().map(|f| f.to_string()).collect::<Vec<_>>().join(" ");
    let clean = |s: String| s.replace(['\t', '\n', '\r'], " ");
    (device.to_string(), op.name().to_string(), clean(inputs))
}

impl Tuning {
    /// The file's costs; none when it does not exist or was written by another version.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn load(path: &Path) -> Result<Tuning> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Tuning::default()),
            Err(e) => return Err(Error::io(path, e)),
        };
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Ok(Tuning::default());
        }
        let mut tuning = Tuning::default();
        for (i, line) in lines.enumerate() {
            let parts: Vec<&str> = line.split('\t').collect();
            let seconds = parts.get(3).and_then(|s| s.parse::<f64>().ok()).filter(|s| s.is_finite() && *s >= 0.0);
            let ([device, op, inputs, _], Some(seconds)) = (parts.as_slice(), seconds) else {
                return Err(Error::format(format!("{}: line {} is damaged", path.display(), i + 2))
                    .with_help("delete the file; it is made again"));
            };
            let key = (device.to_string(), op.to_string(), inputs.to_string());
            tuning.entries.insert(key, seconds);
        }
        Ok(tuning)
    }

    /// Writes all costs; a reader sees the old file or the new one, never half of it.
    pub fn save(&self, path: &Path) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut text = format!("{HEADER}\n");
        for ((device, op, inputs), seconds) in &self.entries {
            let _ = writeln!(text, "{device}\t{op}\t{inputs}\t{seconds:e}");
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("tmp{}-{number}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            Error::io(path, e)
        })
    }

    /// Measured seconds of a call.
    pub fn seconds(&self, device: Device, op: &dyn Op, inputs: &[&Fact]) -> Option<f64> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(&key(device, op, inputs)).copied()
    }

    /// Notes a measurement; the smallest one is kept.
    pub fn note(&mut self, device: Device, op: &dyn Op, inputs: &[&Fact], seconds: f64) {
        let slot = self.entries.entry(key(device, op, inputs)).or_insert(f64::INFINITY);
        *slot = slot.min(seconds);
    }

    /// Number of measurements.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without measurements.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
