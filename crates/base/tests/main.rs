//! Integration tests of `lampyr-base`, in one binary.

mod alloc;
mod dim;
mod pool;

/// Runs `body` in a forked child and returns whether it ended well within ten seconds.
#[cfg(unix)]
fn in_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `body` and leaves with `_exit`, never returning into the test harness; the alarm kills it
    // should it hang.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork failed");
        if child == 0 {
            libc::alarm(10);
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
            libc::_exit(if well { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}
