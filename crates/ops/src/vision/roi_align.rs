//! Regions of feature maps resampled to one size.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::roi_align_grad;
use crate::common;
use crate::gradient::to_dtype;
use crate::index::gather::check_indices;

/// Regions `rois` `[R, 4]` (left, top, right, bottom) of `x` `[N, C, H, W]`, the region `i` of image `batch_indices[i]`, cut
/// into bins and pooled to `[R, C, output_height, output_width]` (He et al. 2017, "Mask R-CNN"; ONNX RoiAlign, torchvision
/// `roi_align`). Every bin takes samples at even distances, interpolated linearly; samples further than one element
/// outside count as 0.
///
/// The gradient goes to `x` only.
#[derive(Clone, Debug, Attrs)]
pub struct RoiAlign {
    /// Bins from top to bottom.
    #[attr(default = 1)]
    pub output_height: i64,
    /// Bins from left to right.
    #[attr(default = 1)]
    pub output_width: i64,
    /// Samples of a bin along each axis; 0: as many as it has elements, rounded up.
    #[attr(default = 0)]
    pub sampling_ratio: i64,
    /// Size of `x` by size of the image that the regions lie in.
    #[attr(default = 1.0)]
    pub spatial_scale: f64,
    /// `avg`, the mean of the samples, or `max`, the largest weighted neighbour of any sample.
    #[attr(default = "avg".to_string())]
    pub mode: String,
    /// Whether coordinates mean corners of elements, not their centres, and regions may be smaller than one element.
    #[attr(default = false)]
    pub aligned: bool,
}

/// Regions of `x` in one size, see [`RoiAlign`].
pub fn roi_align(b: &mut dyn Builder, op: &RoiAlign, x: &Var, rois: &Var, batch_indices: &Var) -> Result<Var> {
    b.one(op, &[x.clone(), rois.clone(), batch_indices.clone()])
}

/// The most samples or bins along an axis.
const MOST: i64 = 1 << 16;

impl RoiAlign {
    pub(crate) fn check(&self) -> Result<()> {
        let bins = [self.output_height, self.output_width];
        if bins.iter().any(|b| !(1..=MOST).contains(b)) || !(0..=MOST).contains(&self.sampling_ratio) {
            return Err(Error::value(format!("{bins:?} bins with {} samples", self.sampling_ratio))
                .with_expected(format!("1 to {MOST} bins, 0 to {MOST} samples")));
        }
        if self.mode != "avg" && self.mode != "max" {
            return Err(Error::value(format!("mode is `{}`", self.mode)).with_expected("avg or max"));
        }
        Ok(())
    }

    /// First coordinate of a region, size of its bins and samples per bin on one axis, in the precision of `dtype`.
    pub fn region(&self, low: f64, high: f64, bins: usize, dtype: DType) -> (f64, f64, usize) {
        let round = |v: f64| if dtype == DType::F64 { v } else { f64::from(v as f32) };
        let offset = if self.aligned { 0.5 } else { 0.0 };
        let scale = round(self.spatial_scale);
        let place = |v: f64| round(round(v * scale) - offset);
        let start = place(low);
        let mut size = round(place(high) - start);
        if !self.aligned {
            size = size.max(1.0);
        }
        let bin = round(size / bins as f64);
        let samples = if self.sampling_ratio > 0 { self.sampling_ratio as f64 } else { bin.ceil() };
        (start, bin, samples.max(0.0) as usize)
    }

    /// Calls `visit(bin, pixels and weights, samples of the bin)` for every sample of one region of a plane of `height`
    /// by `width` pixels; four times pixel 0 with weight 0 for one that is outside.
    pub(crate) fn samples(
        &self,
        roi: &[f64],
        (height, width): (usize, usize),
        dtype: DType,
        mut visit: impl FnMut(usize, [(usize, f64); 4], usize),
    ) {
        let (rows, columns) = (self.output_height as usize, self.output_width as usize);
        let (x0, bin_x, grid_x) = self.region(roi[0], roi[2], columns, dtype);
        let (y0, bin_y, grid_y) = self.region(roi[1], roi[3], rows, dtype);
        let place = |start: f64, bin: usize, size: f64, i: usize, grid: usize| {
            start + bin as f64 * size + (i as f64 + 0.5) * size / grid as f64
        };
        let around = |at: f64, n: usize| {
            let at = at.max(0.0);
            let low = (at as usize).min(n - 1);
            let high = (low + 1).min(n - 1);
            (low, high, if low == n - 1 { 0.0 } else { at - low as f64 })
        };
        for bin in 0..rows * columns {
            for sample in 0..grid_y * grid_x {
                let y = place(y0, bin / columns, bin_y, sample / grid_x, grid_y);
                let x = place(x0, bin % columns, bin_x, sample % grid_x, grid_x);
                let inside = |at: f64, n: usize| (-1.0..=n as f64).contains(&at) && n > 0;
                let mut corners = [(0, 0.0); 4];
                if inside(y, height) && inside(x, width) {
                    let ((top, bottom, v), (left, right, u)) = (around(y, height), around(x, width));
                    corners = [
                        (top * width + left, (1.0 - v) * (1.0 - u)),
                        (top * width + right, (1.0 - v) * u),
                        (bottom * width + left, v * (1.0 - u)),
                        (bottom * width + right, v * u),
                    ];
                }
                visit(bin, corners, grid_y * grid_x);
            }
        }
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, rois, indices) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
    let default = if node.opset() < 16 { "output_half_pixel" } else { "half_pixel" };
    let aligned = match node.text("coordinate_transformation_mode", default)?.as_str() {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            return Err(Error::format(format!("coordinate_transformation_mode is `{other}`"))
                .with_expected("half_pixel or output_half_pixel"));
        }
    };
    let op = RoiAlign {
        output_height: node.int("output_height", 1)?,
        output_width: node.int("output_width", 1)?,
        sampling_ratio: node.int("sampling_ratio", 0)?,
        spatial_scale: node.float("spatial_scale", 1.0)?,
        mode: node.text("mode", "avg")?.to_lowercase(),
        aligned,
    };
    let dtype = b.tensor_fact(&x)?.dtype;
    let rois = to_dtype(b, &rois, dtype)?;
    Ok(smallvec![roi_align(b, &op, &x, &rois, &indices)?])
}

/// Fails unless `rois` and `indices` are regions and images for a tensor of type `dtype`; gives the number of regions.
pub(crate) fn check_regions(dtype: DType, rois: &TensorFact, indices: &TensorFact) -> Result<Dim> {
    check_indices(indices)?;
    let four = rois.rank() == 2 && rois.shape[1].known().is_none_or(|n| n == 4);
    if rois.dtype != dtype || !four || indices.rank() != 1 {
        return Err(Error::shape(format!("got regions {rois} of images {indices}"))
            .with_expected(format!("{dtype}[R, 4] and int64[R]")));
    }
    common::same_dim(&rois.shape[0], &indices.shape[0])
}

impl Op for RoiAlign {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        common::check_dtype(f[0].dtype, Self::DTYPES)?;
        self.check()?;
        if f[0].rank() != 4 {
            return Err(Error::shape(format!("got {}", f[0])).with_expected("batch, channels, height and width"));
        }
        let count = check_regions(f[0].dtype, f[1], f[2])?;
        let sizes = [count, f[0].shape[1].clone(), Dim::Known(self.output_height), Dim::Known(self.output_width)];
        Ok(common::one(TensorFact::new(f[0].dtype, sizes)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let &[n, c, h, w] = t[0].shape() else { return Err(Error::shape("not a batch of images")) };
        let bins = (self.output_height * self.output_width) as usize;
        let (x, rois) = (t[0].to_f64(), t[1].to_f64());
        let count = t[1].shape()[0];
        let mut out = vec![0.0; count * c * bins];
        for (r, image) in t[2].to_i64().into_iter().enumerate() {
            let image = common::element(image, n)?;
            let mut seen = vec![false; bins];
            self.samples(&rois[4 * r..4 * r + 4], (h, w), t[0].dtype(), |bin, corners, samples| {
                for channel in 0..c {
                    let plane = &x[(image * c + channel) * h * w..][..h * w];
                    let products = corners.map(|(i, weight)| weight * plane.get(i).unwrap_or(&0.0));
                    let to = &mut out[(r * c + channel) * bins + bin];
                    if self.mode == "avg" {
                        *to += products.iter().sum::<f64>() / samples as f64;
                    } else {
                        let largest = products.into_iter().fold(f64::NEG_INFINITY, f64::max);
                        *to = if seen[bin] { to.max(largest) } else { largest };
                    }
                }
                seen[bin] = true;
            });
        }
        let shape = [count, c, self.output_height as usize, self.output_width as usize];
        common::out(HostTensor::from_f64(t[0].dtype(), &shape, &out)?)
    }

    fn gradient(&self) -> Gradient {
        if self.mode == "max" {
            Gradient::None("the largest weighted neighbour is not followed back")
        } else {
            Gradient::Vjp
        }
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b110, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut result = vec![None; 3];
        if let Some(g) = grads[0].as_ref().filter(|_| needs[0]) {
            let sizes = s.input_fact(0)?.shape.to_vec();
            result[0] = Some(roi_align_grad(b, self, g, s.input(1)?, s.input(2)?, sizes)?);
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let text = |s: &str| OnnxAttr::Str(s.to_string());
        let export = OnnxExport::new("RoiAlign", 16)
            .attr("output_height", OnnxAttr::Int(self.output_height))
            .attr("output_width", OnnxAttr::Int(self.output_width))
            .attr("sampling_ratio", OnnxAttr::Int(self.sampling_ratio))
            .attr("spatial_scale", OnnxAttr::Float(self.spatial_scale as f32))
            .attr("mode", text(&self.mode))
            .attr(
                "coordinate_transformation_mode",
                text(if self.aligned { "half_pixel" } else { "output_half_pixel" }),
            );
        Some(export)
    }
}

/// Inputs of the cases: `x` of this shape, three regions that lie partly outside it, and their images.
pub(crate) fn case_inputs(d: DType, shape: &[usize]) -> Vec<CaseInput> {
    let (h, w) = (shape[2] as f64, shape[3] as f64);
    let boxes = [
        [0.3, 0.2, 0.9 * w, 0.7 * h],
        [-2.0, 1.1, 1.5 * w, h + 2.5],
        [0.4 * w, 0.45 * h, 0.45 * w, 0.5 * h],
        [-30.0, -20.0, -10.0, -5.0],
    ];
    let rois = CaseInput::new(d, &[4, 4]).values(&boxes.concat());
    let images: Vec<f64> = (0..4).map(|i| f64::from(i) % shape[0] as f64).collect();
    vec![CaseInput::new(d, shape), rois, CaseInput::new(DType::I64, &[4]).values(&images)]
}

impl OpType for RoiAlign {
    const NAME: &'static str = "roi_align";
    const DOC: &'static str = "Regions of feature maps resampled to one size.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("RoiAlign", 10, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |sampling_ratio: i64, mode: &str, aligned: bool| RoiAlign {
            output_height: 3,
            output_width: 2,
            sampling_ratio,
            spatial_scale: 0.5,
            mode: mode.to_string(),
            aligned,
        };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("mean-{d}"), &op(2, "avg", true), case_inputs(d, &[2, 3, 6, 5]));
            cases.push(
                case.symbol(0, 0, "batch").symbol(0, 2, "height").symbol(1, 0, "regions").symbol(2, 0, "regions"),
            );
            cases.push(Case::new(format!("largest-{d}"), &op(2, "max", true), case_inputs(d, &[2, 3, 6, 5])));
        }
        for (name, op) in [
            ("adaptive", op(0, "avg", true)),
            ("adaptive-plain", op(0, "avg", false)),
            ("adaptive-largest", op(0, "max", false)),
            ("plain", op(3, "avg", false)),
            ("whole-scale", RoiAlign { spatial_scale: 1.0, ..op(2, "avg", true) }),
        ] {
            cases.push(Case::new(name, &op, case_inputs(DType::F32, &[2, 3, 6, 5])));
        }
        // Regions move nothing where a map has one pixel, so the gradient for `x` alone is all of it.
        let mut inside = case_inputs(DType::F64, &[2, 3, 1, 1]);
        inside[1] = inside[1].clone().values(&[0.1, 0.2, 0.8, 0.9]);
        cases.push(Case::new("one-pixel", &op(2, "avg", false), inside.clone()).with_gradient());
        let mut none = inside;
        none[0] = CaseInput::new(DType::F64, &[2, 0, 4, 4]);
        cases.push(Case::new("no-channels", &op(2, "avg", true), none));
        let mut regions = case_inputs(DType::F32, &[2, 3, 6, 5]);
        regions[1] = CaseInput::new(DType::F32, &[0, 4]);
        regions[2] = CaseInput::new(DType::I64, &[0]);
        cases.push(Case::new("no-regions", &op(2, "avg", true), regions));
        let viewed = case_inputs(DType::F32, &[2, 3, 6, 5]).into_iter().map(|x| x.view(View::Transposed)).collect();
        cases.push(Case::new("transposed", &op(2, "avg", true), viewed));
        let mut narrow = case_inputs(DType::F32, &[2, 3, 6, 5]);
        narrow[2].dtype = DType::I32;
        cases.push(Case::new("int32", &op(2, "avg", true), narrow));
        let seven = RoiAlign { output_height: 7, output_width: 7, ..op(2, "avg", true) };
        cases.push(Case::new("large", &seven, case_inputs(DType::F32, &[2, 40, 25, 30])));
        cases
    }
}
