//! Scaled dot-product attention without a matrix of scores in memory (Dao et al. 2022, "FlashAttention"; Milakov and
//! Gimelshein 2018 for the running softmax). Scores are kept transposed, keys by queries, so that the statistics of
//! neighbouring queries lie side by side and both products read their right side where it lies.

use std::ops::Range;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::{ThreadPool, num_threads};
use lampyr_base::{DType, Error, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::ScaledDotProductAttention;

use super::attention_row::Row;
use super::contraction::{address, floats, workspace};
use crate::gemm::{Batch, Compute, Kernels, Operand, Panel, Slots, Store, Strided, Tile};
use crate::simd::lane::Lane;
use crate::simd::softmax_block::{COLUMNS, SoftmaxBlock, softmax_block};
use crate::simd::transpose::{EDGE, transpose};
use crate::simd::{Job, Level, Tier, run};

/// Scaled dot-product attention.
pub(crate) struct AttentionKernel;

/// Queries of a task.
const QUERIES: usize = 64;
/// Keys of a block: for most heights of matrix kernels a multiple.
const KEYS: usize = 112;
/// Up to this many queries are worked on one by one.
const FEW: usize = 8;
/// Multiply-adds worth handing to another thread.
const GRAIN: usize = 128 << 10;

/// A float compute type.
pub(super) trait Real: Compute + Lane {
    const LOWEST: Self;
    /// The exponential of what lies below is taken as zero: subnormal weights slow products down a hundredfold, and the
    /// weight of the largest score is one.
    const LEAST: Self;
    fn of(x: f64) -> Self;
    /// A step of the running softmax, where the tier has a function for it; whether it has.
    ///
    /// # Safety
    /// The block has as many rows as are given with it.
    unsafe fn softmax(
        _tier: Tier,
        _block: (*mut Self, usize),
        _columns: usize,
        _most: &mut [Self; QUERIES],
        _totals: &mut [Self; QUERIES],
        _decay: &mut [Self; QUERIES],
    ) -> bool {
        false
    }
}

impl Real for f32 {
    const LOWEST: f32 = f32::NEG_INFINITY;
    const LEAST: f32 = -87.0;
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline]
    unsafe fn softmax(
        tier: Tier,
        (scores, rows): (*mut f32, usize),
        columns: usize,
        most: &mut [f32; QUERIES],
        totals: &mut [f32; QUERIES],
        decay: &mut [f32; QUERIES],
    ) -> bool {
        let Some(step) = softmax_block(tier) else { return false };
        let (most, totals, decay) = (most.as_mut_ptr(), totals.as_mut_ptr(), decay.as_mut_ptr());
        // SAFETY: the caller's promise; columns are a multiple of `COLUMNS` and at most `QUERIES`.
        unsafe { step(&SoftmaxBlock { scores, step: QUERIES, rows, columns, most, totals, decay }) };
        true
    }
}

impl Real for f64 {
    const LOWEST: f64 = f64::NEG_INFINITY;
    const LEAST: f64 = -708.0;
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
}

/// The exponential of a score less the largest one.
#[inline(always)]
pub(super) fn weight<E: Real, L: Level>(x: E) -> E {
    let tiny = x < E::LEAST;
    let e = Lane::exp::<L>(if tiny { E::LEAST } else { x });
    if tiny { E::ZERO } else { e }
}

/// The sizes of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Query heads of the whole batch.
    pub heads: usize,
    /// Query heads of one key head.
    pub group: usize,
    /// Queries and keys of a head.
    pub queries: usize,
    pub keys: usize,
    /// Elements of a key and of a value.
    pub inner: usize,
    pub outer: usize,
}

impl Sizes {
    fn new(inputs: &[&Layout]) -> Option<Sizes> {
        let [q, k, v, ..] = inputs else { return None };
        let n = q.rank();
        if n < 2 || k.rank() != n || v.rank() != n {
            return None;
        }
        let count = |l: &Layout| l.shape[..n - 2].iter().product::<usize>();
        let (heads, own) = (count(q), count(k));
        let fits = count(v) == own && (own == 0 || heads.is_multiple_of(own));
        let fits = fits && k.shape[n - 2] == v.shape[n - 2] && q.shape[n - 1] == k.shape[n - 1];
        fits.then(|| Sizes {
            heads,
            group: heads.checked_div(own).unwrap_or(1),
            queries: q.shape[n - 2],
            keys: k.shape[n - 2],
            inner: q.shape[n - 1],
            outer: v.shape[n - 1],
        })
    }

    fn few(&self, k: &Layout, v: &Layout) -> bool {
        let dense = |l: &Layout| l.strides.last() == Some(&1) || l.shape.last() == Some(&1);
        self.queries <= FEW && dense(k) && dense(v)
    }

    fn blocks(&self) -> usize {
        self.queries.div_ceil(QUERIES)
    }

    /// Whether keys and values are packed once for all tasks.
    fn shared(&self) -> bool {
        self.blocks() * self.group > 1
    }

    /// Elements of all packed keys and values.
    fn packed(&self) -> usize {
        if self.shared() {
            (self.heads / self.group * self.keys * (self.inner + self.outer)).next_multiple_of(16)
        } else {
            0
        }
    }

    /// Elements of scratch of a task.
    fn scratch(&self) -> usize {
        let own = if self.shared() { 0 } else { KEYS * (self.inner + self.outer) };
        (QUERIES * (self.inner + self.outer + KEYS) + own).next_multiple_of(16)
    }

    /// Elements of scratch of a task with few queries.
    fn row(&self) -> usize {
        (self.inner + self.outer).next_multiple_of(16)
    }

    fn workspace(&self, few: bool) -> usize {
        let threads = num_threads().clamp(1, 64);
        if few {
            self.row() * threads
        } else {
            self.packed() + self.scratch() * threads.min(self.heads * self.blocks()).max(1)
        }
    }
}

/// A mask over the scores.
pub(super) struct Mask {
    /// Whether it is `bool`; otherwise of the type of the queries.
    pub choose: bool,
    pub data: *const u8,
    pub batch: Batch,
    /// Elements from query to query and from key to key.
    pub query: isize,
    pub key: isize,
}

/// A call that is ready to run.
pub(super) struct Call<'a, E: 'static, S> {
    pub sizes: Sizes,
    pub q: Strided<S>,
    pub k: Strided<S>,
    pub v: Strided<S>,
    pub mask: Option<Mask>,
    pub factor: E,
    pub softcap: E,
    /// Query `i` sees the keys below `i` plus this.
    pub visible: Option<usize>,
    pub to: *mut S,
    pub kernels: &'a Kernels<E>,
    packs: *mut E,
}

// SAFETY: operands are only read, tasks write different rows of the result, and packs are written before they are read.
unsafe impl<E, S> Sync for Call<'_, E, S> {}

impl<E: Real, S: Store<E>> Call<'_, E, S> {
    /// Keys that any of the queries before `end` sees.
    pub fn keys_until(&self, end: usize) -> usize {
        self.visible.map_or(self.sizes.keys, |v| self.sizes.keys.min((end - 1).saturating_add(v)))
    }

    /// Packs a block of keys and one of values.
    ///
    /// # Safety
    /// Both areas have room for the block.
    unsafe fn pack(&self, own: usize, first: usize, keys: *mut E, values: *mut E) {
        let Sizes { keys: all, inner, outer, .. } = self.sizes;
        let (count, height) = (KEYS.min(all - first), self.kernels.height());
        // The values are read transposed: their elements are rows, and keys are contracted.
        let turned = Strided { outer: self.v.inner, inner: self.v.outer, ..self.v.clone() };
        // SAFETY: panels lie inside the matrices, and the caller's promise.
        unsafe {
            for at in (0..count).step_by(height) {
                let n = height.min(count - at);
                let panel = Panel { batch: own, k: 0, depth: inner, at: first + at, count: n, stride: n };
                self.k.pack(panel, keys.add(at * inner));
            }
            for at in (0..outer).step_by(height) {
                let n = height.min(outer - at);
                let panel = Panel { batch: own, k: first, depth: count, at, count: n, stride: n };
                turned.pack(panel, values.add(at * count));
            }
        }
    }

    /// Where the packed keys and values of a block lie.
    fn packed(&self, own: usize, first: usize) -> (*mut E, *mut E) {
        let Sizes { keys, inner, outer, .. } = self.sizes;
        let head = self.packs.wrapping_add(own * keys * (inner + outer));
        (head.wrapping_add(first * inner), head.wrapping_add(keys * inner + first * outer))
    }
}

struct Block<'a, 'b, E: 'static, S> {
    call: &'a Call<'b, E, S>,
    head: usize,
    /// First query.
    first: usize,
    scratch: *mut E,
}

/// One row of scores as a slice.
///
/// # Safety
/// The row has `n` elements that nobody else uses.
#[inline(always)]
unsafe fn row<'a, E>(scores: *mut E, key: usize, n: usize) -> &'a mut [E] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(scores.add(key * QUERIES), n) }
}

impl<E: Real, S: Store<E>> Block<'_, '_, E, S> {
    /// Caps, masks and limits the scores of the keys from `first` on.
    ///
    /// # Safety
    /// `scores` has `keys` rows.
    #[inline(always)]
    unsafe fn adjust<L: Level>(&self, scores: *mut E, first: usize, keys: usize, rows: usize) {
        let call = self.call;
        // SAFETY: the caller's promise; the mask broadcasts to all scores.
        unsafe {
            if call.softcap != E::ZERO {
                let less = Lane::div(E::ONE, call.softcap);
                for j in 0..keys {
                    for s in row(scores, j, rows) {
                        *s = Lane::tanh::<L>(*s * less) * call.softcap;
                    }
                }
            }
            if let Some(mask) = &call.mask {
                let at = mask.batch.offset(self.head) + self.first as isize * mask.query + first as isize * mask.key;
                if mask.choose {
                    let data = mask.data.offset(at);
                    if mask.query == 0 {
                        for j in (0..keys).filter(|&j| *data.offset(j as isize * mask.key) == 0) {
                            row(scores, j, rows).fill(E::LOWEST);
                        }
                    } else {
                        for i in 0..rows {
                            let data = data.offset(i as isize * mask.query);
                            for j in 0..keys {
                                if *data.offset(j as isize * mask.key) == 0 {
                                    *scores.add(j * QUERIES + i) = E::LOWEST;
                                }
                            }
                        }
                    }
                } else {
                    let data = mask.data.cast::<S>().offset(at);
                    if mask.query == 0 {
                        for j in 0..keys {
                            let bias = (*data.offset(j as isize * mask.key)).get();
                            row(scores, j, rows).iter_mut().for_each(|s| *s = biased(*s, bias));
                        }
                    } else {
                        for i in 0..rows {
                            let data = data.offset(i as isize * mask.query);
                            for j in 0..keys {
                                let s = scores.add(j * QUERIES + i);
                                *s = biased(*s, (*data.offset(j as isize * mask.key)).get());
                            }
                        }
                    }
                }
            }
            if let Some(visible) = call.visible {
                // Key `j` is seen by the queries from `j + 1 - visible` on.
                for j in 0..keys {
                    let from = (first + j + 1).saturating_sub(visible).saturating_sub(self.first);
                    if from > 0 {
                        row(scores, j, rows.min(from)).fill(E::LOWEST);
                    }
                }
            }
        }
    }
}

/// What [`SoftmaxBlock`] says, for all tiers.
///
/// # Safety
/// The block has as many rows as are given with it.
#[inline(always)]
unsafe fn generic_softmax<E: Real, L: Level>(
    (scores, count): (*mut E, usize),
    columns: usize,
    most: &mut [E; QUERIES],
    totals: &mut [E; QUERIES],
    decay: &mut [E; QUERIES],
) {
    let mut next = *most;
    for j in 0..count {
        // SAFETY: the caller's promise.
        let scores = unsafe { row(scores, j, columns) };
        for (m, &s) in next[..columns].iter_mut().zip(scores.iter()) {
            *m = Lane::max(*m, s);
        }
    }
    // Without any key so far the maximum is minus infinity, which must not be taken off itself.
    let mut shift = next;
    shift.iter_mut().for_each(|m| *m = if *m == E::LOWEST { E::ZERO } else { *m });
    let mut block = [E::ZERO; QUERIES];
    for j in 0..count {
        // SAFETY: as above.
        let scores = unsafe { row(scores, j, columns) };
        for ((s, &m), b) in scores.iter_mut().zip(&shift).zip(&mut block) {
            *s = weight::<E, L>(Lane::sub(*s, m));
            *b = *b + *s;
        }
    }
    for ((d, &m), &s) in decay[..columns].iter_mut().zip(&*most).zip(&shift) {
        *d = weight::<E, L>(Lane::sub(m, s));
    }
    for ((t, &d), &b) in totals.iter_mut().zip(&*decay).zip(&block) {
        *t = *t * d + b;
    }
    *most = next;
}

/// A score with a bias; minus infinity wins over everything.
#[inline(always)]
pub(super) fn biased<E: Real>(score: E, bias: E) -> E {
    if bias == E::LOWEST { bias } else { score + bias }
}

impl<E: Real, S: Store<E>> Job for Block<'_, '_, E, S> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let call = self.call;
        let Sizes { group, queries, keys: all, inner, outer, .. } = call.sizes;
        let (height, width) = (call.kernels.height(), call.kernels.width);
        let own = self.head / group;
        let rows = QUERIES.min(queries - self.first);
        let (tier, columns) = (Tier::current(), rows.next_multiple_of(width.max(COLUMNS)));
        let panels = self.scratch;
        let scores = panels.wrapping_add(QUERIES * inner);
        let sums = scores.wrapping_add(QUERIES * KEYS);
        let packs = sums.wrapping_add(QUERIES * outer);
        let mut most = [E::LOWEST; QUERIES];
        let mut totals = [E::ZERO; QUERIES];
        let end = call.keys_until(self.first + rows);
        // SAFETY: areas of the scratch are as long as `Sizes::scratch` says; panels lie inside the matrices.
        unsafe {
            for at in (0..columns).step_by(width) {
                let count = width.min(rows - at.min(rows));
                let panel = Panel { batch: self.head, k: 0, depth: inner, at: self.first + at, count, stride: width };
                call.q.pack(panel, panels.add(at * inner));
            }
            for first in (0..end).step_by(KEYS) {
                let (whole, count) = (KEYS.min(all - first), KEYS.min(end - first));
                let (keys, values) = if call.sizes.shared() {
                    call.packed(own, first)
                } else {
                    let (keys, values) = (packs, packs.add(KEYS * inner));
                    call.pack(own, first, keys, values);
                    (keys, values)
                };
                #[allow(clippy::needless_update)]
                let mut tile = Tile {
                    depth: inner,
                    a: keys.cast_const(),
                    b: panels.cast_const(),
                    b_step: width as isize,
                    c: scores,
                    c_step: QUERIES,
                    columns: width,
                    alpha: call.factor,
                    accumulate: false,
                    // What else a tile may have is optional, and zero means that it is absent.
                    ..std::mem::zeroed()
                };
                for at in (0..count).step_by(height) {
                    let kernel = call.kernels.rows[height.min(whole - at) - 1];
                    tile.a = keys.add(at * inner);
                    for column in (0..columns).step_by(width) {
                        tile.b = panels.add(column * inner);
                        tile.c = scores.add(at * QUERIES + column);
                        kernel(&tile);
                    }
                }
                self.adjust::<L>(scores, first, count, rows);
                let mut decay = [E::ZERO; QUERIES];
                if !E::softmax(tier, (scores, count), columns, &mut most, &mut totals, &mut decay) {
                    let block = (scores, count);
                    generic_softmax::<E, L>(block, columns, &mut most, &mut totals, &mut decay);
                }
                if first > 0 {
                    for c in 0..outer {
                        for (s, &d) in row(sums, c, columns).iter_mut().zip(&decay) {
                            *s = *s * d;
                        }
                    }
                }
                tile.depth = count;
                tile.b_step = QUERIES as isize;
                tile.alpha = E::ONE;
                tile.accumulate = first > 0;
                for at in (0..outer).step_by(height) {
                    let kernel = call.kernels.rows[height.min(outer - at) - 1];
                    tile.a = values.add(at * whole);
                    for column in (0..columns).step_by(width) {
                        tile.b = scores.add(column);
                        tile.c = sums.add(at * QUERIES + column);
                        kernel(&tile);
                    }
                }
            }
            let to = call.to.add((self.head * queries + self.first) * outer);
            // Zero for queries that see no key, whose sums may be NaN. NaN has no place among the largest scores, but in totals.
            let mut factors = [E::ZERO; QUERIES];
            for (f, &t) in factors.iter_mut().zip(&totals) {
                *f = if t == E::ZERO { E::ZERO } else { Lane::div(E::ONE, t) };
            }
            let exchange = transpose(tier).filter(|_| S::SAME && size_of::<E>() == 4);
            let squares = exchange.map_or(0, |_| rows / EDGE * EDGE);
            if let Some(exchange) = exchange {
                for c in 0..outer {
                    for (s, &f) in row(sums, c, squares).iter_mut().zip(&factors) {
                        *s = if f == E::ZERO { E::ZERO } else { *s * f };
                    }
                }
                for i in (0..squares).step_by(EDGE) {
                    for c in (0..outer).step_by(EDGE) {
                        let (from, to) = (sums.add(c * QUERIES + i), to.add(i * outer + c));
                        exchange(from.cast(), QUERIES as isize, EDGE.min(outer - c), to.cast(), outer as isize);
                    }
                }
            }
            for i in squares..rows {
                for c in 0..outer {
                    let y = if factors[i] == E::ZERO { E::ZERO } else { *sums.add(c * QUERIES + i) * factors[i] };
                    to.add(i * outer + c).write(S::put(y));
                }
            }
        }
    }
}

/// Runs `work` with a scratch area of `size` elements for ranges of tasks.
fn spread<E: Send>(
    tasks: usize,
    grain: usize,
    (room, len): (*mut E, usize),
    size: usize,
    work: impl Fn(Range<usize>, *mut E) + Sync,
) {
    struct Room<E>(*mut E);
    // SAFETY: every task uses the part of its slot only.
    unsafe impl<E> Sync for Room<E> {}
    impl<E> Room<E> {
        fn at(&self, i: usize) -> *mut E {
            self.0.wrapping_add(i)
        }
    }
    let room = Room(room);
    let slots = Slots::new(len.checked_div(size).unwrap_or(64));
    ThreadPool::global().parallel_ranges(tasks, grain, |range| {
        let slot = slots.take();
        work(range, room.at(slot.index() * size));
    });
}

fn attend<E: Real, S: Store<E>>(launch: &Launch) -> Result<()> {
    let op = launch.op::<ScaledDotProductAttention>()?;
    let layouts: Vec<&Layout> = launch.inputs.iter().map(|a| a.layout).collect();
    let wrong = || Error::internal(format!("attention of {:?}", layouts.iter().map(|l| &l.shape).collect::<Vec<_>>()));
    let sizes = Sizes::new(&layouts).ok_or_else(wrong)?;
    let y = launch.output(0)?;
    if y.layout.is_empty() {
        return Ok(());
    }
    let to = address::<S>(y)?;
    if y.layout.len() != sizes.heads * sizes.queries * sizes.outer {
        return Err(wrong());
    }
    let strided = |arg: &Arg| -> Result<Strided<S>> {
        let n = arg.layout.rank();
        let batch = Batch::new(&arg.layout.shape[..n - 2], &arg.layout.strides[..n - 2]);
        let (outer, inner) = (arg.layout.strides[n - 2], arg.layout.strides[n - 1]);
        Ok(Strided { data: address::<S>(arg)?.cast_const(), outer, inner, batch })
    };
    let mask = match launch.inputs.get(3) {
        Some(mask) => {
            let mut shape = launch.inputs[0].layout.shape.clone();
            let n = shape.len();
            shape[n - 1] = sizes.keys;
            let layout = mask.layout.broadcast_to(&shape)?;
            Some(Mask {
                choose: mask.dtype == DType::Bool,
                data: address::<u8>(mask)?.cast_const(),
                batch: Batch::new(&shape[..n - 2], &layout.strides[..n - 2]),
                query: layout.strides[n - 2],
                key: layout.strides[n - 1],
            })
        }
        None => None,
    };
    let offset = op.causal_offset.known().and_then(|n| usize::try_from(n).ok());
    let offset = offset.ok_or_else(|| Error::value(format!("causal_offset is {}", op.causal_offset)))?;
    let (room, len) = workspace::<E>(launch)?;
    let tier = Tier::current();
    let few = sizes.few(layouts[1], layouts[2]);
    let need = if few { sizes.row() } else { sizes.packed() + sizes.scratch() };
    if need > len {
        return Err(Error::internal(format!("a workspace of {len} elements is too small")));
    }
    let call = Call {
        sizes,
        q: strided(&launch.inputs[0])?,
        k: strided(&launch.inputs[1])?,
        v: strided(&launch.inputs[2])?,
        mask,
        factor: E::of(op.factor(sizes.inner)),
        softcap: E::of(op.softcap),
        visible: op.is_causal.then(|| offset.saturating_add(1)),
        to,
        kernels: E::kernels(tier),
        packs: room,
    };
    let work = sizes.keys * (sizes.inner + sizes.outer);
    if few {
        let grain = (GRAIN / (work * sizes.queries).max(1)).max(1);
        spread(sizes.heads, grain, (room, len), sizes.row(), |heads, scratch| {
            run(tier, Row { call: &call, heads, scratch });
        });
        return Ok(());
    }
    let packed = sizes.packed();
    if packed > 0 {
        let blocks = sizes.keys.div_ceil(KEYS);
        let grain = (GRAIN / (KEYS * (sizes.inner + sizes.outer)).max(1)).max(1);
        ThreadPool::global().parallel_ranges(sizes.heads / sizes.group * blocks, grain, |range| {
            for i in range {
                let (own, first) = (i / blocks, i % blocks * KEYS);
                let (keys, values) = call.packed(own, first);
                // SAFETY: the packed area has room for all blocks, which do not overlap.
                unsafe { call.pack(own, first, keys, values) };
            }
        });
    }
    let blocks = sizes.blocks();
    let grain = (GRAIN / (work * QUERIES.min(sizes.queries)).max(1)).max(1);
    let scratch = (room.wrapping_add(packed), len - packed);
    spread(sizes.heads * blocks, grain, scratch, sizes.scratch(), |tasks, scratch| {
        for task in tasks {
            run(tier, Block { call: &call, head: task / blocks, first: task % blocks * QUERIES, scratch });
        }
    });
    Ok(())
}

impl Kernel for AttentionKernel {
    fn name(&self) -> &'static str {
        "cpu_attention"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let [q, k, v, mask @ ..] = inputs else { return false };
        q.dtype.is_float()
            && k.dtype == q.dtype
            && v.dtype == q.dtype
            && mask.iter().all(|m| m.dtype == DType::Bool || m.dtype == q.dtype)
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn workspace(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        let layouts: Vec<&Layout> = inputs.iter().map(|a| a.layout).collect();
        let Some(sizes) = Sizes::new(&layouts) else { return 0 };
        let lane = if inputs[0].dtype == DType::F64 { 8 } else { 4 };
        sizes.workspace(sizes.few(layouts[1], layouts[2])) * lane
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let dtype = launch.inputs.first().map_or(DType::F32, |q| q.dtype);
        floats!(dtype, E, S => attend::<E, S>(launch), _ => Err(Error::internal("attention of integers")))
    }
}
