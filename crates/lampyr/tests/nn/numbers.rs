//! The numbers of `conformance/nn/cases.py`: NumPy's Mersenne Twister (Matsumoto and Nishimura 1998), seeded by a name.

use lampyr::{Result, Tensor};

pub struct Numbers {
    state: [u32; 624],
    at: usize,
}

fn crc32(text: &str) -> u32 {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

impl Numbers {
    pub fn new(name: &str) -> Numbers {
        let mut state = [0u32; 624];
        state[0] = crc32(name) % (1 << 31);
        for i in 1..624 {
            let last = state[i - 1];
            state[i] = (last ^ last >> 30).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Numbers { state, at: 624 }
    }

    fn turn(&mut self) {
        let s = &mut self.state;
        for i in 0..624 {
            let y = s[i] & 0x8000_0000 | s[(i + 1) % 624] & 0x7FFF_FFFF;
            s[i] = s[(i + 397) % 624] ^ y >> 1 ^ if y & 1 == 1 { 0x9908_B0DF } else { 0 };
        }
        self.at = 0;
    }

    fn next(&mut self) -> u32 {
        if self.at == 624 {
            self.turn();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9D2C_5680;
        y ^= y << 15 & 0xEFC6_0000;
        y ^ y >> 18
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let (a, b) = (f64::from(self.next() >> 5), f64::from(self.next() >> 6));
        low + (high - low) * ((a * 67_108_864.0 + b) / 9_007_199_254_740_992.0)
    }

    /// A whole number below `end`, by rejection.
    fn below(&mut self, end: u32) -> i64 {
        let mask = u32::MAX >> (end - 1).leading_zeros();
        loop {
            let value = self.next() & mask;
            if value < end {
                return i64::from(value);
            }
        }
    }
}

pub fn raw(name: &str, shape: &[usize], low: f64, high: f64) -> Vec<f32> {
    let mut numbers = Numbers::new(name);
    (0..shape.iter().product()).map(|_| numbers.uniform(low, high) as f32).collect()
}

pub fn floats(name: &str, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(&raw(name, shape, -1.0, 1.0), shape)
}

pub fn whole(name: &str, shape: &[usize], end: u32) -> Vec<i64> {
    let mut numbers = Numbers::new(name);
    (0..shape.iter().product()).map(|_| numbers.below(end)).collect()
}

#[test]
fn the_numbers_are_those_of_numpy() {
    // Of numpy.random.RandomState(zlib.crc32(name) % 2**31).
    assert_eq!(raw("mlp0", &[3], -1.0, 1.0), [0.021_137_107, -0.265_308_38, -0.103_466_12]);
    assert_eq!(whole("lstm0", &[8], 11), [6, 1, 0, 9, 5, 3, 10, 1]);
}
