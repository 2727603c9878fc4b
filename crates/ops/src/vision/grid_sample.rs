//! Images sampled at points of a grid.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::to_dtype;
use crate::sample::cubic;
use crate::sampling;

/// Elements of `x` `[N, C, ...]` at the points `grid` `[N, ..., D]`, interpolated over the `D` spatial axes (ONNX GridSample,
/// torch `grid_sample`). Coordinates run from -1 to 1 over the image; the last axis of the image comes first.
#[derive(Clone, Debug, Attrs)]
pub struct GridSample {
    /// `linear`, `nearest` (ties to even) or `cubic`.
    #[attr(default = "linear".to_string())]
    pub mode: String,
    /// What lies beyond the borders: `zeros`, the `border` elements, or a `reflection`.
    #[attr(default = "zeros".to_string())]
    pub padding_mode: String,
    /// Whether -1 and 1 are the centres of the outermost elements, not their outer edges.
    #[attr(default = false)]
    pub align_corners: bool,
}

/// `x` at the points of `grid`, see [`GridSample`].
pub fn grid_sample(b: &mut dyn Builder, op: &GridSample, x: &Var, grid: &Var) -> Result<Var> {
    b.one(op, &[x.clone(), grid.clone()])
}

/// How elements around a point are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest one.
    Nearest,
    /// Two on each axis.
    Linear,
    /// Four on each axis.
    Cubic,
}

/// What lies beyond the borders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    Zeros,
    /// The border elements.
    Border,
    /// The mirrored image.
    Reflection,
}

impl GridSample {
    /// The attributes as enumerations.
    ///
    /// # Errors
    /// When one is unknown.
    pub fn kinds(&self) -> Result<(Interpolation, Padding)> {
        let mode = match self.mode.as_str() {
            "nearest" => Interpolation::Nearest,
            "linear" | "bilinear" => Interpolation::Linear,
            "cubic" | "bicubic" => Interpolation::Cubic,
            other => return Err(Error::value(format!("mode is `{other}`")).with_expected("linear, nearest or cubic")),
        };
        let padding = match self.padding_mode.as_str() {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            other => {
                return Err(
                    Error::value(format!("padding_mode is `{other}`")).with_expected("zeros, border or reflection")
                );
            }
        };
        Ok((mode, padding))
    }

    /// Elements and weights along one axis of `n` elements for a coordinate in -1..1, in the precision of `dtype`. Elements
    /// beyond the borders are left out.
    fn taps(&self, at: f64, n: usize, dtype: DType) -> Result<Vec<(usize, f64)>> {
        let (mode, padding) = self.kinds()?;
        let size = n as f64;
        let round = |v: f64| if dtype == DType::F64 { v } else { f64::from(v as f32) };
        let at = match self.align_corners {
            true => round((at + 1.0) / 2.0 * (size - 1.0)),
            false => round(((at + 1.0) * size - 1.0) / 2.0),
        };
        let reflect = |v: f64| {
            let (low, span) = if self.align_corners { (0.0, size - 1.0) } else { (-0.5, size) };
            if span <= 0.0 {
                return 0.0;
            }
            let far = (v - low).abs() % (2.0 * span);
            low + if far > span { 2.0 * span - far } else { far }
        };
        let inside = |v: f64| v.max(0.0).min(size - 1.0);
        let place = |v: f64| match padding {
            Padding::Zeros => v,
            Padding::Border => inside(v),
            Padding::Reflection => inside(reflect(v)),
        };
        let (first, weights): (f64, Vec<f64>) = match mode {
            Interpolation::Nearest => (place(at).round_ties_even(), vec![1.0]),
            Interpolation::Linear => {
                let at = place(at);
                (at.floor(), vec![1.0 - (at - at.floor()), at - at.floor()])
            }
            Interpolation::Cubic => (at.floor() - 1.0, cubic(at - at.floor(), -0.75).to_vec()),
        };
        let tap = |(k, w): (usize, f64)| {
            let index = first + k as f64;
            let index = if mode == Interpolation::Cubic { place(index) } else { index };
            (0.0..size).contains(&index).then_some((index as usize, w))
        };
        Ok(weights.into_iter().enumerate().filter_map(tap).collect())
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, grid) = (required(inputs, 0)?, required(inputs, 1)?);
    let op = GridSample {
        mode: node.text("mode", "linear")?,
        padding_mode: node.text("padding_mode", "zeros")?,
        align_corners: node.int("align_corners", 0)? != 0,
    };
    let dtype = b.tensor_fact(&x)?.dtype;
    let wide = if dtype.is_float() { dtype } else { DType::F32 };
    let (image, grid) = (to_dtype(b, &x, wide)?, to_dtype(b, &grid, wide)?);
    let made = grid_sample(b, &op, &image, &grid)?;
    Ok(smallvec![to_dtype(b, &made, dtype)?])
}

impl Op for GridSample {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, grid) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        common::check_dtype(x.dtype, Self::DTYPES)?;
        self.kinds()?;
        if grid.dtype != x.dtype {
            return Err(Error::dtype(format!("inputs have different types: {} and {}", x.dtype, grid.dtype))
                .with_expected("equal types"));
        }
        let axes = x.rank().saturating_sub(2);
        let fits = grid.shape.last().is_some_and(|d| d.known().is_none_or(|n| n == axes as i64));
        if !(1..=3).contains(&axes) || grid.rank() != x.rank() || !fits {
            return Err(Error::shape(format!("got {x} and a grid {grid}"))
                .with_expected("batch, channels and one to three spatial axes; batch, points and their coordinates"));
        }
        if x.shape[2..].iter().any(|d| d.known() == Some(0)) {
            return Err(Error::shape(format!("an image without elements: {x}")));
        }
        let batch = common::same_dim(&x.shape[0], &grid.shape[0])?;
        let shape = [batch, x.shape[1].clone()].into_iter().chain(grid.shape[1..=axes].iter().cloned());
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, grid) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let (sizes, axes) = (&x.shape()[2..], x.shape().len() - 2);
        let (n, c) = (x.shape()[0], x.shape()[1]);
        let points: usize = grid.shape()[1..=axes].iter().product();
        let plane: usize = sizes.iter().product();
        let (values, places) = (x.to_f64(), grid.to_f64());
        let mut out = vec![0.0; n * c * points];
        for point in 0..n * points {
            let mut taps = vec![(0, 1.0)];
            for (axis, &size) in sizes.iter().enumerate() {
                let own = self.taps(places[point * axes + axes - 1 - axis], size, x.dtype())?;
                let both =
                    |&(i, w): &(usize, f64)| own.iter().map(move |&(k, v)| (i * size + k, w * v)).collect::<Vec<_>>();
                taps = taps.iter().flat_map(both).collect();
            }
            for channel in 0..c {
                let image = &values[(point / points * c + channel) * plane..][..plane];
                out[(point / points * c + channel) * points + point % points] =
                    taps.iter().map(|&(i, w)| image[i] * w).sum();
            }
        }
        let shape: Vec<usize> = [n, c].into_iter().chain(grid.shape()[1..=axes].iter().copied()).collect();
        common::out(HostTensor::from_f64(x.dtype(), &shape, &out)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let made = |b: &mut dyn Builder| {
            let (mode, padding) = self.kinds()?;
            let made = sampling::grid_sample(b, mode, padding, self.align_corners, &inputs[0], &inputs[1])?;
            Ok(smallvec![made])
        };
        Some(made(b))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let mode = match self.kinds().ok()?.0 {
            Interpolation::Nearest => "nearest",
            Interpolation::Linear => "linear",
            Interpolation::Cubic => "cubic",
        };
        let export = OnnxExport::new("GridSample", 20)
            .attr("mode", OnnxAttr::Str(mode.to_string()))
            .attr("padding_mode", OnnxAttr::Str(self.padding_mode.clone()))
            .attr("align_corners", OnnxAttr::Int(self.align_corners.into()));
        Some(export)
    }
}

impl OpType for GridSample {
    const NAME: &'static str = "grid_sample";
    const DOC: &'static str = "Images sampled at points of a grid.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("GridSample", 16, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |mode: &str, padding: &str, align_corners: bool| GridSample {
            mode: mode.to_string(),
            padding_mode: padding.to_string(),
            align_corners,
        };
        let inputs = |d: DType, x: &[usize], grid: &[usize]| {
            vec![CaseInput::new(d, x), CaseInput::new(d, grid).fill(Fill::Uniform(-1.4, 1.4, 5))]
        };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case =
                Case::new(format!("plain-{d}"), &op("linear", "zeros", false), inputs(d, &[2, 3, 4, 5], &[2, 3, 2, 2]));
            let case = if d == DType::F64 || d == DType::F32 { case.with_gradient() } else { case };
            let case = if d == DType::F32 { case.tolerance(1e-4, 1e-4) } else { case };
            cases.push(case.symbol(0, 0, "batch").symbol(1, 0, "batch").symbol(0, 2, "height").symbol(1, 1, "rows"));
        }
        for mode in ["nearest", "linear", "cubic"] {
            for padding in ["zeros", "border", "reflection"] {
                for (corners, align) in [("edges", false), ("centres", true)] {
                    let made = inputs(DType::F64, &[1, 2, 4, 5], &[1, 3, 4, 2]);
                    let case = Case::new(format!("{mode}-{padding}-{corners}"), &op(mode, padding, align), made);
                    cases.push(case.with_gradient());
                }
            }
            let made = inputs(DType::F64, &[1, 2, 3, 4, 2], &[1, 2, 1, 3, 3]);
            cases.push(Case::new(format!("volume-{mode}"), &op(mode, "zeros", false), made).with_gradient());
            let made = inputs(DType::F64, &[2, 2, 5], &[2, 4, 1]);
            cases.push(Case::new(format!("line-{mode}"), &op(mode, "border", true), made).with_gradient());
            let large = inputs(DType::F32, &[2, 9, 30, 31], &[2, 17, 23, 2]);
            cases.push(Case::new(format!("large-{mode}"), &op(mode, "reflection", false), large).tolerance(1e-3, 1e-3));
        }
        let single = inputs(DType::F32, &[1, 2, 1, 1], &[1, 3, 1, 2]);
        cases.push(Case::new("single", &op("linear", "reflection", true), single));
        for (name, x, grid) in [("no-batch", [0, 2, 3, 3], [0, 2, 2, 2]), ("no-points", [1, 2, 3, 3], [1, 0, 2, 2])] {
            cases.push(Case::new(name, &op("linear", "zeros", false), inputs(DType::F64, &x, &grid)).with_gradient());
        }
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            let all = inputs(DType::F32, &[2, 3, 4, 5], &[2, 3, 2, 2]).into_iter().map(|x| x.view(view)).collect();
            let case = Case::new(name, &op("linear", "border", false), all).with_gradient();
            cases.push(case.tolerance(1e-4, 1e-4));
        }
        for padding in ["zeros", "border", "reflection"] {
            let far = if padding == "reflection" { 7.3 } else { 3e9 };
            let grid = CaseInput::new(DType::F32, &[1, 3, 2, 2]).values(&[f64::NAN, 0.1, far, -far, 0.2, f64::NAN]);
            let wild = vec![CaseInput::new(DType::F32, &[1, 2, 3, 3]), grid];
            let case = Case::new(format!("far-{padding}"), &op("linear", padding, false), wild);
            cases.push(case.tolerance(1e-4, 1e-4));
        }
        cases
    }
}
