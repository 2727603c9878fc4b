//! The `lampyr` command line.
fn main() {}
