//! Sampling at computed points, written with plain ops.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::{Builder, Var};

use crate::build::*;
use crate::gradient::{accumulator, full, scale, to_dtype, to_shape};
use crate::vision::grid_sample::{Interpolation, Padding};

/// The size of `axis` of `x` as a 0-d tensor of `dtype`.
pub(crate) fn size(b: &mut dyn Builder, x: &Var, axis: usize, dtype: DType) -> Result<Var> {
    if let Some(n) = b.tensor_fact(x)?.shape[axis].known() {
        return b.scalar(dtype, n as f64);
    }
    let one = b.one(&ShapeOf { start: axis as i64, end: Some(axis as i64 + 1) }, std::slice::from_ref(x))?;
    let one = reshape(b, &one, Vec::new())?;
    to_dtype(b, &one, dtype)
}

fn shifted(b: &mut dyn Builder, x: &Var, by: f64) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let by = b.scalar(dtype, by)?;
    add(b, x, &by)
}

/// `x` between 0 and `last`.
fn inside(b: &mut dyn Builder, x: &Var, last: &Var) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let zero = b.scalar(dtype, 0.0)?;
    let positive = greater(b, x, &zero)?;
    let x = where_(b, &positive, x, &zero)?;
    let above = greater(b, &x, last)?;
    where_(b, &above, last, &x)
}

/// One axis: its number of elements, and how coordinates beyond it are brought back.
struct Axis<'a> {
    n: &'a Var,
    last: Var,
    padding: Padding,
    align: bool,
    known: Option<i64>,
}

impl Axis<'_> {
    /// A point brought between the borders, where there is padding that does so.
    fn place(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        match self.padding {
            Padding::Zeros => Ok(x.clone()),
            Padding::Border => inside(b, x, &self.last),
            Padding::Reflection => {
                let (low, span) = if self.align { (0.0, &self.last) } else { (-0.5, self.n) };
                if self.align && self.known == Some(1) {
                    return scale(b, x, 0.0);
                }
                let dtype = b.tensor_fact(x)?.dtype;
                let far = shifted(b, x, -low)?;
                let zero = b.scalar(dtype, 0.0)?;
                let (negative, minus) = (less(b, &far, &zero)?, neg(b, &far)?);
                let far = where_(b, &negative, &minus, &far)?;
                let double = scale(b, span, 2.0)?;
                let turns = div(b, &far, &double)?;
                let turns = floor(b, &turns)?;
                let full = mul(b, &turns, &double)?;
                let far = sub(b, &far, &full)?;
                let back = sub(b, &double, &far)?;
                let beyond = greater(b, &far, span)?;
                let near = where_(b, &beyond, &back, &far)?;
                let near = shifted(b, &near, low)?;
                inside(b, &near, &self.last)
            }
        }
    }

    /// Indices on the axis as int64, and weights that are 0 beyond the borders.
    fn taps(&self, b: &mut dyn Builder, mode: Interpolation, at: &Var) -> Result<Vec<(Var, Var)>> {
        let dtype = b.tensor_fact(at)?.dtype;
        let one = b.scalar(dtype, 1.0)?;
        let (first, offset, weights) = match mode {
            Interpolation::Nearest => {
                // Ties go to even: of two candidates half apart, the even one.
                let at = self.place(b, at)?;
                let up = shifted(b, &at, 0.5)?;
                let up = floor(b, &up)?;
                let apart = sub(b, &up, &at)?;
                let half = b.scalar(dtype, 0.5)?;
                let tie = equal(b, &apart, &half)?;
                let pair = scale(b, &up, 0.5)?;
                let pair = floor(b, &pair)?;
                let pair = scale(b, &pair, 2.0)?;
                let even = where_(b, &tie, &pair, &up)?;
                (even, 0.0, vec![one])
            }
            Interpolation::Linear => {
                let at = self.place(b, at)?;
                let first = floor(b, &at)?;
                let t = sub(b, &at, &first)?;
                let rest = sub(b, &one, &t)?;
                (first, 0.0, vec![rest, t])
            }
            Interpolation::Cubic => {
                let first = floor(b, at)?;
                let t = sub(b, at, &first)?;
                (first, -1.0, cubic_weights(b, &t)?)
            }
        };
        let mut taps = Vec::new();
        let zero = b.scalar(dtype, 0.0)?;
        for (k, weight) in weights.into_iter().enumerate() {
            let mut index = shifted(b, &first, offset + k as f64)?;
            if mode == Interpolation::Cubic {
                index = self.place(b, &index)?;
            }
            let near = inside(b, &index, &self.last)?;
            let here = equal(b, &near, &index)?;
            let weight = where_(b, &here, &weight, &zero)?;
            taps.push((cast(b, &near, DType::I64)?, weight));
        }
        Ok(taps)
    }
}

/// The polynomial of `x` with these coefficients, the highest power first.
fn polynomial(b: &mut dyn Builder, x: &Var, coefficients: [f64; 4]) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let mut sum = b.scalar(dtype, coefficients[0])?;
    for c in &coefficients[1..] {
        sum = mul(b, &sum, x)?;
        sum = shifted(b, &sum, *c)?;
    }
    Ok(sum)
}

/// Weights of the four elements around points that lie `t` behind the second of them, with parameter -0.75.
fn cubic_weights(b: &mut dyn Builder, t: &Var) -> Result<Vec<Var>> {
    const A: f64 = -0.75;
    let dtype = b.tensor_fact(t)?.dtype;
    // The kernel for distances of 1 to 2, and up to 1, in powers of the distance to the nearer element.
    let outer = [A, -2.0 * A, A, 0.0];
    let inner = [A + 2.0, -(A + 3.0), 0.0, 1.0];
    let (first, second) = (polynomial(b, t, outer)?, polynomial(b, t, inner)?);
    let one = b.scalar(dtype, 1.0)?;
    let rest = sub(b, &one, t)?;
    Ok(vec![first, second, polynomial(b, &rest, inner)?, polynomial(b, &rest, outer)?])
}

/// `x` `[N, C, ...]` at the points `grid` `[N, ..., D]`.
pub(crate) fn grid_sample(
    b: &mut dyn Builder,
    mode: Interpolation,
    padding: Padding,
    align: bool,
    x: &Var,
    grid: &Var,
) -> Result<Var> {
    let narrow_type = b.tensor_fact(x)?.dtype;
    let dtype = accumulator(narrow_type);
    let (x, grid) = (&to_dtype(b, x, dtype)?, &to_dtype(b, grid, dtype)?);
    let (xf, gf) = (b.tensor_fact(x)?, b.tensor_fact(grid)?);
    let axes = xf.rank() - 2;
    let points = Dim::product(&gf.shape[1..=axes]);
    let rows = vec![xf.shape[0].clone(), points.clone()];
    let mut taps: Vec<(Option<Var>, Option<Var>)> = vec![(None, None)];
    for axis in 0..axes {
        let n = size(b, x, 2 + axis, dtype)?;
        let last = shifted(b, &n, -1.0)?;
        let at = (axes - 1 - axis) as i64;
        let at = narrow(b, grid, -1, Dim::Known(at), Dim::Known(at + 1))?;
        let at = to_shape(b, &at, rows.clone())?;
        let half = shifted(b, &at, 1.0)?;
        let at = if align {
            let half = scale(b, &half, 0.5)?;
            mul(b, &half, &last)?
        } else {
            let whole = mul(b, &half, &n)?;
            let whole = shifted(b, &whole, -1.0)?;
            scale(b, &whole, 0.5)?
        };
        let own = Axis { n: &n, last, padding, align, known: xf.shape[2 + axis].known() }.taps(b, mode, &at)?;
        let count = to_dtype(b, &n, DType::I64)?;
        let mut next = Vec::with_capacity(taps.len() * own.len());
        for (index, weight) in &taps {
            for (i, w) in &own {
                let index = match index {
                    None => i.clone(),
                    Some(index) => {
                        let line = mul(b, index, &count)?;
                        add(b, &line, i)?
                    }
                };
                let weight = match weight {
                    None => w.clone(),
                    Some(weight) => mul(b, weight, w)?,
                };
                next.push((Some(index), Some(weight)));
            }
        }
        taps = next;
    }
    let image = vec![xf.shape[0].clone(), xf.shape[1].clone(), Dim::product(&xf.shape[2..])];
    let image = to_shape(b, x, image)?;
    let wide = vec![xf.shape[0].clone(), xf.shape[1].clone(), points];
    let mut sum: Option<Var> = None;
    for (index, weight) in taps {
        let (Some(index), Some(weight)) = (index, weight) else { continue };
        let index = unsqueeze(b, &index, &[1])?;
        let index = expand(b, &index, wide.clone())?;
        let picked = gather_elements(b, &image, &index, 2)?;
        let weight = unsqueeze(b, &weight, &[1])?;
        let part = mul(b, &picked, &weight)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => add(b, &sum, &part)?,
        });
    }
    let shape: Vec<Dim> =
        [xf.shape[0].clone(), xf.shape[1].clone()].into_iter().chain(gf.shape[1..=axes].iter().cloned()).collect();
    let y = match sum {
        Some(sum) => to_shape(b, &sum, shape)?,
        None => full(b, dtype, &shape, 0.0)?,
    };
    to_dtype(b, &y, narrow_type)
}
