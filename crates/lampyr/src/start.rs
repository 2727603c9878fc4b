use std::sync::Once;

/// Makes the CPU known. Every entry point of this crate calls it; code that uses [`crate::runtime`] directly calls it
/// once itself.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(lampyr_cpu::register);
}

/// Lets the peak of the CPU's memory statistics start again from what is in use.
pub fn reset_peak_memory() {
    lampyr_base::alloc::CachingAllocator::global().reset_peak();
}
