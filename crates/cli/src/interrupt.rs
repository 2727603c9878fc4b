//! Ctrl-C, and the progress bar that it has to take off the terminal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lampyr::{Error, Result};

/// Exit status after Ctrl-C: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn bar() -> MutexGuard<'static, Option<ProgressBar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes Ctrl-C end the process cleanly.
///
/// # Errors
/// When the system refuses the handler.
pub fn install() -> Result<()> {
    let handler = || {
        if let Some(bar) = bar().take() {
            bar.finish_and_clear();
        }
        std::process::exit(INTERRUPTED)
    };
    ctrlc::set_handler(handler).map_err(|e| Error::internal(format!("cannot handle Ctrl-C: {e}")).with_source(e))
}

/// A progress bar on standard error while it lives; nothing is drawn where that is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `len` steps.
    pub fn new(what: &'static str, len: usize) -> Progress {
        let made = ProgressBar::with_draw_target(Some(len as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} ({eta})") {
            made.set_style(style);
        }
        made.set_message(what);
        *bar() = Some(made.clone());
        Progress(made)
    }

    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *bar() = None;
        self.0.finish_and_clear();
    }
}
