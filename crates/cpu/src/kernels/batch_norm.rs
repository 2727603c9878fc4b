//! Batch normalisation.

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::{DType, Error, Layout, Result, Strides, smallvec};
use lampyr_ir::Op;
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr};
use lampyr_ops::build::BatchNorm;

use super::elementwise::tensor;
use super::operand::{Shared, start};
use super::reduce::workspace;
use crate::fold::{Fold, Plan, Squares, Sum, Wide, fold};
use crate::simd::Tier;
use crate::simd::prim::Prims;
use crate::tile::{Form, Reader, Tensor, compiled, execute};

/// Statistics by folds, then one elementwise pass.
pub(crate) struct BatchNormKernel;

/// Vectors of `float64` and of the compute type in the workspace, one number per channel each.
const VECTORS: usize = 9;

fn plan(layout: &Layout) -> Plan {
    Plan::new(layout, |a| a != 1)
}

impl Kernel for BatchNormKernel {
    fn name(&self) -> &'static str {
        "cpu_batch_norm"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.len() == 5 && inputs.iter().all(|a| a.dtype.is_float()) && inputs[0].layout.rank() >= 2
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn in_place(&self, op: &dyn Op, input: usize, output: usize) -> bool {
        let training = op.as_any().downcast_ref::<BatchNorm>().is_some_and(|op| op.training);
        (input, output) == (0, 0) || training && matches!((input, output), (3, 1) | (4, 2))
    }

    fn workspace(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        let Some(x) = inputs.first().filter(|x| x.layout.rank() >= 2) else { return 0 };
        plan(x.layout).workspace() + VECTORS * 8 * x.layout.shape[1]
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        match launch.inputs.first() {
            Some(x) if x.dtype == DType::F64 => batch_norm::<Sum<f64>, Squares<f64>>(launch),
            _ => batch_norm::<Sum<f32>, Squares<f32>>(launch),
        }
    }
}

/// The elements of a vector as `f64`.
fn read(arg: &Arg, n: usize, to: &mut [f64], tiles: [*mut u8; 2]) -> Result<()> {
    if arg.layout.len() != n || arg.layout.rank() != 1 {
        return Err(Error::internal(format!("{:?} for {n} channels", arg.layout.shape)));
    }
    let prims = Prims::of(Tier::current());
    let reader = Reader::new(start(arg)?, arg.dtype, &arg.layout.shape, &arg.layout.strides, Compute::F64, prims);
    for (i, to) in to.chunks_mut(crate::fold::TILE).enumerate() {
        // SAFETY: the points lie inside the vector; tiles have room for them.
        unsafe {
            let from = reader.tile(i * crate::fold::TILE, to.len(), tiles).cast::<f64>();
            std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
        }
    }
    Ok(())
}

fn write(launch: &Launch, i: usize, values: &[f64]) -> Result<()> {
    let Some(Some(y)) = launch.outputs.get(i) else { return Ok(()) };
    if y.layout.len() != values.len() || !y.layout.is_contiguous() {
        return Err(Error::internal(format!("{} channels into {:?}", values.len(), y.layout.shape)));
    }
    // SAFETY: the output is contiguous and has as many elements, inside its memory.
    unsafe { f64::store(values, y.dtype, start(y)?) };
    Ok(())
}

fn batch_norm<S, Q>(launch: &Launch) -> Result<()>
where
    S: Fold<Wide = f64>,
    Q: Fold<Wide = f64, Lane = S::Lane>,
    S::Lane: Real,
{
    let [x, scale, bias, old_mean, old_variance] = launch.inputs else {
        return Err(Error::internal("batch_norm takes five inputs"));
    };
    let op = launch.op::<BatchNorm>()?;
    let plan = plan(x.layout);
    let channels = x.layout.shape[1];
    let work = workspace(launch, plan.workspace() + VECTORS * 8 * channels)?;
    if channels == 0 {
        return Ok(());
    }
    let vectors = work.wrapping_add(plan.workspace()).cast::<f64>();
    // SAFETY: the workspace has room for these behind the fold's part, aligned to 8, and nothing else uses it; it is
    // set to zero first.
    let all = unsafe {
        vectors.write_bytes(0, VECTORS * channels);
        std::slice::from_raw_parts_mut(vectors, VECTORS * channels)
    };
    let (wide, rest) = all.split_at_mut(6 * channels);
    // SAFETY: `S::Lane` is `f32` or `f64`: three vectors of it fit into three of `f64`, and zero bytes are valid.
    let narrow = unsafe { std::slice::from_raw_parts_mut(rest.as_mut_ptr().cast::<S::Lane>(), 3 * channels) };
    let mut tiles = crate::fold::Tiles::new();
    for (arg, to) in [scale, bias, old_mean, old_variance].into_iter().zip(wide.chunks_exact_mut(channels)) {
        read(arg, channels, to, tiles.both())?;
    }
    let (given, batch) = wide.split_at_mut(4 * channels);
    let (mean, variance) = batch.split_at_mut(channels);
    let (weights, old) = given.split_at_mut(2 * channels);
    let (scale, bias) = weights.split_at(channels);
    let (old_mean, old_variance) = old.split_at_mut(channels);

    if op.training {
        let tier = Tier::current();
        let reader = Reader::new(start(x)?, x.dtype, &plan.shape, &plan.strides, S::LANE, Prims::of(tier));
        let n = plan.len as f64;
        let means = Shared(mean.as_mut_ptr().cast());
        let variances = Shared(variance.as_mut_ptr().cast());
        let average = |to: Shared| {
            move |first: usize, results: &[f64]| {
                for (i, &total) in results.iter().enumerate() {
                    // SAFETY: the vector has one number per channel, and each result is handed over once.
                    unsafe { to.at(((first + i) * 8) as isize).cast::<f64>().write(total / n) };
                }
            }
        };
        // SAFETY: the plan was made from the input's layout, which lies inside its memory; the room was checked.
        unsafe { fold::<S>(tier, &plan, &reader, &[], work, average(means)) };
        narrow.iter_mut().zip(&*mean).for_each(|(to, &m)| *to = S::Lane::from_f64(m));
        // SAFETY: as above; the centres are one per channel.
        unsafe { fold::<Q>(tier, &plan, &reader, &narrow[..channels], work, average(variances)) };
        let correction = if op.unbiased { n / (n - 1.0) } else { 1.0 };
        for c in 0..channels {
            old_mean[c] = (1.0 - op.momentum) * old_mean[c] + op.momentum * mean[c];
            old_variance[c] = (1.0 - op.momentum) * old_variance[c] + op.momentum * variance[c] * correction;
        }
        write(launch, 1, old_mean)?;
        write(launch, 2, old_variance)?;
        write(launch, 3, mean)?;
    } else {
        mean.copy_from_slice(old_mean);
        variance.copy_from_slice(old_variance);
    }
    variance.iter_mut().for_each(|v| *v = 1.0 / (*v + op.epsilon).sqrt());
    if op.training {
        write(launch, 4, variance)?;
    }
    for c in 0..channels {
        narrow[c] = S::Lane::from_f64(mean[c]);
        narrow[channels + c] = S::Lane::from_f64(variance[c] * scale[c]);
        narrow[2 * channels + c] = S::Lane::from_f64(bias[c]);
    }
    match launch.outputs.first() {
        Some(Some(y)) => normalise(x, y, narrow.as_mut_ptr().cast(), size_of::<S::Lane>(), S::LANE),
        _ => Ok(()),
    }
}

/// `(x - mean) * factor + bias` with the three vectors one after another at `vectors`.
fn normalise(x: &Arg, y: &Arg, vectors: *mut u8, size: usize, lane: Compute) -> Result<()> {
    if x.layout.shape != y.layout.shape {
        return Err(Error::internal(format!("batch_norm of {:?} into {:?}", x.layout.shape, y.layout.shape)));
    }
    let wide = if lane == Compute::F64 { DType::F64 } else { DType::F32 };
    let mut e = ScalarExpr::new(&[x.dtype, wide, wide, wide]);
    let [x0, mean, factor, bias] = [e.load(0), e.load(1), e.load(2), e.load(3)];
    let d = e.binary(Binary::Sub, x0, mean);
    let d = e.binary(Binary::Mul, d, factor);
    let d = e.binary(Binary::Add, d, bias);
    let e = e.store(d, y.dtype);
    let program = compiled(&e, Tier::current()).ok_or_else(|| Error::internal("bad expression"))?;
    let mut strides: Strides = smallvec![0; x.layout.rank()];
    strides[1] = 1;
    let bytes = x.layout.shape[1] * size;
    let vector = |i: usize| {
        let start = vectors.wrapping_add(i * bytes);
        Tensor { start, size, form: Form::Strided(&strides), span: start as usize..start as usize + bytes }
    };
    let inputs = [tensor(x, Form::Strided(&x.layout.strides))?, vector(0), vector(1), vector(2)];
    // SAFETY: operands lie inside their memories (the backend has checked it), the vectors inside the workspace, and the
    // launcher lets the output overlap the input only in place.
    unsafe { execute(&program, &x.layout.shape, &inputs, &[tensor(y, Form::Strided(&y.layout.strides))?]) };
    Ok(())
}

/// The float compute types.
trait Real: Copy {
    fn from_f64(x: f64) -> Self;
}

impl Real for f32 {
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
}

impl Real for f64 {
    fn from_f64(x: f64) -> f64 {
        x
    }
}
