//! The counter-based random number generator Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
//! easy as 1, 2, 3", SC 2011). Element `i` of a tensor depends on the key and on `i` alone, so any split of the work
//! gives the same numbers.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::{Fact, HostTensor};

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Seed and offset of a stream, the two elements of a `uint64` key tensor. Elements `4k..4k + 4` of a tensor use
/// counter `offset + k`, so the next tensor's offset is larger by a quarter of the elements, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Philox key.
    pub seed: u64,
    /// First counter.
    pub offset: u64,
}

/// Four random words for a counter and a key.
pub fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

impl Key {
    /// The key in a `uint64` tensor of two elements.
    pub fn of(tensor: &HostTensor) -> Result<Key> {
        match tensor.as_slice::<u64>() {
            Some(&[seed, offset]) => Ok(Key { seed, offset }),
            _ => Err(wrong(&tensor.describe())),
        }
    }

    /// Checks the fact of a key tensor.
    pub fn check(fact: &Fact) -> Result<()> {
        let ok = match fact {
            Fact::Tensor(t) => {
                t.dtype == DType::U64
                    && t.rank() == 1
                    && t.shape.iter().all(|d| matches!(d, Dim::Known(2) | Dim::Expr(_)))
            }
            _ => false,
        };
        if ok { Ok(()) } else { Err(wrong(&fact.to_string())) }
    }

    /// Block `k` of a stream; stream 0 holds the high words, stream 1 the low words of 64-bit numbers.
    pub fn block(&self, k: u64, stream: u32) -> [u32; 4] {
        let n = self.offset.wrapping_add(k);
        block([n as u32, (n >> 32) as u32, stream, 0], [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// The word of element `i`.
    pub fn word(&self, i: u64) -> u32 {
        self.block(i / 4, 0)[(i % 4) as usize]
    }

    /// 53 random bits for element `i`: the word of `i` above 21 bits of stream 1.
    pub fn bits53(&self, i: u64) -> u64 {
        let low = self.block(i / 4, 1)[(i % 4) as usize];
        (u64::from(self.word(i)) << 21) | u64::from(low >> 11)
    }

    /// Element `i` of a uniform tensor over `0 <= u < 1`: as many high bits of the word as `dtype` has in its
    /// significand (8, 11, 24 or 53), so that no rounding reaches 1.
    pub fn uniform(&self, i: u64, dtype: DType) -> f64 {
        match dtype {
            DType::F64 => self.bits53(i) as f64 * (-53f64).exp2(),
            DType::F16 => f64::from(self.word(i) >> 21) * (-11f64).exp2(),
            DType::BF16 => f64::from(self.word(i) >> 24) * (-8f64).exp2(),
            _ => f64::from(self.word(i) >> 8) * (-24f64).exp2(),
        }
    }

    /// Element `i` of a standard normal tensor: Box and Muller's transform of the uniform numbers of the pair
    /// `2j, 2j + 1` that holds `i`; 24 bits each, for `float64` 53.
    pub fn normal(&self, i: u64, dtype: DType) -> f64 {
        let unit = |i: u64| match dtype {
            DType::F64 => (self.bits53(i), (-53f64).exp2()),
            _ => (u64::from(self.word(i) >> 8), (-24f64).exp2()),
        };
        let ((a, step), (b, _)) = (unit(i & !1), unit(i | 1));
        let radius = (-2.0 * ((a + 1) as f64 * step).ln()).sqrt();
        let angle = std::f64::consts::TAU * (b as f64 * step);
        if i.is_multiple_of(2) { radius * angle.cos() } else { radius * angle.sin() }
    }

    /// Whether dropout with `ratio` keeps element `i`: the high 24 bits of its word are at least `ratio * 2^24`.
    pub fn keeps(&self, i: u64, ratio: f64) -> bool {
        self.word(i) >> 8 >= threshold(ratio)
    }
}

/// Words whose high 24 bits are below this number are dropped by dropout.
pub fn threshold(ratio: f64) -> u32 {
    (ratio * 24f64.exp2()).round() as u32
}

fn wrong(got: &str) -> Error {
    Error::dtype(format!("{got} is not a random key")).with_expected("uint64[2]: seed and offset")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123 1.14 (`kat_vectors`, philox4x32 with 10 rounds).
    #[test]
    fn known_answers() {
        assert_eq!(block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(block([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(block(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn numbers_have_the_moments_of_their_distribution() {
        let key = Key { seed: 7, offset: 3 };
        for dtype in [DType::F32, DType::F64] {
            let n = 40_000;
            let uniform: Vec<f64> = (0..n).map(|i| key.uniform(i, dtype)).collect();
            let mean = uniform.iter().sum::<f64>() / n as f64;
            assert!((mean - 0.5).abs() < 0.01 && uniform.iter().all(|u| (0.0..1.0).contains(u)));
            let normal: Vec<f64> = (0..n).map(|i| key.normal(i, dtype)).collect();
            let mean = normal.iter().sum::<f64>() / n as f64;
            let variance = normal.iter().map(|x| x * x).sum::<f64>() / n as f64;
            assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        }
    }
}
