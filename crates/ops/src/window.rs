//! Sliding windows: the geometry that convolution and pooling share (ONNX operators Conv, ConvTranspose, MaxPool).

use lampyr_base::{Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxNode};
use lampyr_ir::{Fact, HostTensor, TensorFact};

use crate::common;

/// The largest kernel size, stride, padding or dilation.
const LARGEST: i64 = i32::MAX as i64;
/// The most elements of one padded plane.
const MOST_ELEMENTS: i64 = 1 << 36;

/// Where windows lie over the spatial axes of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of the window, one number per spatial axis.
    pub kernel: Vec<Dim>,
    /// Steps between windows.
    pub strides: Vec<i64>,
    /// Padding before the first element of every axis, then after the last.
    pub pads: Vec<Dim>,
    /// Steps between the elements of a window.
    pub dilations: Vec<i64>,
}

impl Window {
    /// A window over `kernel` from the attributes of an op.
    ///
    /// # Errors
    /// When lists do not have one number (pads: two) per axis, or a number is out of its domain.
    pub fn new(kernel: &[Dim], strides: &[i64], pads: &[Dim], dilations: &[i64]) -> Result<Window> {
        let rank = kernel.len();
        let counts = |name: &str, have: usize, want: usize| {
            let error = || Error::value(format!("{name} has {have} numbers for {rank} spatial axes"));
            if have == want { Ok(()) } else { Err(error().with_expected(format!("{want} numbers"))) }
        };
        counts("strides", strides.len(), rank)?;
        counts("dilations", dilations.len(), rank)?;
        counts("pads", pads.len(), 2 * rank)?;
        let all = |name: &str, list: &mut dyn Iterator<Item = Option<i64>>, low: i64| match list
            .flatten()
            .find(|&v| v < low || v > LARGEST)
        {
            Some(v) => {
                Err(Error::value(format!("{name} holds {v}")).with_expected(format!("numbers from {low} to {LARGEST}")))
            }
            None => Ok(()),
        };
        all("strides", &mut strides.iter().copied().map(Some), 1)?;
        all("dilations", &mut dilations.iter().copied().map(Some), 1)?;
        all("pads", &mut pads.iter().map(Dim::known), 0)?;
        all("the kernel's shape", &mut kernel.iter().map(Dim::known), 1)?;
        Ok(Window {
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            pads: pads.to_vec(),
            dilations: dilations.to_vec(),
        })
    }

    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// From the first to the last element of the window on an axis: `dilation * (kernel - 1) + 1`.
    pub fn extent(&self, axis: usize) -> Dim {
        extent(&self.kernel[axis], self.dilations[axis])
    }

    /// Sum of both paddings of an axis.
    pub fn padding(&self, axis: usize) -> Dim {
        self.pads[axis].add(&self.pads[self.rank() + axis])
    }

    /// How many windows there are on each axis. With `ceil`, a last window may hang over the end as long as it starts
    /// before the padding behind the input.
    ///
    /// # Errors
    /// When the padded input is smaller than the window.
    pub fn outputs(&self, input: &[Dim], ceil: bool) -> Result<Vec<Dim>> {
        let mut result = Vec::with_capacity(self.rank());
        self.check_volume(input)?;
        for (axis, size) in input.iter().enumerate() {
            let room = size.add(&self.padding(axis)).sub(&self.extent(axis));
            if room.known().is_some_and(|n| n < 0) {
                return Err(Error::shape(format!(
                    "on spatial axis {axis} the window reaches over {} elements, the padded input has {}",
                    self.extent(axis),
                    size.add(&self.padding(axis))
                ))
                .with_help("use a smaller kernel or dilation, or more padding"));
            }
            let stride = Dim::Known(self.strides[axis]);
            let one = Dim::Known(1);
            result.push(if ceil {
                let starts = size.add(&self.pads[axis]).ceil_div(&stride);
                room.ceil_div(&stride).add(&one).minimum(&starts)
            } else {
                room.floor_div(&stride).add(&one)
            });
        }
        Ok(result)
    }

    /// Kernels count the elements of padded inputs: as many as no memory holds are refused here.
    fn check_volume(&self, input: &[Dim]) -> Result<()> {
        let padded: Vec<Dim> = input.iter().enumerate().map(|(i, size)| size.add(&self.padding(i))).collect();
        let known = padded.iter().filter_map(Dim::known);
        let volume = known.fold(1i64, |volume, n| volume.saturating_mul(n.max(1)));
        if volume > MOST_ELEMENTS {
            return Err(Error::shape(format!("the padded input has spatial sizes [{}]", Dim::join(&padded)))
                .with_expected(format!("at most {MOST_ELEMENTS} elements"))
                .with_help("use less padding"));
        }
        Ok(())
    }

    /// Checks that windows over `input` are as many as `output` says, as far as both are known.
    pub fn check_outputs(&self, input: &[Dim], output: &[Dim]) -> Result<()> {
        let expected = self.outputs(input, false)?;
        let differs = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
        if expected.iter().zip(output).any(differs) {
            return Err(Error::shape(format!("the gradient has spatial sizes [{}]", Dim::join(output)))
                .with_expected(format!("[{}], as the convolution gives", Dim::join(&expected))));
        }
        Ok(())
    }

    /// Every element that every window sees: (position of the window, position in the window, position in the input),
    /// all flat, in row-major order.
    pub fn taps(&self, input: &[usize], output: &[usize]) -> Result<Vec<(usize, usize, usize)>> {
        let kernel = common::sizes(&self.kernel)?;
        let pads = common::sizes(&self.pads)?;
        let mut taps = vec![(0, 0, 0)];
        for axis in 0..self.rank() {
            let (stride, dilation) = (self.strides[axis] as usize, self.dilations[axis] as usize);
            let mut next = Vec::new();
            for &(o, k, i) in &taps {
                for out in 0..output[axis] {
                    for at in 0..kernel[axis] {
                        let padded = out * stride + at * dilation;
                        if let Some(from) = padded.checked_sub(pads[axis])
                            && from < input[axis]
                        {
                            next.push((o * output[axis] + out, k * kernel[axis] + at, i * input[axis] + from));
                        }
                    }
                }
            }
            taps = next;
        }
        taps.sort_unstable();
        Ok(taps)
    }

    /// Fails unless every padding is smaller than the window.
    pub fn check_pads(&self) -> Result<()> {
        for (i, pad) in self.pads.iter().enumerate() {
            let reach = self.extent(i % self.rank());
            if pad.known().zip(reach.known()).is_some_and(|(p, r)| p >= r) {
                return Err(Error::value(format!(
                    "padding {pad} is not smaller than the window, which reaches over {reach}"
                )));
            }
        }
        Ok(())
    }

    /// Fails unless `x` has a batch axis, a channel axis and the spatial axes of the window.
    pub fn check_rank(&self, x: &TensorFact) -> Result<()> {
        if x.rank() != self.rank() + 2 || self.rank() == 0 {
            return Err(Error::shape(format!("got a tensor of rank {} for {} spatial axes", x.rank(), self.rank()))
                .with_expected("batch, channels and at least one spatial axis")
                .with_help("add a batch axis of size 1 to a single image"));
        }
        Ok(())
    }

    /// The window of an ONNX node over `input`: `auto_pad` is resolved, absent lists get their defaults.
    pub fn from_onnx(node: &dyn OnnxNode, kernel: Vec<Dim>, input: &[Dim]) -> Result<Window> {
        let rank = kernel.len();
        let strides = node.ints("strides")?.unwrap_or_else(|| vec![1; rank]);
        let dilations = node.ints("dilations")?.unwrap_or_else(|| vec![1; rank]);
        let given = node.ints("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
        let pads = match node.text("auto_pad", "NOTSET")?.as_str() {
            "NOTSET" | "" => given.into_iter().map(Dim::Known).collect(),
            "VALID" => vec![Dim::Known(0); 2 * rank],
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                if strides.len() != rank || dilations.len() != rank || strides.contains(&0) {
                    return Err(Error::value(format!("strides {strides:?} and dilations {dilations:?} do not fit")));
                }
                let total = (0..rank).map(|a| {
                    let stride = Dim::Known(strides[a]);
                    let last = input[a].ceil_div(&stride).sub(&Dim::Known(1)).mul(&stride);
                    last.add(&extent(&kernel[a], dilations[a])).sub(&input[a]).maximum(&Dim::Known(0))
                });
                split(total, mode == "SAME_UPPER")
            }
            other => {
                return Err(Error::format(format!("attribute `auto_pad` is `{other}`"))
                    .with_expected("NOTSET, VALID, SAME_UPPER or SAME_LOWER"));
            }
        };
        Window::new(&kernel, &strides, &pads, &dilations)
    }

    /// Adds the attributes to an ONNX node; `None` when paddings are symbolic.
    pub fn to_onnx(&self, export: OnnxExport) -> Option<OnnxExport> {
        let pads: Option<Vec<i64>> = self.pads.iter().map(Dim::known).collect();
        Some(
            export
                .attr("strides", OnnxAttr::Ints(self.strides.clone()))
                .attr("pads", OnnxAttr::Ints(pads?))
                .attr("dilations", OnnxAttr::Ints(self.dilations.clone())),
        )
    }
}

/// From the first to the last of `kernel` elements that lie `dilation` apart.
pub fn extent(kernel: &Dim, dilation: i64) -> Dim {
    kernel.sub(&Dim::Known(1)).mul(&Dim::Known(dilation)).add(&Dim::Known(1))
}

/// Begins and ends of paddings with these sums; the odd element goes behind (`upper`) or in front.
pub fn split(total: impl Iterator<Item = Dim>, upper: bool) -> Vec<Dim> {
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for sum in total {
        let small = sum.floor_div(&Dim::Known(2));
        let large = sum.sub(&small);
        let (begin, end) = if upper { (small, large) } else { (large, small) };
        begins.push(begin);
        ends.push(end);
    }
    begins.extend(ends);
    begins
}

/// Fails unless both tensors have one floating-point type and one rank of at least 3: batch, channels, spatial axes.
pub fn check_pair(x: &TensorFact, y: &TensorFact, allowed: &[lampyr_base::DType]) -> Result<()> {
    common::check_dtype(x.dtype, allowed)?;
    if x.dtype != y.dtype {
        return Err(Error::dtype(format!("inputs have different types: {} and {}", x.dtype, y.dtype))
            .with_expected("equal types"));
    }
    if x.rank() < 3 || x.rank() != y.rank() {
        return Err(Error::shape(format!("got tensors of rank {} and {}", x.rank(), y.rank()))
            .with_expected("equal ranks from 3 on: batch, channels and spatial axes")
            .with_help("add a batch axis of size 1 to a single image"));
    }
    Ok(())
}

/// Fails when two sizes that must agree are known and differ.
pub fn check_equal(what: &str, have: &Dim, want: &Dim) -> Result<()> {
    match (have.known(), want.known()) {
        (Some(a), Some(b)) if a != b => Err(Error::shape(format!("{what} is {a}")).with_expected(b.to_string())),
        _ => Ok(()),
    }
}

/// Fails unless `group` is positive and divides `channels`, as far as that is known.
pub fn check_group(group: i64, channels: &Dim) -> Result<()> {
    if group < 1 || channels.known().is_some_and(|c| c % group != 0) {
        return Err(Error::value(format!("{channels} channels do not fall into {group} groups"))
            .with_expected("a positive number of groups that divides the channels"));
    }
    Ok(())
}

/// Calls `visit(x, w, y)` with the flat positions of every product that the convolution of `x` with `w` adds up in `y`.
pub fn convolve(
    window: &Window,
    group: i64,
    x: &[usize],
    w: &[usize],
    y: &[usize],
    mut visit: impl FnMut(usize, usize, usize),
) -> Result<()> {
    let taps = window.taps(&x[2..], &y[2..])?;
    let plane = |shape: &[usize]| shape[2..].iter().product::<usize>();
    let (groups, out_channels, in_channels) = (group as usize, w[0], w[1]);
    for n in 0..x[0] {
        for m in 0..out_channels {
            let first = m / (out_channels / groups) * in_channels;
            for c in 0..in_channels {
                let xs = (n * x[1] + first + c) * plane(x);
                let ws = (m * in_channels + c) * plane(w);
                let ys = (n * out_channels + m) * plane(y);
                taps.iter().for_each(|&(o, k, i)| visit(xs + i, ws + k, ys + o));
            }
        }
    }
    Ok(())
}

/// The shape of `t` as sizes.
pub fn dims(t: &HostTensor) -> Vec<Dim> {
    t.shape().iter().map(|&d| Dim::from(d)).collect()
}

/// Number of elements of a fact for estimates.
pub fn estimate(fact: &Fact) -> f64 {
    let size = |d: &Dim| d.known().unwrap_or(64).max(0) as f64;
    fact.as_tensor().map_or(0.0, |t| t.shape.iter().map(size).product())
}

/// One geometry of the cases that all three convolutions run: name, sizes of `x` and `w`, strides, pads, dilations, group.
pub type Geometry = (&'static str, Vec<usize>, Vec<usize>, Vec<i64>, Vec<i64>, Vec<i64>, i64);

/// Geometries with one to three spatial axes, uneven padding, steps, dilation, groups, left-over elements and no batch.
pub fn geometries() -> Vec<Geometry> {
    vec![
        ("line", vec![2, 3, 11], vec![4, 3, 3], vec![1], vec![0, 0], vec![1], 1),
        ("line-steps", vec![2, 4, 12], vec![6, 2, 3], vec![2], vec![2, 1], vec![2], 2),
        ("plane", vec![2, 3, 7, 6], vec![4, 3, 3, 3], vec![1, 1], vec![1, 1, 1, 1], vec![1, 1], 1),
        ("pointwise", vec![2, 5, 4, 3], vec![6, 5, 1, 1], vec![1, 1], vec![0, 0, 0, 0], vec![1, 1], 1),
        ("left-over", vec![1, 2, 8, 9], vec![3, 2, 3, 2], vec![2, 3], vec![0, 1, 1, 0], vec![1, 1], 1),
        ("dilated", vec![1, 2, 9, 8], vec![2, 2, 3, 2], vec![1, 2], vec![2, 0, 2, 1], vec![2, 3], 1),
        ("depthwise", vec![2, 4, 6, 6], vec![4, 1, 3, 3], vec![1, 1], vec![1, 1, 1, 1], vec![1, 1], 4),
        ("multiplied", vec![1, 3, 5, 5], vec![6, 1, 2, 2], vec![2, 1], vec![0, 0, 0, 0], vec![1, 1], 3),
        ("volume", vec![1, 2, 4, 5, 6], vec![3, 2, 2, 3, 2], vec![1, 2, 1], vec![0, 1, 0, 1, 0, 1], vec![1, 1, 2], 1),
        ("no-batch", vec![0, 2, 5, 5], vec![3, 2, 3, 3], vec![1, 1], vec![1, 1, 1, 1], vec![1, 1], 1),
        ("no-channels", vec![2, 0, 5, 5], vec![3, 0, 3, 3], vec![1, 1], vec![1, 1, 1, 1], vec![1, 1], 1),
    ]
}

/// Sizes as symbolic sizes.
pub fn known(sizes: &[i64]) -> Vec<Dim> {
    sizes.iter().map(|&n| Dim::Known(n)).collect()
}

/// Spatial sizes of the convolution of a case.
pub fn case_outputs(g: &Geometry) -> Vec<usize> {
    let sizes = |s: &[usize]| s[2..].iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
    let window = Window::new(&sizes(&g.2), &g.3, &known(&g.4), &g.5);
    window.and_then(|w| common::sizes(&w.outputs(&sizes(&g.1), false)?)).unwrap_or_default()
}

/// A gradient case for every geometry in `float64`, with these two inputs and the op made from the geometry.
pub fn geometry_cases<T: lampyr_ir::Op + Clone>(
    inputs: impl Fn(&Geometry) -> [Vec<usize>; 2],
    op: impl Fn(&Geometry) -> T,
) -> Vec<Case> {
    let case = |g: &Geometry| {
        let inputs = inputs(g).iter().map(|s| CaseInput::new(lampyr_base::DType::F64, s)).collect();
        Case::new(g.0, &op(g), inputs).with_gradient()
    };
    geometries().iter().map(case).collect()
}
