//! The host allocator.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;

use lampyr_base::alloc::{ALIGNMENT, AllocError, Block, CachingAllocator, HUGE, MemoryStats};

fn fill(block: &Block, value: u8) {
    // SAFETY: the block owns `capacity` bytes and only this test writes them now.
    unsafe { block.ptr().write_bytes(value, block.capacity()) };
}

fn holds(block: &Block, value: u8) -> bool {
    // SAFETY: `fill` initialised `capacity` bytes.
    unsafe { std::slice::from_raw_parts(block.ptr().as_ptr(), block.capacity()) }.iter().all(|&b| b == value)
}

#[test]
fn sizes_and_alignment() {
    let allocator = CachingAllocator::leak(None);
    let near = |n: usize| n - 1..=n + 1;
    for bytes in (1..5000).chain((13..25).flat_map(|p| near(1 << p))).chain(near(3 * HUGE)) {
        let block = allocator.allocate(bytes).unwrap();
        assert_eq!(block.len(), bytes);
        assert!(block.capacity() >= bytes);
        assert!(block.capacity() <= (bytes + bytes / 8 + ALIGNMENT).next_multiple_of(ALIGNMENT), "{bytes}");
        let alignment = if bytes >= HUGE { HUGE } else { ALIGNMENT };
        assert!(block.ptr().as_ptr().addr().is_multiple_of(alignment));
        fill(&block, 1);
        assert_eq!(allocator.stats().active_bytes, block.capacity());
    }
    assert_eq!(allocator.stats().active_bytes, 0);
}

#[test]
fn empty_blocks_cost_nothing() {
    let allocator = CachingAllocator::leak(Some(0));
    let block = allocator.allocate(0).unwrap();
    assert!(block.is_empty() && block.capacity() == 0);
    assert!(block.ptr().as_ptr().addr().is_multiple_of(ALIGNMENT));
    drop(block);
    assert_eq!(allocator.stats(), MemoryStats { limit_bytes: Some(0), ..MemoryStats::default() });
}

#[test]
fn memory_is_reused_counted_and_trimmed() {
    let allocator = CachingAllocator::leak(None);
    for bytes in [16, 4096, 5000, 1 << 20, 8 << 20] {
        let first = allocator.allocate(bytes).unwrap();
        let (ptr, size) = (first.ptr(), first.capacity());
        drop(first);
        assert_eq!(allocator.stats().cached_bytes, size);
        let before = allocator.stats();
        let second = allocator.allocate(bytes).unwrap();
        assert_eq!(second.ptr(), ptr);
        let after = allocator.stats();
        assert_eq!((after.active_bytes, after.cached_bytes), (size, 0));
        assert_eq!((after.allocations, after.cache_hits), (before.allocations + 1, before.cache_hits + 1));
        assert_eq!(after.peak_bytes, size);
        drop(second);
        allocator.trim();
        allocator.reset_peak();
        let end = allocator.stats();
        assert_eq!((end.active_bytes, end.cached_bytes, end.peak_bytes), (0, 0, 0));
    }
    let stats = allocator.stats();
    assert_eq!((stats.allocations, stats.cache_hits), (10, 5));
}

#[test]
fn the_limit_holds() {
    let allocator = CachingAllocator::leak(Some(1 << 20));
    let half = allocator.allocate(1 << 19).unwrap();
    let refused = allocator.allocate((1 << 19) + 1).unwrap_err();
    assert_eq!(refused, AllocError { requested: (1 << 19) + 1, active: 1 << 19, limit: Some(1 << 20) });
    let other = allocator.allocate(1 << 19).unwrap();
    let before = allocator.stats();
    assert!(allocator.allocate(1).is_err());
    assert_eq!(allocator.stats(), before);
    assert_eq!(allocator.stats().peak_bytes, 1 << 20);
    drop((half, other));
    assert_eq!(allocator.stats().cached_bytes, 1 << 20);
    // Cached blocks of another size give way.
    let whole = allocator.allocate(1 << 20).unwrap();
    assert_eq!(allocator.stats().cached_bytes, 0);
    drop(whole);
    allocator.set_limit(Some(100));
    assert_eq!(allocator.stats().cached_bytes, 0);
    assert!(allocator.allocate(101).is_err());
    allocator.set_limit(None);
    assert!(allocator.allocate(4 << 20).is_ok());
}

#[test]
fn impossible_sizes_are_errors() {
    let allocator = CachingAllocator::leak(None);
    for bytes in [usize::MAX, isize::MAX as usize, isize::MAX as usize / 2, 1 << 60] {
        let refused = allocator.allocate(bytes).unwrap_err();
        assert_eq!(refused, AllocError { requested: bytes, active: 0, limit: None });
    }
    let stats = allocator.stats();
    assert_eq!(stats, MemoryStats::default());
}

#[test]
fn blocks_cross_threads_and_counts_stay_exact() {
    const ROUNDS: usize = 5000;
    let allocator = CachingAllocator::leak(None);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (sender, receiver) = channel::<(Block, u8)>();
            scope.spawn(move || {
                let mut kept = Vec::new();
                for round in 0..ROUNDS {
                    let bytes = 1 + (round * 37 + thread as usize * 1000) % 10_000;
                    let block = allocator.allocate(bytes).unwrap();
                    let value = round as u8 ^ thread;
                    fill(&block, value);
                    match round % 3 {
                        0 => kept.push((block, value)),
                        1 => sender.send((block, value)).unwrap(),
                        _ => assert!(holds(&block, value)),
                    }
                    if round % 1000 == 999 {
                        allocator.trim();
                    }
                    if kept.len() > 50 {
                        assert!(kept.drain(..).all(|(block, value)| holds(&block, value)));
                    }
                }
            });
            scope.spawn(move || assert!(receiver.iter().all(|(block, value)| holds(&block, value))));
        }
    });
    let stats = allocator.stats();
    assert_eq!((stats.active_bytes, stats.allocations), (0, 4 * ROUNDS as u64));
    assert!(stats.peak_bytes > 0 && stats.cached_bytes > 0 && stats.cache_hits > 0);
    allocator.trim();
    assert_eq!(allocator.stats().cached_bytes, 0);
}

#[test]
fn a_dying_thread_gives_its_blocks_back() {
    let allocator = CachingAllocator::leak(None);
    let address = std::thread::spawn(|| allocator.allocate(100).unwrap().ptr().as_ptr().addr()).join().unwrap();
    let block = allocator.allocate(100).unwrap();
    assert_eq!(block.ptr().as_ptr().addr(), address);
    assert_eq!(allocator.stats().cached_bytes, 0);
}

#[test]
fn threads_respect_the_limit_together() {
    let allocator = CachingAllocator::leak(Some(100 * 64));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let blocks: Vec<_> = (0..60).map_while(|_| allocator.allocate(64).ok()).collect();
                    assert!(allocator.stats().active_bytes <= 100 * 64);
                    drop(blocks);
                }
            });
        }
    });
    let stats = allocator.stats();
    assert_eq!(stats.active_bytes, 0);
    assert!(stats.peak_bytes <= 100 * 64);
    let all: Vec<_> = (0..100).map_while(|_| allocator.allocate(64).ok()).collect();
    assert_eq!(all.len(), 100);
}

#[cfg(unix)]
#[test]
fn the_global_allocator_survives_forks() {
    let allocator = CachingAllocator::global();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for bytes in [64, 100_000] {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    drop(allocator.allocate(bytes).unwrap());
                }
            });
        }
        let well = (0..20).all(|_| {
            crate::in_child(|| {
                let blocks: Vec<_> = (0..200).map(|i| allocator.allocate(i * 100).unwrap()).collect();
                drop(blocks);
                allocator.trim();
                allocator.allocate(64).is_ok()
            })
        });
        stop.store(true, Relaxed);
        assert!(well);
    });
}
