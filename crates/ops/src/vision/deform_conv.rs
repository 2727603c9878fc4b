//! Convolution whose windows are bent.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{GridSample, add, concat, grid_sample, matmul, mul, narrow};
use crate::common;
use crate::gradient::{accumulator, full, scale, to_dtype, to_shape};
use crate::window::{self, Window};

/// Convolution of `x` `[N, C, H, W]` with `w` `[M, C/group, h, w]` where element `k` of window `(i, j)` lies `offset` off its
/// regular place (Dai et al. 2017; with a mask Zhu et al. 2019; ONNX DeformConv, torchvision `deform_conv2d`).
///
/// Inputs: `x`, `w`, `offset` `[N, G * h * w * 2, H', W']` (down, then along), and optionally a bias `[M]` and a mask
/// `[N, G * h * w, H', W']` that elements are multiplied by, for `G` groups of channels with offsets of their own.
/// Elements between pixels are interpolated, with zeros beyond the borders.
#[derive(Clone, Debug, Attrs)]
pub struct DeformConv {
    /// Steps between windows.
    pub strides: Vec<i64>,
    /// Padding in front of both axes, then behind.
    pub pads: Vec<Dim>,
    /// Steps between the elements of a window.
    pub dilations: Vec<i64>,
    /// Channels fall into this many groups that do not see each other.
    #[attr(default = 1)]
    pub group: i64,
    /// Channels fall into this many groups with offsets of their own.
    #[attr(default = 1)]
    pub offset_group: i64,
}

/// Bent convolution of `x` with `w`, see [`DeformConv`]. A mask needs a bias before it.
pub fn deform_conv(b: &mut dyn Builder, op: &DeformConv, inputs: &[Var]) -> Result<Var> {
    b.one(op, inputs)
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, w, offset) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
    let (xf, wf) = (b.tensor_fact(&x)?, b.tensor_fact(&w)?);
    window::check_pair(&xf, &wf, DeformConv::DTYPES)?;
    let Window { strides, pads, dilations, .. } = Window::from_onnx(node, wf.shape[2..].to_vec(), &xf.shape[2..])?;
    let op = DeformConv {
        strides,
        pads,
        dilations,
        group: node.int("group", 1)?,
        offset_group: node.int("offset_group", 1)?,
    };
    let mut all = vec![x, w, offset];
    let (bias, mask) = (optional(inputs, 3), optional(inputs, 4));
    if bias.is_some() || mask.is_some() {
        all.push(match bias {
            Some(bias) => bias,
            None => full(b, xf.dtype, &wf.shape[..1], 0.0)?,
        });
    }
    all.extend(mask);
    Ok(smallvec![deform_conv(b, &op, &all)?])
}

impl DeformConv {
    /// Sizes of the result.
    fn outputs(&self, x: &[Dim], w: &[Dim]) -> Result<Vec<Dim>> {
        Window::new(&w[2..], &self.strides, &self.pads, &self.dilations)?.outputs(&x[2..], false)
    }

    /// Half precision cannot hold coordinates on the grid, so it is widened.
    fn build(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Var> {
        let dtype = b.tensor_fact(&inputs[0])?.dtype;
        let wide = inputs.iter().map(|v| to_dtype(b, v, accumulator(dtype))).collect::<Result<Vec<_>>>()?;
        let y = self.build_wide(b, &wide)?;
        to_dtype(b, &y, dtype)
    }

    fn build_wide(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Var> {
        let (x, w) = (b.tensor_fact(&inputs[0])?, b.tensor_fact(&inputs[1])?);
        let outputs = self.outputs(&x.shape, &w.shape)?;
        let unknown = || Error::unsupported("bent convolution of unknown sizes");
        let sizes = |dims: &[Dim]| -> Result<Vec<usize>> {
            dims.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok()).ok_or_else(unknown)).collect()
        };
        let (image, kernel, out) = (sizes(&x.shape[2..])?, sizes(&w.shape[2..])?, sizes(&outputs)?);
        let pads = common::sizes(&self.pads)?;
        let (taps, points) = (kernel[0] * kernel[1], out[0] * out[1]);
        let (n, channels) = (x.shape[0].clone(), x.shape[1].clone());
        let groups = Dim::Known(self.offset_group);
        let images = n.mul(&groups);
        let rows = Dim::from(taps * out[0]);
        // Regular places, moved by the offsets, as coordinates of a grid in -1..1, the last axis first.
        let mut coordinates = Vec::new();
        let offset = vec![images.clone(), Dim::from(taps), Dim::Known(2), Dim::from(points)];
        let offset = to_shape(b, &inputs[2], offset)?;
        for axis in [1, 0] {
            let place = |tap: usize, point: usize| {
                let (k, o) =
                    if axis == 0 { (tap / kernel[1], point / out[1]) } else { (tap % kernel[1], point % out[1]) };
                (o as i64 * self.strides[axis] + k as i64 * self.dilations[axis] - pads[axis] as i64) as f64
            };
            let regular: Vec<f64> =
                (0..taps).flat_map(|t| (0..points).map(move |p| (t, p))).map(|(t, p)| place(t, p)).collect();
            // From the centre of pixel 0 to the left edge of the image, and to its size.
            let regular: Vec<f64> = regular.into_iter().map(|v| 2.0 * v + 1.0).collect();
            let regular = b.constant(HostTensor::from_f64(x.dtype, &[1, taps, 1, points], &regular)?)?;
            let own = narrow(b, &offset, 2, Dim::Known(axis as i64), Dim::Known(axis as i64 + 1))?;
            let moved = scale(b, &own, 2.0)?;
            let moved = add(b, &moved, &regular)?;
            let part = scale(b, &moved, 1.0 / image[axis].max(1) as f64)?;
            let one = b.scalar(x.dtype, -1.0)?;
            let part = add(b, &part, &one)?;
            coordinates.push(to_shape(b, &part, vec![images.clone(), rows.clone(), Dim::from(out[1]), Dim::Known(1)])?);
        }
        let grid = concat(b, &coordinates, 3)?;
        let maps = vec![images.clone(), channels.floor_div(&groups), x.shape[2].clone(), x.shape[3].clone()];
        let maps = to_shape(b, &inputs[0], maps)?;
        let op = GridSample { mode: "linear".to_string(), padding_mode: "zeros".to_string(), align_corners: false };
        let mut columns = grid_sample(b, &op, &maps, &grid)?;
        if let Some(mask) = inputs.get(4) {
            let mask = to_shape(b, mask, vec![images, Dim::Known(1), rows, Dim::from(out[1])])?;
            columns = mul(b, &columns, &mask)?;
        }
        let parts = Dim::Known(self.group);
        let inner = w.shape[1].mul(&Dim::from(taps));
        let columns = to_shape(b, &columns, vec![n.clone(), parts.clone(), inner.clone(), Dim::from(points)])?;
        let weights = to_shape(b, &inputs[1], vec![parts.clone(), w.shape[0].floor_div(&parts), inner])?;
        let y = matmul(b, &weights, &columns)?;
        let y = to_shape(b, &y, [&[n, w.shape[0].clone()], outputs.as_slice()].concat())?;
        match inputs.get(3) {
            None => Ok(y),
            Some(bias) => {
                let one = Dim::Known(1);
                let bias = to_shape(b, bias, vec![one.clone(), w.shape[0].clone(), one.clone(), one])?;
                add(b, &y, &bias)
            }
        }
    }
}

impl Op for DeformConv {
    fn arity(&self) -> Arity {
        Arity::between(3, 5)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        let (x, w) = (f[0], f[1]);
        window::check_pair(x, w, Self::DTYPES)?;
        window::check_group(self.group, &w.shape[0])?;
        window::check_group(self.offset_group, &x.shape[1])?;
        window::check_equal("the number of input channels", &x.shape[1], &w.shape[1].mul(&Dim::Known(self.group)))?;
        if x.rank() != 4 {
            return Err(Error::shape(format!("got {x}")).with_expected("batch, channels, height and width"));
        }
        let outputs = self.outputs(&x.shape, &w.shape)?;
        let taps = Dim::product(&w.shape[2..]).mul(&Dim::Known(self.offset_group));
        let of = |count: Dim| [&[x.shape[0].clone(), count], outputs.as_slice()].concat();
        let wanted = [of(taps.mul(&Dim::Known(2))), vec![w.shape[0].clone()], of(taps)];
        for (have, want) in f[2..].iter().zip(&wanted) {
            let same =
                have.rank() == want.len() && have.shape.iter().zip(want).all(|(a, b)| common::same_dim(a, b).is_ok());
            if have.dtype != x.dtype || !same {
                return Err(Error::shape(format!("got {have}")).with_expected(format!(
                    "{}[{}]",
                    x.dtype,
                    Dim::join(want)
                )));
            }
        }
        Ok(common::one(TensorFact::new(x.dtype, of(w.shape[0].clone()))))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let (x, w) = (t[0], t[1]);
        let outputs = common::sizes(&self.outputs(&window::dims(x), &window::dims(w))?)?;
        let (&[n, channels, height, width], &[m, own, kh, kw]) = (x.shape(), w.shape()) else {
            return Err(Error::shape("no images"));
        };
        let pads = common::sizes(&self.pads)?;
        let v: Vec<Vec<f64>> = t.iter().map(|t| t.to_f64()).collect();
        let (points, taps) = (outputs[0] * outputs[1], kh * kw);
        let per_offset = (channels / self.offset_group as usize).max(1);
        let mut out = vec![0.0; n * m * points];
        for (flat, to) in out.iter_mut().enumerate() {
            let (image, row, point) = (flat / points / m, flat / points % m, flat % points);
            let first = row / (m / self.group as usize) * own;
            *to = v.get(3).map_or(0.0, |bias| bias[row]);
            for (c, k) in (0..own).flat_map(|c| (0..taps).map(move |k| (c, k))) {
                let channel = first + c;
                let set = (image * self.offset_group as usize + channel / per_offset) * taps + k;
                let at = |axis: usize, o: usize, k: usize| {
                    let regular = o as i64 * self.strides[axis] + k as i64 * self.dilations[axis] - pads[axis] as i64;
                    regular as f64 + v[2][(set * 2 + axis) * points + point]
                };
                let (y, z) = (at(0, point / outputs[1], k / kw), at(1, point % outputs[1], k % kw));
                let mut value = 0.0;
                for (i, j) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
                    let (i, j) = (y.floor() + i, z.floor() + j);
                    if i >= 0.0 && j >= 0.0 && i < height as f64 && j < width as f64 {
                        let pixel = v[0][((image * channels + channel) * height + i as usize) * width + j as usize];
                        value += (1.0 - (y - i).abs()) * (1.0 - (z - j).abs()) * pixel;
                    }
                }
                let mask = v.get(4).map_or(1.0, |mask| mask[set * points + point]);
                *to += v[1][(row * own + c) * taps + k] * mask * value;
            }
        }
        common::out(HostTensor::from_f64(x.dtype(), &[&[n, m], outputs.as_slice()].concat(), &out)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.build(b, inputs).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let w = inputs.get(1)?.as_tensor().ok()?;
        let export = OnnxExport::new("DeformConv", if w.dtype == DType::BF16 { 22 } else { 19 })
            .attr("group", OnnxAttr::Int(self.group))
            .attr("offset_group", OnnxAttr::Int(self.offset_group));
        Window::new(&w.shape[2..], &self.strides, &self.pads, &self.dilations).ok()?.to_onnx(export)
    }
}

impl OpType for DeformConv {
    const NAME: &'static str = "deform_conv";
    const DOC: &'static str = "Convolution whose windows are bent.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("DeformConv", 19, import)]
    }

    fn cases() -> Vec<Case> {
        let plain = DeformConv {
            strides: vec![1, 1],
            pads: window::known(&[1, 0, 1, 0]),
            dilations: vec![1, 1],
            group: 1,
            offset_group: 1,
        };
        let groups =
            DeformConv { strides: vec![2, 1], dilations: vec![1, 2], group: 2, offset_group: 2, ..plain.clone() };
        let inputs = |d: DType, shapes: &[&[usize]]| -> Vec<CaseInput> {
            let made = |(i, s): (usize, &&[usize])| {
                let input = CaseInput::new(d, s);
                if i == 2 { input.fill(Fill::Uniform(-1.3, 1.3, 9)) } else { input }
            };
            shapes.iter().enumerate().map(made).collect()
        };
        let one: [&[usize]; 5] = [&[1, 2, 4, 4], &[2, 2, 2, 2], &[1, 8, 5, 3], &[2], &[1, 4, 5, 3]];
        let two: [&[usize]; 5] = [&[2, 4, 5, 5], &[4, 2, 2, 2], &[2, 16, 3, 3], &[4], &[2, 8, 3, 3]];
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("plain-{d}"), &plain, inputs(d, &one[..3]));
            cases.push(if d == DType::F32 { case.tolerance(1e-4, 1e-4) } else { case });
        }
        for (name, op, shapes) in [
            ("bare", &plain, &one[..3]),
            ("bias", &plain, &one[..4]),
            ("mask", &plain, &one[..]),
            ("groups", &groups, &two[..]),
        ] {
            cases.push(Case::new(name, op, inputs(DType::F64, shapes)).with_gradient());
        }
        cases
    }
}
