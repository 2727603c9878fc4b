//! The CPU thread pool: hot starts cost about a microsecond, idle workers sleep, and results never depend on the number
//! of threads.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::{Deref, DerefMut, Range};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::spread::Spread;

/// How long an idle worker spins before it sleeps: longer than what models do on one thread between parallel loops, since
/// waking a worker takes as long as a small layer.
pub const SPIN: Duration = Duration::from_millis(1);

/// How long a caller waiting for stragglers spins before it offers its core to others.
const STRAGGLERS: Duration = Duration::from_micros(200);

/// How long it goes on offering before it sleeps; to wake it costs more than most chunks take.
const PATIENCE: Duration = Duration::from_millis(5);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a chunk of some pool; a parallel loop started now runs inline, and a foreign kernel should
/// stay on one thread.
pub fn is_inside_pool() -> bool {
    INSIDE.get()
}

/// Sets [`INSIDE`] until dropped, also when a chunk panics.
struct InsideScope;

impl InsideScope {
    fn enter() -> InsideScope {
        INSIDE.set(true);
        InsideScope
    }
}

impl Drop for InsideScope {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// Keeps values that different threads write on different pairs of cache lines.
#[repr(align(128))]
struct Padded<T>(T);

#[derive(Clone, Copy)]
struct Job {
    run: *const (dyn Fn(usize) + Sync),
}

fn no_chunk(_: usize) {}

/// Where a thread takes chunks from. Threads keep their ends, so that a thread finds in its core's caches what it wrote
/// in the loop before, when both loops go over the same places.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

/// Chunks that wait: the first one in the upper half of a word, the one behind the last in the lower half. Claims that
/// fail move the ends past each other, by less than [`Ends::MOST`] before the next job sets them.
struct Ends(AtomicU64);

impl Ends {
    /// Most chunks of a job.
    const MOST: usize = 1 << 30;
    /// The first chunk of a job is kept as this, so that neither half overflows.
    const FIRST: u64 = 1 << 30;

    fn new() -> Ends {
        Ends(AtomicU64::new(Ends::FIRST << 32 | Ends::FIRST))
    }

    fn count(word: u64) -> usize {
        (word & u64::from(u32::MAX)).saturating_sub(word >> 32) as usize
    }

    fn left(&self) -> usize {
        Ends::count(self.0.load(SeqCst))
    }

    fn publish(&self, chunks: usize) {
        self.0.store(Ends::FIRST << 32 | (Ends::FIRST + chunks as u64), SeqCst);
    }

    /// A chunk, which is the caller's alone.
    fn claim(&self, end: End) -> Option<usize> {
        let (word, chunk) = match end {
            End::Front => {
                let word = self.0.fetch_add(1 << 32, SeqCst);
                (word, word >> 32)
            }
            End::Back => {
                let word = self.0.fetch_sub(1, SeqCst);
                (word, (word & u64::from(u32::MAX)).wrapping_sub(1))
            }
        };
        (Ends::count(word) > 0).then(|| chunk.wrapping_sub(Ends::FIRST) as usize)
    }

    /// Takes all that is left; how many that were.
    fn cancel(&self) -> usize {
        Ends::count(self.0.swap(Ends::FIRST << 32 | Ends::FIRST, SeqCst))
    }
}

/// `remaining` hands out the chunks, from both ends: see [`Ends`]. The caller returns only when `pending`, the number of
/// chunks not yet accounted for, is zero; so `job` and the closure it points to stay valid while any claim is open, and a
/// thread without a claim is never waited for.
struct Shared {
    remaining: Padded<Ends>,
    pending: Padded<AtomicUsize>,
    job: Padded<UnsafeCell<Job>>,
    busy: AtomicBool,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    sleep: Mutex<()>,
    work: Condvar,
    done: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    spread: Spread,
}

// SAFETY: `job` is written by the thread that holds `busy` while no claim is open, and read only under an open claim;
// the closure behind its pointer is `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Shared {
        Shared {
            remaining: Padded(Ends::new()),
            pending: Padded(AtomicUsize::new(0)),
            job: Padded(UnsafeCell::new(Job { run: &no_chunk })),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            sleep: Mutex::new(()),
            work: Condvar::new(),
            done: Condvar::new(),
            panic: Mutex::new(None),
            spread: Spread::new(),
        }
    }

    fn has_work(&self) -> bool {
        self.remaining.0.left() > 0
    }

    /// Runs chunks until none is left, then accounts for them.
    fn drain(&self, end: End) {
        let mut finished = 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while let Some(chunk) = self.remaining.0.claim(end) {
                finished += 1;
                // SAFETY: the claim just made is open until `pending` is decreased below, so the job is not replaced;
                // it was read from the publishing store or a later claim, hence the job written before is seen.
                let job = unsafe { *self.job.0.get() };
                // SAFETY: the caller keeps the closure alive until all claims are accounted for.
                unsafe { (*job.run)(chunk) };
            }
        }));
        if let Err(payload) = outcome {
            // The claim that panicked is still open, so this cancels chunks of the same job.
            finished += self.remaining.0.cancel();
            let mut first = lock(&self.panic);
            match &*first {
                None => *first = Some(payload),
                // Dropping a payload can panic, which would leave the caller waiting.
                Some(_) => std::mem::forget(payload),
            }
        }
        if finished > 0 && self.pending.0.fetch_sub(finished, SeqCst) == finished && self.caller_sleeps.load(SeqCst) {
            drop(lock(&self.sleep));
            self.done.notify_one();
        }
    }

    /// Spins until `ready` or for `limit`; whether `ready` came.
    fn spin_until(limit: Duration, ready: impl Fn() -> bool) -> bool {
        let mut start = None;
        loop {
            for _ in 0..64 {
                if ready() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() >= limit {
                return false;
            }
        }
    }

    fn wait_for_stragglers(&self) {
        let finished = || self.pending.0.load(SeqCst) == 0;
        if Self::spin_until(STRAGGLERS, finished) {
            return;
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            std::thread::yield_now();
            if finished() {
                return;
            }
        }
        let mut guard = lock(&self.sleep);
        self.caller_sleeps.store(true, SeqCst);
        while !finished() {
            guard = self.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, SeqCst);
    }

    /// Wakes one sleeper; it wakes the next, so that the caller pays for one futex call only.
    fn wake_one(&self) {
        if self.sleepers.load(SeqCst) > 0 {
            drop(lock(&self.sleep));
            self.work.notify_one();
        }
    }

    fn worker(&self, end: End) {
        INSIDE.set(true);
        self.spread.register();
        let ready = || self.has_work() || self.stop.load(SeqCst);
        while !self.stop.load(SeqCst) {
            if Self::spin_until(SPIN, ready) {
                self.drain(end);
                continue;
            }
            let mut guard = lock(&self.sleep);
            self.sleepers.fetch_add(1, SeqCst);
            while !ready() {
                guard = self.work.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, SeqCst);
            drop(guard);
            if self.remaining.0.left() > 1 {
                self.wake_one();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A set of worker threads that run the chunks of one parallel loop at a time, the calling thread taking part.
///
/// A loop runs inline, on the calling thread alone, when it has one chunk, when the pool has one thread, when it is
/// started from inside a chunk, when another thread uses the pool at that moment, and when the process was forked since
/// the pool was made ([`ThreadPool::global`] gives a fresh pool then). A chunk must not fork and go on in the child.
pub struct ThreadPool {
    shared: Arc<Shared>,
    threads: usize,
    generation: usize,
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller included; 0 counts as 1. Where the system refuses a thread, the pool
    /// has fewer.
    pub fn new(threads: usize) -> ThreadPool {
        watch_forks();
        let shared = Arc::new(Shared::new());
        let mut started = 1;
        while started < threads {
            let theirs = Arc::clone(&shared);
            let end = if started % 2 == 1 { End::Back } else { End::Front };
            let builder = std::thread::Builder::new().name(format!("lampyr-{started}"));
            if builder.spawn(move || theirs.worker(end)).is_err() {
                break;
            }
            started += 1;
        }
        ThreadPool { shared, threads: started, generation: GENERATION.load(SeqCst) }
    }

    /// The pool all kernels share, started on first use with [`set_num_threads`]'s number, else `LAMPYR_THREADS`, else
    /// the number of cores this process may use. Started anew after a fork.
    pub fn global() -> Arc<ThreadPool> {
        if let Some(pool) = GLOBAL.lock().as_ref().filter(|pool| pool.is_alive()) {
            return Arc::clone(pool);
        }
        let made = Arc::new(ThreadPool::new(wanted_threads()));
        let (pool, _surplus) = {
            let mut slot = GLOBAL.lock();
            match slot.as_ref().filter(|pool| pool.is_alive()).cloned() {
                Some(pool) => (pool, Some(made)),
                None => (Arc::clone(&made), slot.replace(made)),
            }
        };
        pool
    }

    /// Threads of this pool, the caller included.
    pub fn num_threads(&self) -> usize {
        self.threads
    }

    fn is_alive(&self) -> bool {
        self.generation == GENERATION.load(Relaxed)
    }

    /// Runs `body(0)` to `body(chunks - 1)`, each once, in any order and on any of the pool's threads; returns when all
    /// are done.
    ///
    /// # Panics
    /// When a chunk panics: chunks not yet begun are skipped and the first panic goes on in the caller. The pool stays
    /// usable.
    pub fn parallel_for(&self, chunks: usize, body: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        if chunks <= 1
            || self.threads == 1
            || chunks > Ends::MOST
            || is_inside_pool()
            || !self.is_alive()
            || shared.busy.compare_exchange(false, true, Acquire, Relaxed).is_err()
        {
            return (0..chunks).for_each(body);
        }
        let scope = InsideScope::enter();
        // SAFETY: only the lifetime changes. The pointer is followed under an open claim alone, and this function does
        // not return, nor unwind, before all claims are accounted for.
        let run = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(body)
        };
        // SAFETY: this thread holds `busy` and no claim is open, so nobody reads or writes the job now.
        unsafe { *shared.job.0.get() = Job { run } };
        shared.pending.0.store(chunks, Relaxed);
        shared.remaining.0.publish(chunks);
        let spinning = (self.threads - 1).saturating_sub(shared.sleepers.load(SeqCst));
        if chunks - 1 > spinning {
            shared.spread.make_way();
            shared.wake_one();
        }
        shared.drain(End::Front);
        shared.wait_for_stragglers();
        let panic = lock(&shared.panic).take();
        shared.busy.store(false, Release);
        drop(scope);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Cuts `0..len` into ranges of `grain` (the last one may be shorter) and runs `body` on each, as
    /// [`ThreadPool::parallel_for`] does. The borders depend on `len` and `grain` only, never on the number of threads.
    pub fn parallel_ranges(&self, len: usize, grain: usize, body: impl Fn(Range<usize>) + Sync) {
        let grain = grain.max(1);
        self.parallel_for(len.div_ceil(grain), &|chunk| {
            let start = chunk * grain;
            body(start..len.min(start.saturating_add(grain)));
        });
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // In a forked child the workers do not exist and `sleep` may be locked for ever.
        if self.is_alive() {
            self.shared.stop.store(true, SeqCst);
            drop(lock(&self.shared.sleep));
            self.shared.work.notify_all();
        }
    }
}

static GLOBAL: SpinMutex<Option<Arc<ThreadPool>>> = SpinMutex::new(None);
static WANTED: AtomicUsize = AtomicUsize::new(0);

/// How often this process and its ancestors forked since the first pool was made.
static GENERATION: AtomicUsize = AtomicUsize::new(0);

fn wanted_threads() -> usize {
    match WANTED.load(Relaxed) {
        0 => crate::knobs::THREADS
            .number()
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        n => n,
    }
}

/// Sets the number of threads of the global pool, the caller included; 0 goes back to the default. Loops that run now
/// finish on the pool they began on.
pub fn set_num_threads(threads: usize) {
    WANTED.store(threads, Relaxed);
    let old = GLOBAL.lock().take();
    drop(old);
}

/// Threads of the global pool, the caller included.
pub fn num_threads() -> usize {
    ThreadPool::global().num_threads()
}

fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(unix)]
        {
            extern "C" fn prepare() {
                std::mem::forget(GLOBAL.lock());
            }
            extern "C" fn parent() {
                // SAFETY: `prepare` locked it on this thread and forgot the guard.
                drop(unsafe { GLOBAL.forgotten_guard() });
            }
            extern "C" fn child() {
                GENERATION.fetch_add(1, SeqCst);
                parent();
            }
            // SAFETY: the handlers touch atomics only and stay in place for the life of the process.
            unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
        }
    });
}

/// A lock for sections of a few instructions. Unlike `std::sync::Mutex` a fork handler can hold it across a fork.
pub(crate) struct SpinMutex<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives access to one thread at a time.
unsafe impl<T: Send> Sync for SpinMutex<T> {}

/// Access to a locked [`SpinMutex`].
pub(crate) struct SpinGuard<'a, T>(&'a SpinMutex<T>);

impl<T> SpinMutex<T> {
    pub(crate) const fn new(value: T) -> SpinMutex<T> {
        SpinMutex { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        if self.locked.swap(true, Acquire) {
            self.lock_contended();
        }
        SpinGuard(self)
    }

    #[cold]
    fn lock_contended(&self) {
        let mut tries = 0u32;
        while self.locked.load(Relaxed) || self.locked.swap(true, Acquire) {
            tries += 1;
            if tries.is_multiple_of(128) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// The guard again, after it was forgotten.
    ///
    /// # Safety
    /// This thread, or the forking parent of this process, locked it and forgot the guard.
    pub(crate) unsafe fn forgotten_guard(&self) -> SpinGuard<'_, T> {
        SpinGuard(self)
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.0.locked.store(false, Release);
    }
}
