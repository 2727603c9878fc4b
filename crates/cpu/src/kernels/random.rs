//! Random tensors and dropout.

use std::ops::Range;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Result};
use lampyr_ir::Op;
use lampyr_ir::scalar::Compute;
use lampyr_ops::build::{Dropout, RandomNormal, RandomUniform};
use lampyr_ops::philox::{Key, threshold};

use super::operand::{Shared, start};
use crate::fold::{TILE, Tiles};
use crate::simd::philox::words;
use crate::simd::prim::Prims;
use crate::simd::{Job, Level, Tier, math, run};
use crate::tile::Reader;

/// Elements of one chunk of a parallel loop; a multiple of [`TILE`].
const CHUNK: usize = 16 * TILE;

/// Uniform numbers.
pub(crate) struct UniformKernel;
/// Normal numbers.
pub(crate) struct NormalKernel;
/// Dropout.
pub(crate) struct DropoutKernel;

fn read_key(arg: Option<&Arg>) -> Result<Key> {
    match arg {
        Some(a) if a.dtype == DType::U64 && a.layout.len() == 2 && a.layout.is_contiguous() => {
            let p = start(a)?.cast::<u64>();
            // SAFETY: two contiguous elements inside their memory, as the backend has checked.
            let (seed, offset) = unsafe { (p.read_unaligned(), p.add(1).read_unaligned()) };
            Ok(Key { seed, offset })
        }
        _ => Err(Error::internal("a random key of two uint64 is needed")),
    }
}

fn in_chunks(n: usize, f: impl Fn(Range<usize>) + Sync) {
    if n <= CHUNK { f(0..n) } else { ThreadPool::global().parallel_ranges(n, CHUNK, f) }
}

/// Elements `range` of a random tensor.
struct Numbers<'a> {
    key: Key,
    range: Range<usize>,
    dtype: DType,
    normal: bool,
    prims: &'a Prims,
    to: Shared,
}

impl Job for Numbers<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let mut bits = [0u32; TILE];
        let size = self.dtype.size();
        for first in self.range.clone().step_by(TILE) {
            let n = TILE.min(self.range.end - first);
            // Pairs are made whole; tiles are even.
            let even = n.next_multiple_of(2);
            words::<L>(self.key, 0, first as u64 / 4, &mut bits[..even]);
            let to = self.to.at((first * size) as isize);
            if self.dtype == DType::F64 {
                let mut low = [0u32; TILE];
                words::<L>(self.key, 1, first as u64 / 4, &mut low[..even]);
                let mut lanes = [0f64; TILE];
                for ((lane, &high), &low) in lanes.iter_mut().zip(&bits).zip(&low) {
                    *lane = ((u64::from(high) << 21) | u64::from(low >> 11)) as f64 * UNIT53;
                }
                if self.normal {
                    normal64(&mut lanes[..even]);
                }
                // SAFETY: the output is row-major with `range.end` elements at least.
                unsafe {
                    self.prims.store(DType::F64)(
                        to,
                        lanes.as_ptr().cast(),
                        lanes.as_ptr().cast(),
                        lanes.as_ptr().cast(),
                        n,
                    )
                };
                continue;
            }
            let kept = match self.dtype {
                _ if self.normal => 24,
                DType::F16 => 11,
                DType::BF16 => 8,
                _ => 24,
            };
            let (shift, unit) = (32 - kept, f32::from_bits((127 - kept) << 23));
            let mut lanes = [0f32; TILE];
            for (lane, &word) in lanes.iter_mut().zip(&bits) {
                *lane = (word >> shift) as f32 * unit;
            }
            if self.normal {
                normal32::<L>(&mut lanes[..even]);
            }
            let from = lanes.as_ptr().cast::<u8>();
            // SAFETY: as above.
            unsafe { self.prims.store(self.dtype)(to, from, from, from, n) };
        }
    }
}

const UNIT24: f32 = 1.0 / (1 << 24) as f32;
const UNIT53: f64 = 1.0 / (1u64 << 53) as f64;

/// Box and Muller's transform of pairs of uniform numbers.
#[inline(always)]
fn normal32<L: Level>(lanes: &mut [f32]) {
    let (pairs, _) = lanes.as_chunks_mut::<2>();
    for [a, b] in pairs {
        let radius = (-2.0 * math::log::<L>(*a + UNIT24)).sqrt();
        let (sin, cos) = math::sin_cos_turns::<L>(*b);
        *a = radius * cos;
        *b = radius * sin;
    }
}

fn normal64(lanes: &mut [f64]) {
    let (pairs, _) = lanes.as_chunks_mut::<2>();
    for [a, b] in pairs {
        let radius = (-2.0 * (*a + UNIT53).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * *b).sin_cos();
        *a = radius * cos;
        *b = radius * sin;
    }
}

fn numbers(launch: &Launch, dtype: DType, normal: bool) -> Result<()> {
    let output = launch.output(0)?;
    let key = read_key(launch.inputs.first())?;
    if output.dtype != dtype || !dtype.is_float() {
        return Err(Error::internal(format!("random {dtype} into {}", output.dtype)));
    }
    let to = Shared(start(output)?);
    if !(to.0 as usize).is_multiple_of(dtype.size()) {
        return Err(Error::internal("an output is not aligned"));
    }
    let tier = Tier::current();
    let prims = Prims::of(tier);
    in_chunks(output.layout.len(), |range| run(tier, Numbers { key, range, dtype, normal, prims, to }));
    Ok(())
}

impl Kernel for UniformKernel {
    fn name(&self) -> &'static str {
        "cpu_random_uniform"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        numbers(launch, launch.op::<RandomUniform>()?.dtype, false)
    }
}

impl Kernel for NormalKernel {
    fn name(&self) -> &'static str {
        "cpu_random_normal"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        numbers(launch, launch.op::<RandomNormal>()?.dtype, true)
    }
}

/// Elements `range` of a dropout.
struct Drop<'a> {
    key: Key,
    range: Range<usize>,
    /// Words whose high 24 bits are below are dropped.
    threshold: u32,
    factor: f64,
    reader: &'a SharedReader,
    prims: &'a Prims,
    dtype: DType,
    to: Option<Shared>,
    mask: Option<Shared>,
}

struct SharedReader(Reader);

// SAFETY: a reader only reads, and the launch keeps its tensor alive and unchanged.
unsafe impl Sync for SharedReader {}

impl Job for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let mut bits = [0u32; TILE];
        let mut keep = [0u8; TILE];
        let mut tiles = Tiles::new();
        let mut result = Tiles::new();
        let size = self.dtype.size();
        for first in self.range.clone().step_by(TILE) {
            let n = TILE.min(self.range.end - first);
            if self.threshold > 0 {
                words::<L>(self.key, 0, first as u64 / 4, &mut bits[..n]);
            }
            for (keep, &word) in keep.iter_mut().zip(&bits) {
                *keep = u8::from(word >> 8 >= self.threshold);
            }
            // SAFETY: the range lies inside the tensors, which have equal shapes; tiles have room for `n` lanes.
            unsafe {
                if let Some(mask) = self.mask {
                    std::ptr::copy_nonoverlapping(keep.as_ptr(), mask.at(first as isize), n);
                }
                let Some(to) = self.to else { continue };
                let x = self.reader.0.tile(first, n, tiles.both());
                let [y, _] = result.both();
                if self.dtype == DType::F64 {
                    scale(x.cast::<f64>(), y.cast::<f64>(), &keep[..n], |x, k| if k { x * self.factor } else { 0.0 });
                } else {
                    let factor = self.factor as f32;
                    scale(x.cast::<f32>(), y.cast::<f32>(), &keep[..n], |x, k| if k { x * factor } else { 0.0 });
                }
                self.prims.store(self.dtype)(to.at((first * size) as isize), y, y, y, n);
            }
        }
    }
}

/// # Safety
/// `x` must hold and `y` must have room for as many lanes as `keep` has, and they must not overlap.
#[inline(always)]
unsafe fn scale<T: Copy>(x: *const T, y: *mut T, keep: &[u8], f: impl Fn(T, bool) -> T) {
    // SAFETY: the caller's promise.
    let x = unsafe { std::slice::from_raw_parts(x, keep.len()) };
    // SAFETY: the caller's promise; the lanes are plain numbers that are written before they are read.
    let y = unsafe { std::slice::from_raw_parts_mut(y.cast::<std::mem::MaybeUninit<T>>(), keep.len()) };
    for ((y, &x), &k) in y.iter_mut().zip(x).zip(keep) {
        y.write(f(x, k != 0));
    }
}

impl Kernel for DropoutKernel {
    fn name(&self) -> &'static str {
        "cpu_dropout"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.first().is_some_and(|x| x.dtype.is_float())
    }

    fn accepts(&self, _op: &dyn Op, i: usize) -> Accepts {
        if i == 0 { Accepts::Strided } else { Accepts::Contiguous }
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let [x, key] = launch.inputs else { return Err(Error::internal("dropout takes two inputs")) };
        let op = launch.op::<Dropout>()?;
        let key = read_key(Some(key))?;
        let address = |i: usize| -> Result<Option<Shared>> {
            match launch.outputs.get(i) {
                Some(Some(o)) if o.layout.shape == x.layout.shape => start(o).map(Shared).map(Some),
                Some(Some(o)) => Err(Error::internal(format!("dropout into {:?}", o.layout.shape))),
                _ => Ok(None),
            }
        };
        let (to, mask) = (address(0)?, address(1)?);
        let dtype = x.dtype;
        if to.is_some_and(|p| !(p.0 as usize).is_multiple_of(dtype.size())) {
            return Err(Error::internal("an output is not aligned"));
        }
        let drops = op.training;
        let threshold = if drops { threshold(op.ratio) } else { 0 };
        let factor = if !drops || op.ratio >= 1.0 { 1.0 } else { 1.0 / (1.0 - op.ratio) };
        let tier = Tier::current();
        let prims = Prims::of(tier);
        let lane = if dtype == DType::F64 { Compute::F64 } else { Compute::F32 };
        let layout = x.layout;
        let nest = crate::tile::Nest::new(&layout.shape, [layout.strides.as_slice()].into_iter());
        let reader = SharedReader(Reader::new(start(x)?, dtype, &nest.shape, &nest.strides[0], lane, prims));
        in_chunks(layout.len(), |range| {
            run(tier, Drop { key, range, threshold, factor, reader: &reader, prims, dtype, to, mask });
        });
        Ok(())
    }
}
