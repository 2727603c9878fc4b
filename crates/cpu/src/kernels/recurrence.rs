//! Recurrent layers: the recurrent weights are packed once, and every step multiplies them with the state, one block of
//! hidden elements after another with all its gates.

use std::ops::Range;

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::pool::{ThreadPool, num_threads};
use lampyr_base::{DType, Error, Result};
use lampyr_ir::Op;
use lampyr_ops::activations::{Activation, Kind};
use lampyr_ops::build::Recurrence;

use super::attention::Real;
use super::contraction::{address, floats, workspace};
use crate::gemm::{Batch, GatesFn, Kernels, Operand, Panel, Slots, Store, Strided, Tile};
use crate::simd::lane::Lane;
use crate::simd::{Job, Level, Tier, run};

/// The steps of a recurrent layer.
pub(crate) struct RecurrenceKernel;

/// Multiply-adds worth handing to another thread.
const GRAIN: usize = 24 << 10;
/// Gates and what is kept beside them while a block is worked on.
const TILES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Lstm,
    Gru,
    /// A GRU that multiplies before it resets.
    Linear,
    Plain,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    steps: usize,
    batch: usize,
    hidden: usize,
    gates: usize,
    height: usize,
    width: usize,
}

impl Sizes {
    fn new<E: Real>(op: &Recurrence, inputs: &[ArgInfo]) -> Option<Sizes> {
        let ([steps, batch, wide], [rows, hidden]) = (inputs.first()?.shape(), inputs.get(1)?.shape()) else {
            return None;
        };
        let gates = op.gates().ok()?;
        let kernels = E::kernels(Tier::current());
        let fits = *wide == gates * hidden && rows == wide && inputs.len() == op.places().count;
        fits.then_some(Sizes {
            steps: *steps,
            batch: *batch,
            hidden: *hidden,
            gates,
            height: kernels.height(),
            width: kernels.width,
        })
    }

    fn blocks(&self) -> usize {
        self.hidden.div_ceil(self.width)
    }

    fn weights(&self) -> usize {
        self.blocks() * self.gates * self.hidden * self.width
    }

    fn state(&self) -> usize {
        (self.batch * self.hidden).next_multiple_of(16)
    }

    fn scratch(&self) -> usize {
        (TILES * self.batch * self.width).next_multiple_of(16)
    }

    fn elements(&self, threads: usize) -> usize {
        self.weights().next_multiple_of(16) + 4 * self.state() + self.scratch() * threads
    }
}

/// An activation function in a compute type.
#[derive(Clone, Copy)]
struct Function<E> {
    kind: Kind,
    alpha: E,
    beta: E,
    clip: E,
}

impl<E: Real> Function<E> {
    fn new(f: &Activation, clip: f64) -> Function<E> {
        Function { kind: f.kind, alpha: E::of(f.alpha), beta: E::of(f.beta), clip: E::of(clip) }
    }

    #[inline(always)]
    fn apply<L: Level>(&self, x: &mut [E]) {
        let (zero, one) = (E::ZERO, E::ONE);
        let (alpha, beta) = (self.alpha, self.beta);
        let map = |x: &mut [E], f: &dyn Fn(E) -> E| x.iter_mut().for_each(|x| *x = f(*x));
        if self.clip != zero {
            let (high, low) = (self.clip, Lane::neg(self.clip));
            map(x, &|x| if x > high { high } else { x });
            map(x, &|x| if x < low { low } else { x });
        }
        match self.kind {
            Kind::Sigmoid => {
                for x in x {
                    *x = Lane::div(one, one + Lane::exp::<L>(Lane::neg(*x)));
                }
            }
            Kind::Tanh => x.iter_mut().for_each(|x| *x = Lane::tanh::<L>(*x)),
            Kind::Relu => x.iter_mut().for_each(|x| *x = if *x < zero { zero } else { *x }),
            Kind::Affine => map(x, &|x| alpha * x + beta),
            Kind::LeakyRelu => map(x, &|x| if x < zero { alpha * x } else { x }),
            Kind::ThresholdedRelu => map(x, &|x| if x < alpha { zero } else { x }),
            Kind::ScaledTanh => map(x, &|x| alpha * Lane::tanh::<L>(beta * x)),
            Kind::HardSigmoid => map(x, &|x| Lane::min(Lane::max(alpha * x + beta, zero), one)),
            Kind::Elu => map(x, &|x| if x < zero { alpha * Lane::sub(Lane::exp::<L>(x), one) } else { x }),
            Kind::Softsign => map(x, &|x| Lane::div(x, one + Lane::abs(x))),
            Kind::Softplus => {
                map(x, &|x| {
                    let rest = Lane::log::<L>(one + Lane::exp::<L>(Lane::neg(Lane::abs(x))));
                    Lane::max(x, zero) + rest
                });
            }
        }
    }
}

struct Call<E: 'static, S> {
    sizes: Sizes,
    kernels: &'static Kernels<E>,
    /// Products of one sequence with several gates at once.
    several: Option<GatesFn<E>>,
    cell: Cell,
    functions: [Function<E>; 3],
    input_forget: bool,
    x: *const S,
    peepholes: Option<*const S>,
    bias: Option<*const S>,
    /// Steps of the sequences and whether they are 64 bits wide.
    lengths: Option<(*const u8, bool)>,
    y: Option<*mut S>,
    weights: *mut E,
    /// Cell states of an LSTM, update gates of a GRU: `[batch, hidden]`.
    kept: *mut E,
    /// The state times the reset gate, as panels.
    reset: *mut E,
}

// SAFETY: operands are only read, and blocks write different hidden elements of states and results.
unsafe impl<E, S> Sync for Call<E, S> {}

impl<E: Real, S: Store<E>> Call<E, S> {
    /// Whether sequence `b` has step `t`.
    unsafe fn inside(&self, b: usize, t: usize) -> bool {
        match self.lengths {
            // SAFETY: there is one length per sequence.
            Some((p, true)) => unsafe { *p.cast::<i64>().add(b) > t as i64 },
            // SAFETY: as above.
            Some((p, false)) => unsafe { i64::from(*p.cast::<i32>().add(b)) > t as i64 },
            None => true,
        }
    }

    /// Place of element `j` of sequence `b` in the panels of a state, and the step to the next element.
    fn place(&self, b: usize, j: usize) -> (usize, usize) {
        let Sizes { batch, hidden, height, .. } = self.sizes;
        let first = b / height * height;
        let count = height.min(batch - first);
        (first * hidden + j * count + (b - first), count)
    }
}

/// A step for some blocks of hidden elements.
struct Step<'a, E: 'static, S> {
    call: &'a Call<E, S>,
    t: usize,
    /// Whether this is the second half of a step of a GRU, behind the reset gates.
    late: bool,
    blocks: Range<usize>,
    from: *const E,
    to: *mut E,
    scratch: *mut E,
}

impl<E: Real, S: Store<E>> Step<'_, E, S> {
    /// Fills the tiles of these gates with their input (or the bias) and adds their products with `state`.
    ///
    /// # Safety
    /// Tiles, states and weights are those of the call.
    #[inline(always)]
    unsafe fn products(&self, block: usize, of: Range<usize>, state: *const E, input: bool) {
        let call = self.call;
        let Sizes { batch, hidden, gates, width, .. } = call.sizes;
        // SAFETY: the caller's promise.
        unsafe {
            for g in of.clone() {
                self.fill(block, g, input);
            }
            match call.several.filter(|_| batch == 1) {
                Some(several) => {
                    let weights = call.weights.add((block * gates + of.start) * hidden * width);
                    several(hidden, state, weights, hidden * width, of.len(), self.scratch.add(of.start * width));
                }
                None => of.for_each(|g| self.product(block, g, state)),
            }
        }
    }

    /// Fills tile `g` with the input of gate `g`, or the bias.
    ///
    /// # Safety
    /// As [`Step::products`].
    #[inline(always)]
    unsafe fn fill(&self, block: usize, g: usize, input: bool) {
        let call = self.call;
        let Sizes { batch, hidden, gates, width, .. } = call.sizes;
        let first = block * width;
        let n = width.min(hidden - first);
        let tile = self.scratch.wrapping_add(g * batch * width);
        // SAFETY: the caller's promise.
        unsafe {
            for b in 0..batch {
                let to = std::slice::from_raw_parts_mut(tile.add(b * width), width);
                to.fill(E::ZERO);
                if input {
                    let from = call.x.add((self.t * batch + b) * gates * hidden + g * hidden + first);
                    for j in 0..n {
                        to[j] = (*from.add(j)).get();
                    }
                } else if let Some(bias) = call.bias {
                    for j in 0..n {
                        to[j] = (*bias.add(first + j)).get();
                    }
                }
            }
        }
    }

    /// Adds the product of gate `g` with `state` to tile `g`.
    ///
    /// # Safety
    /// As [`Step::products`].
    #[inline(always)]
    unsafe fn product(&self, block: usize, g: usize, state: *const E) {
        let call = self.call;
        let Sizes { batch, hidden, gates, height, width, .. } = call.sizes;
        let tile = self.scratch.wrapping_add(g * batch * width);
        // SAFETY: the caller's promise.
        unsafe {
            for b in (0..batch).step_by(height) {
                #[allow(clippy::needless_update)]
                let tile = Tile {
                    depth: hidden,
                    a: state.add(b * hidden),
                    b: call.weights.add((block * gates + g) * hidden * width).cast_const(),
                    b_step: width as isize,
                    c: tile.add(b * width),
                    c_step: width,
                    columns: width,
                    alpha: E::ONE,
                    accumulate: true,
                    // What else a tile may have is optional, and zero means that it is absent.
                    ..std::mem::zeroed()
                };
                (call.kernels.rows[height.min(batch - b) - 1])(&tile);
            }
        }
    }

    /// Row `b` of tile `k`.
    ///
    /// # Safety
    /// Nobody else uses it.
    #[inline(always)]
    unsafe fn row<'b>(&self, k: usize, b: usize, n: usize) -> &'b mut [E] {
        let Sizes { batch, width, .. } = self.call.sizes;
        // SAFETY: tiles have `batch` rows of `width` elements.
        unsafe { std::slice::from_raw_parts_mut(self.scratch.add((k * batch + b) * width), n) }
    }

    /// Stores the new state of sequence `b`.
    ///
    /// # Safety
    /// `h` are the hidden elements from `first` on.
    #[inline(always)]
    unsafe fn finish(&self, b: usize, first: usize, h: &[E]) {
        let Sizes { batch, hidden, .. } = self.call.sizes;
        let (at, step) = self.call.place(b, first);
        // SAFETY: states have a place for every element; the row of the result belongs to this block.
        unsafe {
            h.iter().enumerate().for_each(|(j, &h)| *self.to.add(at + j * step) = h);
            if let Some(y) = self.call.y {
                let y = y.add((self.t * batch + b) * hidden + first);
                h.iter().enumerate().for_each(|(j, &h)| y.add(j).write(S::put(h)));
            }
        }
    }

    /// Keeps the state of a sequence that has ended.
    ///
    /// # Safety
    /// As [`Step::finish`], for `n` elements.
    unsafe fn keep(&self, b: usize, first: usize, n: usize) {
        let Sizes { batch, hidden, .. } = self.call.sizes;
        let (at, step) = self.call.place(b, first);
        // SAFETY: as there.
        unsafe {
            (0..n).for_each(|j| *self.to.add(at + j * step) = *self.from.add(at + j * step));
            if let Some(y) = self.call.y {
                let y = y.add((self.t * batch + b) * hidden + first);
                (0..n).for_each(|j| y.add(j).write(S::put(E::ZERO)));
            }
        }
    }

    /// # Safety
    /// As [`Step::finish`].
    #[inline(always)]
    unsafe fn lstm<L: Level>(&self, b: usize, first: usize, n: usize) {
        let call = self.call;
        let hidden = call.sizes.hidden;
        let [gate, input, output] = &call.functions;
        // SAFETY: the caller's promise; the four tiles are apart.
        unsafe {
            let (i, o, f, v) = (self.row(0, b, n), self.row(1, b, n), self.row(2, b, n), self.row(3, b, n));
            let c = std::slice::from_raw_parts_mut(call.kept.add(b * hidden + first), n);
            let look = |x: &mut [E], c: &[E], g: usize| {
                if let Some(p) = call.peepholes {
                    let p = p.add(g * hidden + first);
                    for j in 0..n {
                        x[j] = x[j] + (*p.add(j)).get() * c[j];
                    }
                }
            };
            look(i, c, 0);
            gate.apply::<L>(i);
            if call.input_forget {
                for j in 0..n {
                    f[j] = Lane::sub(E::ONE, i[j]);
                }
            } else {
                look(f, c, 2);
                gate.apply::<L>(f);
            }
            input.apply::<L>(v);
            for j in 0..n {
                c[j] = f[j] * c[j] + i[j] * v[j];
            }
            look(o, c, 1);
            gate.apply::<L>(o);
            v.copy_from_slice(c);
            output.apply::<L>(v);
            for j in 0..n {
                o[j] = o[j] * v[j];
            }
            self.finish(b, first, o);
        }
    }

    /// # Safety
    /// As [`Step::finish`]; `z` is the update gate and `v` the argument of the hidden gate.
    #[inline(always)]
    unsafe fn gru<L: Level>(&self, b: usize, first: usize, z: &[E], v: &mut [E]) {
        let (at, step) = self.call.place(b, first);
        self.call.functions[1].apply::<L>(v);
        // SAFETY: the caller's promise.
        unsafe {
            for (j, (v, &z)) in v.iter_mut().zip(z).enumerate() {
                *v = Lane::sub(E::ONE, z) * *v + z * *self.from.add(at + j * step);
            }
            self.finish(b, first, v);
        }
    }
}

impl<E: Real, S: Store<E>> Job for Step<'_, E, S> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let call = self.call;
        let Sizes { batch, hidden, gates, width, .. } = call.sizes;
        let gate = &call.functions[0];
        for block in self.blocks.clone() {
            let first = block * width;
            let n = width.min(hidden - first);
            // SAFETY: every block has hidden elements of its own; tiles lie in the scratch of this task.
            unsafe {
                match (call.cell, self.late) {
                    (Cell::Gru, false) => self.products(block, 0..2, self.from, true),
                    (Cell::Gru, true) => self.products(block, 2..3, call.reset, true),
                    (Cell::Linear, _) => {
                        self.products(block, 0..2, self.from, true);
                        self.products(block, 2..3, self.from, false);
                    }
                    _ => self.products(block, 0..gates, self.from, true),
                }
                for b in 0..batch {
                    if !call.inside(b, self.t) {
                        if call.cell != Cell::Gru || self.late {
                            self.keep(b, first, n);
                        }
                        continue;
                    }
                    match (call.cell, self.late) {
                        (Cell::Lstm, _) => self.lstm::<L>(b, first, n),
                        (Cell::Plain, _) => {
                            let h = self.row(0, b, n);
                            gate.apply::<L>(h);
                            self.finish(b, first, h);
                        }
                        (Cell::Gru, false) => {
                            let (z, r) = (self.row(0, b, n), self.row(1, b, n));
                            gate.apply::<L>(z);
                            gate.apply::<L>(r);
                            std::slice::from_raw_parts_mut(call.kept.add(b * hidden + first), n).copy_from_slice(z);
                            let (at, step) = call.place(b, first);
                            for (j, &r) in r.iter().enumerate() {
                                *call.reset.add(at + j * step) = r * *self.from.add(at + j * step);
                            }
                        }
                        (Cell::Gru, true) => {
                            let z = std::slice::from_raw_parts(call.kept.add(b * hidden + first), n);
                            self.gru::<L>(b, first, z, self.row(2, b, n));
                        }
                        (Cell::Linear, _) => {
                            let (z, r, v) = (self.row(0, b, n), self.row(1, b, n), self.row(2, b, n));
                            gate.apply::<L>(z);
                            gate.apply::<L>(r);
                            let x = call.x.add((self.t * batch + b) * gates * hidden + 2 * hidden + first);
                            for (j, (v, &r)) in v.iter_mut().zip(&*r).enumerate() {
                                *v = (*x.add(j)).get() + r * *v;
                            }
                            self.gru::<L>(b, first, z, v);
                        }
                    }
                }
            }
        }
    }
}

fn steps<E: Real, S: Store<E>>(launch: &Launch) -> Result<()> {
    let op = launch.op::<Recurrence>()?;
    let infos: Vec<ArgInfo> = launch.inputs.iter().map(|a| a.info()).collect();
    let sizes = Sizes::new::<E>(op, &infos).ok_or_else(|| Error::internal("a recurrence of other sizes"))?;
    let Sizes { steps, batch, hidden, gates, width, .. } = sizes;
    if batch == 0 || hidden == 0 {
        return Ok(());
    }
    let (room, len) = workspace::<E>(launch)?;
    if len < sizes.elements(1) {
        return Err(Error::internal(format!("a workspace of {len} elements is too small")));
    }
    let places = op.places();
    let input = |i: usize| -> Result<*const S> { Ok(address::<S>(&launch.inputs[i])?.cast_const()) };
    let optional = |i: Option<usize>| i.map(input).transpose();
    let output = |i: usize| launch.outputs.get(i).and_then(Option::as_ref).map(address::<S>).transpose();
    let list = op.functions()?;
    let function = |i: usize| {
        // The cell output is not clipped.
        let clip = if i == 2 { 0.0 } else { op.clip };
        Function::new(list.get(i).unwrap_or(&list[0]), clip)
    };
    let states = room.wrapping_add(sizes.weights().next_multiple_of(16));
    let state = |i: usize| states.wrapping_add(i * sizes.state());
    let lengths = match places.lengths {
        Some(i) => Some((address::<u8>(&launch.inputs[i])?.cast_const(), launch.inputs[i].dtype == DType::I64)),
        None => None,
    };
    let tier = Tier::current();
    let call: Call<E, S> = Call {
        sizes,
        kernels: E::kernels(tier),
        several: E::gates(tier),
        cell: match (op.cell.as_str(), op.linear_before_reset) {
            ("lstm", _) => Cell::Lstm,
            ("gru", true) => Cell::Linear,
            ("gru", false) => Cell::Gru,
            _ => Cell::Plain,
        },
        functions: [function(0), function(1), function(2)],
        input_forget: op.input_forget,
        x: input(0)?,
        peepholes: optional(places.peepholes)?,
        bias: optional(places.bias)?,
        lengths,
        y: output(0)?,
        weights: room,
        kept: state(2),
        reset: state(3),
    };
    let pool = ThreadPool::global();
    let weights = Strided { data: input(1)?, outer: hidden as isize, inner: 1, batch: Batch::new(&[], &[]) };
    let pack = |range: Range<usize>| {
        let call = &call;
        for i in range {
            let (block, g) = (i / gates, i % gates);
            let first = block * width;
            let panel = Panel {
                batch: 0,
                k: 0,
                depth: hidden,
                at: g * hidden + first,
                count: width.min(hidden - first),
                stride: width,
            };
            // SAFETY: the rows lie inside the weights, and the workspace has a panel for every block and gate.
            unsafe { weights.pack(panel, call.weights.wrapping_add(i * hidden * width)) };
        }
    };
    let grain = (64 * 1024 / (hidden * width)).max(1);
    pool.parallel_ranges(sizes.blocks() * gates, grain, pack);
    let (mut from, mut to) = (state(0), state(1));
    let (first_h, first_c) = (input(2)?, optional(places.cell)?);
    // SAFETY: states have a place for every element.
    unsafe {
        // Sequences that never reach the reset gate are multiplied all the same.
        (0..batch * hidden).for_each(|i| *call.reset.add(i) = E::ZERO);
        for b in 0..batch {
            for j in 0..hidden {
                *from.add(call.place(b, j).0) = (*first_h.add(b * hidden + j)).get();
                *call.kept.add(b * hidden + j) = first_c.map_or(E::ZERO, |c| (*c.add(b * hidden + j)).get());
            }
        }
    }
    let scratch = Scratch(state(4));
    let size = sizes.scratch();
    let slots = Slots::new((len - sizes.elements(0)).checked_div(size).unwrap_or(1));
    let grain = (GRAIN / (batch * gates * width * hidden).max(1)).max(1);
    for k in 0..steps {
        let t = if op.reverse { steps - 1 - k } else { k };
        for late in [false, true] {
            if late && call.cell != Cell::Gru {
                continue;
            }
            let (now, next) = (Scratch(from), Scratch(to));
            let work = |blocks: Range<usize>| {
                let slot = slots.take();
                let (from, to, scratch) = (now.at(0).cast_const(), next.at(0), scratch.at(slot.index() * size));
                run(tier, Step { call: &call, t, late, blocks, from, to, scratch });
            };
            if sizes.blocks() <= grain {
                work(0..sizes.blocks());
            } else {
                pool.parallel_ranges(sizes.blocks(), grain, work);
            }
        }
        std::mem::swap(&mut from, &mut to);
    }
    let (last_h, last_c) = (output(1)?, if first_c.is_some() { output(2)? } else { None });
    for b in 0..batch {
        for j in 0..hidden {
            // SAFETY: as above; results hold as many elements.
            unsafe {
                if let Some(h) = last_h {
                    h.add(b * hidden + j).write(S::put(*from.add(call.place(b, j).0)));
                }
                if let Some(c) = last_c {
                    c.add(b * hidden + j).write(S::put(*call.kept.add(b * hidden + j)));
                }
            }
        }
    }
    Ok(())
}

/// An address that tasks share.
struct Scratch<E>(*mut E);

// SAFETY: tasks use different parts of what it points to.
unsafe impl<E> Sync for Scratch<E> {}

impl<E> Scratch<E> {
    fn at(&self, i: usize) -> *mut E {
        self.0.wrapping_add(i)
    }
}

impl Kernel for RecurrenceKernel {
    fn name(&self) -> &'static str {
        "cpu_recurrence"
    }

    fn supports(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let Some(op) = op.as_any().downcast_ref::<Recurrence>() else { return false };
        inputs.len() == op.places().count && inputs.first().is_some_and(|x| x.dtype.is_float())
    }

    fn workspace(&self, op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        let Some(op) = op.as_any().downcast_ref::<Recurrence>() else { return 0 };
        let threads = num_threads().clamp(1, 64);
        match inputs.first().map(|x| x.dtype) {
            Some(DType::F64) => Sizes::new::<f64>(op, inputs).map_or(0, |s| 8 * s.elements(threads)),
            _ => Sizes::new::<f32>(op, inputs).map_or(0, |s| 4 * s.elements(threads)),
        }
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let dtype = launch.inputs.first().map_or(DType::F32, |x| x.dtype);
        floats!(dtype, E, S => steps::<E, S>(launch), _ => Err(Error::internal("a recurrence of integers")))
    }
}
