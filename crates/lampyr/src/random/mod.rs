//! Random tensors. Numbers depend on the seed of a [`Generator`], on how often it was drawn from, and on the place of an
//! element, never on the number of threads.

mod draw;
mod sample;

use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lampyr_base::{Device, Error, Result};
use lampyr_ir::HostTensor;
use lampyr_ops::philox::Key;
use lampyr_runtime::Tensor;

pub use draw::{
    cauchy, exponential, geometric, log_normal, most, normal, rand, rand_normal, randint, randn, random_integers,
    uniform,
};
pub use sample::{bernoulli, multinomial, poisson, randperm};

#[derive(Clone, Copy, Debug)]
struct State {
    seed: u64,
    drawn: u64,
}

/// A source of random numbers: a seed, and how many tensors were drawn from it.
#[derive(Debug)]
pub struct Generator(Mutex<State>);

/// What a generator starts from when no seed was given; PyTorch's number.
const SEED: u64 = 67_280_421_310_721;

static DEFAULT: Generator = Generator(Mutex::new(State { seed: SEED, drawn: 0 }));

/// The second word of a key is a position in the stream of the first; draws are this many bits of positions apart.
const KEY_SHIFT: u32 = 32;

impl Default for Generator {
    fn default() -> Generator {
        Generator::new(SEED)
    }
}

impl Generator {
    /// A generator that starts from `seed`.
    pub const fn new(seed: u64) -> Generator {
        Generator(Mutex::new(State { seed, drawn: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts anew from `seed`.
    pub fn manual_seed(&self, seed: u64) {
        *self.lock() = State { seed, drawn: 0 };
    }

    /// Starts anew from a seed that differs from call to call, and returns it.
    pub fn seed(&self) -> u64 {
        // The keys of hash maps come from the system's source of random numbers.
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        hasher.write_u128(now.map_or(0, |t| t.as_nanos()));
        // Python's float holds it exactly, as users that write it to a JSON file expect.
        let seed = hasher.finish() >> 11;
        self.manual_seed(seed);
        seed
    }

    /// The seed it started from.
    pub fn initial_seed(&self) -> u64 {
        self.lock().seed
    }

    /// All there is to save: seed and number of draws, 8 bytes each, little-endian.
    pub fn state(&self) -> [u8; 16] {
        let state = *self.lock();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&state.seed.to_le_bytes());
        bytes[8..].copy_from_slice(&state.drawn.to_le_bytes());
        bytes
    }

    /// Goes back to a state that [`Generator::state`] gave.
    ///
    /// # Errors
    /// When there are not 16 bytes.
    pub fn set_state(&self, bytes: &[u8]) -> Result<()> {
        let words = match bytes.as_chunks::<8>() {
            ([seed, drawn], []) => [u64::from_le_bytes(*seed), u64::from_le_bytes(*drawn)],
            _ => {
                return Err(Error::value(format!("{} bytes are not the state of a generator", bytes.len()))
                    .with_expected("the 16 bytes that get_state() gives"));
            }
        };
        *self.lock() = State { seed: words[0], drawn: words[1] };
        Ok(())
    }

    /// The key of the next draw.
    pub fn next(&self) -> Key {
        let mut state = self.lock();
        state.drawn = state.drawn.wrapping_add(1);
        let turns = (state.drawn >> KEY_SHIFT).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Key { seed: state.seed ^ turns, offset: state.drawn << KEY_SHIFT }
    }

    /// The key of the next draw as a tensor (`uint64[2]`): what ops with random results take as an input.
    pub fn next_key(&self) -> Result<Tensor> {
        crate::init();
        lampyr_runtime::batch::check_random(false)?;
        let key = self.next();
        Tensor::from_host(&HostTensor::from_slice(&[2], &[key.seed, key.offset])?, Device::CPU)
    }
}

/// The generator that is used where none is given.
pub fn default_generator() -> &'static Generator {
    &DEFAULT
}

/// Starts the default generator anew from `seed`.
pub fn manual_seed(seed: u64) {
    DEFAULT.manual_seed(seed);
}

/// The next key of the default generator.
pub fn next_key() -> Result<Tensor> {
    DEFAULT.next_key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back() {
        let g = Generator::new(5);
        g.next();
        let state = g.state();
        let (a, b) = (g.next(), g.next());
        assert_ne!(a, b);
        g.set_state(&state).unwrap();
        assert_eq!((g.next(), g.next()), (a, b));
        assert_eq!(g.initial_seed(), 5);
        assert!(g.set_state(&[0; 15]).is_err() && g.set_state(&[0; 17]).is_err());
        assert_eq!(g.seed(), g.initial_seed());
    }
}
