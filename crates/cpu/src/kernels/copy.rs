//! Copies between layouts of one dtype.

use lampyr_backend::Arg;
use lampyr_base::pool::ThreadPool;
use lampyr_base::{Result, Shape, Strides};

use super::operand::{Shared, start};
use crate::simd::{Tier, transpose as simd};
use crate::tile::{Nest, runs, strided};

/// Bytes of one chunk of a copy.
const CHUNK: usize = 128 << 10;
/// Bytes up to which a copy is not worth a second thread.
const ALONE: usize = 256 << 10;
/// Edge of the square blocks in which transposing copies go, so that both sides stay in the cache.
const BLOCK: usize = simd::EDGE;

/// Copies the elements of `from` to `to`, of equal shape and dtype; both lie inside their memories.
pub(crate) fn copy(from: &Arg, to: &Arg) -> Result<()> {
    let (source, target) = (start(from)?, start(to)?);
    // SAFETY: the caller has checked that both lie inside their memories.
    unsafe {
        copy_strided(target, &to.layout.strides, source, &from.layout.strides, &to.layout.shape, from.dtype.size())
    };
    Ok(())
}

/// Copies a tensor of `shape` with elements of `size` bytes between steps in elements.
///
/// # Safety
/// All elements must lie inside living memory; source and target must not overlap.
pub(crate) unsafe fn copy_strided(
    to: *mut u8,
    to_strides: &[isize],
    from: *const u8,
    from_strides: &[isize],
    shape: &[usize],
    size: usize,
) {
    let nest = Nest::new(shape, [to_strides, from_strides].into_iter());
    let n = nest.len();
    if n == 0 {
        return;
    }
    let bytes = |s: &Strides| -> Strides { s.iter().map(|x| x * size as isize).collect() };
    let (to_steps, from_steps) = (bytes(&nest.strides[0]), bytes(&nest.strides[1]));
    let (to, from) = (Shared(to), Shared(from.cast_mut()));
    let rank = nest.shape.len();
    let dense = size as isize;

    if rank == 1 {
        let (a, b) = (to_steps[0], from_steps[0]);
        each_chunk(n, size, 1, |start, count| {
            let s = start as isize;
            // SAFETY: the caller's promise; points `start..start + count` are some of the `n`.
            unsafe { strided(to.at(s * a), a, from.at(s * b), b, count, size) }
        });
        return;
    }
    if from_steps[rank - 1] != dense && from_steps[rank - 1] != 0 && to_steps[rank - 1] == dense {
        let across = (0..rank - 1).find(|&k| from_steps[k].unsigned_abs() == size);
        if let Some(across) = across.filter(|&k| nest.shape[k] >= 4 && nest.inner() >= 4) {
            return transpose(&nest.shape, across, to, &to_steps, from, &from_steps, size);
        }
    }
    if let (&[.., n, columns], &[.., row, column]) = (&nest.shape[..], &from_steps[..]) {
        let aligned = [to.0 as usize, from.0 as usize, column as usize].iter().all(|a| a % 4 == 0);
        let few = size == 4 && (1..=simd::FEW).contains(&columns) && aligned;
        if few && row == dense && to_steps[rank - 1] == dense && to_steps[rank - 2] == dense * columns as isize {
            return interleave(&nest.shape, to, &to_steps, from, &from_steps, n);
        }
    }
    // Runs start at equal points for both, since they share the shape.
    let inner = nest.inner();
    each_chunk(n / inner, size * inner, 1, |row, rows| {
        let mut source = row_starts(&nest.shape, &from_steps, row);
        runs(&nest.shape, &to_steps, row * inner, rows * inner, |_, count, offset| {
            let at = source.next_offset();
            // SAFETY: the caller's promise.
            unsafe { strided(to.at(offset), to_steps[rank - 1], from.at(at), from_steps[rank - 1], count, size) };
        });
    });
}

/// Runs `f(start, count)` over `0..n`, in parallel when there are many bytes; borders are multiples of `unit`.
pub(crate) fn each_chunk(n: usize, bytes_each: usize, unit: usize, f: impl Fn(usize, usize) + Sync) {
    if n.saturating_mul(bytes_each) <= ALONE {
        return f(0, n);
    }
    let grain = (CHUNK / bytes_each.max(1)).next_multiple_of(unit).max(unit);
    ThreadPool::global().parallel_ranges(n, grain, |r| f(r.start, r.len()));
}

struct Rows<'a> {
    shape: &'a [usize],
    strides: &'a [isize],
    index: Shape,
    offset: isize,
}

fn row_starts<'a>(shape: &'a [usize], strides: &'a [isize], row: usize) -> Rows<'a> {
    let outer = shape.len() - 1;
    let mut rows = Rows { shape: &shape[..outer], strides, index: smallvec::smallvec![0; outer], offset: 0 };
    let mut rest = row;
    for axis in (0..outer).rev() {
        rows.index[axis] = rest % shape[axis];
        rest /= shape[axis];
        rows.offset += rows.index[axis] as isize * strides[axis];
    }
    rows
}

impl Rows<'_> {
    fn next_offset(&mut self) -> isize {
        let here = self.offset;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.offset -= self.strides[axis] * self.shape[axis] as isize;
            self.index[axis] = 0;
        }
        here
    }
}

/// A copy of few long rows to many short ones: the last two axes are `n` rows without gaps, whose columns lie apart.
fn interleave(shape: &[usize], to: Shared, to_steps: &[isize], from: Shared, from_steps: &[isize], n: usize) {
    /// Rows of one piece.
    const PIECE: usize = 4096;
    let outer = shape.len() - 2;
    let columns = shape[outer + 1];
    let rest: Shape = shape[..outer].iter().copied().chain([1]).collect();
    let starts = |steps: &[isize], i: usize| {
        let steps: Strides = steps[..outer].iter().copied().chain([0]).collect();
        row_starts(&rest, &steps, i).next_offset()
    };
    let pieces = n.div_ceil(PIECE);
    let count = rest.iter().product::<usize>() * pieces;
    each_chunk(count, PIECE * columns * 4, 1, |first, some| {
        for i in first..first + some {
            let (image, row) = (i / pieces, i % pieces * PIECE);
            let target = to.at(starts(to_steps, image) + (row * columns * 4) as isize);
            let source = from.at(starts(from_steps, image) + (row * 4) as isize);
            let step = from_steps[outer + 1] / 4;
            // SAFETY: the rows lie inside `shape`, whose elements lie inside memory by the caller's promise.
            unsafe {
                simd::interleave(Tier::current(), source.cast(), step, columns, target.cast(), PIECE.min(n - row));
            }
        }
    });
}

/// A copy whose source runs along axis `across` while its target runs along the last one.
fn transpose(
    shape: &[usize],
    across: usize,
    to: Shared,
    to_steps: &[isize],
    from: Shared,
    from_steps: &[isize],
    size: usize,
) {
    let last = shape.len() - 1;
    let (rows, columns) = (shape[across], shape[last]);
    let (to_row, from_row, from_column) = (to_steps[across], from_steps[across], from_steps[last]);
    let rest: Shape = (0..last).filter(|&k| k != across).map(|k| shape[k]).chain([1]).collect();
    let pick =
        |steps: &[isize]| -> Strides { (0..last).filter(|&k| k != across).map(|k| steps[k]).chain([0]).collect() };
    let (to_rest, from_rest) = (pick(to_steps), pick(from_steps));
    let count: usize = rest.iter().product();
    let bands = rows.div_ceil(BLOCK);
    let whole = if size == 4 && from_row == 4 { simd::transpose(Tier::current()) } else { None };
    each_chunk(count * bands, BLOCK * columns * size, 1, |first, some| {
        for band in first..first + some {
            let mut a = row_starts(&rest, &to_rest, band / bands);
            let mut b = row_starts(&rest, &from_rest, band / bands);
            let (a, b) = (a.next_offset(), b.next_offset());
            let r0 = band % bands * BLOCK;
            let height = BLOCK.min(rows - r0);
            for c0 in (0..columns).step_by(BLOCK) {
                let width = BLOCK.min(columns - c0);
                let (r, c) = (r0 as isize, c0 as isize);
                let target = to.at(a + r * to_row + c * size as isize);
                let source = from.at(b + r * from_row + c * from_column);
                if let Some(transpose) = whole.filter(|_| height == BLOCK && to_row % 4 == 0 && from_column % 4 == 0) {
                    // SAFETY: the block lies inside `shape`, whose elements lie inside memory by the caller's promise.
                    unsafe { transpose(source, from_column / 4, width, target, to_row / 4) };
                    continue;
                }
                // SAFETY: as above.
                unsafe { block(target, to_row, source, from_row, from_column, height, width, size) };
            }
        }
    });
}

/// # Safety
/// `height` x `width` elements must lie at both places; target columns lie side by side.
#[expect(clippy::too_many_arguments)]
unsafe fn block(
    to: *mut u8,
    to_row: isize,
    from: *const u8,
    from_row: isize,
    from_column: isize,
    height: usize,
    width: usize,
    size: usize,
) {
    macro_rules! elements {
        ($t:ty) => {{
            let mut tile = [<$t>::default(); BLOCK * BLOCK];
            for c in 0..width {
                for r in 0..height {
                    // SAFETY: the caller's promise.
                    let x = unsafe {
                        from.offset(r as isize * from_row + c as isize * from_column).cast::<$t>().read_unaligned()
                    };
                    tile[(r % BLOCK) * BLOCK + c % BLOCK] = x;
                }
            }
            for (r, row) in tile.chunks_exact(BLOCK).take(height).enumerate() {
                // SAFETY: the caller's promise; `width` is at most `BLOCK`.
                unsafe {
                    let target = to.offset(r as isize * to_row);
                    std::ptr::copy_nonoverlapping(row.as_ptr().cast::<u8>(), target, width * size_of::<$t>());
                }
            }
        }};
    }
    match size {
        1 => elements!(u8),
        2 => elements!(u16),
        4 => elements!(u32),
        _ => elements!(u64),
    }
}
