//! Convolutions of random sizes beside sums in double precision, on every tier and with one and two threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use lampyr_base::alloc::Aligned;
use lampyr_base::pool::ThreadPool;
use lampyr_kernels::conv::{After, Call, PackedConv, Plan, Shape, Tiles, run, run_tiles};
use lampyr_kernels::gemm::Epilogue;
use lampyr_kernels::simd::Tier;

/// Numbers from -0.5 to 0.5.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// Sums in double precision.
fn expected(s: &Shape, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f64> {
    let (groups, channels, outputs) = (s.groups, s.channels, s.outputs);
    let mut result = vec![0.0; s.result_len()];
    for (at, sum) in result.iter_mut().enumerate() {
        let (place, output) = (at / (groups * outputs), at % (groups * outputs));
        let (image, place) = (place / s.area(), place % s.area());
        let [_, height, width] = s.positions;
        let position = [place / (height * width), place / width % height, place % width];
        *sum = f64::from(bias[output]);
        for tap in 0..s.window() {
            let taps = [tap / (s.taps[1] * s.taps[2]), tap / s.taps[2] % s.taps[1], tap % s.taps[2]];
            let seen = |a: usize| {
                let at = position[a] * s.strides[a] + taps[a] * s.dilations[a];
                at.checked_sub(s.pads[a]).filter(|&at| at < s.source[a])
            };
            let (Some(z), Some(y), Some(column)) = (seen(0), seen(1), seen(2)) else { continue };
            let pixel = ((image * s.source[0] + z) * s.source[1] + y) * s.source[2] + column;
            let from = pixel * groups * channels + output / outputs * channels;
            for c in 0..channels {
                *sum += f64::from(x[from + c]) * f64::from(w[(output * channels + c) * s.window() + tap]);
            }
        }
    }
    result
}

/// Counts how often each element is told of.
struct Seen {
    times: Vec<AtomicUsize>,
    area: usize,
    columns: usize,
}

impl Epilogue for Seen {
    fn apply(&self, batch: usize, rows: Range<usize>, columns: Range<usize>) {
        for row in rows {
            for column in columns.clone() {
                let at = (batch * self.area + row) * self.columns + column;
                self.times[at].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Compares one convolution with the sums, on all tiers, and the bits for one and two threads.
fn check(shape: &Shape) {
    check_by(shape, false);
}

/// The same by tiles; the bits of the tiers differ.
fn check_by(shape: &Shape, by_tiles: bool) {
    let (groups, outputs) = (shape.groups, shape.outputs);
    let x = numbers(shape.source_len(), 1);
    let w = numbers(groups * outputs * shape.inner(), 2);
    let bias = numbers(groups * outputs, 3);
    let residual = numbers(shape.result_len(), 4);
    let (inner, bounds) = ((-0.5, 0.5), (-0.25, 0.75));
    let want = expected(shape, &x, &w, &bias);
    let mut first: Option<Vec<f32>> = None;
    for tier in Tier::available() {
        let plan = Plan::new(tier, shape);
        let tiles = Tiles::new(tier, shape).filter(|_| by_tiles);
        assert!(!by_tiles || tiles.is_some() || tier == Tier::Scalar, "{shape:?}");
        // SAFETY: there is a weight for each output, channel and tap.
        let packed = unsafe { PackedConv::new(tier, w.as_ptr(), (groups, outputs), (shape.channels, shape.window())) };
        let packed = packed.unwrap();
        for threads in [1, 2] {
            let room = tiles.as_ref().map_or(plan.workspace(threads), |t| t.workspace(threads));
            let workspace = Aligned::<f32>::new(room).unwrap();
            let seen = Seen {
                times: (0..shape.result_len()).map(|_| AtomicUsize::new(0)).collect(),
                area: shape.area(),
                columns: groups * outputs,
            };
            let mut out = vec![f32::NAN; shape.result_len()];
            let after = After {
                inner: Some(inner),
                residual: Some(residual.as_ptr()),
                bounds: Some(bounds),
                epilogue: Some(&seen),
            };
            let call = Call {
                x: x.as_ptr(),
                weights: packed.data(),
                bias: Some((bias.as_ptr(), 1)),
                out: out.as_mut_ptr(),
                after,
            };
            let (pool, area) = (ThreadPool::new(threads), (workspace.as_ptr(), room));
            // SAFETY: all operands have the sizes of the shape.
            unsafe {
                match &tiles {
                    Some(tiles) => {
                        let weights = packed.tiled().unwrap().data();
                        run_tiles(tiles, &Call { weights, ..call }, &pool, area);
                    }
                    None => run(&plan, &call, &pool, area),
                }
            }
            for (i, (&got, want)) in out.iter().zip(&want).enumerate() {
                let want = (want.clamp(-0.5, 0.5) + f64::from(residual[i])).clamp(-0.25, 0.75);
                assert!(
                    (f64::from(got) - want).abs() < 1e-4,
                    "{tier:?}, {threads} threads, {shape:?}, {i}: {got}, {want}"
                );
                assert_eq!(seen.times[i].load(Ordering::Relaxed), 1, "{tier:?}, {shape:?}, {i}");
            }
            if by_tiles && threads == 1 {
                first = None;
            }
            let first = first.get_or_insert_with(|| out.clone());
            assert!(*first == out, "bits differ: {tier:?}, {threads} threads, {shape:?}");
        }
    }
}

/// A shape with one slice.
fn plane(images: usize, size: [usize; 2], channels: [usize; 2], taps: [usize; 2]) -> Shape {
    Shape {
        images,
        source: [1, size[0], size[1]],
        positions: [1, 0, 0],
        taps: [1, taps[0], taps[1]],
        strides: [1; 3],
        dilations: [1; 3],
        pads: [0; 3],
        groups: 1,
        channels: channels[0],
        outputs: channels[1],
    }
}

/// Sets the positions that fit into the image with padding at both ends.
fn fitted(mut shape: Shape, after: [usize; 3]) -> Shape {
    for a in [0, 1, 2] {
        let size = shape.source[a] + shape.pads[a] + after[a];
        let reach = (shape.taps[a] - 1) * shape.dilations[a] + 1;
        shape.positions[a] = if size < reach { 0 } else { (size - reach) / shape.strides[a] + 1 };
    }
    shape
}

#[test]
fn random_sizes() {
    let draws = numbers(4000, 9);
    let mut at = 0;
    let mut below = |n: usize| {
        at += 1;
        ((draws[at] + 0.5) * n as f32) as usize % n
    };
    for _ in 0..120 {
        let groups = [1, 1, 1, 2, 3][below(5)];
        let (size, channels) = ([1 + below(17), 1 + below(20)], [1 + below(30), 1 + below(70)]);
        let mut shape = plane(1 + below(3), size, channels, [1 + below(4), 1 + below(4)]);
        shape.groups = groups;
        shape.strides = [1, 1 + below(3), 1 + below(3)];
        shape.dilations = [1, 1 + below(3), 1 + below(2)];
        shape.pads = [0, below(4), below(7)];
        let after = [0, below(5), below(4)];
        check(&fitted(shape, after));
    }
}

#[test]
fn slices_long_rows_and_one_channel() {
    let deep = Shape { source: [5, 6, 7], taps: [3, 2, 3], pads: [1, 0, 1], ..plane(2, [0; 2], [5, 9], [1; 2]) };
    check(&fitted(deep.clone(), [1, 1, 1]));
    check(&fitted(Shape { channels: 20, strides: [2, 1, 2], ..deep }, [1, 1, 1]));
    check(&fitted(Shape { pads: [0, 0, 3], ..plane(2, [1, 1500], [1, 1], [1, 7]) }, [0, 0, 3]));
    check(&fitted(Shape { pads: [0, 40, 60], ..plane(1, [3, 4], [1, 20], [3, 3]) }, [0, 2, 50]));
    check(&fitted(plane(1, [12, 12], [300, 130], [1, 1]), [0; 3]));
}

#[test]
fn by_tiles() {
    for (images, size, channels, pads) in [
        (1, [16, 16], [24, 24], [1, 1]),
        (2, [13, 22], [40, 70], [1, 1]),
        (1, [19, 9], [33, 37], [0, 2]),
        (1, [28, 28], [128, 64], [1, 1]),
        (3, [14, 14], [100, 130], [2, 1]),
    ] {
        let shape = Shape { pads: [0, pads[0], pads[1]], ..plane(images, size, channels, [3, 3]) };
        check_by(&fitted(shape, [0, pads[0], pads[1]]), true);
    }
}
