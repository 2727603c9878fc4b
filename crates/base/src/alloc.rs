//! Placeholder.
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError {
    /// x
    pub requested: usize,
    /// x
    pub active: usize,
    /// x
    pub limit: Option<usize>,
}
/// x
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// x
    pub active_bytes: usize,
    /// x
    pub peak_bytes: usize,
    /// x
    pub cached_bytes: usize,
    /// x
    pub limit_bytes: Option<usize>,
    /// x
    pub allocations: u64,
    /// x
    pub cache_hits: u64,
}
