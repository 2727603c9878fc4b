//! Grids of points moved by affine maps.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::{concat, matmul, swap_axes};
use crate::common;
use crate::gradient::{full, to_shape};
use crate::window;

/// The points that `grid_sample` takes to move an image of sizes `size` by the affine maps `theta` `[N, D, D + 1]`, for two
/// or three spatial axes: `[N, ..., D]` (ONNX AffineGrid, torch `affine_grid`).
#[derive(Clone, Debug, Attrs)]
pub struct AffineGrid {
    /// Sizes of the image: batch, channels and spatial axes.
    pub size: Vec<Dim>,
    /// Whether -1 and 1 are the centres of the outermost elements, not their outer edges.
    #[attr(default = false)]
    pub align_corners: bool,
}

/// The points of images of sizes `size` under the maps `theta`, see [`AffineGrid`].
pub fn affine_grid(b: &mut dyn Builder, theta: &Var, size: Vec<Dim>, align_corners: bool) -> Result<Var> {
    b.one(&AffineGrid { size, align_corners }, std::slice::from_ref(theta))
}

impl AffineGrid {
    /// The coordinate of element `i` of an axis of `n`.
    pub fn coordinate(&self, i: usize, n: usize) -> f64 {
        match (n, self.align_corners) {
            (0 | 1, _) => 0.0,
            (n, true) => 2.0 * i as f64 / (n as f64 - 1.0) - 1.0,
            (n, false) => (2.0 * i as f64 + 1.0) / n as f64 - 1.0,
        }
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (theta, size) = (required(inputs, 0)?, required(inputs, 1)?);
    let size = b.dims(&size)?;
    Ok(smallvec![affine_grid(b, &theta, size, node.int("align_corners", 0)? != 0)?])
}

impl Op for AffineGrid {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let theta = inputs[0].as_tensor()?;
        common::check_dtype(theta.dtype, Self::DTYPES)?;
        let axes = self.size.len() as i64 - 2;
        let is = |d: &Dim, n: i64| d.known().is_none_or(|d| d == n);
        let fits = theta.rank() == 3 && is(&theta.shape[1], axes) && is(&theta.shape[2], axes + 1);
        if !(2..=3).contains(&axes) || !fits || self.size.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
            return Err(Error::shape(format!("got maps {theta} for images [{}]", Dim::join(&self.size)))
                .with_expected("[N, 2, 3] for [N, C, H, W], or [N, 3, 4] for [N, C, D, H, W]"));
        }
        let batch = common::same_dim(&theta.shape[0], &self.size[0])?;
        let shape = [batch].into_iter().chain(self.size[2..].iter().cloned()).chain([Dim::Known(axes)]);
        Ok(common::one(TensorFact::new(theta.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let theta = inputs[0].tensor()?;
        let sizes = common::sizes(&self.size[2..])?;
        let (axes, maps) = (sizes.len(), theta.to_f64());
        let shape: Vec<usize> = [theta.shape()[0]].into_iter().chain(sizes.iter().copied()).chain([axes]).collect();
        let mut out = Vec::new();
        for flat in 0..shape.iter().product::<usize>() {
            let at = common::unravel(flat, &shape);
            let row = &maps[(at[0] * axes + at[axes + 1]) * (axes + 1)..][..=axes];
            // The first coordinate is that of the last axis.
            let moved = (0..axes).map(|k| row[k] * self.coordinate(at[axes - k], sizes[axes - 1 - k]));
            out.push(moved.sum::<f64>() + row[axes]);
        }
        common::out(HostTensor::from_f64(theta.dtype(), &shape, &out)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let (theta, axes) = (s.input_fact(0)?, self.size.len() - 2);
        let points = Dim::product(&self.size[2..]);
        let known = Dim::Known(axes as i64);
        // The grid itself is what the identity gives.
        let same: Vec<f64> = (0..axes * (axes + 1)).map(|i| if i % (axes + 2) == 0 { 1.0 } else { 0.0 }).collect();
        let same = b.constant(HostTensor::from_f64(theta.dtype, &[1, axes, axes + 1], &same)?)?;
        let mut size = self.size.clone();
        size[0] = Dim::Known(1);
        let grid = affine_grid(b, &same, size, self.align_corners)?;
        let grid = to_shape(b, &grid, vec![Dim::Known(1), points.clone(), known.clone()])?;
        let ones = full(b, theta.dtype, &[Dim::Known(1), points.clone(), Dim::Known(1)], 1.0)?;
        let grid = concat(b, &[grid, ones], 2)?;
        let g = to_shape(b, g, vec![theta.shape[0].clone(), points, known])?;
        let g = swap_axes(b, &g, 1, 2)?;
        Ok(vec![Some(matmul(b, &g, &grid)?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let size: Vec<i64> = self.size.iter().map(Dim::known).collect::<Option<_>>()?;
        let export = OnnxExport::new("AffineGrid", 20).attr("align_corners", OnnxAttr::Int(self.align_corners.into()));
        Some(export.input(HostTensor::ints(&size).ok()?))
    }
}

impl OpType for AffineGrid {
    const NAME: &'static str = "affine_grid";
    const DOC: &'static str = "Grids of points moved by affine maps.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("AffineGrid", 20, import)]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, align_corners) in [("edges", false), ("centres", true)] {
            let op = |size: &[i64]| AffineGrid { size: window::known(size), align_corners };
            for &d in Self::DTYPES {
                let case = Case::new(format!("{name}-{d}"), &op(&[2, 3, 4, 5]), vec![CaseInput::new(d, &[2, 2, 3])]);
                cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
            }
            for (kind, size, theta) in [
                ("volume", &[1, 2, 2, 3, 4][..], [1, 3, 4]),
                ("single", &[2, 1, 1, 3], [2, 2, 3]),
                ("no-batch", &[0, 1, 2, 3], [0, 2, 3]),
                ("no-points", &[1, 1, 0, 3], [1, 2, 3]),
            ] {
                let theta = CaseInput::new(DType::F64, &theta);
                cases.push(Case::new(format!("{name}-{kind}"), &op(size), vec![theta]).with_gradient());
            }
            let theta = CaseInput::new(DType::F32, &[2, 2, 3]).view(View::Transposed);
            cases.push(Case::new(format!("{name}-transposed"), &op(&[2, 3, 4, 5]), vec![theta]).with_gradient());
        }
        cases
    }
}
