//! The host allocator: 64-byte aligned blocks, kept for reuse when dropped, counted and capped.

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::{NonNull, null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use crate::pool::SpinMutex;

/// Alignment in bytes of every block.
pub const ALIGNMENT: usize = 64;

/// Blocks of at least this many bytes are aligned to it and may be backed by huge pages.
pub const HUGE: usize = 2 << 20;

/// Blocks up to this many bytes go through a cache of the thread.
const SMALL: usize = 4096;

/// Bytes a thread keeps in each of its small size classes before it gives half of them back.
const THREAD_CLASS_BYTES: usize = 64 << 10;

/// Blocks a thread takes from the shared list at once.
const REFILL: usize = 16;

/// Memory held may pass twice the peak of active memory by this much before the cache is trimmed; else programs with
/// ever new shapes would grow without end.
const CACHE_SLACK: usize = 256 << 20;

const NO_LIMIT: usize = usize::MAX;

/// Larger requests are refused, so that no size overflows when rounded up.
const MAX_BYTES: usize = isize::MAX as usize / 2;

/// Size classes step by an eighth of a power of two (64 bytes at least), so that at most an eighth is wasted.
const CLASSES: usize = class_of(MAX_BYTES) + 1;
const SMALL_CLASSES: usize = class_of(SMALL) + 1;
const EMPTY: usize = usize::MAX;

#[inline]
const fn class_of(bytes: usize) -> usize {
    let last = (bytes - 1) / ALIGNMENT;
    if last < 8 {
        return last;
    }
    let shift = last.ilog2() as usize - 3;
    shift * 8 + (last >> shift)
}

#[inline]
const fn class_size(class: usize) -> usize {
    if class < 16 { (class + 1) * ALIGNMENT } else { (class % 8 + 9) << (class / 8 - 1) << ALIGNMENT.ilog2() }
}

fn class_layout(class: usize) -> Layout {
    let size = class_size(class);
    let alignment = if size >= HUGE { HUGE } else { ALIGNMENT };
    // panic-ok: `MAX_BYTES` keeps every class size, rounded up to the alignment, below `isize::MAX`.
    Layout::from_size_align(size, alignment).expect("class sizes make valid layouts")
}

/// What an allocator holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Bytes in living blocks, size classes' rounding included.
    pub active_bytes: usize,
    /// Highest `active_bytes` since the start or the last [`CachingAllocator::reset_peak`].
    pub peak_bytes: usize,
    /// Bytes kept for reuse.
    pub cached_bytes: usize,
    /// Cap on `active_bytes`, if one is set.
    pub limit_bytes: Option<usize>,
    /// Blocks handed out so far; empty ones do not count.
    pub allocations: u64,
    /// How many of them were served from the cache.
    pub cache_hits: u64,
}

/// An allocation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError {
    /// Bytes asked for.
    pub requested: usize,
    /// Bytes in living blocks at that moment.
    pub active: usize,
    /// The limit that would be passed; `None` when the system refused.
    pub limit: Option<usize>,
}

/// Free blocks of one size class, linked through their first word.
struct FreeList {
    head: *mut u8,
    count: usize,
}

// SAFETY: the list owns its blocks.
unsafe impl Send for FreeList {}

impl FreeList {
    const fn new() -> FreeList {
        FreeList { head: null_mut(), count: 0 }
    }

    #[inline]
    fn push(&mut self, block: NonNull<u8>) {
        // SAFETY: a free block is ours alone, at least 64 bytes long and aligned for a pointer.
        unsafe { block.cast::<*mut u8>().write(self.head) };
        self.head = block.as_ptr();
        self.count += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let block = NonNull::new(self.head)?;
        // SAFETY: `push` stored the next pointer there.
        self.head = unsafe { block.cast::<*mut u8>().read() };
        self.count -= 1;
        Some(block)
    }

    fn take(&mut self) -> FreeList {
        std::mem::replace(self, FreeList::new())
    }
}

/// The small blocks a thread keeps. Caches are never freed: the next thread takes over that of a dead one.
#[repr(align(128))]
struct ThreadCache {
    lists: SpinMutex<[FreeList; SMALL_CLASSES]>,
    allocations: AtomicU64,
    hits: AtomicU64,
}

/// Adds one to a counter that only one thread writes at a time.
#[inline]
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

struct Registered {
    cache: &'static ThreadCache,
    owned: bool,
}

/// The caches of this thread, one per allocator it used.
struct Local(Vec<(&'static CachingAllocator, &'static ThreadCache)>);

impl Drop for Local {
    fn drop(&mut self) {
        LAST.set((null(), None));
        for (allocator, cache) in self.0.drain(..) {
            allocator.retire(cache);
        }
    }
}

thread_local! {
    static LOCAL: RefCell<Local> = const { RefCell::new(Local(Vec::new())) };
    /// The cache used last and its allocator: without a destructor, hence cheap to reach.
    static LAST: Cell<(*const CachingAllocator, Option<&'static ThreadCache>)> = const { Cell::new((null(), None)) };
}

/// An allocator that keeps dropped blocks for reuse. All methods may be called from any thread.
///
/// In a child made by `fork` the global allocator goes on to work; one made by [`CachingAllocator::leak`] must not be
/// used there if another thread used it during the fork.
pub struct CachingAllocator {
    active: AtomicUsize,
    peak: AtomicUsize,
    held: AtomicUsize,
    limit: AtomicUsize,
    allocations: AtomicU64,
    hits: AtomicU64,
    lists: [SpinMutex<FreeList>; CLASSES],
    caches: SpinMutex<Vec<Registered>>,
}

impl CachingAllocator {
    fn new(limit: Option<usize>) -> CachingAllocator {
        CachingAllocator {
            active: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit.unwrap_or(NO_LIMIT)),
            allocations: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            lists: [const { SpinMutex::new(FreeList::new()) }; CLASSES],
            caches: SpinMutex::new(Vec::new()),
        }
    }

    /// The allocator of all host tensors, its limit taken from `LAMPYR_MEMORY_LIMIT` at first.
    pub fn global() -> &'static CachingAllocator {
        static GLOBAL: OnceLock<CachingAllocator> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            watch_forks();
            CachingAllocator::new(crate::knobs::MEMORY_LIMIT.number())
        })
    }

    /// A separate allocator that lives as long as the process.
    pub fn leak(limit: Option<usize>) -> &'static CachingAllocator {
        Box::leak(Box::new(CachingAllocator::new(limit)))
    }

    /// A block of `bytes` bytes with unspecified contents; zero bytes are fine and cost nothing.
    ///
    /// # Errors
    /// When active memory would pass the limit, or when the system has no memory left even after the cache is trimmed.
    #[inline]
    pub fn allocate(&'static self, bytes: usize) -> Result<Block, AllocError> {
        if bytes == 0 {
            return Ok(Block {
                ptr: NonNull::<Line>::dangling().cast(),
                len: AtomicUsize::new(0),
                class: EMPTY,
                allocator: self,
            });
        }
        let active = self.active.load(Relaxed);
        if bytes > MAX_BYTES {
            return Err(AllocError { requested: bytes, active, limit: self.limit() });
        }
        let class = class_of(bytes);
        self.check_limit(bytes, class_size(class), active)?;
        let cached = if class < SMALL_CLASSES { self.take_small(class) } else { self.take_shared(class) };
        let hit = cached.is_some();
        let Some(ptr) = cached.or_else(|| self.take_from_system(class)) else {
            self.uncount(hit);
            return Err(AllocError { requested: bytes, active, limit: None });
        };
        if let Err(refused) = self.activate(bytes, class_size(class)) {
            self.uncount(hit);
            self.put_back(ptr, class);
            return Err(refused);
        }
        Ok(Block { ptr, len: AtomicUsize::new(bytes), class, allocator: self })
    }

    /// Takes back what a take counted, since the allocation failed. The shared counters may wrap below zero; their
    /// sums with the threads' counters do not.
    #[cold]
    fn uncount(&self, hit: bool) {
        self.allocations.fetch_sub(1, Relaxed);
        self.hits.fetch_sub(hit.into(), Relaxed);
    }

    fn limit(&self) -> Option<usize> {
        Some(self.limit.load(Relaxed)).filter(|&limit| limit != NO_LIMIT)
    }

    #[inline]
    fn check_limit(&self, requested: usize, size: usize, active: usize) -> Result<usize, AllocError> {
        match active.checked_add(size) {
            Some(next) if next <= self.limit.load(Relaxed) => Ok(next),
            _ => Err(AllocError { requested, active, limit: self.limit() }),
        }
    }

    /// Counts `size` as active, unless that passes the limit. Only memory already there is counted, so that a refusal
    /// never shows in the peak.
    #[inline]
    fn activate(&self, requested: usize, size: usize) -> Result<(), AllocError> {
        let mut active = self.active.load(Relaxed);
        loop {
            let next = self.check_limit(requested, size, active)?;
            match self.active.compare_exchange_weak(active, next, Relaxed, Relaxed) {
                Ok(_) => {
                    if next > self.peak.load(Relaxed) {
                        self.peak.fetch_max(next, Relaxed);
                    }
                    return Ok(());
                }
                Err(now) => active = now,
            }
        }
    }

    #[inline]
    fn thread_cache(&'static self) -> Option<&'static ThreadCache> {
        match LAST.get() {
            (allocator, Some(cache)) if std::ptr::eq(allocator, self) => Some(cache),
            _ => self.look_up_cache(),
        }
    }

    fn look_up_cache(&'static self) -> Option<&'static ThreadCache> {
        let known = LOCAL.try_with(|local| {
            local.borrow().0.iter().find(|(allocator, _)| std::ptr::eq(*allocator, self)).map(|(_, cache)| *cache)
        });
        let cache = match known {
            Ok(None) => self.adopt(),
            Ok(cache) => cache,
            // The thread is ending and has given its caches back.
            Err(_) => return None,
        };
        LAST.set((self, cache));
        cache
    }

    #[cold]
    fn adopt(&'static self) -> Option<&'static ThreadCache> {
        let mut caches = self.caches.lock();
        let cache = match caches.iter_mut().find(|c| !c.owned) {
            Some(free) => {
                free.owned = true;
                free.cache
            }
            None => {
                let cache: &'static ThreadCache = Box::leak(Box::new(ThreadCache {
                    lists: SpinMutex::new([const { FreeList::new() }; SMALL_CLASSES]),
                    allocations: AtomicU64::new(0),
                    hits: AtomicU64::new(0),
                }));
                caches.push(Registered { cache, owned: true });
                cache
            }
        };
        drop(caches);
        LOCAL.try_with(|local| local.borrow_mut().0.push((self, cache))).ok()?;
        Some(cache)
    }

    fn retire(&self, cache: &'static ThreadCache) {
        for (class, list) in cache.lists.lock().iter_mut().enumerate() {
            let mut shared = self.lists[class].lock();
            while let Some(block) = list.pop() {
                shared.push(block);
            }
        }
        if let Some(entry) = self.caches.lock().iter_mut().find(|c| std::ptr::eq(c.cache, cache)) {
            entry.owned = false;
        }
    }

    #[inline]
    fn take_small(&'static self, class: usize) -> Option<NonNull<u8>> {
        let Some(cache) = self.thread_cache() else { return self.take_shared(class) };
        let mut lists = cache.lists.lock();
        bump(&cache.allocations);
        let list = &mut lists[class];
        if list.count == 0 {
            let mut shared = self.lists[class].lock();
            while list.count < REFILL
                && let Some(block) = shared.pop()
            {
                list.push(block);
            }
        }
        let block = list.pop()?;
        bump(&cache.hits);
        Some(block)
    }

    fn take_shared(&self, class: usize) -> Option<NonNull<u8>> {
        self.allocations.fetch_add(1, Relaxed);
        let block = self.lists[class].lock().pop()?;
        self.hits.fetch_add(1, Relaxed);
        Some(block)
    }

    #[cold]
    fn take_from_system(&self, class: usize) -> Option<NonNull<u8>> {
        let layout = class_layout(class);
        let held = self.held.fetch_add(layout.size(), SeqCst).saturating_add(layout.size());
        let slack = self.peak.load(Relaxed).saturating_mul(2).saturating_add(CACHE_SLACK);
        if held > self.limit.load(Relaxed).min(slack) {
            self.trim();
        }
        // SAFETY: no class has size zero.
        let allocate = || NonNull::new(unsafe { std::alloc::alloc(layout) });
        let block = allocate().or_else(|| {
            self.trim();
            allocate()
        });
        match block {
            None => {
                self.held.fetch_sub(layout.size(), SeqCst);
            }
            Some(block) if layout.size() >= HUGE => {
                prefer_huge_pages(block, layout.size());
            }
            Some(_) => {}
        }
        block
    }

    #[inline]
    fn put_back(&'static self, ptr: NonNull<u8>, class: usize) {
        match if class < SMALL_CLASSES { self.thread_cache() } else { None } {
            Some(cache) => {
                let mut lists = cache.lists.lock();
                let list = &mut lists[class];
                list.push(ptr);
                let keep = THREAD_CLASS_BYTES / class_size(class);
                if list.count > keep {
                    let mut shared = self.lists[class].lock();
                    while list.count > keep / 2
                        && let Some(block) = list.pop()
                    {
                        shared.push(block);
                    }
                }
            }
            None => self.lists[class].lock().push(ptr),
        }
    }

    /// Returns all cached memory, that of other threads included, to the system.
    pub fn trim(&self) {
        let free = |class: usize, mut list: FreeList| {
            let layout = class_layout(class);
            while let Some(block) = list.pop() {
                // SAFETY: blocks of this class were allocated with this layout, and the list owned this one.
                unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
                self.held.fetch_sub(layout.size(), SeqCst);
            }
        };
        for registered in self.caches.lock().iter() {
            for class in 0..SMALL_CLASSES {
                let list = registered.cache.lists.lock()[class].take();
                free(class, list);
            }
        }
        for (class, list) in self.lists.iter().enumerate() {
            let list = list.lock().take();
            free(class, list);
        }
    }

    /// Caps active memory at `limit` bytes; cached memory is trimmed where active and cached together would pass it.
    /// Living blocks stay, even beyond a lower limit.
    pub fn set_limit(&self, limit: Option<usize>) {
        self.limit.store(limit.unwrap_or(NO_LIMIT), Relaxed);
        if limit.is_some_and(|limit| self.held.load(SeqCst) > limit) {
            self.trim();
        }
    }

    /// What the allocator holds; exact while no other thread allocates or frees.
    pub fn stats(&self) -> MemoryStats {
        let active = self.active.load(SeqCst);
        let mut allocations = self.allocations.load(Relaxed);
        let mut cache_hits = self.hits.load(Relaxed);
        for registered in self.caches.lock().iter() {
            allocations = allocations.wrapping_add(registered.cache.allocations.load(Relaxed));
            cache_hits = cache_hits.wrapping_add(registered.cache.hits.load(Relaxed));
        }
        MemoryStats {
            active_bytes: active,
            peak_bytes: self.peak.load(Relaxed),
            cached_bytes: self.held.load(SeqCst).saturating_sub(active),
            limit_bytes: self.limit(),
            allocations,
            cache_hits,
        }
    }

    /// Lets the peak start again from what is active now.
    pub fn reset_peak(&self) {
        self.peak.store(self.active.load(Relaxed), Relaxed);
    }
}

/// Only its alignment matters: it makes the pointer of an empty block.
#[repr(align(64))]
struct Line;

/// Memory from a [`CachingAllocator`], given back to it on drop. The contents are unspecified at first.
pub struct Block {
    ptr: NonNull<u8>,
    len: AtomicUsize,
    class: usize,
    allocator: &'static CachingAllocator,
}

// SAFETY: a block owns its memory and hands out a bare pointer only.
unsafe impl Send for Block {}
// SAFETY: as for `Send`.
unsafe impl Sync for Block {}

impl Block {
    /// Start of the memory, aligned to [`ALIGNMENT`]; dangling when the block is empty.
    #[inline]
    pub fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    /// Bytes asked for.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Whether the block has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the block as free while its owner keeps it for reuse. [`Block::unpark`] must come before it is used or
    /// dropped.
    #[inline]
    pub fn park(&self) {
        if self.class != EMPTY {
            self.allocator.active.fetch_sub(class_size(self.class), Relaxed);
        }
    }

    /// Counts a parked block as allocated anew, with `len` bytes asked for. False when that passes the limit: the block
    /// must then be dropped; when `len` passes its capacity, too.
    #[inline]
    pub fn unpark(&self, len: usize) -> bool {
        if self.class == EMPTY {
            return len == 0;
        }
        let size = class_size(self.class);
        let active = self.allocator.active.fetch_add(size, Relaxed) + size;
        if active > self.allocator.limit.load(Relaxed) || len > size || len == 0 {
            return false;
        }
        if active > self.allocator.peak.load(Relaxed) {
            self.allocator.peak.fetch_max(active, Relaxed);
        }
        if let Some(cache) = self.allocator.thread_cache() {
            bump(&cache.allocations);
            bump(&cache.hits);
        }
        self.len.store(len, Relaxed);
        true
    }

    /// Bytes that may be used: `len` rounded up to the size class.
    #[inline]
    pub fn capacity(&self) -> usize {
        if self.class == EMPTY { 0 } else { class_size(self.class) }
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        if self.class != EMPTY {
            self.allocator.put_back(self.ptr, self.class);
            self.allocator.active.fetch_sub(class_size(self.class), Relaxed);
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("ptr", &self.ptr).field("len", &self.len()).finish()
    }
}

/// Asks the system for huge pages where it has them; a block that was not touched yet then costs far fewer page faults.
fn prefer_huge_pages(block: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is an allocation of ours; the advice changes no contents, and it may fail.
    unsafe {
        libc::madvise(block.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE)
    };
    let _ = (block, bytes);
}

/// Uninitialised elements outside any cache and limit, aligned to cache lines, and to huge pages where there are as many.
#[derive(Debug)]
pub struct Aligned<T> {
    data: NonNull<T>,
    layout: Layout,
}

// SAFETY: it owns its elements, as a vector does.
unsafe impl<T: Send> Send for Aligned<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Aligned<T> {}

impl<T: Copy> Aligned<T> {
    /// Room for `len` elements; `None` when there is no memory for them.
    pub fn new(len: usize) -> Option<Aligned<T>> {
        let bytes = len.checked_mul(size_of::<T>())?.max(1);
        let alignment = if bytes >= HUGE { HUGE } else { 64 }.max(align_of::<T>());
        let layout = Layout::from_size_align(bytes, alignment).ok()?;
        // SAFETY: the size is not zero.
        let data = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
        if bytes >= HUGE {
            prefer_huge_pages(data, bytes);
        }
        Some(Aligned { data: data.cast(), layout })
    }

    /// The first element.
    pub fn as_ptr(&self) -> *mut T {
        self.data.as_ptr()
    }
}

impl<T> Drop for Aligned<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.data.as_ptr().cast(), self.layout) };
    }
}

/// Holds the global allocator's locks across a fork, so that the child finds them free and the lists whole.
fn watch_forks() {
    #[cfg(unix)]
    {
        extern "C" fn prepare() {
            let allocator = CachingAllocator::global();
            let caches = allocator.caches.lock();
            for registered in caches.iter() {
                std::mem::forget(registered.cache.lists.lock());
            }
            std::mem::forget(caches);
            for list in &allocator.lists {
                std::mem::forget(list.lock());
            }
        }
        extern "C" fn release() {
            let allocator = CachingAllocator::global();
            for list in &allocator.lists {
                // SAFETY: `prepare` locked it and forgot the guard.
                drop(unsafe { list.forgotten_guard() });
            }
            // SAFETY: as above.
            let caches = unsafe { allocator.caches.forgotten_guard() };
            for registered in caches.iter() {
                // SAFETY: as above; `caches` was locked all the time, so these are the same ones.
                drop(unsafe { registered.cache.lists.forgotten_guard() });
            }
        }
        // SAFETY: the handlers use spin locks and atomics only, and stay in place for the life of the process.
        unsafe { libc::pthread_atfork(Some(prepare), Some(release), Some(release)) };
    }
}
