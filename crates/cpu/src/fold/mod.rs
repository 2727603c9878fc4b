//! Folding axes away: sums, maxima and the like, with an order of operations that depends on shapes and layouts only.

mod plan;
mod run;
mod types;

pub(crate) use plan::Plan;
pub(crate) use run::{BLOCK, TILE, Tiles, fold, fold_tile};
pub(crate) use types::{Fold, Max, Min, Prod, Squares, Sum, Wide};
