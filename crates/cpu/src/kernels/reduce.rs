//! Sums, means, extremes and products over axes.

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::{DType, Error, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::{ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum, SumToShape};
use lampyr_ops::common;

use super::operand::{Shared, start};
use crate::fold::{Fold, Max, Min, Plan, Prod, Sum, Wide, fold};
use crate::simd::Tier;
use crate::simd::prim::Prims;
use crate::tile::Reader;

/// All ops that fold axes into sums, means, extremes or products.
pub(crate) struct ReduceKernel;

#[derive(Clone, Copy)]
enum Kind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
}

/// What is folded: the kind, and per axis of the input whether it is.
fn folded(op: &dyn Op, input: &[usize], output: &[usize]) -> Result<(Kind, u64)> {
    let any = op.as_any();
    let (kind, axes) = if let Some(op) = any.downcast_ref::<ReduceSum>() {
        (Kind::Sum, &op.axes)
    } else if let Some(op) = any.downcast_ref::<ReduceMean>() {
        (Kind::Mean, &op.axes)
    } else if let Some(op) = any.downcast_ref::<ReduceMax>() {
        (Kind::Max, &op.axes)
    } else if let Some(op) = any.downcast_ref::<ReduceMin>() {
        (Kind::Min, &op.axes)
    } else if let Some(op) = any.downcast_ref::<ReduceProd>() {
        (Kind::Prod, &op.axes)
    } else if any.is::<SumToShape>() {
        let lead = input.len().saturating_sub(output.len());
        let gone = |a: usize| a < lead || (output[a - lead] == 1 && input[a] != 1);
        return Ok((Kind::Sum, (0..input.len()).filter(|&a| gone(a)).fold(0, |bits, a| bits | 1 << a)));
    } else {
        return Err(Error::internal(format!("`{}` is no reduction", op.name())));
    };
    if axes.is_empty() {
        return Ok((kind, u64::MAX));
    }
    let mut bits = 0;
    for &a in axes {
        bits |= 1 << common::axis(a, input.len())?;
    }
    Ok((kind, bits))
}

fn plan(layout: &Layout, bits: u64) -> Plan {
    Plan::new(layout, |a| bits >> a & 1 == 1)
}

impl Kernel for ReduceKernel {
    fn name(&self) -> &'static str {
        "cpu_reduce"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.first().is_some_and(|x| x.dtype != DType::Bool && x.layout.rank() < 64)
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], outputs: &[ArgInfo]) -> usize {
        let ([x, ..], [y, ..]) = (inputs, outputs) else { return 0 };
        folded(op, x.shape(), y.shape()).map_or(0, |(_, bits)| plan(x.layout, bits).workspace())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let [x] = launch.inputs else { return Err(Error::internal("a reduction takes one input")) };
        let y = launch.output(0)?;
        let (kind, bits) = folded(launch.op, &x.layout.shape, &y.layout.shape)?;
        let plan = plan(x.layout, bits);
        if plan.results() != y.layout.len() || x.dtype != y.dtype {
            return Err(Error::internal(format!("{:?} folded into {:?}", x.layout.shape, y.layout.shape)));
        }
        let call = Call { x, y, plan: &plan, workspace: workspace(launch, plan.workspace())? };
        match (kind, x.dtype) {
            (Kind::Sum, DType::F64) => call.run::<Sum<f64>>(|x| x),
            (Kind::Sum, DType::U64) => call.run::<Sum<u64>>(|x| x),
            (Kind::Sum, d) if d.is_float() => call.run::<Sum<f32>>(|x| x),
            (Kind::Sum, _) => call.run::<Sum<i64>>(|x| x),
            (Kind::Mean, DType::F64) => call.run::<Sum<f64>>(|x| x / plan.len as f64),
            (Kind::Mean, DType::U64) => call.run::<Sum<u64>>(|x| x.checked_div(plan.len as u64).unwrap_or(0)),
            (Kind::Mean, d) if d.is_float() => call.run::<Sum<f32>>(|x| x / plan.len as f64),
            (Kind::Mean, _) => call.run::<Sum<i64>>(|x| x.checked_div(plan.len as i64).unwrap_or(0)),
            (Kind::Max | Kind::Min, _) if plan.len == 0 && plan.results() > 0 => {
                Err(Error::shape(format!("there is no extreme over the empty axes of {:?}", x.layout.shape)))
            }
            (Kind::Max, DType::F64) => call.run::<Max<f64>>(|x| x),
            (Kind::Max, DType::U64) => call.run::<Max<u64>>(|x| x),
            (Kind::Max, DType::I64 | DType::U32) => call.run::<Max<i64>>(|x| x),
            (Kind::Max, d) if d.is_float() => call.run::<Max<f32>>(|x| x),
            (Kind::Max, _) => call.run::<Max<i32>>(|x| x),
            (Kind::Min, DType::F64) => call.run::<Min<f64>>(|x| x),
            (Kind::Min, DType::U64) => call.run::<Min<u64>>(|x| x),
            (Kind::Min, DType::I64 | DType::U32) => call.run::<Min<i64>>(|x| x),
            (Kind::Min, d) if d.is_float() => call.run::<Min<f32>>(|x| x),
            (Kind::Min, _) => call.run::<Min<i32>>(|x| x),
            (Kind::Prod, DType::U64) => call.run::<Prod<u64>>(|x| x),
            (Kind::Prod, d) if d.is_float() => call.run::<Prod<f64>>(|x| x),
            (Kind::Prod, _) => call.run::<Prod<i64>>(|x| x),
        }
    }
}

/// Address of the workspace, of which `bytes` bytes are needed.
pub(crate) fn workspace(launch: &Launch, bytes: usize) -> Result<*mut u8> {
    match &launch.workspace {
        _ if bytes == 0 => Ok(std::ptr::null_mut()),
        Some(w) if w.layout.len() * w.dtype.size() >= bytes => {
            let ptr = start(w)?;
            if (ptr as usize).is_multiple_of(8) { Ok(ptr) } else { Err(Error::internal("workspace is not aligned")) }
        }
        _ => Err(Error::internal(format!("a workspace of {bytes} bytes is needed"))),
    }
}

struct Call<'a> {
    x: &'a Arg<'a>,
    y: &'a Arg<'a>,
    plan: &'a Plan,
    workspace: *mut u8,
}

impl Call<'_> {
    fn run<F: Fold>(&self, f: impl Fn(F::Wide) -> F::Wide + Sync) -> Result<()> {
        let tier = Tier::current();
        let plan = self.plan;
        let reader = Reader::new(start(self.x)?, self.x.dtype, &plan.shape, &plan.strides, F::LANE, Prims::of(tier));
        let (to, dtype) = (Shared(start(self.y)?), self.y.dtype);
        let finish = |first: usize, results: &[F::Wide]| {
            for (k, piece) in results.chunks(PIECE).enumerate() {
                let mut values = [F::widen(F::NOTHING); PIECE];
                values.iter_mut().zip(piece).for_each(|(v, &x)| *v = f(x));
                let at = to.at(((first + k * PIECE) * dtype.size()) as isize);
                // SAFETY: the output is row-major and has `plan.results()` elements, checked by `launch`.
                unsafe { F::Wide::store(&values[..piece.len()], dtype, at) };
            }
        };
        // SAFETY: the plan was made from the input's layout, which lies inside its memory; `workspace` checked the room.
        unsafe { fold::<F>(tier, plan, &reader, &[], self.workspace, finish) };
        Ok(())
    }
}

const PIECE: usize = 64;
