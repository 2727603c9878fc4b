//! What the matrix driver multiplies: anything that can write a panel of itself.

use lampyr_base::{bf16, f16};
use smallvec::SmallVec;

use super::vector::Real;
use crate::simd::Tier;
use crate::simd::transpose::{EDGE, transpose};

/// An element in memory, computed with as `E`.
pub trait Store<E>: Copy + Send + Sync + 'static {
    /// Whether memory and compute type are one.
    const SAME: bool;
    /// Widens.
    fn get(self) -> E;
    /// Rounds to nearest even.
    fn put(x: E) -> Self;
}

macro_rules! store {
    ($($s:ty, $e:ty, $same:literal, $get:expr, $put:expr;)*) => { $(
        impl Store<$e> for $s {
            const SAME: bool = $same;
            #[inline(always)]
            fn get(self) -> $e {
                let f: fn($s) -> $e = $get;
                f(self)
            }
            #[inline(always)]
            fn put(x: $e) -> $s {
                let f: fn($e) -> $s = $put;
                f(x)
            }
        }
    )* };
}

store! {
    f32, f32, true, |x| x, |x| x;
    f64, f64, true, |x| x, |x| x;
    f16, f32, false, f16::to_f32, f16::from_f32;
    bf16, f32, false, bf16::to_f32, bf16::from_f32;
}

/// A piece of one side of a product: `depth` elements along the contraction by `count` along the outer axis.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Which matrix.
    pub batch: usize,
    /// First element along the contraction.
    pub k: usize,
    /// Elements along the contraction.
    pub depth: usize,
    /// First element along the outer axis.
    pub at: usize,
    /// Elements along the outer axis.
    pub count: usize,
    /// Elements from one group of the packed panel to the next.
    pub stride: usize,
}

/// One side of a product. The axis that is not contracted is called outer: rows of the left, columns of the right side.
pub trait Operand<E>: Sync {
    /// Writes a piece as `depth` groups of `stride` elements, zeros behind the first `count` of each.
    ///
    /// # Safety
    /// The piece lies inside the matrix, `count <= stride`, and `to` is valid for `depth * stride` elements.
    unsafe fn pack(&self, panel: Panel, to: *mut E);

    /// How many different matrices a batch of `batch` has: matrix `i` equals matrix `i` modulo this.
    fn distinct(&self, batch: usize) -> usize {
        batch
    }

    /// The address of matrix `batch` and its step along the contraction, when its outer axis is contiguous and its
    /// elements are of type `E`.
    fn direct(&self, _batch: usize) -> Option<(*const E, isize)> {
        None
    }

    /// The address of matrix `batch` and where each place along the contraction begins from there, when the outer axis is
    /// contiguous, elements are of type `E`, and as many elements as the widest kernel takes can be read behind the end.
    fn scattered(&self, _batch: usize) -> Option<(*const E, &[isize])> {
        None
    }
}

/// Offsets of the matrices of a batch with broadcasting.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    axes: SmallVec<[(usize, isize); 4]>,
}

impl Batch {
    /// One axis per pair of size and step in elements, outermost first.
    pub fn new(sizes: &[usize], steps: &[isize]) -> Batch {
        Batch { axes: sizes.iter().copied().zip(steps.iter().copied()).collect() }
    }

    /// Matrix `i` equals matrix `i` modulo this.
    pub fn distinct(&self) -> usize {
        let moving = self.axes.iter().position(|&(_, step)| step != 0).unwrap_or(self.axes.len());
        self.axes[moving..].iter().map(|&(size, _)| size).product()
    }

    /// Offset of matrix `i` in row-major order.
    pub fn offset(&self, mut i: usize) -> isize {
        let mut at = 0;
        for &(size, step) in self.axes.iter().rev() {
            let size = size.max(1);
            at += (i % size) as isize * step;
            i /= size;
        }
        at
    }
}

/// A matrix with two steps, in elements.
#[derive(Clone, Debug)]
pub struct Strided<S> {
    /// First element of the first matrix.
    pub data: *const S,
    /// Step along the outer axis.
    pub outer: isize,
    /// Step along the contraction.
    pub inner: isize,
    /// Where the matrices of the batch begin.
    pub batch: Batch,
}

// SAFETY: the pointer is only read, inside the lifetime of the operand it was made from.
unsafe impl<S: Send> Send for Strided<S> {}
// SAFETY: as above.
unsafe impl<S: Sync> Sync for Strided<S> {}

/// Copies `count` elements without a call, for copies that are mostly short.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`].
#[inline(always)]
pub unsafe fn copy_short<E: Copy>(from: *const E, to: *mut E, count: usize) {
    macro_rules! pieces {
        ($($n:literal)*) => { $(
            if count >= $n {
                let piece = |at: usize| {
                    // SAFETY: `at + $n` is at most `count`.
                    unsafe { to.add(at).cast::<[E; $n]>().write_unaligned(from.add(at).cast::<[E; $n]>().read_unaligned()) }
                };
                (0..count / $n).for_each(|i| piece(i * $n));
                if count % $n != 0 {
                    piece(count - $n);
                }
                return;
            }
        )* };
    }
    pieces!(16 8 4 2);
    if count == 1 {
        // SAFETY: the caller's promise.
        unsafe { to.write_unaligned(from.read_unaligned()) };
    }
}

/// Elements of the contraction copied at a time when that is the contiguous axis: one cache line.
const LINE: usize = 16;

impl<E: Real, S: Store<E>> Operand<E> for Strided<S> {
    // Reads elements wherever they lie: kernels say that constants may be packed from files, where nothing is aligned.
    unsafe fn pack(&self, panel: Panel, to: *mut E) {
        let Panel { batch, k, depth, at, count, stride } = panel;
        // SAFETY: the ranges lie inside the matrix and `to` is large enough by the trait's contract.
        unsafe {
            let from = self.data.offset(self.batch.offset(batch) + at as isize * self.outer + k as isize * self.inner);
            if self.outer == 1 {
                for p in 0..depth {
                    let (from, to) = (from.offset(p as isize * self.inner), to.add(p * stride));
                    if S::SAME {
                        copy_short(from.cast::<E>(), to, count);
                    } else {
                        (0..count).for_each(|i| *to.add(i) = from.add(i).read_unaligned().get());
                    }
                    (count..stride).for_each(|i| *to.add(i) = E::ZERO);
                }
                return;
            }
            let exchange = if S::SAME && size_of::<S>() == 4 && self.inner == 1 {
                transpose(Tier::current()).filter(|_| stride >= 4)
            } else {
                None
            };
            let mut p = 0;
            while p < depth {
                let n = LINE.min(depth - p);
                let to = to.add(p * stride);
                if let Some(exchange) = exchange.filter(|_| n == EDGE) {
                    for first in (0..count).step_by(EDGE) {
                        let from = from.offset(first as isize * self.outer + p as isize);
                        let rows = EDGE.min(count - first);
                        exchange(from.cast(), self.outer, rows, to.add(first).cast(), stride as isize);
                    }
                    for q in 0..EDGE {
                        (count..stride).for_each(|i| *to.add(q * stride + i) = E::ZERO);
                    }
                    p += n;
                    continue;
                }
                for i in 0..count {
                    let from = from.offset(i as isize * self.outer + p as isize * self.inner);
                    if n == LINE && self.inner == 1 {
                        (0..LINE).for_each(|q| *to.add(q * stride + i) = from.add(q).read_unaligned().get());
                    } else {
                        let read = |q: usize| from.offset(q as isize * self.inner).read_unaligned().get();
                        (0..n).for_each(|q| *to.add(q * stride + i) = read(q));
                    }
                }
                for i in count..stride {
                    (0..n).for_each(|q| *to.add(q * stride + i) = E::ZERO);
                }
                p += n;
            }
        }
    }

    fn distinct(&self, _batch: usize) -> usize {
        self.batch.distinct()
    }

    fn direct(&self, batch: usize) -> Option<(*const E, isize)> {
        // wrapping_offset: nothing is read here.
        (S::SAME && self.outer == 1)
            .then(|| (self.data.wrapping_offset(self.batch.offset(batch)).cast::<E>(), self.inner))
    }
}
