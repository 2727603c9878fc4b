//! Whether ops that may give other bits from run to run are let through.

use std::sync::atomic::{AtomicU8, Ordering};

use lampyr_base::{Error, Result};
use lampyr_ir::Op;

use crate::trace;

/// What happens to an op whose results differ from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deterministic {
    /// It runs.
    Off,
    /// It runs, and a warning is noted.
    Warn,
    /// It is refused.
    Always,
}

static MODE: AtomicU8 = AtomicU8::new(0);

/// What happens now.
pub fn deterministic() -> Deterministic {
    match MODE.load(Ordering::Relaxed) {
        0 => Deterministic::Off,
        1 => Deterministic::Warn,
        _ => Deterministic::Always,
    }
}

/// Chooses what happens, for the whole process.
pub fn set_deterministic(mode: Deterministic) {
    MODE.store(mode as u8, Ordering::Relaxed);
}

/// # Errors
/// When `op` may give other bits from run to run, and that is refused.
#[inline]
pub(crate) fn check(op: &dyn Op) -> Result<()> {
    let mode = deterministic();
    if mode == Deterministic::Off || op.deterministic() { Ok(()) } else { refuse(op, mode) }
}

#[cold]
fn refuse(op: &dyn Op, mode: Deterministic) -> Result<()> {
    if mode == Deterministic::Warn {
        trace::warn(&format!("deterministic:{}", op.name()), || {
            format!("{} may give other results from run to run", op.name())
        });
        return Ok(());
    }
    Err(Error::unsupported(format!("a deterministic form of {}", op.name()))
        .with_op(op.name())
        .with_help("use_deterministic_algorithms(False), or warn_only=True, lets it run"))
}
