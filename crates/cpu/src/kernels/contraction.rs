//! Matrix products and convolutions: what their kernels share, and the registration of these, pooling and index kernels.

use std::ops::Range;

use lampyr_backend::{Arg, KernelTable, Launch, Packed, kernels};
use lampyr_base::pool::{ThreadPool, num_threads};
use lampyr_base::{Error, Result};
use lampyr_ops::build::*;

use super::planes::Planes;
use super::tail::Tail;
use crate::gemm::{Compute, Epilogue, PackedMatrix, Plan, Problem, Ready, Side, Sink, Start, Store, run};
use crate::simd::Tier;

/// Adds them.
pub(super) fn register(table: &mut KernelTable) {
    kernels! { table;
        Matmul => &super::matmul::MatmulKernel;
        Gemm => &super::gemm::GemmKernel;
        Conv => &super::conv::ConvKernel;
        FusedContraction => &super::fused_contraction::FusedContractionKernel;
        ConvInputGrad => &super::conv_input_grad::ConvInputGradKernel;
        ConvWeightGrad => &super::conv_weight_grad::ConvWeightGradKernel;
        Arange => &super::arange::ArangeKernel;
        Argmax => &super::position::PositionKernel;
        Argmin => &super::position::PositionKernel;
        Cumprod => &super::running::RunningKernel;
        Cumsum => &super::running::RunningKernel;
        GatherElements => &super::elements::GatherElementsKernel;
        GatherNd => &super::nd::GatherNdKernel;
        NonMaxSuppression => &super::non_max_suppression::NonMaxSuppressionKernel;
        ScatterElements => &super::scatter::ScatterElementsKernel;
        ScatterNd => &super::scatter::ScatterNdKernel;
        Trilu => &super::trilu::TriluKernel;
        Unique => &super::unique::UniqueKernel;
        GlobalAveragePool => &super::global_average_pool::GlobalAveragePoolKernel;
        GlobalAveragePool => &super::pool_last::MeanLastKernel;
        IndexAdd => &super::elements::IndexAddKernel;
        MaxPool => &super::max_pool::MaxPoolKernel;
        MaxPool => &super::pool_last::PoolLastKernel;
        Nonzero => &super::nonzero::NonzeroKernel;
        ScatterAddElements => &super::elements::ScatterAddElementsKernel;
        Topk => &super::topk::TopkKernel;
    }
}

/// Runs `$body` with `$E` set to the compute type and `$S` to the storage type of a float dtype; `$other` for the rest.
macro_rules! floats {
    ($dtype:expr, $E:ident, $S:ident => $body:expr, _ => $other:expr) => {
        match $dtype {
            lampyr_base::DType::F32 => {
                type $E = f32;
                type $S = f32;
                $body
            }
            lampyr_base::DType::F64 => {
                type $E = f64;
                type $S = f64;
                $body
            }
            lampyr_base::DType::F16 => {
                type $E = f32;
                type $S = lampyr_base::f16;
                $body
            }
            lampyr_base::DType::BF16 => {
                type $E = f32;
                type $S = lampyr_base::bf16;
                $body
            }
            _ => $other,
        }
    };
}
pub(super) use floats;

/// The address of the element at index zero.
pub(super) fn address<T>(arg: &Arg) -> Result<*mut T> {
    let p = arg.host_ptr().ok_or_else(|| Error::device("an operand of a CPU kernel is not in host memory"))?;
    Ok(p.cast())
}

/// The workspace and its length in elements; nothing when none was asked for.
pub(super) fn workspace<E>(launch: &Launch) -> Result<(*mut E, usize)> {
    match &launch.workspace {
        Some(arg) => Ok((address(arg)?, arg.layout.len() * arg.dtype.size() / size_of::<E>())),
        None => Ok((std::ptr::NonNull::dangling().as_ptr(), 0)),
    }
}

/// Batch, rows, columns and inner size.
pub(super) type Sizes = (usize, usize, usize, usize);

/// The packed form of input `i`, if there is one for this tier.
pub(super) fn packed<'a, E: Compute>(launch: &Launch<'a>, i: usize) -> Option<&'a PackedMatrix<E>> {
    let packed: &Packed = launch.packed.get(i)?.as_ref()?;
    packed.data.downcast_ref::<PackedMatrix<E>>().filter(|p| p.tier() == Tier::current())
}

/// Bytes that [`multiply`] needs at most, given how many different matrices both sides have, whether or not a side was packed.
pub(super) fn product_bytes<E: Compute>(
    sizes: Sizes,
    distinct: (usize, usize),
    direct: bool,
    narrow: bool,
    packs: Packs,
) -> usize {
    let (tier, threads) = (Tier::current(), num_threads());
    let plain = if direct { Ready::Direct } else { Ready::No };
    let other = match packs {
        Packs::Left | Packs::LeftDone => (Ready::Packed, plain),
        Packs::Right | Packs::RightDone => (Ready::No, Ready::Packed),
    };
    let elements =
        |ready| Plan::new::<E>(tier, sizes, ready, narrow).repeating(distinct.0, distinct.1).workspace(threads);
    let least = elements(other);
    let most = if packs.is_certain() { least } else { elements((Ready::No, plain)).max(least) };
    most * size_of::<E>()
}

/// Bytes that [`multiply`] needs at most for a right side of rows anywhere and `groups` different left sides.
pub(super) fn scattered_bytes<E: Compute>(sizes: Sizes, groups: usize, packed: bool) -> usize {
    let (tier, threads, right) = (Tier::current(), num_threads(), Ready::Scattered);
    let elements =
        |left| Plan::new::<E>(tier, sizes, (left, right), true).repeating(groups, sizes.0).workspace(threads);
    let least = elements(Ready::Packed);
    (if packed { least } else { elements(Ready::No).max(least) }) * size_of::<E>()
}

/// Which side is packed when it is constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packs {
    Left,
    Right,
    /// The left side, and it was.
    LeftDone,
    /// The right side, and it was.
    RightDone,
}

impl Packs {
    fn is_certain(self) -> bool {
        matches!(self, Packs::LeftDone | Packs::RightDone)
    }
}

/// A product that is ready to run.
pub(super) struct Product<'a, 'b, E, S> {
    pub sizes: Sizes,
    pub left: Side<'a, E>,
    pub right: Side<'a, E>,
    pub c: *mut S,
    pub alpha: E,
    pub start: Option<&'a dyn Start<E>>,
    pub sink: Option<&'a dyn Sink<E>>,
    pub tail: Option<&'a Tail<'b>>,
    /// Where the columns lie, when they are places of a convolution; the result has those that are positions.
    pub planes: Option<&'a Planes>,
}

/// An epilogue of positions for a product of places.
struct AtPlaces<'a> {
    planes: &'a Planes,
    block: &'a dyn Epilogue,
}

impl Epilogue for AtPlaces<'_> {
    fn apply(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        let columns = self.planes.positions_before(columns.start)..self.planes.positions_before(columns.end);
        if !columns.is_empty() {
            self.block.apply(batch, rows, columns);
        }
    }
}

/// Runs a product into a result without gaps.
///
/// # Safety
/// The sides have the sizes given, and the result is valid for all its elements and overlaps no side.
///
/// # Errors
/// When the workspace is too small, as after a change of the SIMD tier.
pub(super) unsafe fn multiply<E: Compute, S: Store<E>>(
    p: &Product<'_, '_, E, S>,
    workspace: (*mut E, usize),
) -> Result<()> {
    let tier = Tier::current();
    let (batch, m, n, k) = p.sizes;
    let ready = |side: &Side<E>| match side {
        Side::Packed(_) => Ready::Packed,
        Side::Operand(o) if o.scattered(0).is_some() => Ready::Scattered,
        Side::Operand(o) if o.direct(0).is_some() => Ready::Direct,
        Side::Operand(_) => Ready::No,
    };
    let left = if let Side::Packed(_) = p.left { Ready::Packed } else { Ready::No };
    let distinct = |side: &Side<E>| match side {
        Side::Operand(o) => o.distinct(batch),
        Side::Packed(_) => batch,
    };
    let plan = Plan::new::<E>(tier, p.sizes, (left, ready(&p.right)), !S::SAME || p.sink.is_some());
    let plan = plan.repeating(distinct(&p.left), distinct(&p.right));
    let block = match p.tail {
        Some(tail) => {
            tail.blockwise((batch, m, p.planes.map_or(n, |planes| planes.positions_before(usize::MAX)), k))?
        }
        None => None,
    };
    let at_places = match (p.planes, &block) {
        (Some(planes), Some(block)) => Some(AtPlaces { planes, block }),
        _ => None,
    };
    let epilogue = match &at_places {
        Some(e) => Some(e as &dyn Epilogue),
        None => block.as_ref().map(|b| b as &dyn Epilogue),
    };
    if plan.workspace(1) > workspace.1 {
        return Err(Error::internal(format!("a workspace of {} elements is too small", workspace.1)));
    }
    let problem = Problem {
        left: p.left,
        right: p.right,
        c: p.c,
        c_step: n,
        c_batch: m * n,
        alpha: p.alpha,
        start: p.start,
        sink: p.sink,
        epilogue,
    };
    // SAFETY: the caller's contract.
    unsafe { run(tier, &plan, &problem, &ThreadPool::global(), workspace) };
    match p.tail.filter(|_| block.is_none()) {
        Some(tail) => tail.whole(),
        None => Ok(()),
    }
}
