//! Interpolation to other sizes.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var,
};

use crate::build::resample_grad;
use crate::common;
use crate::resizing::{import_resize, import_upsample};
use crate::sample::{AxisMap, cubic, cubic_kernel};
use crate::window;

/// `x` interpolated to other sizes along `axes`, one axis after the other (ONNX Resize, torch `interpolate`).
///
/// Element `i` of a result axis lies at a coordinate of the input axis that depends on `coordinates`; elements around it
/// are picked (`nearest`, any type) or weighted (`linear`, `cubic`, floats). Coordinates beyond the borders see the
/// border's elements.
#[derive(Clone, Debug, Attrs)]
pub struct Resize {
    /// Axes that get other sizes.
    pub axes: Vec<i64>,
    /// Their new sizes.
    pub sizes: Vec<Dim>,
    /// Factors that coordinates are computed with, one per axis; by default new size by old size.
    #[attr(default = None)]
    pub scales: Option<Vec<f64>>,
    /// `nearest`, `linear` or `cubic`.
    #[attr(default = "linear".to_string())]
    pub mode: String,
    /// ONNX `coordinate_transformation_mode`.
    #[attr(default = "half_pixel".to_string())]
    pub coordinates: String,
    /// ONNX `nearest_mode`, or `outward`: up to the next element when shrinking, else down.
    #[attr(default = "round_prefer_floor".to_string())]
    pub nearest_mode: String,
    /// Parameter of the cubic kernel.
    #[attr(default = -0.75)]
    pub cubic_coeff_a: f64,
    /// Whether weights of elements beyond the borders are 0 and the others are scaled up to a sum of 1.
    #[attr(default = false)]
    pub exclude_outside: bool,
    /// Whether the kernel is stretched when shrinking.
    #[attr(default = false)]
    pub antialias: bool,
    /// The value beyond the borders of `tf_crop_and_resize`.
    #[attr(default = 0.0)]
    pub extrapolation_value: f64,
    /// Starts, then ends, of the region of `tf_crop_and_resize`, as parts of the axes.
    #[attr(default = None)]
    pub roi: Option<Vec<f64>>,
}

impl Default for Resize {
    fn default() -> Resize {
        Resize {
            axes: Vec::new(),
            sizes: Vec::new(),
            scales: None,
            mode: "linear".to_string(),
            coordinates: "half_pixel".to_string(),
            nearest_mode: "round_prefer_floor".to_string(),
            cubic_coeff_a: -0.75,
            exclude_outside: false,
            antialias: false,
            extrapolation_value: 0.0,
            roi: None,
        }
    }
}

/// `x` in other sizes, see [`Resize`].
pub fn resize(b: &mut dyn Builder, op: &Resize, x: &Var) -> Result<Var> {
    b.one(op, std::slice::from_ref(x))
}

/// Values of `mode`.
pub const MODES: [&str; 3] = ["nearest", "linear", "cubic"];
/// Values of `coordinates`.
pub const COORDINATES: [&str; 6] =
    ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"];
/// Values of `nearest_mode`.
pub const NEAREST: [&str; 5] = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "outward"];

impl Resize {
    fn checked_axes(&self, rank: usize) -> Result<Vec<usize>> {
        let axes = self.axes.iter().map(|&a| common::axis(a, rank)).collect::<Result<Vec<_>>>()?;
        if (1..axes.len()).any(|i| axes[..i].contains(&axes[i])) {
            return Err(Error::value(format!("axes {:?} name one axis twice", self.axes)));
        }
        let count = |name: &str, have: usize, want: usize| match have == want {
            true => Ok(()),
            false => Err(Error::value(format!("{name} has {have} numbers for {} axes", axes.len()))
                .with_expected(format!("{want} numbers"))),
        };
        count("sizes", self.sizes.len(), axes.len())?;
        count("scales", self.scales.as_ref().map_or(axes.len(), Vec::len), axes.len())?;
        count("roi", self.roi.as_ref().map_or(2 * axes.len(), Vec::len), 2 * axes.len())?;
        if self.scales.iter().flatten().any(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Error::value(format!("scales are {:?}", self.scales)).with_expected("positive numbers"));
        }
        let word = |name: &str, have: &str, among: &[&str]| match among.contains(&have) {
            true => Ok(()),
            false => {
                Err(Error::value(format!("{name} is `{have}`")).with_expected(format!("one of {}", among.join(", "))))
            }
        };
        word("mode", &self.mode, &MODES)?;
        word("coordinates", &self.coordinates, &COORDINATES)?;
        word("nearest_mode", &self.nearest_mode, &NEAREST)?;
        if self.antialias && self.mode == "nearest" {
            return Err(Error::value("antialias does not go with mode `nearest`"));
        }
        Ok(axes)
    }

    /// Where element `at` of a result axis of `m` elements lies on the input axis of `n`.
    fn coordinate(&self, i: usize, at: usize, (n, m): (usize, usize), scale: f64) -> f64 {
        let (x, n, m) = (at as f64, n as f64, m as f64);
        let width = scale * n;
        let half = (x + 0.5) / scale - 0.5;
        match self.coordinates.as_str() {
            "align_corners" if width == 1.0 => 0.0,
            "align_corners" => x * (n - 1.0) / (width - 1.0),
            "asymmetric" => x / scale,
            "pytorch_half_pixel" if width == 1.0 => -0.5,
            "half_pixel_symmetric" => n / 2.0 * (1.0 - m / width) + half,
            "tf_crop_and_resize" => {
                let bound =
                    |k: usize, default: f64| self.roi.as_ref().and_then(|r| r.get(k)).copied().unwrap_or(default);
                let (start, end) = (bound(i, 0.0), bound(self.axes.len() + i, 1.0));
                let part = if width == 1.0 { 0.5 } else { x / (width - 1.0) };
                (start + part * (end - start)) * (n - 1.0)
            }
            _ => half,
        }
    }

    /// Offsets from `base` and weights of the elements that a position `t` behind element `base` sees.
    fn taps(&self, t: f64, scale: f64) -> Vec<(i64, f64)> {
        let a = self.cubic_coeff_a;
        match self.mode.as_str() {
            "nearest" => {
                let up = match self.nearest_mode.as_str() {
                    "floor" => false,
                    "ceil" => t > 0.0,
                    "outward" => t > 0.0 && scale < 1.0,
                    "round_prefer_ceil" => t >= 0.5,
                    _ => t > 0.5,
                };
                vec![(i64::from(up), 1.0)]
            }
            "cubic" if self.antialias => {
                let scale = scale.min(1.0);
                let first = (-2.0 / scale).floor() as i64 + 1;
                normal((first..2 - first).map(|i| (i, cubic_kernel(scale * (i as f64 - t), a))).collect())
            }
            "cubic" => (-1..).zip(cubic(t, a)).collect(),
            _ if self.antialias => {
                let scale = scale.min(1.0);
                let first = (-1.0 / scale).floor() as i64 + 1;
                let weight = |i: i64| (1.0 - ((i as f64 - t) * scale).abs()).max(0.0);
                normal((first..2 - first).map(|i| (i, weight(i))).collect())
            }
            _ => vec![(0, 1.0 - t), (1, t)],
        }
    }

    /// Which axes change, and how, from sizes `input` to sizes `output`.
    ///
    /// # Errors
    /// When attributes do not fit.
    pub fn maps(&self, input: &[usize], output: &[usize]) -> Result<Vec<(usize, AxisMap)>> {
        let mut all = Vec::new();
        let crop = self.coordinates == "tf_crop_and_resize";
        for (i, axis) in self.checked_axes(input.len())?.into_iter().enumerate() {
            let (n, m) = (input[axis], output[axis]);
            let scale = self.scales.as_ref().map_or(m as f64 / n.max(1) as f64, |s| s[i]);
            if n == m && scale == 1.0 && !crop {
                continue;
            }
            let mut map = AxisMap::new(n);
            for at in 0..m {
                let x = self.coordinate(i, at, (n, m), scale);
                if crop && !(0.0..=n as f64 - 1.0).contains(&x) {
                    map.push_outside();
                    continue;
                }
                let base = x.floor();
                let mut taps = self.taps(x - base, scale);
                let place = |offset: i64| base as i64 + offset;
                let inside = |offset: i64| (0..n as i64).contains(&place(offset));
                if self.exclude_outside && self.mode != "nearest" {
                    taps.retain(|(offset, _)| inside(*offset));
                    taps = normal(taps);
                }
                let clamp = |offset: i64| place(offset).clamp(0, n as i64 - 1) as usize;
                map.push(taps.into_iter().map(|(offset, w)| (clamp(offset), w)))?;
            }
            all.push((axis, map));
        }
        all.sort_by_key(|(axis, _)| *axis);
        Ok(all)
    }

    /// Whether elements are picked, not weighted.
    pub fn is_nearest(&self) -> bool {
        self.mode == "nearest"
    }
}

/// Weights divided by their sum, without those that are 0.
fn normal(mut taps: Vec<(i64, f64)>) -> Vec<(i64, f64)> {
    taps.retain(|(_, w)| *w != 0.0);
    let sum: f64 = taps.iter().map(|(_, w)| w).sum();
    if sum != 0.0 {
        taps.iter_mut().for_each(|(_, w)| *w /= sum);
    }
    taps
}

impl Op for Resize {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let axes = self.checked_axes(x.rank())?;
        if !x.dtype.is_float() && !self.is_nearest() {
            return Err(Error::dtype(format!("{} cannot be interpolated in mode `{}`", x.dtype, self.mode))
                .with_expected("floats, or mode `nearest`"));
        }
        let mut shape = x.shape.clone();
        for (&axis, size) in axes.iter().zip(&self.sizes) {
            let (n, m) = (x.shape[axis].known(), size.known());
            if m.is_some_and(|m| m < 0) || (n == Some(0) && m.is_some_and(|m| m > 0)) {
                return Err(Error::shape(format!("{} elements of axis {axis} cannot become {size}", x.shape[axis])));
            }
            shape[axis] = size.clone();
        }
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let mut output = x.shape().to_vec();
        for (&axis, size) in self.checked_axes(output.len())?.iter().zip(common::sizes(&self.sizes)?) {
            if output[axis] == 0 && size > 0 {
                return Err(Error::shape(format!("no elements of axis {axis} cannot become {size}")));
            }
            output[axis] = size;
        }
        let maps = self.maps(x.shape(), &output)?;
        if self.is_nearest() && self.coordinates != "tf_crop_and_resize" {
            let mut at: Vec<usize> = vec![0];
            for (axis, &size) in output.iter().enumerate() {
                let map = maps.iter().find(|(a, _)| *a == axis).map(|(_, m)| m);
                let from = |i: usize| map.map_or(i, |m| m.row(i).0[0]);
                let step = |&p: &usize| (0..size).map(move |i| (p, i));
                at = at.iter().flat_map(step).map(|(p, i)| p * x.shape()[axis] + from(i)).collect();
            }
            let size = x.dtype().size();
            let bytes: Vec<u8> = at.iter().flat_map(|i| x.bytes()[i * size..(i + 1) * size].iter().copied()).collect();
            return common::out(HostTensor::copy_bytes(x.dtype(), &output, &bytes)?);
        }
        let (mut values, mut shape) = (x.to_f64(), x.shape().to_vec());
        for (axis, map) in &maps {
            values = map.apply(&values, &mut shape, *axis);
        }
        for (axis, map) in &maps {
            for (i, value) in values.iter_mut().enumerate() {
                if map.outside().contains(&common::unravel(i, &shape)[*axis]) {
                    *value = self.extrapolation_value;
                }
            }
        }
        common::out(HostTensor::from_f64(x.dtype(), &shape, &values)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(resample_grad(b, self, g, s.input_fact(0)?.shape.to_vec())?)])
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let x = inputs.first()?.as_tensor().ok()?;
        if self.nearest_mode == "outward" {
            return None;
        }
        let sizes: Vec<i64> = self.sizes.iter().map(Dim::known).collect::<Option<_>>()?;
        let text = |s: &str| OnnxAttr::Str(s.to_string());
        let opset = if self.coordinates == "half_pixel_symmetric" { 19 } else { 18 };
        let mut export = OnnxExport::new("Resize", opset)
            .attr("axes", OnnxAttr::Ints(self.axes.clone()))
            .attr("mode", text(&self.mode))
            .attr("coordinate_transformation_mode", text(&self.coordinates))
            .attr("nearest_mode", text(&self.nearest_mode))
            .attr("cubic_coeff_a", OnnxAttr::Float(self.cubic_coeff_a as f32))
            .attr("exclude_outside", OnnxAttr::Int(self.exclude_outside.into()))
            .attr("antialias", OnnxAttr::Int(self.antialias.into()))
            .attr("extrapolation_value", OnnxAttr::Float(self.extrapolation_value as f32));
        let floats = |v: &[f64]| HostTensor::from_f64(DType::F32, &[v.len()], v).ok();
        export = export.input(floats(self.roi.as_deref().unwrap_or_default())?);
        match &self.scales {
            None => Some(export.input(floats(&[])?).input(HostTensor::ints(&sizes).ok()?)),
            Some(scales) => {
                let axes = self.checked_axes(x.rank()).ok()?;
                let made = |(&a, s): (&usize, &f64)| crate::resizing::scaled(&x.shape[a], *s as f32);
                let own: Vec<Dim> = axes.iter().zip(scales).map(made).collect::<Option<_>>()?;
                (own == self.sizes).then_some(export.input(floats(scales)?))
            }
        }
    }
}

impl OpType for Resize {
    const NAME: &'static str = "resize";
    const DOC: &'static str = "Interpolation to other sizes.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Resize", 10, import_resize), OnnxMapping::range("Upsample", 7, 9, import_upsample)]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let plane = |sizes: &[i64]| Resize { axes: vec![2, 3], sizes: window::known(sizes), ..Resize::default() };
        let mode = |mode: &str, op: Resize| Resize { mode: mode.to_string(), ..op };
        let scaled = |scales: &[f64], op: Resize| Resize { scales: Some(scales.to_vec()), ..op };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let op = mode("nearest", plane(&[6, 8]));
            cases.push(Case::new(format!("double-{d}"), &op, vec![x(d, &[2, 2, 3, 4])]).symbol(0, 0, "batch"));
            let op = mode("nearest", plane(&[2, 7]));
            cases.push(Case::new(format!("nearest-{d}"), &op, vec![x(d, &[1, 2, 3, 5])]));
        }
        for &d in DType::FLOATS {
            let smooth = |c: Case| if matches!(d, DType::F32 | DType::F64) { c.with_gradient() } else { c };
            let case = Case::new(format!("linear-{d}"), &plane(&[7, 9]), vec![x(d, &[2, 2, 4, 5])]);
            cases.push(smooth(case).symbol(0, 0, "batch").symbol(0, 1, "channels"));
            let op = mode("cubic", plane(&[7, 3]));
            cases.push(smooth(Case::new(format!("cubic-{d}"), &op, vec![x(d, &[1, 2, 4, 5])])));
            let special = x(d, &[1, 2, 4, 6]).fill(Fill::Special(4));
            cases.push(Case::new(format!("special-{d}"), &plane(&[8, 5]), vec![special]));
        }
        for coordinates in COORDINATES {
            for m in MODES {
                for (name, sizes) in [("up", [7, 6]), ("down", [2, 3]), ("one", [1, 1])] {
                    let op = Resize { coordinates: coordinates.to_string(), ..mode(m, plane(&sizes)) };
                    let case = Case::new(format!("{m}-{coordinates}-{name}"), &op, vec![x(DType::F64, &[1, 2, 4, 5])]);
                    cases.push(case.with_gradient());
                }
            }
        }
        for nearest in NEAREST {
            let op = mode("nearest", Resize { nearest_mode: nearest.to_string(), ..plane(&[7, 3]) });
            cases.push(Case::new(format!("nearest-{nearest}"), &op, vec![x(DType::F32, &[1, 1, 4, 6])]));
        }
        let crop = |low: f64, high: f64| Resize {
            coordinates: "tf_crop_and_resize".to_string(),
            roi: Some(vec![low, low / 2.0, high, 0.75]),
            extrapolation_value: 10.0,
            ..plane(&[3, 4])
        };
        let down = plane(&[2, 3]);
        for (name, op, shape) in [
            ("cropped", crop(0.25, 0.75), &[1, 2, 4, 5][..]),
            ("cropped-outside", crop(-0.5, 1.25), &[1, 2, 4, 5]),
            ("cropped-nearest", mode("nearest", crop(-0.5, 1.25)), &[1, 2, 4, 5]),
            ("excluded", Resize { exclude_outside: true, ..mode("cubic", plane(&[7, 3])) }, &[1, 2, 4, 5]),
            ("antialias-linear", Resize { antialias: true, ..down.clone() }, &[1, 1, 7, 8]),
            ("antialias-cubic", Resize { antialias: true, ..mode("cubic", down.clone()) }, &[1, 1, 7, 8]),
            (
                "antialias-excluded",
                Resize { antialias: true, exclude_outside: true, ..mode("cubic", down.clone()) },
                &[1, 1, 7, 8],
            ),
            ("scaled", scaled(&[0.6, 1.7], plane(&[2, 8])), &[1, 2, 4, 5]),
            (
                "scaled-symmetric",
                Resize { coordinates: "half_pixel_symmetric".to_string(), ..scaled(&[0.6, 1.7], plane(&[2, 8])) },
                &[1, 2, 4, 5],
            ),
            ("line", Resize { axes: vec![-1], sizes: window::known(&[7]), ..Resize::default() }, &[2, 2, 3]),
            ("rows", Resize { axes: vec![1], sizes: window::known(&[5]), ..Resize::default() }, &[2, 3, 4]),
            (
                "image-last",
                Resize { axes: vec![2, 1], sizes: window::known(&[5, 7]), ..Resize::default() },
                &[2, 3, 4, 3],
            ),
            (
                "volume",
                Resize { axes: vec![2, 3, 4], sizes: window::known(&[3, 5, 4]), ..Resize::default() },
                &[1, 2, 2, 3, 6],
            ),
            ("same", plane(&[4, 5]), &[1, 2, 4, 5]),
            ("one-axis", plane(&[4, 8]), &[1, 2, 4, 5]),
            ("no-batch", plane(&[7, 6]), &[0, 2, 4, 5]),
            ("no-result", plane(&[0, 6]), &[1, 2, 4, 5]),
        ] {
            cases.push(Case::new(name, &op, vec![x(DType::F64, shape)]).with_gradient());
        }
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            cases.push(Case::new(name, &plane(&[7, 9]), vec![x(DType::F32, &[2, 2, 4, 5]).view(view)]).with_gradient());
        }
        for m in MODES {
            let case = |name: &str, op| Case::new(format!("{name}-{m}"), &op, vec![x(DType::F32, &[2, 12, 31, 45])]);
            cases.push(case("large-up", mode(m, plane(&[62, 90]))));
            cases.push(case("large-down", mode(m, plane(&[17, 20]))));
        }
        cases
    }
}
