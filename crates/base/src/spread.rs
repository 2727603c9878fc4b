//! Keeps sleeping workers off the processor of the thread that wakes them. The scheduler likes to wake a thread where
//! its waker runs; a worker there would share one core with the caller while another one idles.

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{Mutex, PoisonError};

    struct Worker {
        id: libc::pid_t,
        /// The processor that was taken from it.
        without: Option<usize>,
    }

    /// The workers of a pool, and the processor they were told to avoid.
    pub(crate) struct Spread {
        avoided: AtomicUsize,
        workers: Mutex<Vec<Worker>>,
    }

    impl Spread {
        pub(crate) fn new() -> Spread {
            Spread { avoided: AtomicUsize::new(usize::MAX), workers: Mutex::new(Vec::new()) }
        }

        /// Adds the calling thread, a worker.
        pub(crate) fn register(&self) {
            // SAFETY: takes no argument and cannot fail.
            let id = unsafe { libc::gettid() };
            self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Worker { id, without: None });
            self.avoided.store(usize::MAX, Relaxed);
        }

        /// Tells the workers to avoid the processor of the calling thread, when it is not the one they avoid already.
        /// Where there are fewer processors than threads they keep what they have.
        pub(crate) fn make_way(&self) {
            // SAFETY: takes no argument; a negative result is an error.
            let Ok(here) = usize::try_from(unsafe { libc::sched_getcpu() }) else { return };
            if here >= libc::CPU_SETSIZE as usize || self.avoided.swap(here, Relaxed) == here {
                return;
            }
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            let needed = workers.len();
            for worker in workers.iter_mut() {
                let size = std::mem::size_of::<libc::cpu_set_t>();
                // SAFETY: a set of bits, for which zeros are a value; its size is given, and the processors are below
                // `CPU_SETSIZE`. Failure leaves the worker as it was.
                unsafe {
                    let mut set: libc::cpu_set_t = std::mem::zeroed();
                    if libc::sched_getaffinity(worker.id, size, &mut set) != 0 {
                        continue;
                    }
                    if let Some(before) = worker.without.take() {
                        libc::CPU_SET(before, &mut set);
                    }
                    let rest = libc::CPU_COUNT(&set) - i32::from(libc::CPU_ISSET(here, &set));
                    if libc::CPU_ISSET(here, &set) && rest as usize >= needed {
                        libc::CPU_CLR(here, &mut set);
                        worker.without = Some(here);
                    }
                    libc::sched_setaffinity(worker.id, size, &set);
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
