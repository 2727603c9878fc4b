use std::mem::MaybeUninit;
use std::ops::Range;

use lampyr_base::pool::ThreadPool;
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

#[repr(align(64))]
struct Scratch {
    _bytes: [MaybeUninit<u8>; SCRATCH],
}

/// A tensor of a launch: address of its first element, bytes of an element, steps of its axes in elements, and the
/// bytes its elements span.
pub(crate) struct Tensor<'a> {
    pub start: *mut u8,
    pub size: usize,
    pub strides: &'a [isize],
    pub span: Range<usize>,
}

struct Plan<'a> {
    program: &'a Program,
    nest: Nest,
    inputs: SmallVec<[Operand; 4]>,
    outputs: SmallVec<[Operand; 1]>,
    /// Per slot: byte offset of its tile in the scratch.
    offsets: SmallVec<[usize; 16]>,
    /// Byte offset of the tile for elements that are not lanes yet.
    staging: usize,
    lanes: usize,
    /// Lanes of a tile when tiles follow rows; 0 when they do not.
    row_tile: usize,
    /// Whether instructions may write outputs themselves.
    direct: bool,
}

/// Runs `program` over `shape`.
///
/// # Safety
/// All elements of the tensors must lie inside living memory, outputs must be writable and disjoint from each other, and
/// an output that overlaps an input must lie exactly where that input lies.
pub(crate) unsafe fn execute(program: &Program, shape: &[usize], inputs: &[Tensor], outputs: &[Tensor]) {
    let nest = Nest::new(shape, inputs.iter().chain(outputs).map(|t| t.strides));
    let n = nest.len();
    if n == 0 {
        return;
    }
    let operand = |(t, s): (&Tensor, &lampyr_base::Strides)| Operand::new(t.start, t.size, &nest.shape, s);
    let ins: SmallVec<[Operand; 4]> = inputs.iter().zip(&nest.strides).map(operand).collect();
    let outs: SmallVec<[Operand; 1]> = outputs.iter().zip(&nest.strides[inputs.len()..]).map(operand).collect();
    let overlap = |o: &Tensor| inputs.iter().any(|i| i.span.start < o.span.end && o.span.start < i.span.end);
    let direct = !outputs.iter().any(overlap);

    let row = program.slots.iter().map(|&s| usize::from(s)).sum::<usize>() + 8;
    let lanes = LANES.min((SCRATCH / row) & !15).min(n.next_multiple_of(16));
    let mut end = 0;
    let offsets = program.slots.iter().map(|&size| {
        let start = end;
        end += lanes * usize::from(size);
        start
    });
    let offsets: SmallVec<[usize; 16]> = offsets.collect();

    let inner = nest.inner();
    let partly = ins.iter().chain(&outs).any(|o| matches!(o.kind, Kind::General));
    let row_tile = if partly && inner >= LONG_AXIS && inner < n {
        inner.div_ceil(inner.div_ceil(lanes)).next_multiple_of(16).min(inner)
    } else {
        0
    };
    let tiles = match row_tile {
        0 => n.div_ceil(lanes),
        tile => n / inner * inner.div_ceil(tile),
    };
    let plan = Plan { program, nest, inputs: ins, outputs: outs, offsets, staging: end, lanes, row_tile, direct };

    let per_chunk = (grain(program.weight) / if row_tile == 0 { lanes } else { row_tile }).max(1);
    if tiles <= per_chunk {
        // SAFETY: the caller's promise.
        return unsafe { plan.tiles(0..tiles) };
    }
    ThreadPool::global().parallel_ranges(tiles, per_chunk, |range| {
        // SAFETY: the caller's promise; chunks write different points of the outputs.
        unsafe { plan.tiles(range) }
    });
}

impl Plan<'_> {
    /// First point and number of points of a tile.
    fn tile(&self, i: usize) -> (usize, usize) {
        if self.row_tile == 0 {
            let start = i * self.lanes;
            return (start, self.lanes.min(self.nest.len() - start));
        }
        let inner = self.nest.inner();
        let per_row = inner.div_ceil(self.row_tile);
        let at = i % per_row * self.row_tile;
        (i / per_row * inner + at, self.row_tile.min(inner - at))
    }

    unsafe fn tiles(&self, range: Range<usize>) {
        let mut scratch = MaybeUninit::<Scratch>::uninit();
        let scratch = scratch.as_mut_ptr().cast::<u8>();
        let shape = &self.nest.shape;
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
                    *filled = std::ptr::null();
                    let dense = input.dense(shape, start, n);
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
