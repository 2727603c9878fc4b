use std::mem::MaybeUninit;
use std::ops::Range;

use lampyr_base::pool::ThreadPool;
use lampyr_base::{Shape, Strides};
use smallvec::{SmallVec, smallvec};

use super::Program;
use super::nest::Nest;
use super::operand::{Kind, Operand, strided};

/// Bytes of tiles of one thread; they shall stay in the first-level cache.
const SCRATCH: usize = 36 << 10;
/// Most lanes of a tile.
const LANES: usize = 1024;
/// Inner axes of at least this size are cut into tiles one by one, so that tiles of partly broadcast operands need no
/// copy.
const LONG_AXIS: usize = 192;
/// Work of one chunk of a parallel loop, in additions.
const CHUNK: usize = 1 << 16;

/// Elements of one chunk of a parallel loop, given the work per element in additions; the loop is worth two threads
/// when there are more elements than that.
pub(crate) fn grain(weight: usize) -> usize {
    (CHUNK / weight.max(1)).max(1)
}

/// Bytes of tiles for small tensors, so that their launches touch few pages of the stack.
const SMALL: usize = 2 << 10;

#[repr(align(64))]
struct Scratch<const BYTES: usize> {
    _bytes: [MaybeUninit<u8>; BYTES],
}

/// How the elements of a tensor relate to the shape of a launch.
#[derive(Clone, Copy)]
pub(crate) enum Form<'a> {
    /// Row-major without gaps.
    Dense,
    /// One element for all.
    One,
    /// These steps of the axes, in elements.
    Strided(&'a [isize]),
}

/// A tensor of a launch: address of its first element, bytes of an element, how they lie, and the bytes they span.
pub(crate) struct Tensor<'a> {
    pub start: *mut u8,
    pub size: usize,
    pub form: Form<'a>,
    pub span: Range<usize>,
}

struct Plan<'a> {
    program: &'a Program,
    shape: Shape,
    points: usize,
    inputs: SmallVec<[Operand; 4]>,
    outputs: SmallVec<[Operand; 1]>,
    /// Per slot: byte offset of its tile in the scratch.
    offsets: SmallVec<[usize; 16]>,
    /// Byte offset of the tile for elements that are not lanes yet.
    staging: usize,
    lanes: usize,
    /// Points of a tile, unless tiles follow rows.
    step: usize,
    /// Lanes of a tile when tiles follow rows; 0 when they do not.
    row_tile: usize,
    /// Whether instructions may write outputs themselves.
    direct: bool,
}

/// Runs `program` over `shape`. Either all tensors are [`Form::Strided`] or none is.
///
/// # Safety
/// All elements of the tensors must lie inside living memory, outputs must be writable and disjoint from each other, and
/// an output that overlaps an input must lie exactly where that input lies.
pub(crate) unsafe fn execute(program: &Program, shape: &[usize], inputs: &[Tensor], outputs: &[Tensor]) {
    let strides = |t: &Tensor| matches!(t.form, Form::Strided(_));
    let overlap = |o: &Tensor| inputs.iter().any(|i| i.span.start < o.span.end && o.span.start < i.span.end);
    let direct = !outputs.iter().any(overlap);
    let mut ins: SmallVec<[Operand; 4]> = SmallVec::new();
    let mut outs: SmallVec<[Operand; 1]> = SmallVec::new();
    let (shape, points) = if inputs.iter().chain(outputs).any(strides) {
        let all = inputs.iter().chain(outputs).map(|t| match t.form {
            Form::Strided(strides) => strides,
            _ => &[],
        });
        let nest = Nest::new(shape, all);
        let (first, rest) = nest.strides.split_at(inputs.len());
        let operand = |(t, s): (&Tensor, &Strides)| Operand::new(t.start, t.size, &nest.shape, s);
        ins.extend(inputs.iter().zip(first).map(operand));
        outs.extend(outputs.iter().zip(rest).map(operand));
        let points = nest.len();
        (nest.shape, points)
    } else {
        let points = shape.iter().product();
        let operand = |t: &Tensor| Operand::flat(t.start, t.size, matches!(t.form, Form::One));
        ins.extend(inputs.iter().map(operand));
        outs.extend(outputs.iter().map(operand));
        (Shape::from_slice(&[points]), points)
    };
    if points == 0 {
        return;
    }

    let row = program.slots.iter().map(|&s| usize::from(s)).sum::<usize>() + 8;
    let lanes = LANES.min((SCRATCH / row) & !15).min(points.next_multiple_of(16));
    let mut offsets: SmallVec<[usize; 16]> = SmallVec::new();
    let mut end = 0;
    for &size in &program.slots {
        offsets.push(end);
        end += lanes * usize::from(size);
    }

    let inner = shape.last().copied().unwrap_or(1);
    let partly = ins.iter().chain(&outs).any(|o| matches!(o.kind, Kind::General));
    let row_tile = if partly && inner >= LONG_AXIS && inner < points {
        inner.div_ceil(inner.div_ceil(lanes)).next_multiple_of(16).min(inner)
    } else {
        0
    };
    // Tiles of whole rows see the same of an operand that is alike in every row.
    let step = if partly && row_tile == 0 && inner <= lanes { lanes / inner * inner } else { lanes };
    let tiles = match row_tile {
        0 => points.div_ceil(step),
        tile => points / inner * inner.div_ceil(tile),
    };
    let plan = Plan {
        program,
        shape,
        points,
        inputs: ins,
        outputs: outs,
        offsets,
        staging: end,
        lanes,
        step,
        row_tile,
        direct,
    };
    if end + 8 * lanes <= SMALL {
        // SAFETY: the caller's promise; the scratch is large enough.
        return unsafe { plan.tiles::<SMALL>(0..tiles) };
    }

    let per_chunk = (grain(program.weight) / if row_tile == 0 { step } else { row_tile }).max(1);
    if tiles <= per_chunk {
        // SAFETY: the caller's promise.
        return unsafe { plan.tiles::<SCRATCH>(0..tiles) };
    }
    ThreadPool::global().parallel_ranges(tiles, per_chunk, |range| {
        // SAFETY: the caller's promise; chunks write different points of the outputs.
        unsafe { plan.tiles::<SCRATCH>(range) }
    });
}

impl Plan<'_> {
    /// First point and number of points of a tile.
    fn tile(&self, i: usize) -> (usize, usize) {
        if self.row_tile == 0 {
            let start = i * self.step;
            return (start, self.step.min(self.points - start));
        }
        let inner = self.shape.last().copied().unwrap_or(1);
        let per_row = inner.div_ceil(self.row_tile);
        let at = i % per_row * self.row_tile;
        (i / per_row * inner + at, self.row_tile.min(inner - at))
    }

    /// # Safety
    /// As for [`execute`]; slots and staging must fit into `BYTES` bytes.
    unsafe fn tiles<const BYTES: usize>(&self, range: Range<usize>) {
        let mut scratch = MaybeUninit::<Scratch<BYTES>>::uninit();
        let scratch = scratch.as_mut_ptr().cast::<u8>();
        let shape = &self.shape;
        let inner = shape.last().copied().unwrap_or(1);
        let p = self.program;
        // All offsets lie inside the scratch: `execute` has cut the lanes accordingly.
        let mut at: SmallVec<[*mut u8; 16]> = self.offsets.iter().map(|&o| scratch.wrapping_add(o)).collect();
        let staging = scratch.wrapping_add(self.staging);
        let mut filled: SmallVec<[*const u8; 4]> = smallvec![std::ptr::null(); p.loads.len()];
        let size = |slot: u16| usize::from(p.slots[slot as usize]);

        for c in &p.constants {
            let (narrow, wide) = ((c.bits as u32).to_ne_bytes(), c.bits.to_ne_bytes());
            let from = if size(c.slot) == 4 { narrow.as_ptr() } else { wide.as_ptr() };
            // SAFETY: the slot has room for `lanes` lanes; the source is one lane.
            unsafe { strided(at[c.slot as usize], size(c.slot) as isize, from, 0, self.lanes, size(c.slot)) };
        }

        for tile in range {
            let (start, n) = self.tile(tile);
            for (load, filled) in p.loads.iter().zip(&mut filled) {
                let input = &self.inputs[load.input as usize];
                let own = scratch.wrapping_add(self.offsets[load.slot as usize]);
                let lane = size(load.slot);
                // SAFETY: the caller's promise for the tensors; slots and staging have room for `lanes >= n` lanes.
                unsafe {
                    if let Some(one) = input.shared(shape, start, n) {
                        if !std::ptr::eq(*filled, one) {
                            match load.widen {
                                Some(widen) => {
                                    // Staging has room for 16 lanes of 8 bytes at least.
                                    let aligned = staging.wrapping_add(64);
                                    strided(aligned, 0, one, 0, 1, input.size);
                                    widen(staging, aligned, aligned, aligned, 1);
                                    strided(own, lane as isize, staging, 0, self.lanes, lane);
                                }
                                None => strided(own, lane as isize, one, 0, self.lanes, lane),
                            }
                            *filled = one;
                        }
                        at[load.slot as usize] = own;
                        continue;
                    }
                    let periodic = self.row_tile == 0 && start % inner == 0 && input.repeats_rows();
                    if periodic && std::ptr::eq(*filled, input.start) {
                        continue;
                    }
                    *filled = if periodic { input.start } else { std::ptr::null() };
                    let dense = if periodic { None } else { input.dense(shape, start, n) };
                    match (load.widen, dense) {
                        (None, Some(ptr)) => at[load.slot as usize] = ptr,
                        (None, None) => {
                            input.read(shape, start, n, own);
                            at[load.slot as usize] = own;
                        }
                        (Some(widen), Some(ptr)) => widen(own, ptr, ptr, ptr, n),
                        (Some(widen), None) => {
                            input.read(shape, start, n, staging);
                            widen(own, staging, staging, staging, n);
                        }
                    }
                }
            }
            for (store, output) in p.stores.iter().zip(&self.outputs) {
                if store.direct && self.direct && output.is_dense() {
                    at[store.slot as usize] = output.start.wrapping_add(start * output.size);
                }
            }
            for inst in &p.insts {
                let [a, b, c] = inst.args.map(|s| at[s as usize].cast_const());
                // SAFETY: all slots hold `n` lanes of the types the primitive was chosen for; the result's slot differs
                // from those of the operands, and outputs are written directly only where no input overlaps them.
                unsafe { (inst.run)(at[inst.dst as usize], a, b, c, n) };
            }
            for (store, output) in p.stores.iter().zip(&self.outputs) {
                let from = at[store.slot as usize];
                let dense = output.dense(shape, start, n);
                // SAFETY: the caller's promise for the tensors; slots hold `n` lanes, staging has room for them.
                unsafe {
                    match (store.narrow, dense) {
                        (None, Some(to)) if std::ptr::eq(to, from) => {}
                        (None, Some(to)) => std::ptr::copy(from, to, n * usize::from(store.size)),
                        (None, None) => output.write(shape, start, n, from),
                        (Some(narrow), Some(to)) => narrow(to, from, from, from, n),
                        (Some(narrow), None) => {
                            narrow(staging, from, from, from, n);
                            output.write(shape, start, n, staging);
                        }
                    }
                }
            }
        }
    }
}
