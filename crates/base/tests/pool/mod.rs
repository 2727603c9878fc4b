//! The thread pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use lampyr_base::pool::{ThreadPool, is_inside_pool, num_threads, set_num_threads};

fn each_chunk_once(pool: &ThreadPool, chunks: usize) -> bool {
    let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
    pool.parallel_for(chunks, &|i| {
        counts[i].fetch_add(1, Relaxed);
    });
    counts.iter().all(|c| c.load(Relaxed) == 1)
}

fn sum(pool: &ThreadPool, chunks: usize) -> usize {
    let total = AtomicUsize::new(0);
    pool.parallel_for(chunks, &|i| {
        total.fetch_add(i + 1, Relaxed);
    });
    total.into_inner()
}

#[test]
fn every_chunk_runs_once() {
    for threads in [0, 1, 2, 3, 8] {
        let pool = ThreadPool::new(threads);
        assert_eq!(pool.num_threads(), threads.max(1));
        for chunks in [0, 1, 2, 3, 7, 64, 1000, 100_000] {
            assert!(each_chunk_once(&pool, chunks), "{threads} threads, {chunks} chunks");
        }
    }
}

#[test]
fn many_short_loops() {
    let pool = ThreadPool::new(4);
    for round in 0..50_000 {
        let chunks = 1 + round % 9;
        assert_eq!(sum(&pool, chunks), chunks * (chunks + 1) / 2);
    }
}

#[test]
fn workers_wake_from_sleep_and_take_part() {
    let pool = ThreadPool::new(2);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        let threads = Mutex::new(Vec::new());
        // Both chunks wait for each other, so two threads must meet.
        let arrived = AtomicUsize::new(0);
        pool.parallel_for(2, &|_| {
            threads.lock().unwrap().push(std::thread::current().id());
            arrived.fetch_add(1, Relaxed);
            let start = Instant::now();
            while arrived.load(Relaxed) < 2 {
                assert!(start.elapsed() < Duration::from_secs(10), "no worker came");
                std::thread::yield_now();
            }
        });
        let threads = threads.into_inner().unwrap();
        assert_ne!(threads[0], threads[1]);
    }
}

#[test]
fn a_caller_sleeps_while_a_straggler_works() {
    let pool = ThreadPool::new(2);
    let caller = std::thread::current().id();
    for _ in 0..5 {
        let done = AtomicUsize::new(0);
        pool.parallel_for(2, &|_| {
            let pause = if std::thread::current().id() == caller { 1 } else { 10 };
            std::thread::sleep(Duration::from_millis(pause));
            done.fetch_add(1, Relaxed);
        });
        assert_eq!(done.into_inner(), 2);
    }
}

#[test]
fn nested_loops_run_inline() {
    let pool = ThreadPool::new(3);
    let total = AtomicUsize::new(0);
    assert!(!is_inside_pool());
    pool.parallel_for(16, &|_| {
        assert!(is_inside_pool());
        let outer = std::thread::current().id();
        pool.parallel_for(16, &|_| {
            assert_eq!(std::thread::current().id(), outer);
            total.fetch_add(1, Relaxed);
        });
        ThreadPool::global().parallel_for(4, &|_| {
            total.fetch_add(1, Relaxed);
        });
    });
    assert_eq!(total.into_inner(), 16 * 20);
    assert!(!is_inside_pool());
}

#[test]
fn concurrent_callers() {
    let pool = ThreadPool::new(3);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for round in 0..3000 {
                    let chunks = round % 33;
                    assert_eq!(sum(&pool, chunks), chunks * (chunks + 1) / 2);
                }
            });
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_stays_usable() {
    let pool = ThreadPool::new(3);
    for round in 0..200 {
        let bad = round % 50;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.parallel_for(50, &|i| {
                if i == bad {
                    std::panic::resume_unwind(Box::new(i));
                }
            })
        }));
        assert_eq!(*outcome.unwrap_err().downcast::<usize>().unwrap(), bad);
        assert!(!is_inside_pool());
        assert!(each_chunk_once(&pool, 100));
    }
    let all = catch_unwind(AssertUnwindSafe(|| pool.parallel_for(50, &|_| std::panic::resume_unwind(Box::new(7)))));
    assert!(all.is_err());
    assert!(each_chunk_once(&pool, 100));
}

#[test]
fn borders_do_not_depend_on_the_number_of_threads() {
    for (len, grain) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 7), (10, 0), (3, usize::MAX), (usize::MAX, 1 << 60)] {
        let borders: Vec<Vec<(usize, usize)>> = [1, 2, 5]
            .map(|threads| {
                let seen = Mutex::new(Vec::new());
                ThreadPool::new(threads)
                    .parallel_ranges(len, grain, |range| seen.lock().unwrap().push((range.start, range.end)));
                let mut seen = seen.into_inner().unwrap();
                seen.sort_unstable();
                seen
            })
            .into();
        assert_eq!(borders[0], borders[1]);
        assert_eq!(borders[0], borders[2]);
        let ends: Vec<usize> = borders[0].iter().map(|b| b.1).collect();
        let starts: Vec<usize> = borders[0].iter().map(|b| b.0).collect();
        assert_eq!(ends.last().copied().unwrap_or(0), len);
        assert_eq!(starts.first().copied().unwrap_or(0), 0);
        assert!(starts.iter().skip(1).eq(ends.iter().take(ends.len().saturating_sub(1))));
    }
}

#[test]
fn the_global_pool_is_resized() {
    let before = ThreadPool::global();
    set_num_threads(3);
    assert_eq!(num_threads(), 3);
    assert!(each_chunk_once(&ThreadPool::global(), 100));
    assert!(each_chunk_once(&before, 100));
    set_num_threads(0);
    assert!(num_threads() >= 1);
}

#[cfg(unix)]
#[test]
fn a_forked_child_gets_a_new_pool() {
    let inherited = ThreadPool::new(3);
    let global = ThreadPool::global();
    assert!(each_chunk_once(&inherited, 100) && each_chunk_once(&global, 100));
    for round in 0..10 {
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(crate::in_child(|| {
            let fresh = ThreadPool::new(2);
            let arrived = AtomicUsize::new(0);
            fresh.parallel_for(2, &|_| {
                arrived.fetch_add(1, Relaxed);
                while arrived.load(Relaxed) < 2 {
                    std::thread::yield_now();
                }
            });
            let global_is_new = !std::sync::Arc::ptr_eq(&global, &ThreadPool::global());
            let all = each_chunk_once(&ThreadPool::global(), 1000) && each_chunk_once(&inherited, 1000);
            set_num_threads(2);
            all && global_is_new && each_chunk_once(&ThreadPool::global(), 1000)
        }));
    }
}

#[cfg(unix)]
#[test]
fn forks_while_other_threads_use_the_global_pool() {
    let stop = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while stop.load(Relaxed) == 0 {
                    assert_eq!(sum(&ThreadPool::global(), 20), 210);
                }
            });
        }
        let well = (0..20).all(|_| crate::in_child(|| sum(&ThreadPool::global(), 100) == 5050));
        stop.store(1, Relaxed);
        assert!(well);
    });
}

#[cfg(unix)]
#[test]
fn an_idle_pool_uses_no_processor_time() {
    fn used() -> Duration {
        // SAFETY: an all-zero `rusage` is valid, and `getrusage` fills it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
            usage
        };
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        time(usage.ru_utime) + time(usage.ru_stime)
    }
    // A child of its own, lest other tests' work be counted.
    assert!(crate::in_child(|| {
        let pool = ThreadPool::new(4);
        assert!(each_chunk_once(&pool, 1000));
        std::thread::sleep(Duration::from_millis(20));
        let before = used();
        std::thread::sleep(Duration::from_millis(200));
        used() - before < Duration::from_millis(20)
    }));
}

#[cfg(target_os = "linux")]
#[test]
fn woken_workers_avoid_the_callers_processor() {
    fn allowed(thread: libc::pid_t) -> Vec<usize> {
        // SAFETY: zeros are a value of the set, its size is given, and only processors below `CPU_SETSIZE` are asked for.
        unsafe {
            let mut set = std::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &mut set), 0);
            (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
        }
    }
    fn stay_on(cpus: &[usize]) {
        // SAFETY: as above.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
            assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set), 0);
        }
    }
    let usable = allowed(0);
    let pool = ThreadPool::new(2);
    let caller = std::thread::current().id();
    for &cpu in usable.iter().take(2) {
        stay_on(&[cpu]);
        std::thread::sleep(Duration::from_millis(50));
        let worker = AtomicUsize::new(0);
        pool.parallel_for(2, &|_| {
            if std::thread::current().id() != caller {
                // SAFETY: takes no argument.
                worker.store(unsafe { libc::gettid() } as usize, Relaxed);
            }
            // The caller keeps its chunk until the worker has the other.
            let start = Instant::now();
            while worker.load(Relaxed) == 0 && start.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
        });
        let left: Vec<usize> = usable.iter().copied().filter(|&c| c != cpu || usable.len() == 1).collect();
        assert_eq!(allowed(worker.load(Relaxed) as libc::pid_t), left, "the caller is on processor {cpu}");
    }
    stay_on(&usable);
}
