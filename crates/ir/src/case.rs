//! Test cases as data. Every backend runs them through a thin runner; each op declares its own.

use lampyr_base::{DType, Layout, Result, Shape};

use crate::{HostTensor, HostValue, Op, OpRef};

/// How the elements of a case input are made, deterministically.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// Floats between the bounds (integers likewise, rounded down), from a seed.
    Uniform(f64, f64, u64),
    /// As `Uniform`, all elements different and apart by at least 1/(4n) of the range: for maxima and sorting.
    Distinct(f64, f64, u64),
    /// A mix of ordinary numbers, zeros of both signs, NaN and infinities (integers: extremes and small numbers).
    Special(u64),
    /// These numbers, repeated as needed.
    Values(Vec<f64>),
}

/// How a case input lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Row-major.
    Contiguous,
    /// A row-major tensor of the reversed shape, transposed.
    Transposed,
    /// Every second element along the last axis of a larger tensor, at an offset.
    Strided,
    /// Axis 0 has step 0 (all its slices are one).
    Broadcast,
    /// Last axis runs backwards.
    Reversed,
}

/// One input of a case.
#[derive(Clone, Debug)]
pub struct CaseInput {
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Elements.
    pub fill: Fill,
    /// Memory.
    pub view: View,
    /// `Some(n)`: a sequence of `n` tensors of this kind instead of one.
    pub sequence: Option<usize>,
}

impl CaseInput {
    /// A contiguous input with elements in -2..2 (floats) or -5..6 (integers).
    pub fn new(dtype: DType, shape: &[usize]) -> CaseInput {
        let seed = shape.iter().fold(dtype as u64 + 17, |s, &d| s.wrapping_mul(31).wrapping_add(d as u64));
        let fill = match dtype {
            d if d.is_float() => Fill::Uniform(-2.0, 2.0, seed),
            DType::Bool => Fill::Uniform(0.0, 2.0, seed),
            d if d.is_signed_integer() => Fill::Uniform(-5.0, 6.0, seed),
            _ => Fill::Uniform(0.0, 11.0, seed),
        };
        CaseInput { dtype, shape: shape.to_vec(), fill, view: View::Contiguous, sequence: None }
    }

    /// With other elements.
    pub fn fill(mut self, fill: Fill) -> CaseInput {
        self.fill = fill;
        self
    }

    /// With given elements.
    pub fn values(self, values: &[f64]) -> CaseInput {
        self.fill(Fill::Values(values.to_vec()))
    }

    /// Lying otherwise in memory.
    pub fn view(mut self, view: View) -> CaseInput {
        self.view = view;
        self
    }

    /// A sequence of `n` such tensors.
    pub fn sequence(mut self, n: usize) -> CaseInput {
        self.sequence = Some(n);
        self
    }

    /// The storage tensor and the layout of the input over it.
    pub fn storage(&self, salt: u64) -> Result<(HostTensor, Layout)> {
        let rank = self.shape.len();
        let (base, layout): (Shape, Layout) = match self.view {
            View::Transposed if rank >= 2 => {
                let base: Shape = self.shape.iter().rev().copied().collect();
                let order: Vec<usize> = (0..rank).rev().collect();
                let layout = Layout::contiguous(&base).permute(&order);
                (base, layout)
            }
            View::Strided if rank >= 1 => {
                let mut base = Shape::from_slice(&self.shape);
                base[rank - 1] = base[rank - 1] * 2 + 1;
                let layout = Layout::contiguous(&base).slice(rank - 1, 1, 2, self.shape[rank - 1]);
                (base, layout)
            }
            View::Broadcast if rank >= 1 => {
                let mut base = Shape::from_slice(&self.shape);
                base[0] = 1;
                let layout = Layout::contiguous(&base).broadcast_to(&self.shape)?;
                (base, layout)
            }
            View::Reversed if rank >= 1 && self.shape[rank - 1] > 0 => {
                let n = self.shape[rank - 1];
                (Shape::from_slice(&self.shape), Layout::contiguous(&self.shape).slice(rank - 1, n - 1, -1, n))
            }
            _ => (Shape::from_slice(&self.shape), Layout::contiguous(&self.shape)),
        };
        Ok((self.elements(&base, salt)?, layout))
    }

    /// The input as a contiguous value.
    pub fn value(&self) -> Result<HostValue> {
        let one = |salt: u64| -> Result<HostTensor> {
            let (base, layout) = self.storage(salt)?;
            let size = self.dtype.size();
            let bytes: Vec<u8> =
                layout.indices().flat_map(|i| base.bytes()[i * size..(i + 1) * size].iter().copied()).collect();
            HostTensor::copy_bytes(self.dtype, &self.shape, &bytes)
        };
        match self.sequence {
            None => one(0).map(HostValue::Tensor),
            Some(n) => (0..n as u64).map(one).collect::<Result<Vec<_>>>().map(HostValue::Sequence),
        }
    }

    fn elements(&self, shape: &[usize], salt: u64) -> Result<HostTensor> {
        let n: usize = shape.iter().product();
        let values: Vec<f64> = match &self.fill {
            Fill::Values(v) => (0..n).map(|i| v[i % v.len().max(1)]).collect(),
            Fill::Uniform(low, high, seed) => {
                let mut rng = SplitMix(*seed ^ salt.wrapping_mul(0x9e37_79b9));
                (0..n).map(|_| low + (high - low) * rng.unit()).map(|x| self.whole(x)).collect()
            }
            Fill::Distinct(low, high, seed) => {
                let mut rng = SplitMix(*seed ^ salt.wrapping_mul(0x9e37_79b9));
                let step = (high - low) / n.max(1) as f64;
                let mut v: Vec<f64> =
                    (0..n).map(|i| low + step * (i as f64 + 0.25 + 0.5 * rng.unit())).map(|x| self.whole(x)).collect();
                for i in (1..n).rev() {
                    v.swap(i, (rng.unit() * (i + 1) as f64) as usize);
                }
                v
            }
            Fill::Special(seed) => {
                let mut rng = SplitMix(*seed);
                let floats =
                    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.0, -1.5, 88.8, -88.8, 3e38, 1e-40];
                let ints = [0.0, 1.0, -1.0, 127.0, -128.0, 255.0, 32767.0, -32768.0, 2147483647.0, -2147483648.0];
                let table: &[f64] = if self.dtype.is_float() { &floats } else { &ints };
                (0..n)
                    .map(|i| {
                        if i < table.len() {
                            table[i]
                        } else if rng.unit() < 0.5 {
                            table[(rng.unit() * table.len() as f64) as usize]
                        } else {
                            self.whole(rng.unit() * 8.0 - 4.0)
                        }
                    })
                    .collect()
            }
        };
        if self.dtype.is_float() {
            return HostTensor::from_f64(self.dtype, shape, &values);
        }
        HostTensor::from_i64(self.dtype, shape, &values.iter().map(|&x| x as i64).collect::<Vec<_>>())
    }

    fn whole(&self, x: f64) -> f64 {
        if self.dtype.is_float() { x } else { x.floor() }
    }
}

/// A small generator whose stream is fixed for ever (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A float in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How far a result may be from the reference: `|a - b| <= absolute + relative * |b|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub absolute: f64,
    /// Relative part.
    pub relative: f64,
}

impl Tolerance {
    /// Equal numbers.
    pub const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };

    /// A few units in the last place of `dtype`; exact for integers.
    pub fn of(dtype: DType) -> Tolerance {
        match dtype {
            DType::F64 => Tolerance { absolute: 1e-12, relative: 1e-10 },
            DType::F32 => Tolerance { absolute: 1e-5, relative: 1e-5 },
            DType::F16 => Tolerance { absolute: 2e-3, relative: 2e-3 },
            DType::BF16 => Tolerance { absolute: 1.6e-2, relative: 1.6e-2 },
            _ => Tolerance::EXACT,
        }
    }
}

/// One call of one op with everything a runner needs.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique among the op's cases: says what is special.
    pub name: String,
    /// The op with its attributes.
    pub op: OpRef,
    /// Inputs.
    pub inputs: Vec<CaseInput>,
    /// Tolerance; `None`: that of the output dtype.
    pub tolerance: Option<Tolerance>,
    /// Whether gradients are compared (they are not where the function is not smooth at the inputs).
    pub gradient: bool,
    /// Axes that become symbols when the case runs as a graph: (input, axis, symbol).
    pub symbolic: Vec<(usize, usize, &'static str)>,
}

impl Case {
    /// A case without gradients and symbols.
    pub fn new<T: Op + Clone>(name: impl Into<String>, op: &T, inputs: Vec<CaseInput>) -> Case {
        Case { name: name.into(), op: op.to_ref(), inputs, tolerance: None, gradient: false, symbolic: Vec::new() }
    }

    /// Gradients are compared too.
    pub fn with_gradient(mut self) -> Case {
        self.gradient = true;
        self
    }

    /// Axis `axis` of input `input` is the symbol `name` in graph runs.
    pub fn symbol(mut self, input: usize, axis: usize, name: &'static str) -> Case {
        self.symbolic.push((input, axis, name));
        self
    }

    /// With another tolerance.
    pub fn tolerance(mut self, absolute: f64, relative: f64) -> Case {
        self.tolerance = Some(Tolerance { absolute, relative });
        self
    }

    /// All inputs as contiguous values.
    pub fn values(&self) -> Result<Vec<HostValue>> {
        self.inputs.iter().map(CaseInput::value).collect()
    }
}
