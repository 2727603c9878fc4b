//! Boxes chosen by score and overlap.

use lampyr_backend::{Arg, ArgInfo, Backend, Kernel, Launch};
use lampyr_base::{Error, Result, Shape, SmallVec, smallvec};
use lampyr_ir::Op;
use lampyr_ops::build::NonMaxSuppression;

use super::contraction::{address, workspace};
use crate::simd::{Job, Level, Tier, run};

/// Sorts by score, then compares each box with those chosen. The results are counted before they are written.
pub(super) struct NonMaxSuppressionKernel;

/// Boxes that are compared together.
const LANES: usize = 16;
/// Numbers of workspace for each box: its place in the order, its corners and its area.
const EACH: usize = 6;

struct Overlaps<'a> {
    /// Smaller corners, larger corners and areas of the chosen boxes.
    chosen: [&'a [f32]; 5],
    candidate: [f32; 5],
    limit: f32,
}

#[inline(always)]
fn over(p: [f32; 5], q: [f32; 5], limit: f32) -> bool {
    let width = p[2].min(q[2]) - p[0].max(q[0]);
    let height = p[3].min(q[3]) - p[1].max(q[1]);
    let shared = width * height;
    let ratio = shared / (p[4] + q[4] - shared);
    let apart = (width <= 0.0) | (height <= 0.0) | (p[4] <= 0.0) | (q[4] <= 0.0);
    (if apart { 0.0 } else { ratio }) > limit
}

impl Job for Overlaps<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<L: Level>(self) -> bool {
        let [a, b, c, d, e] = self.chosen;
        let n = a.len();
        let box_at = |i: usize| [a[i], b[i], c[i], d[i], e[i]];
        let mut at = 0;
        while at < n {
            let end = n.min(at + LANES);
            let mut hit = false;
            for i in at..end {
                hit |= over(box_at(i), self.candidate, self.limit);
            }
            if hit {
                return true;
            }
            at = end;
        }
        false
    }
}

struct Call<'a> {
    boxes: &'a [f32],
    scores: &'a [f32],
    sizes: [usize; 3],
    most: i64,
    limit: f32,
    above: f32,
    centers: bool,
}

/// # Safety
/// `arg` must hold elements of type `T` without gaps.
unsafe fn elements<'a, T>(arg: &'a Arg) -> Result<&'a [T]> {
    let n = arg.layout.len();
    if n == 0 {
        return Ok(&[]);
    }
    // SAFETY: the caller's promise; the launcher checked that they lie inside the memory.
    Ok(unsafe { std::slice::from_raw_parts(address::<T>(arg)?, n) })
}

impl<'a> Call<'a> {
    fn new(op: &dyn Op, inputs: &'a [Arg<'a>]) -> Result<Call<'a>> {
        let wrong = || Error::internal("five inputs of the types of non_max_suppression are needed");
        let op: &NonMaxSuppression = op.as_any().downcast_ref().ok_or_else(wrong)?;
        let [boxes, scores, most, limit, above] = inputs else { return Err(wrong()) };
        let [pictures, classes, n] = scores.shape()[..] else { return Err(wrong()) };
        if boxes.shape()[..] != [pictures, n, 4] {
            return Err(Error::shape(format!("boxes have shape {:?} and scores {:?}", boxes.shape(), scores.shape())));
        }
        let none = || Error::shape("one element is needed");
        // SAFETY: inference checked the types, and the kernel takes contiguous operands only.
        unsafe {
            Ok(Call {
                boxes: elements(boxes)?,
                scores: elements(scores)?,
                sizes: [pictures, classes, n],
                most: *elements(most)?.first().ok_or_else(none)?,
                limit: *elements(limit)?.first().ok_or_else(none)?,
                above: *elements(above)?.first().ok_or_else(none)?,
                centers: op.center_point_box,
            })
        }
    }

    fn corners(&self, at: usize) -> [f32; 5] {
        let [a, b, c, d] = [self.boxes[4 * at], self.boxes[4 * at + 1], self.boxes[4 * at + 2], self.boxes[4 * at + 3]];
        let (x1, y1, x2, y2) = if self.centers {
            (a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0)
        } else {
            (b.min(d), a.min(c), b.max(d), a.max(c))
        };
        [x1, y1, x2, y2, (x2 - x1) * (y2 - y1)]
    }

    /// Calls `choose(picture, class, box)` for every chosen box. `room` has [`EACH`] numbers for every box.
    fn select(&self, room: &mut [u32], mut choose: impl FnMut(usize, usize, usize)) {
        let [pictures, classes, n] = self.sizes;
        let tier = Tier::current();
        let (order, kept) = room.split_at_mut(n);
        let (a, kept) = kept.split_at_mut(n);
        let (b, kept) = kept.split_at_mut(n);
        let (c, kept) = kept.split_at_mut(n);
        let (d, e) = kept.split_at_mut(n);
        for (picture, class) in (0..pictures).flat_map(|p| (0..classes).map(move |c| (p, c))) {
            let scores = &self.scores[(picture * classes + class) * n..][..n];
            let mut ranked = 0;
            for (i, &score) in scores.iter().enumerate() {
                if score > self.above {
                    order[ranked] = i as u32;
                    ranked += 1;
                }
            }
            let ranked = &mut order[..ranked];
            ranked.sort_unstable_by(|&i, &j| scores[j as usize].total_cmp(&scores[i as usize]).then(i.cmp(&j)));
            let mut count = 0;
            for &i in ranked.iter() {
                if count as i64 >= self.most {
                    break;
                }
                let candidate = self.corners(picture * n + i as usize);
                let chosen = [
                    floats(&a[..count]),
                    floats(&b[..count]),
                    floats(&c[..count]),
                    floats(&d[..count]),
                    floats(&e[..count]),
                ];
                if run(tier, Overlaps { chosen, candidate, limit: self.limit }) {
                    continue;
                }
                for (to, x) in [&mut *a, &mut *b, &mut *c, &mut *d, &mut *e].into_iter().zip(candidate) {
                    to[count] = x.to_bits();
                }
                count += 1;
                choose(picture, class, i as usize);
            }
        }
    }
}

/// The bits of floats as floats.
fn floats(bits: &[u32]) -> &[f32] {
    // SAFETY: both types have four bytes of equal alignment, and every pattern is a float.
    unsafe { std::slice::from_raw_parts(bits.as_ptr().cast(), bits.len()) }
}

/// # Safety
/// `at` must point to `n` numbers that nobody else uses.
unsafe fn room<'a>(at: *mut u32, n: usize) -> &'a mut [u32] {
    // SAFETY: the caller's promise; zeros make all of them initialised.
    unsafe {
        at.write_bytes(0, n);
        std::slice::from_raw_parts_mut(at, n)
    }
}

impl Kernel for NonMaxSuppressionKernel {
    fn name(&self) -> &'static str {
        "non_max_suppression"
    }

    fn supports(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        inputs.get(1).is_some_and(|s| s.shape().last().is_some_and(|&n| u32::try_from(n).is_ok()))
    }

    fn workspace(&self, _op: &dyn Op, inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> usize {
        inputs.get(1).and_then(|s| s.shape().last().copied()).unwrap_or(0) * EACH * size_of::<u32>()
    }

    fn measure(&self, backend: &dyn Backend, op: &dyn Op, inputs: &[Arg]) -> Option<Result<SmallVec<[Shape; 2]>>> {
        let count = || -> Result<SmallVec<[Shape; 2]>> {
            let call = Call::new(op, inputs)?;
            let numbers = call.sizes[2] * EACH;
            let memory = backend.allocate(numbers * size_of::<u32>())?;
            let at = memory.host_ptr().ok_or_else(|| Error::device("workspace outside host memory"))?;
            let mut count = 0;
            // SAFETY: the memory was just made, with room for these.
            call.select(unsafe { room(at.as_ptr().cast(), numbers) }, |_, _, _| count += 1);
            Ok(smallvec![Shape::from_slice(&[count, 3])])
        };
        Some(count())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let call = Call::new(launch.op, launch.inputs)?;
        let out = launch.output(0)?;
        let rows = out.shape().first().copied().unwrap_or(0);
        let to: *mut i64 = address(out)?;
        let numbers = call.sizes[2] * EACH;
        let (at, have) = workspace::<u32>(launch)?;
        if have < numbers || out.layout.len() != rows * 3 {
            return Err(Error::internal("workspace or result of non_max_suppression is too small"));
        }
        let mut found = 0;
        // SAFETY: the workspace belongs to this launch.
        call.select(unsafe { room(at, numbers) }, |picture, class, i| {
            if found < rows {
                for (k, x) in [picture, class, i].into_iter().enumerate() {
                    // SAFETY: `found < rows`, and the result has three elements for every row.
                    unsafe { *to.add(found * 3 + k) = x as i64 };
                }
            }
            found += 1;
        });
        if found == rows { Ok(()) } else { Err(Error::internal(format!("{found} boxes are chosen, not {rows}"))) }
    }
}
