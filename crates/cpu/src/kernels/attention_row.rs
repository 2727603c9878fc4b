//! Attention of a few queries, as in text generation: keys and values are read where they lie.

use std::ops::Range;

use super::attention::{Call, Real, biased, weight};
use crate::gemm::Store;
use crate::simd::lane::Lane;
use crate::simd::{Job, Level};

/// Sums kept side by side; their number fixes the bits.
const LANES: usize = 32;
/// Keys of a block.
const KEYS: usize = 64;

/// The queries of some heads, one by one.
pub(super) struct Row<'a, 'b, E: 'static, S> {
    pub call: &'a Call<'b, E, S>,
    pub heads: Range<usize>,
    pub scratch: *mut E,
}

#[inline(always)]
fn fma<E: Real, L: Level>(a: E, b: E, c: E) -> E {
    if L::FMA { crate::gemm::Real::mul_add(a, b, c) } else { a * b + c }
}

#[inline(always)]
fn dot<E: Real, S: Store<E>, L: Level>(a: &[E], b: &[S]) -> E {
    let mut sums = [E::ZERO; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = fma::<E, L>(a[i], b[i].get(), sums[i]);
        }
    }
    for (s, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *s = fma::<E, L>(a, b.get(), *s);
    }
    let mut width = LANES / 2;
    while width > 0 {
        (0..width).for_each(|i| sums[i] = sums[i] + sums[i + width]);
        width /= 2;
    }
    sums[0]
}

impl<E: Real, S: Store<E>> Row<'_, '_, E, S> {
    /// Attention of query `i` of `head`.
    ///
    /// # Safety
    /// Operands are those of the call; `query` and `sums` lie in the scratch.
    #[inline(always)]
    unsafe fn one<L: Level>(&self, head: usize, i: usize, query: &mut [E], sums: &mut [E]) {
        let call = self.call;
        let sizes = call.sizes;
        let own = head / sizes.group;
        let mut scores = [E::ZERO; KEYS];
        let (mut most, mut total) = (E::LOWEST, E::ZERO);
        sums.fill(E::ZERO);
        // SAFETY: rows lie inside the operands, whose last axes are contiguous.
        unsafe {
            let q = call.q.data.offset(call.q.batch.offset(head) + i as isize * call.q.outer);
            for (c, to) in query.iter_mut().enumerate() {
                *to = (*q.offset(c as isize * call.q.inner)).get();
            }
            let k = call.k.data.offset(call.k.batch.offset(own));
            let v = call.v.data.offset(call.v.batch.offset(own));
            let key = |j: usize| std::slice::from_raw_parts(k.offset(j as isize * call.k.outer), sizes.inner);
            let value = |j: usize| std::slice::from_raw_parts(v.offset(j as isize * call.v.outer), sizes.outer);
            let end = call.keys_until(i + 1);
            for first in (0..end).step_by(KEYS) {
                let count = KEYS.min(end - first);
                let scores = &mut scores[..count];
                for (j, s) in scores.iter_mut().enumerate() {
                    *s = dot::<E, S, L>(query, key(first + j)) * call.factor;
                }
                if call.softcap != E::ZERO {
                    for s in scores.iter_mut() {
                        *s = Lane::tanh::<L>(Lane::div(*s, call.softcap)) * call.softcap;
                    }
                }
                if let Some(mask) = &call.mask {
                    let at = mask.batch.offset(head) + i as isize * mask.query + first as isize * mask.key;
                    for (j, s) in scores.iter_mut().enumerate() {
                        let at = at + j as isize * mask.key;
                        if mask.choose {
                            *s = if *mask.data.offset(at) == 0 { E::LOWEST } else { *s };
                        } else {
                            *s = biased(*s, (*mask.data.cast::<S>().offset(at)).get());
                        }
                    }
                }
                let next = scores.iter().fold(most, |m, &s| Lane::max(m, s));
                if next == E::LOWEST {
                    continue;
                }
                let decay = weight::<E, L>(Lane::sub(most, next));
                let mut block = E::ZERO;
                for s in scores.iter_mut() {
                    *s = weight::<E, L>(Lane::sub(*s, next));
                }
                scores.iter().for_each(|&s| block = block + s);
                (most, total) = (next, total * decay + block);
                if decay != E::ONE {
                    sums.iter_mut().for_each(|s| *s = *s * decay);
                }
                let (fours, rest) = scores.as_chunks::<4>();
                for (j, &[a, b, c, d]) in fours.iter().enumerate() {
                    let at = first + 4 * j;
                    let (v0, v1, v2, v3) = (value(at), value(at + 1), value(at + 2), value(at + 3));
                    for ((((s, &x), &y), &z), &w) in sums.iter_mut().zip(v0).zip(v1).zip(v2).zip(v3) {
                        let t = fma::<E, L>(a, x.get(), *s);
                        let t = fma::<E, L>(b, y.get(), t);
                        let t = fma::<E, L>(c, z.get(), t);
                        *s = fma::<E, L>(d, w.get(), t);
                    }
                }
                for (j, &p) in rest.iter().enumerate() {
                    for (s, &x) in sums.iter_mut().zip(value(first + 4 * fours.len() + j)) {
                        *s = fma::<E, L>(p, x.get(), *s);
                    }
                }
            }
            let to = call.to.add((head * sizes.queries + i) * sizes.outer);
            let factor = if most == E::LOWEST { E::ZERO } else { Lane::div(E::ONE, total) };
            for (c, &s) in sums.iter().enumerate() {
                to.add(c).write(S::put(s * factor));
            }
        }
    }
}

impl<E: Real, S: Store<E>> Job for Row<'_, '_, E, S> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let sizes = self.call.sizes;
        // SAFETY: the scratch of this task has room for a query and a result, which are floats of any bits.
        let (query, sums) = unsafe {
            std::ptr::write_bytes(self.scratch, 0, sizes.inner + sizes.outer);
            let query = std::slice::from_raw_parts_mut(self.scratch, sizes.inner);
            (query, std::slice::from_raw_parts_mut(self.scratch.add(sizes.inner), sizes.outer))
        };
        for head in self.heads.clone() {
            for i in 0..sizes.queries {
                // SAFETY: as the call promises.
                unsafe { self.one::<L>(head, i, query, sums) };
            }
        }
    }
}
