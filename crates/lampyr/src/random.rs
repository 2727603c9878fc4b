//! Random tensors from one generator: a seed and how many keys were drawn from it.

use std::sync::{Mutex, PoisonError};

use lampyr_base::{DType, Device, Dim, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::build::{RandomNormal, RandomUniform};
use lampyr_runtime::Tensor;

use crate::functional::one;

#[derive(Clone, Copy)]
struct Generator {
    seed: u64,
    drawn: u64,
}

static DEFAULT: Mutex<Generator> = Mutex::new(Generator { seed: 0x853c_49e6_748f_ea9b, drawn: 0 });

/// Starts the generator anew from `seed`.
pub fn manual_seed(seed: u64) {
    *DEFAULT.lock().unwrap_or_else(PoisonError::into_inner) = Generator { seed, drawn: 0 };
}

/// The next key (`uint64[2]`): what ops with random results take as an input.
pub fn next_key() -> Result<Tensor> {
    crate::init();
    let words = {
        let mut generator = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        generator.drawn += 1;
        [generator.seed, generator.drawn << KEY_SHIFT]
    };
    Tensor::from_host(&HostTensor::from_slice(&[2], &words)?, Device::CPU)
}

/// The second word of a key is a position in the stream of the first; draws are this many bits of positions apart.
const KEY_SHIFT: u32 = 32;

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::from(d)).collect()
}

/// Uniform in `[0, 1)`.
///
/// # Errors
/// When `dtype` is not a float type, or the shape is too large.
pub fn rand(shape: &[usize], dtype: DType) -> Result<Tensor> {
    one(&RandomUniform { shape: dims(shape), dtype }, &[&next_key()?])
}

/// Normal with mean 0 and variance 1.
///
/// # Errors
/// When `dtype` is not a float type, or the shape is too large.
pub fn randn(shape: &[usize], dtype: DType) -> Result<Tensor> {
    one(&RandomNormal { shape: dims(shape), dtype }, &[&next_key()?])
}
