//! Linear maps along one axis, of which resizing and average pooling are made, and cubic weights.

use lampyr_base::{Error, Result};

/// A linear map along one axis: element `i` of the result is the sum of `weight * x[index]` over its taps.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisMap {
    inputs: usize,
    starts: Vec<usize>,
    indices: Vec<usize>,
    weights: Vec<f64>,
    outside: Vec<usize>,
}

impl AxisMap {
    /// A map from an axis of `inputs` elements to one of none, to which rows are added.
    pub fn new(inputs: usize) -> AxisMap {
        AxisMap { inputs, starts: vec![0], indices: Vec::new(), weights: Vec::new(), outside: Vec::new() }
    }

    /// Adds an element of the result.
    ///
    /// # Errors
    /// When an index lies outside the axis.
    pub fn push(&mut self, taps: impl IntoIterator<Item = (usize, f64)>) -> Result<()> {
        for (index, weight) in taps {
            if index >= self.inputs {
                return Err(Error::internal(format!("tap {index} of an axis of {} elements", self.inputs)));
            }
            self.indices.push(index);
            self.weights.push(weight);
        }
        self.starts.push(self.indices.len());
        Ok(())
    }

    /// Adds an element of the result that sees nothing and is given otherwise.
    pub fn push_outside(&mut self) {
        self.outside.push(self.outputs());
        self.starts.push(self.indices.len());
    }

    /// Number of elements that the map reads.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of elements that it makes.
    pub fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    /// Indices and weights of element `i` of the result, which must exist.
    pub fn row(&self, i: usize) -> (&[usize], &[f64]) {
        let range = self.starts[i]..self.starts[i + 1];
        (&self.indices[range.clone()], &self.weights[range])
    }

    /// Elements of the result that are given otherwise.
    pub fn outside(&self) -> &[usize] {
        &self.outside
    }

    /// The adjoint map.
    pub fn transposed(&self) -> AxisMap {
        let mut starts = vec![0; self.inputs + 1];
        self.indices.iter().for_each(|&i| starts[i + 1] += 1);
        (0..self.inputs).for_each(|i| starts[i + 1] += starts[i]);
        let mut next = starts.clone();
        let (mut indices, mut weights) = (vec![0; self.indices.len()], vec![0.0; self.indices.len()]);
        for row in 0..self.outputs() {
            let (from, by) = self.row(row);
            for (&i, &w) in from.iter().zip(by) {
                (indices[next[i]], weights[next[i]]) = (row, w);
                next[i] += 1;
            }
        }
        AxisMap { inputs: self.outputs(), starts, indices, weights, outside: Vec::new() }
    }

    /// Plain application along axis `axis` of row-major `values` of shape `shape`, which gets the new size.
    pub fn apply(&self, values: &[f64], shape: &mut [usize], axis: usize) -> Vec<f64> {
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let mut result = Vec::new();
        for o in 0..outer {
            for row in 0..self.outputs() {
                let (indices, weights) = self.row(row);
                for i in 0..inner {
                    let taps = indices.iter().zip(weights);
                    result.push(taps.map(|(&k, w)| w * values[(o * self.inputs + k) * inner + i]).sum());
                }
            }
        }
        shape[axis] = self.outputs();
        result
    }
}

/// Weights of the four elements around a position that lies `t` behind the second of them (Keys 1981, "Cubic
/// convolution interpolation for digital image processing"), with parameter `a`.
pub fn cubic(t: f64, a: f64) -> [f64; 4] {
    [-1.0, 0.0, 1.0, 2.0].map(|at| cubic_kernel(at - t, a))
}

/// The cubic convolution kernel with parameter `a` at distance `x`.
pub fn cubic_kernel(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The fraction with the smallest denominator that rounds to `x` in `float32`, for positive finite `x` (continued
/// fractions).
pub fn fraction(x: f32) -> Option<(i64, i64)> {
    if !(x.is_finite() && x > 0.0 && x < 1e9) {
        return None;
    }
    let (mut p, mut q, mut older) = (1i64, 0i64, (0i64, 1i64));
    let mut rest = f64::from(x);
    for _ in 0..40 {
        let whole = rest.floor();
        let next = (
            (whole as i64).checked_mul(p)?.checked_add(older.0)?,
            (whole as i64).checked_mul(q)?.checked_add(older.1)?,
        );
        older = (p, q);
        (p, q) = next;
        if (p as f64 / q as f64) as f32 == x {
            return Some((p, q));
        }
        rest = 1.0 / (rest - whole);
        if !rest.is_finite() || rest > 1e12 {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions() {
        assert_eq!(fraction(2.0), Some((2, 1)));
        assert_eq!(fraction(0.6), Some((3, 5)));
        assert_eq!(fraction(1.0 / 3.0), Some((1, 3)));
        assert_eq!(fraction(1.7), Some((17, 10)));
        assert_eq!(fraction(f32::NAN), None);
        assert_eq!(fraction(-1.0), None);
    }

    #[test]
    fn adjoint_of_adjoint() -> Result<()> {
        let mut map = AxisMap::new(3);
        map.push([(0, 0.5), (2, 0.25)])?;
        map.push([])?;
        map.push([(1, 1.0)])?;
        map.push([(2, 2.0), (1, 1.5)])?;
        assert_eq!(map.transposed().outputs(), 3);
        let twice = map.transposed().transposed();
        assert_eq!(twice.row(0), map.row(0));
        assert_eq!(twice.row(3), (&[1, 2][..], &[1.5, 2.0][..]));
        assert!(map.push([(3, 1.0)]).is_err());
        Ok(())
    }
}
