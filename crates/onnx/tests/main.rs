//! Reading and writing models.

mod by_value;
mod check;
mod digits;
mod malformed;
mod models;
mod round_trip;
mod structure;
