use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use lampyr_base::{Error, Result};

use super::saved::SavedHooks;

const GRAD: u8 = 1;
const INFERENCE: u8 = 2;
const HOOKS: u8 = 4;
/// Whether ops go onto the tape: gradients are on and inference mode is off. Follows from the two.
const TAPE: u8 = 8;
/// Ops go into the graph of [`crate::record`].
const RECORDER: u8 = 16;

thread_local! {
    static FLAGS: Cell<u8> = const { Cell::new(GRAD | TAPE) };
    static SAVED_HOOKS: RefCell<Vec<Pushed>> = const { RefCell::new(Vec::new()) };
}

/// What was pushed: hooks, or the reason why none may be used.
type Pushed = std::result::Result<Arc<dyn SavedHooks>, String>;

fn replace(bit: u8, on: bool) -> bool {
    let before = FLAGS.get();
    let now = if on { before | bit } else { before & !bit } & !TAPE;
    FLAGS.set(now | if now & (GRAD | INFERENCE) == GRAD { TAPE } else { 0 });
    before & bit != 0
}

/// Whether gradients are switched on for this thread.
pub fn is_grad_enabled() -> bool {
    FLAGS.get() & GRAD != 0
}

/// Whether ops of this thread are recorded: gradients are switched on and inference mode is off.
#[inline]
pub(crate) fn recording() -> bool {
    FLAGS.get() & TAPE != 0
}

/// Whether ops of this thread go into a graph, or onto the tape, where that knows something of their inputs.
#[inline]
pub(crate) fn watched(untouched: bool) -> bool {
    FLAGS.get() & if untouched { RECORDER } else { TAPE | RECORDER } != 0
}

/// Whether ops of this thread go into a graph.
#[inline]
pub(crate) fn is_watched_by_recorder() -> bool {
    FLAGS.get() & RECORDER != 0
}

/// Switches whether ops of this thread go into a graph; the state before.
pub(crate) fn watch_by_recorder(on: bool) -> bool {
    replace(RECORDER, on)
}

/// Switches recording for this thread; the state before.
pub fn set_grad_enabled(on: bool) -> bool {
    replace(GRAD, on)
}

/// Whether this thread is in inference mode.
pub fn is_inference_mode_enabled() -> bool {
    FLAGS.get() & INFERENCE != 0
}

/// Switches inference mode, in which nothing is recorded whatever the gradient mode; the state before.
pub fn set_inference_mode(on: bool) -> bool {
    replace(INFERENCE, on)
}

struct Restore(u8);

impl Drop for Restore {
    fn drop(&mut self) {
        const KEPT: u8 = HOOKS | RECORDER;
        FLAGS.set(FLAGS.get() & KEPT | self.0 & !KEPT);
    }
}

/// Runs `f` with recording switched, and back afterwards even when it panics.
pub fn with_grad_mode<T>(on: bool, f: impl FnOnce() -> T) -> T {
    let _restore = Restore(FLAGS.get());
    replace(GRAD, on);
    f()
}

/// Runs `f` without recording.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    with_grad_mode(false, f)
}

/// Runs `f` with recording, whatever the modes around it are.
pub(crate) fn recorded<T>(f: impl FnOnce() -> T) -> T {
    let _restore = Restore(FLAGS.get());
    replace(GRAD, true);
    replace(INFERENCE, false);
    f()
}

/// Tensors that ops of this thread keep for their gradients go through `hooks` until [`pop_saved_hooks`].
///
/// # Errors
/// Inside of [`disable_saved_hooks`], with its message.
pub fn push_saved_hooks(hooks: Arc<dyn SavedHooks>) -> Result<()> {
    SAVED_HOOKS.with(|all| {
        if let Some(Err(message)) = all.borrow().last() {
            return Err(Error::autograd(message.clone()));
        }
        all.borrow_mut().push(Ok(hooks));
        replace(HOOKS, true);
        Ok(())
    })
}

/// Forbids hooks on saved tensors in this thread, with the message of the error, until [`pop_saved_hooks`].
pub fn disable_saved_hooks(message: &str) {
    SAVED_HOOKS.with(|all| all.borrow_mut().push(Err(message.to_string())));
    replace(HOOKS, false);
}

/// Removes what was pushed last.
pub fn pop_saved_hooks() {
    SAVED_HOOKS.with(|all| {
        all.borrow_mut().pop();
        replace(HOOKS, matches!(all.borrow().last(), Some(Ok(_))));
    });
}

/// The hooks that saved tensors of this thread go through.
pub(crate) fn saved_hooks() -> Option<Arc<dyn SavedHooks>> {
    if FLAGS.get() & HOOKS == 0 {
        return None;
    }
    SAVED_HOOKS.with(|all| all.borrow().last().and_then(|h| h.as_ref().ok().cloned()))
}

static ANOMALY: AtomicU8 = AtomicU8::new(0);

/// Looks for mistakes in backward passes of all threads: failing nodes name the place of their forward call, and with
/// `check_nan` a gradient that is NaN is an error. The modes before.
pub fn set_detect_anomaly(on: bool, check_nan: bool) -> (bool, bool) {
    let new = u8::from(on) | u8::from(on && check_nan) << 1;
    let before = ANOMALY.swap(new, Ordering::Relaxed);
    (before & 1 != 0, before & 2 != 0)
}

/// Whether [`set_detect_anomaly`] is on, and whether it checks for NaN.
#[inline]
pub fn detect_anomaly() -> (bool, bool) {
    let now = ANOMALY.load(Ordering::Relaxed);
    (now & 1 != 0, now & 2 != 0)
}
