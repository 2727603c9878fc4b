use std::cell::Cell;

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether ops of this thread are recorded.
pub fn is_grad_enabled() -> bool {
    ENABLED.get()
}

/// Switches recording for this thread; the state before.
pub fn set_grad_enabled(on: bool) -> bool {
    ENABLED.replace(on)
}

/// Runs `f` with recording switched, and back afterwards even when it panics.
pub fn with_grad_mode<T>(on: bool, f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(on));
    f()
}

/// Runs `f` without recording.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    with_grad_mode(false, f)
}
