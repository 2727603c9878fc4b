//! All conformance tests, in one binary.

#[path = "suite/eager.rs"]
mod eager;
#[path = "suite/fuzz.rs"]
mod fuzz;
#[path = "suite/goldens.rs"]
mod goldens;
#[path = "suite/graph.rs"]
mod graph;
#[path = "suite/how_to_add.rs"]
mod how_to_add;
#[path = "suite/paths.rs"]
mod paths;
#[path = "suite/plans.rs"]
mod plans;
#[path = "suite/tape.rs"]
mod tape;
#[path = "suite/training.rs"]
mod training;
#[path = "suite/zoo.rs"]
mod zoo;
