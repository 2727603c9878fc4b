//! Keeps sleeping workers off the processor of the thread that wakes them. The scheduler likes to wake a thread where
//! its waker runs; a worker there would share one core with the caller while another one idles.

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{Mutex, PoisonError};

    const NONE: usize = usize::MAX;

    /// The workers of a pool, and the processor they were told to avoid.
    pub(crate) struct Spread {
        avoided: AtomicUsize,
        workers: Mutex<Vec<libc::pid_t>>,
    }

    impl Spread {
        pub(crate) fn new() -> Spread {
            Spread { avoided: AtomicUsize::new(NONE), workers: Mutex::new(Vec::new()) }
        }

        /// Adds the calling thread, a worker.
        pub(crate) fn register(&self) {
            // SAFETY: takes no argument and cannot fail.
            let id = unsafe { libc::gettid() };
            self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }

        /// Tells the workers to avoid the processor of the calling thread, when it is not the one they avoid already.
        /// Where there are fewer processors than threads they keep what they have.
        pub(crate) fn make_way(&self) {
            // SAFETY: takes no argument; a negative result is an error.
            let Ok(here) = usize::try_from(unsafe { libc::sched_getcpu() }) else { return };
            if self.avoided.load(Relaxed) == here {
                return;
            }
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.avoided.swap(here, Relaxed);
            if here >= libc::CPU_SETSIZE as usize || (before != NONE && before >= libc::CPU_SETSIZE as usize) {
                return;
            }
            for &worker in workers.iter() {
                let size = std::mem::size_of::<libc::cpu_set_t>();
                // SAFETY: a set of bits, for which zeros are a value; its size is given, and the processors are below
                // `CPU_SETSIZE`. Failure leaves the worker as it was.
                unsafe {
                    let mut set: libc::cpu_set_t = std::mem::zeroed();
                    if libc::sched_getaffinity(worker, size, &mut set) != 0 {
                        continue;
                    }
                    if before != NONE {
                        libc::CPU_SET(before, &mut set);
                    }
                    libc::CPU_CLR(here, &mut set);
                    if libc::CPU_COUNT(&set) as usize >= workers.len() {
                        libc::sched_setaffinity(worker, size, &set);
                    }
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::Spread;

/// Other systems place threads by themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Spread;

#[cfg(not(target_os = "linux"))]
impl Spread {
    pub(crate) fn new() -> Spread {
        Spread
    }

    pub(crate) fn register(&self) {}

    pub(crate) fn make_way(&self) {}
}
