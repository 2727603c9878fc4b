//! Instruction set tiers, chosen at run time.

pub mod activation;
pub mod level;
pub mod math;
pub mod softmax_block;
pub mod softmax_row;
pub mod transpose;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use level::{Job, Level, run};

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use lampyr_base::knobs;

/// What vector instructions the kernels may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tier {
    /// What every processor of the architecture has.
    Scalar,
    /// AArch64 Advanced SIMD.
    Neon,
    /// x86-64 AVX2, FMA and F16C.
    Avx2,
    /// x86-64 AVX-512 F, BW, DQ and VL on top.
    Avx512,
}

const UNSET: u8 = u8::MAX;
static FORCED: AtomicU8 = AtomicU8::new(UNSET);

impl Tier {
    const ALL: [Tier; 4] = [Tier::Scalar, Tier::Neon, Tier::Avx2, Tier::Avx512];

    /// `scalar`, `neon`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Neon => "neon",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Tier::Scalar => true,
            Tier::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => {
                Tier::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Avx2 | Tier::Avx512 => false,
        }
    }

    /// The tiers of this processor, lowest first.
    pub fn available() -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().filter(|t| t.is_available())
    }

    /// The tier in force: the best one of this processor up to the `LAMPYR_SIMD` knob.
    #[inline]
    pub fn current() -> Tier {
        match FORCED.load(Ordering::Relaxed) {
            UNSET => Tier::detect(),
            t => Tier::ALL[t as usize],
        }
    }

    fn detect() -> Tier {
        static BEST: OnceLock<Tier> = OnceLock::new();
        *BEST.get_or_init(|| {
            let cap = knobs::SIMD.value();
            let cap = Tier::ALL.into_iter().find(|t| t.name() == cap).unwrap_or(Tier::Avx512);
            Tier::available().filter(|t| *t <= cap).last().unwrap_or(Tier::Scalar)
        })
    }

    /// Puts another tier in force for the whole process, for tests; unavailable ones are ignored, `None` undoes it.
    #[doc(hidden)]
    pub fn force(tier: Option<Tier>) {
        let value = tier.filter(|t| t.is_available()).map_or(UNSET, |t| t as u8);
        FORCED.store(value, Ordering::Relaxed);
    }
}
