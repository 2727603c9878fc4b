//! The random numbers of `lampyr_ops::philox`, many counters at a time.

use lampyr_ops::philox::Key;

use super::level::Level;

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const COUNTERS: usize = 16;

/// Fills `out` with the words of elements `4 * first ..` of stream `stream`.
#[inline(always)]
pub fn words<L: Level>(key: Key, stream: u32, first: u64, out: &mut [u32]) {
    for (i, out) in out.chunks_mut(4 * COUNTERS).enumerate() {
        let start = key.offset.wrapping_add(first).wrapping_add((i * COUNTERS) as u64);
        let mut c0 = [0u32; COUNTERS];
        let mut c1 = [0u32; COUNTERS];
        for k in 0..COUNTERS {
            let n = start.wrapping_add(k as u64);
            c0[k] = n as u32;
            c1[k] = (n >> 32) as u32;
        }
        let mut c2 = [stream; COUNTERS];
        let mut c3 = [0u32; COUNTERS];
        let (mut k0, mut k1) = (key.seed as u32, (key.seed >> 32) as u32);
        for _ in 0..ROUNDS {
            for k in 0..COUNTERS {
                let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0[k]);
                let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2[k]);
                c0[k] = (p1 >> 32) as u32 ^ c1[k] ^ k0;
                c1[k] = p1 as u32;
                c2[k] = (p0 >> 32) as u32 ^ c3[k] ^ k1;
                c3[k] = p0 as u32;
            }
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        if let Ok(out) = <&mut [u32; 4 * COUNTERS]>::try_from(&mut *out) {
            for k in 0..COUNTERS {
                out[4 * k] = c0[k];
                out[4 * k + 1] = c1[k];
                out[4 * k + 2] = c2[k];
                out[4 * k + 3] = c3[k];
            }
        } else {
            for (e, out) in out.iter_mut().enumerate() {
                *out = [c0, c1, c2, c3][e % 4][e / 4];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::Baseline;
    use super::*;

    #[test]
    fn words_are_those_of_the_key() {
        for (seed, offset) in [(7, 3), (u64::MAX, u64::MAX - 5), (1 << 40, (1 << 32) - 3)] {
            let key = Key { seed, offset };
            for (stream, first, len) in [(0, 0, 130), (1, 9, 64), (0, 2, 3)] {
                let mut out = vec![0; len];
                words::<Baseline>(key, stream, first, &mut out);
                for (i, &x) in out.iter().enumerate() {
                    assert_eq!(x, key.block(first + i as u64 / 4, stream)[i % 4]);
                }
            }
        }
    }
}
