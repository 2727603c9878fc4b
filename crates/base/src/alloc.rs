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
