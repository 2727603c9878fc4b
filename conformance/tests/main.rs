//! All conformance tests, in one binary.

#[path = "suite/eager.rs"]
mod eager;
#[path = "suite/goldens.rs"]
mod goldens;
#[path = "suite/tape.rs"]
mod tape;
