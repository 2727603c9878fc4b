//! What ran, where, why and for how long: a ring buffer that eager and compiled execution write when it is switched on,
//! and the list of warnings. Nothing here prints.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use lampyr_backend::Reason;
use lampyr_base::{Device, Error, Result, Shape, knobs};

/// One thing that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Op, or `copy`, `transfer`, `allocate`, `bind`.
    pub op: &'static str,
    /// Graph node; empty in eager mode.
    pub node: Arc<str>,
    /// Kernel; empty where none ran.
    pub kernel: &'static str,
    /// Device.
    pub device: Device,
    /// Stable reason code.
    pub reason: &'static str,
    /// Nanoseconds since the trace was first used.
    pub start_ns: u64,
    /// Duration in nanoseconds; on devices with queues, that of the launch.
    pub duration_ns: u64,
    /// Shapes of the inputs, then of the outputs.
    pub shapes: Vec<Shape>,
    /// Small number of the thread.
    pub thread: u64,
}

struct Ring {
    events: VecDeque<Event>,
    capacity: usize,
    dropped: u64,
}

static ENABLED: AtomicBool = AtomicBool::new(false);
static RING: Mutex<Ring> = Mutex::new(Ring { events: VecDeque::new(), capacity: 0, dropped: 0 });
static WARNINGS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

fn ring() -> std::sync::MutexGuard<'static, Ring> {
    RING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Switches the trace on with room for `capacity` events; the oldest go first. Forgets earlier events.
pub fn enable(capacity: usize) {
    *ring() = Ring { events: VecDeque::new(), capacity: capacity.max(1), dropped: 0 };
    ENABLED.store(true, Ordering::Release);
}

/// Switches the trace off; events stay until they are taken.
pub fn disable() {
    ENABLED.store(false, Ordering::Release);
}

/// Whether the trace is on; callers ask before they collect what an event needs.
#[inline]
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Nanoseconds since the trace was first used.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn thread_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|n| *n)
}

/// Adds an event; its thread is filled in.
pub fn record(mut event: Event) {
    if !enabled() {
        return;
    }
    event.thread = thread_number();
    let mut ring = ring();
    if ring.events.len() >= ring.capacity {
        ring.events.pop_front();
        ring.dropped += 1;
    }
    ring.events.push_back(event);
}

/// All events, oldest first; the buffer is empty afterwards.
pub fn take() -> Vec<Event> {
    ring().events.drain(..).collect()
}

/// Events that were pushed out of the buffer since it was enabled.
pub fn dropped() -> u64 {
    ring().dropped
}

/// Events in the Chrome trace format (`chrome://tracing`, Perfetto).
pub fn chrome_json(events: &[Event]) -> String {
    let mut out = String::from("{\"traceEvents\":[");
    for (i, e) in events.iter().enumerate() {
        let shapes = e.shapes.iter().map(|s| format!("{:?}", s.as_slice())).collect::<Vec<_>>().join(" ");
        let _ = write!(
            out,
            "{}{{\"name\":{},\"cat\":{},\"ph\":\"X\",\"ts\":{:.3},\"dur\":{:.3},\"pid\":0,\"tid\":{},\"args\":{{\"node\":{},\
             \"kernel\":{},\"device\":{},\"reason\":{},\"shapes\":{}}}}}",
            if i > 0 { "," } else { "" },
            quote(e.op),
            quote(e.reason),
            e.start_ns as f64 / 1e3,
            e.duration_ns as f64 / 1e3,
            e.thread,
            quote(&e.node),
            quote(e.kernel),
            quote(&e.device.to_string()),
            quote(e.reason),
            quote(&shapes),
        );
    }
    out.push_str("]}");
    out
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
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
    out
}

/// Notes a warning once per `key`.
pub fn warn(key: &str, message: impl FnOnce() -> String) {
    let mut all = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if !all.contains_key(key) {
        all.insert(key.to_string(), message());
    }
}

/// All warnings so far, by key.
pub fn warnings() -> Vec<(String, String)> {
    let all = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// All warnings so far; they are forgotten, and may be noted again.
pub fn take_warnings() -> Vec<String> {
    std::mem::take(&mut *WARNINGS.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
}

/// Called before an op runs on the host reference because `device` has no kernel for it: one warning per op and device.
/// A user's own op has no other form, so nothing is said of it.
///
/// # Errors
/// [`lampyr_base::ErrorKind::Unsupported`] when the knob `LAMPYR_FALLBACK` says so.
pub fn fallback(op: &str, device: Device, reason: Reason) -> Result<()> {
    if reason == Reason::UserOp {
        return Ok(());
    }
    match knobs::FALLBACK.value() {
        "silent" => Ok(()),
        "error" => Err(Error::unsupported(format!("{op} on {device} ({reason})"))
            .with_op(op)
            .with_help("set LAMPYR_FALLBACK=warn to run it on the host reference")),
        _ => {
            warn(&format!("fallback:{op}:{device}"), || {
                format!("{op} has no kernel on {device} ({reason}); it runs on the slow host reference")
            });
            Ok(())
        }
    }
}
