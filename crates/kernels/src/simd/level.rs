//! Running generic code under the instruction set of a tier.

use super::Tier;

/// What generic loops must know of the instruction set they are compiled for.
pub trait Level: Copy + 'static {
    /// Whether a fused multiply-add is one instruction.
    const FMA: bool;
}

/// What every processor of the architecture has.
#[derive(Clone, Copy, Debug)]
pub struct Baseline;

impl Level for Baseline {
    const FMA: bool = cfg!(target_arch = "aarch64");
}

/// [`Tier::Avx2`].
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

impl Level for Avx2 {
    const FMA: bool = true;
}

/// [`Tier::Avx512`].
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

impl Level for Avx512 {
    const FMA: bool = true;
}

/// `a * b + c`, fused where that is fast.
#[inline(always)]
pub fn fma32<L: Level>(a: f32, b: f32, c: f32) -> f32 {
    if L::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// [`fma32`] of doubles.
#[inline(always)]
pub fn fma64<L: Level>(a: f64, b: f64, c: f64) -> f64 {
    if L::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Work that is compiled once per tier. `run` must be `#[inline(always)]`, and so must be what it calls in loops.
pub trait Job {
    /// What it yields.
    type Output;
    /// Does it.
    fn run<L: Level>(self) -> Self::Output;
}

/// Runs `job` compiled for `tier`, which must be available; the caller got it from [`Tier::current`].
#[inline]
pub fn run<J: Job>(tier: Tier, job: J) -> J::Output {
    match tier {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Tier::current` gives available tiers only.
        Tier::Avx512 => unsafe { avx512(job) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Tier::Avx2 => unsafe { avx2(job) },
        _ => job.run::<Baseline>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn avx512<J: Job>(job: J) -> J::Output {
    job.run::<Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2<J: Job>(job: J) -> J::Output {
    job.run::<Avx2>()
}
