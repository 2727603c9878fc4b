//! Volumes sampled by cubic convolution (Keys 1981).

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::operand::one;
use super::shape::reshape_to;
use super::support::shape_error;
use super::{clamp, floor, remainder};

/// The four factors around a point that lies `t` behind the second element.
fn weights(t: &Tensor) -> Result<[Tensor; 4]> {
    const A: f64 = -0.75;
    let near = |d: &Tensor| d.mul(A + 2.0)?.sub(A + 3.0)?.mul(d)?.mul(d)?.add(1.0);
    let far = |d: &Tensor| d.mul(A)?.sub(5.0 * A)?.mul(d)?.add(8.0 * A)?.mul(d)?.sub(4.0 * A);
    let rest = t.neg()?.add(1.0)?;
    Ok([far(&t.add(1.0)?)?, near(t)?, near(&rest)?, far(&rest.add(1.0)?)?])
}

/// Whole positions `at` as positions inside an axis of `n` elements, and whether they were.
fn inside(at: &Tensor, n: usize, padding: &str, align: bool) -> Result<(Tensor, Option<Tensor>)> {
    let last = n as f64 - 1.0;
    let bounded = |t: &Tensor| clamp(t, Some(0.0.into()), Some(last.into()));
    Ok(match padding {
        "zeros" => {
            let kept = super::logical_and(
                (&super::ge(at.into(), 0.0.into())?).into(),
                (&super::le(at.into(), last.into())?).into(),
            )?;
            (bounded(at)?, Some(kept))
        }
        "border" => (bounded(at)?, None),
        "reflection" => {
            let (low, span) = if align { (0.0, last) } else { (-0.5, n as f64) };
            if span <= 0.0 {
                return Ok((at.mul(0.0)?, None));
            }
            // A saw of twice the span, folded at its middle.
            let saw = remainder((&at.sub(low)?).into(), (2.0 * span).into())?;
            let folded = super::abs(&saw.sub(span)?)?.neg()?.add(span + low)?;
            (bounded(&folded)?, None)
        }
        other => {
            return Err(Error::value(format!("padding_mode is `{other}`"))
                .with_op("grid_sample")
                .with_expected("zeros, border or reflection"));
        }
    })
}

/// Elements of the volumes `x` `[N, C, D, H, W]` at the points `grid` `[N, .., 3]`, of which 64 neighbours count.
///
/// # Errors
/// When the grid does not fit.
pub(super) fn sample_volume(x: &Tensor, grid: &Tensor, padding: &str, align: bool) -> Result<Tensor> {
    let (&[n, c, d, h, w], [batch, points @ .., 3]) = (x.shape(), grid.shape()) else {
        return Err(shape_error("grid_sample", "the grid does not fit the volumes", &[x, grid])
            .with_expected("volumes [N, C, D, H, W] and points [N, .., 3]"));
    };
    if *batch != n || points.len() != 3 || [d, h, w].contains(&0) || x.dtype() != grid.dtype() {
        return Err(shape_error("grid_sample", "the grid does not fit the volumes", &[x, grid])
            .with_expected("as many grids as volumes, of one type; volumes with elements"));
    }
    let count: usize = points.iter().product();
    let flat = reshape_to(x, &[n, c, d * h * w])?;
    let grid = reshape_to(grid, &[n, count, 3])?;
    // Points name the last axis first.
    let mut axes = Vec::with_capacity(3);
    for (k, size) in [w, h, d].into_iter().enumerate() {
        let g = grid.select(2, k as i64)?;
        let at = if align {
            g.add(1.0)?.mul((size as f64 - 1.0) / 2.0)?
        } else {
            g.add(1.0)?.mul(size as f64)?.sub(1.0)?.div(2.0)?
        };
        let base = floor(&at.detach())?;
        let factors = weights(&at.sub(&base)?)?;
        let mut taps = Vec::with_capacity(4);
        for (i, factor) in factors.into_iter().enumerate() {
            let (place, kept) = inside(&base.add(i as f64 - 1.0)?, size, padding, align)?;
            let factor = match kept {
                Some(kept) => factor.mul(&kept.to_dtype(x.dtype())?)?,
                None => factor,
            };
            taps.push((place.to_dtype(DType::I64)?, factor));
        }
        axes.push(taps);
    }
    let mut sum: Option<Tensor> = None;
    for (iz, fz) in &axes[2] {
        for (iy, fy) in &axes[1] {
            let (row, both) = (iz.mul(h as i64)?.add(iy)?.mul(w as i64)?, fz.mul(fy)?);
            for (ix, fx) in &axes[0] {
                let at = reshape_to(&row.add(ix)?, &[n, 1, count])?.expand(&[n, c, count])?;
                let picked = one(&op::GatherElements { axis: 2 }, &[&flat, &at])?;
                let term = picked.mul(&reshape_to(&both.mul(fx)?, &[n, 1, count])?)?;
                sum = Some(match sum {
                    Some(sum) => sum.add(&term)?,
                    None => term,
                });
            }
        }
    }
    let sum = sum.ok_or_else(|| Error::internal("no taps"))?;
    reshape_to(&sum, &[&[n, c], points].concat())
}
