//! ONNX operators whose result is a table of numbers given by a few sizes: windows and the mel filter bank.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::onnx::{OnnxNode, required};
use lampyr_ir::{Builder, HostTensor, Var, Vars};
use smallvec::smallvec;

use crate::common;

/// The most elements of a table.
const MOST: i64 = 1 << 24;

fn number(b: &mut dyn Builder, inputs: &[Option<Var>], i: usize) -> Result<i64> {
    match common::fixed_ints(b, &required(inputs, i)?)?.as_slice() {
        [one] => Ok(*one),
        other => Err(Error::shape(format!("input {i} has {} elements", other.len())).with_expected("one")),
    }
}

fn real(b: &mut dyn Builder, inputs: &[Option<Var>], i: usize) -> Result<f64> {
    let value = b.read(&required(inputs, i)?)?;
    let value = value.ok_or_else(|| Error::unsupported("a table whose limits are computed while the model runs"))?;
    match value.to_f64().as_slice() {
        [one] => Ok(*one),
        other => Err(Error::shape(format!("input {i} has {} elements", other.len())).with_expected("one")),
    }
}

/// A sum of cosines: `c[0] + c[1] cos(2 pi n / N) + c[2] cos(4 pi n / N)`.
fn window(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>], c: [f64; 3]) -> Result<Vars> {
    let size = number(b, inputs, 0)?;
    if !(0..=MOST).contains(&size) {
        return Err(Error::value(format!("a window of {size} elements")).with_expected(format!("0 to {MOST}")));
    }
    let dtype = node.dtype("output_datatype")?.unwrap_or(DType::F32);
    let period = if node.int("periodic", 1)? != 0 { size } else { size - 1 };
    let step = 2.0 * std::f64::consts::PI / period.max(1) as f64;
    let at = |n: i64| c[0] + c[1] * (step * n as f64).cos() + c[2] * (2.0 * step * n as f64).cos();
    let values: Vec<f64> = (0..size).map(at).collect();
    Ok(smallvec![b.constant(HostTensor::from_f64(dtype, &[values.len()], &values)?)?])
}

pub(crate) fn hann(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    window(node, b, inputs, [0.5, -0.5, 0.0])
}

pub(crate) fn hamming(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    window(node, b, inputs, [25.0 / 46.0, -21.0 / 46.0, 0.0])
}

pub(crate) fn blackman(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    window(node, b, inputs, [0.42, -0.5, 0.08])
}

/// ONNX MelWeightMatrix: triangles on the mel scale, a column each, over the bins of a real Fourier transform.
pub(crate) fn mel_weights(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (columns, length, rate) = (number(b, inputs, 0)?, number(b, inputs, 1)?, number(b, inputs, 2)?);
    let (low, high) = (real(b, inputs, 3)?, real(b, inputs, 4)?);
    let rows = length / 2 + 1;
    let fits = columns > 0 && length >= 0 && rate > 0 && rows.checked_mul(columns).is_some_and(|n| n <= MOST);
    if !fits {
        return Err(Error::value(format!("{columns} mel bins over {length} samples at {rate} Hz")));
    }
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let step = (mel(high) - mel(low)) / (columns + 2) as f64;
    let bin = |k: i64| {
        let hertz = 700.0 * (10f64.powf((k as f64 * step + mel(low)) / 2595.0) - 1.0);
        ((length + 1) as f64 * hertz / rate as f64).floor()
    };
    let mut values = vec![0.0; (rows * columns) as usize];
    for k in 0..columns {
        let (left, top, right) = (bin(k), bin(k + 1), bin(k + 2));
        for row in 0..rows {
            let x = row as f64;
            let weight = if x >= left && x < top {
                (x - left) / (top - left)
            } else if x >= top && x < right {
                (right - x) / (right - top)
            } else if x == top {
                1.0
            } else {
                0.0
            };
            if let Some(slot) = values.get_mut((row * columns + k) as usize) {
                *slot = weight;
            }
        }
    }
    let dtype = node.dtype("output_datatype")?.unwrap_or(DType::F32);
    Ok(smallvec![b.constant(HostTensor::from_f64(dtype, &[rows as usize, columns as usize], &values)?)?])
}
