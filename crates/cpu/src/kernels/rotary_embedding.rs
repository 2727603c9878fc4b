//! Rotary position embedding: pairs of elements of the last axis turned by angles.

use std::mem::MaybeUninit;
use std::ops::Range;

use lampyr_backend::{Accepts, Arg, ArgInfo, Kernel, Launch};
use lampyr_base::pool::ThreadPool;
use lampyr_base::{DType, Error, Layout, Result};
use lampyr_ir::Op;
use lampyr_ops::build::RotaryEmbedding;
use smallvec::SmallVec;

use super::contraction::{address, floats};
use crate::gemm::{Compute, Store};
use crate::simd::lane::Lane;
use crate::simd::{Job, Level, Tier, run};

/// Elements of one chunk of a parallel loop.
const CHUNK: usize = 16 << 10;

/// Rotary position embedding.
pub(crate) struct RotaryEmbeddingKernel;

/// Where `x`, the cosines and the sines of a row begin, in elements.
type Places = [isize; 3];

struct Call<S> {
    /// Sizes of the axes before the last, and the steps along them.
    axes: SmallVec<[(usize, Places); 6]>,
    from: [*const S; 3],
    /// Steps along the last axis.
    steps: Places,
    to: *mut S,
    /// Elements of a row and half of those that are turned.
    len: usize,
    half: usize,
    interleaved: bool,
}

// SAFETY: inputs are only read, and chunks write different rows of the output.
unsafe impl<S: Sync> Sync for Call<S> {}

impl<S> Call<S> {
    /// Whether rows can be seen as slices.
    fn dense(&self) -> bool {
        self.from.iter().all(|p| p.is_aligned()) && self.to.is_aligned() && self.steps == [1; 3]
    }
}

struct Rows<'a, E, S> {
    call: &'a Call<S>,
    rows: Range<usize>,
    _compute: std::marker::PhantomData<E>,
}

#[inline(always)]
fn turned<E: Compute + Lane, S: Store<E>>(a: S, b: S, cos: S, sin: S) -> (S, S) {
    let (a, b, cos, sin) = (a.get(), b.get(), cos.get(), sin.get());
    (S::put(Lane::sub(a * cos, b * sin)), S::put(a * sin + b * cos))
}

#[inline(always)]
fn halves<E: Compute + Lane, S: Store<E>>(x: &[S], cos: &[S], sin: &[S], to: &mut [MaybeUninit<S>]) {
    let half = cos.len();
    let ((a, b), (first, second)) = (x.split_at(half), to.split_at_mut(half));
    let angles = cos.iter().zip(sin);
    for (((&a, &b), (&cos, &sin)), (p, q)) in a.iter().zip(b).zip(angles).zip(first.iter_mut().zip(second)) {
        let (y, z) = turned::<E, S>(a, b, cos, sin);
        p.write(y);
        q.write(z);
    }
}

#[inline(always)]
fn neighbours<E: Compute + Lane, S: Store<E>>(x: &[S], cos: &[S], sin: &[S], to: &mut [MaybeUninit<S>]) {
    let pairs = x.as_chunks::<2>().0.iter().zip(to.as_chunks_mut::<2>().0);
    for ((&[a, b], [p, q]), (&cos, &sin)) in pairs.zip(cos.iter().zip(sin)) {
        let (y, z) = turned::<E, S>(a, b, cos, sin);
        p.write(y);
        q.write(z);
    }
}

impl<E: Compute + Lane, S: Store<E>> Rows<'_, E, S> {
    /// # Safety
    /// The places lie inside the inputs.
    #[inline(always)]
    unsafe fn dense(&self, row: usize, places: Places) {
        let &Call { from: [x, cos, sin], to, len, half, interleaved, .. } = self.call;
        // SAFETY: rows have `len` elements and angles `half`; the output overlaps no input.
        unsafe {
            let x = std::slice::from_raw_parts(x.offset(places[0]), len);
            let cos = std::slice::from_raw_parts(cos.offset(places[1]), half);
            let sin = std::slice::from_raw_parts(sin.offset(places[2]), half);
            let to = std::slice::from_raw_parts_mut(to.add(row * len).cast::<MaybeUninit<S>>(), len);
            let ((x, rest), (to, tail)) = (x.split_at(2 * half), to.split_at_mut(2 * half));
            if interleaved {
                neighbours::<E, S>(x, cos, sin, to)
            } else {
                halves::<E, S>(x, cos, sin, to)
            }
            tail.iter_mut().zip(rest).for_each(|(to, &x)| {
                to.write(x);
            });
        }
    }

    /// # Safety
    /// The places lie inside the inputs.
    #[inline(always)]
    unsafe fn strided(&self, row: usize, places: Places) {
        let &Call { from, steps, to, len, half, interleaved, .. } = self.call;
        // SAFETY: elements below `len` of a row and angles below `half` lie inside the operands.
        let read = |k: usize, i: usize| unsafe { from[k].offset(places[k] + i as isize * steps[k]).read_unaligned() };
        // SAFETY: as above.
        let write = |i: usize, y: S| unsafe { to.add(row * len + i).write_unaligned(y) };
        for i in 0..half {
            let (p, q) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
            let (y, z) = turned::<E, S>(read(0, p), read(0, q), read(1, i), read(2, i));
            write(p, y);
            write(q, z);
        }
        (2 * half..len).for_each(|i| write(i, read(0, i)));
    }
}

impl<E: Compute + Lane, S: Store<E>> Job for Rows<'_, E, S> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let axes = &self.call.axes;
        let mut at: SmallVec<[usize; 6]> = SmallVec::from_elem(0, axes.len());
        let (mut places, mut rest) = ([0; 3], self.rows.start);
        for (i, &(size, steps)) in at.iter_mut().zip(axes).rev() {
            (*i, rest) = (rest % size, rest / size);
            places.iter_mut().zip(steps).for_each(|(p, step)| *p += *i as isize * step);
        }
        let dense = self.call.dense();
        for row in self.rows.clone() {
            // SAFETY: the places are those of a row below the number of rows.
            unsafe { if dense { self.dense(row, places) } else { self.strided(row, places) } }
            for (i, &(size, steps)) in at.iter_mut().zip(axes).rev() {
                *i += 1;
                places.iter_mut().zip(steps).for_each(|(p, step)| *p += step);
                if *i < size {
                    break;
                }
                *i = 0;
                places.iter_mut().zip(steps).for_each(|(p, step)| *p -= size as isize * step);
            }
        }
    }
}

fn turn<E: Compute + Lane, S: Store<E>>(launch: &Launch) -> Result<()> {
    let [x, cos, sin] = launch.inputs else { return Err(Error::internal("rotary_embedding takes three inputs")) };
    let y = launch.output(0)?;
    if y.layout.is_empty() {
        return Ok(());
    }
    let wrong = || Error::shape(format!("x and angles have shapes {:?} and {:?}", x.layout.shape, cos.layout.shape));
    let (Some((&len, outer)), Some(&half)) = (x.layout.shape.split_last(), cos.layout.shape.last()) else {
        return Err(wrong());
    };
    if half > len / 2 || y.layout.shape != x.layout.shape {
        return Err(wrong().with_expected("at most half as many angles as elements of the last axis"));
    }
    let spread = |arg: &Arg| -> Result<Layout> {
        let shape: Vec<usize> = outer.iter().copied().chain([half]).collect();
        arg.layout.broadcast_to(&shape)
    };
    let (c, s) = (spread(cos)?, spread(sin)?);
    let n = outer.len();
    let strides = |a: usize| [x.layout.strides[a], c.strides[a], s.strides[a]];
    let call = Call {
        axes: outer.iter().enumerate().map(|(a, &size)| (size, strides(a))).collect(),
        from: [address::<S>(x)?.cast_const(), address::<S>(cos)?.cast_const(), address::<S>(sin)?.cast_const()],
        steps: strides(n),
        to: address::<S>(y)?,
        len,
        half,
        interleaved: launch.op::<RotaryEmbedding>()?.interleaved,
    };
    let tier = Tier::current();
    ThreadPool::global().parallel_ranges(outer.iter().product(), (CHUNK / len).max(1), |rows| {
        run(tier, Rows::<E, S> { call: &call, rows, _compute: std::marker::PhantomData });
    });
    Ok(())
}

impl Kernel for RotaryEmbeddingKernel {
    fn name(&self) -> &'static str {
        "cpu_rotary_embedding"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        let [x, cos, sin] = inputs else { return false };
        x.dtype.is_float() && cos.dtype == x.dtype && sin.dtype == x.dtype
    }

    fn accepts(&self, _op: &dyn Op, _i: usize) -> Accepts {
        Accepts::Strided
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let dtype = launch.inputs.first().map_or(DType::F32, |x| x.dtype);
        floats!(dtype, E, S => turn::<E, S>(launch), _ => Err(Error::internal("rotary_embedding of integers")))
    }
}
