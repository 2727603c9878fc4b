//! Modules, optimisers and trainings.

mod examples;
mod goldens;
mod layers;
mod modules;
mod numbers;
mod optimisers;
mod trainings;
