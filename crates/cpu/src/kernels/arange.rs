//! Numbers at equal distances.

use lampyr_backend::{Arg, ArgInfo, Backend, Kernel, Launch};
use lampyr_base::{DType, Error, Result, Shape, SmallVec, bf16, f16, smallvec};
use lampyr_ir::Op;
use lampyr_ops::index::arange::{float_count, integer_count};

use super::copy::each_chunk;
use super::operand::{Shared, start};
use crate::fold::Wide;

/// Elements that are computed together.
const PIECE: usize = 64;

/// Start, end and step; floats as `float64`, integers in the type that arithmetic on them wraps in.
pub(super) struct ArangeKernel;

enum Bounds {
    Float([f64; 3]),
    Integer([i128; 3]),
}

fn number(arg: &Arg) -> Result<(f64, i128)> {
    if arg.layout.len() != 1 {
        return Err(Error::shape(format!("a bound has shape {:?}", arg.layout.shape)).with_expected("one element"));
    }
    let from = start(arg)?;
    macro_rules! read {
        ($t:ty) => {{
            // SAFETY: the operand has one element of this type, inside its memory.
            let x = unsafe { from.cast::<$t>().read_unaligned() };
            (x as f64, i128::from(x))
        }};
        ($t:ty, $wide:expr) => {{
            // SAFETY: as above.
            let x = unsafe { from.cast::<$t>().read_unaligned() };
            let wide: fn($t) -> f64 = $wide;
            (wide(x), 0)
        }};
    }
    Ok(match arg.dtype {
        DType::Bool | DType::U8 => read!(u8),
        DType::I8 => read!(i8),
        DType::U16 => read!(u16),
        DType::I16 => read!(i16),
        DType::U32 => read!(u32),
        DType::I32 => read!(i32),
        DType::U64 => read!(u64),
        DType::I64 => read!(i64),
        DType::F16 => read!(f16, f16::to_f64),
        DType::BF16 => read!(bf16, bf16::to_f64),
        DType::F32 => read!(f32, f64::from),
        DType::F64 => read!(f64, |x| x),
    })
}

fn bounds(inputs: &[Arg]) -> Result<(Bounds, usize)> {
    let [a, b, c] = inputs else { return Err(Error::internal("a range takes three inputs")) };
    let (first, last, step) = (number(a)?, number(b)?, number(c)?);
    if a.dtype.is_float() {
        let count = float_count(first.0, last.0, step.0)?;
        return Ok((Bounds::Float([first.0, last.0, step.0]), count));
    }
    let count = integer_count(first.1, last.1, step.1)?;
    Ok((Bounds::Integer([first.1, last.1, step.1]), count))
}

impl Kernel for ArangeKernel {
    fn name(&self) -> &'static str {
        "arange"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.iter().all(|i| i.dtype == inputs[0].dtype)
    }

    fn measure(&self, _backend: &dyn Backend, _op: &dyn Op, inputs: &[Arg]) -> Option<Result<SmallVec<[Shape; 2]>>> {
        Some(bounds(inputs).map(|(_, count)| smallvec![Shape::from_slice(&[count])]))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let (bounds, count) = bounds(launch.inputs)?;
        let out = launch.output(0)?;
        if out.layout.len() != count {
            return Err(Error::shape(format!("a range of {count} elements into {:?}", out.layout.shape)));
        }
        let (to, dtype) = (Shared(start(out)?), out.dtype);
        let size = dtype.size();
        each_chunk(count, size, PIECE, |first, some| {
            for at in (first..first + some).step_by(PIECE) {
                let n = PIECE.min(first + some - at);
                let to = to.at((at * size) as isize);
                // SAFETY: elements `at..at + n` lie in the result, and no other chunk writes them.
                unsafe {
                    match bounds {
                        Bounds::Float([a, _, step]) => {
                            let piece: [f64; PIECE] = std::array::from_fn(|i| a + (at + i) as f64 * step);
                            Wide::store(&piece[..n], dtype, to);
                        }
                        Bounds::Integer([a, _, step]) => {
                            let (a, step) = (a as i64, step as i64);
                            let piece: [i64; PIECE] =
                                std::array::from_fn(|i| a.wrapping_add(step.wrapping_mul((at + i) as i64)));
                            Wide::store(&piece[..n], dtype, to);
                        }
                    }
                }
            }
        });
        Ok(())
    }
}
