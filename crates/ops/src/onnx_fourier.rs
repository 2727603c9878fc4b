//! ONNX DFT and STFT, written as products with tables of cosines and sines.

use std::f64::consts::PI;

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::onnx::{OnnxNode, optional, required};
use lampyr_ir::{Builder, HostTensor, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::shape::slice::narrow;

/// The most elements of a table.
const MOST: usize = 1 << 26;

/// Which transform.
#[derive(Clone, Copy)]
struct Transform {
    /// Number of points in time.
    points: usize,
    inverse: bool,
    /// Only the first half of the spectrum is there.
    onesided: bool,
}

impl Transform {
    fn bins(self) -> usize {
        if self.onesided { self.points / 2 + 1 } else { self.points }
    }

    /// Cosines and sines of `2 pi row column / points`, scaled by `weight(row)`.
    fn tables(self, b: &mut dyn Builder, dtype: DType, rows: usize, columns: usize) -> Result<[Var; 2]> {
        let n = self.points.max(1);
        if rows.checked_mul(columns).is_none_or(|m| m > MOST) {
            return Err(Error::unsupported(format!("a Fourier transform of {n} points")));
        }
        let weight = |row: usize| match (self.inverse, self.onesided) {
            (false, _) => 1.0,
            (true, false) => 1.0 / n as f64,
            (true, true) if row == 0 || 2 * row == n => 1.0 / n as f64,
            (true, true) => 2.0 / n as f64,
        };
        let mut made = Vec::new();
        for cosine in [true, false] {
            let value = |i: usize| {
                let (row, column) = (i / columns, i % columns);
                let at = (row * column) % n;
                let angle = 2.0 * PI * at as f64 / n as f64;
                // Zeros of the functions come out exact.
                let exact = if cosine { 4 * at == n || 4 * at == 3 * n } else { at == 0 || 2 * at == n };
                let wave = if cosine { angle.cos() } else { angle.sin() };
                if exact { 0.0 } else { weight(row) * wave }
            };
            let values: Vec<f64> = (0..rows * columns).map(value).collect();
            made.push(b.constant(HostTensor::from_f64(dtype, &[rows, columns], &values)?)?);
        }
        <[Var; 2]>::try_from(made).map_err(|_| Error::internal("two tables were to be made"))
    }

    /// The transform along the last axis of `real` and `imaginary`; parts of the result along a new last axis.
    fn apply(self, b: &mut dyn Builder, real: Var, imaginary: Option<Var>) -> Result<Var> {
        let fact = b.tensor_fact(&real)?;
        let wide = if fact.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let last = fact.rank() as i64 - 1;
        let have = fact.shape.last().and_then(Dim::known).and_then(|n| usize::try_from(n).ok());
        let have = have.ok_or_else(|| Error::unsupported("a Fourier transform of an unknown number of points"))?;
        let from_spectrum = self.inverse && self.onesided;
        let rows = have.min(if from_spectrum { self.bins() } else { self.points });
        let columns = if from_spectrum { self.points } else { self.bins() };
        let [cosines, sines] = self.tables(b, wide, rows, columns)?;
        let mut part = |x: Var| -> Result<Var> {
            let x = if rows < have { narrow(b, &x, last, Dim::Known(0), Dim::from(rows))? } else { x };
            crate::gradient::to_dtype(b, &x, wide)
        };
        let real = part(real)?;
        let imaginary = imaginary.map(part).transpose()?;
        // exp(-i a) forwards, exp(i a) backwards.
        let mut re = matmul(b, &real, &cosines)?;
        let mut im = matmul(b, &real, &sines)?;
        if !self.inverse {
            im = neg(b, &im)?;
        }
        if let Some(x) = &imaginary {
            let (c, s) = (matmul(b, x, &cosines)?, matmul(b, x, &sines)?);
            re = if self.inverse { sub(b, &re, &s)? } else { add(b, &re, &s)? };
            im = add(b, &im, &c)?;
        }
        let parts = if from_spectrum { vec![re] } else { vec![re, im] };
        let parts = parts.iter().map(|x| unsqueeze(b, x, &[-1])).collect::<Result<Vec<_>>>()?;
        let y = concat(b, &parts, -1)?;
        crate::gradient::to_dtype(b, &y, fact.dtype)
    }
}

/// Real and imaginary part of a tensor whose last axis holds one or two numbers.
fn parts(b: &mut dyn Builder, x: &Var) -> Result<(Var, Option<Var>)> {
    let fact = b.tensor_fact(x)?;
    let count = fact.shape.last().and_then(Dim::known);
    let mut take = |k: i64| -> Result<Var> {
        let part = narrow(b, x, -1, Dim::Known(k), Dim::Known(k + 1))?;
        squeeze(b, &part, &[-1])
    };
    match count {
        Some(1) => Ok((take(0)?, None)),
        Some(2) => Ok((take(0)?, Some(take(1)?))),
        _ => Err(Error::shape(format!("got {fact}")).with_expected("a last axis of 1 or 2 elements")),
    }
}

fn number(b: &mut dyn Builder, inputs: &[Option<Var>], i: usize) -> Result<Option<i64>> {
    let Some(var) = optional(inputs, i) else { return Ok(None) };
    match common::fixed_ints(b, &var)?.as_slice() {
        [one] => Ok(Some(*one)),
        other => Err(Error::shape(format!("input {i} has {} elements", other.len())).with_expected("one")),
    }
}

fn positive(n: i64, what: &str) -> Result<usize> {
    usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| Error::value(format!("{what} is {n}")))
}

/// `x` with `axis` moved to `to`.
fn moved(b: &mut dyn Builder, x: &Var, axis: usize, to: usize) -> Result<Var> {
    let rank = b.tensor_fact(x)?.rank();
    let mut perm: Vec<i64> = (0..rank as i64).filter(|&a| a != axis as i64).collect();
    perm.insert(to.min(perm.len()), axis as i64);
    transpose(b, x, &perm)
}

/// ONNX DFT; the axis is an attribute before opset 20.
pub(crate) fn dft(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let rank = b.tensor_fact(&x)?.rank();
    let axis = match node.opset() {
        ..20 => node.int("axis", 1)?,
        _ => number(b, inputs, 2)?.unwrap_or(-2),
    };
    let axis = common::axis(axis, rank)?;
    if axis + 1 == rank {
        return Err(Error::value("the axis of a Fourier transform cannot be that of the parts"));
    }
    let (inverse, onesided) = (node.int("inverse", 0)? != 0, node.int("onesided", 0)? != 0);
    let points = match number(b, inputs, 1)? {
        Some(n) => n,
        None => {
            let n = b.tensor_fact(&x)?.shape[axis].known();
            let n = n.ok_or_else(|| Error::unsupported("a Fourier transform of an unknown number of points"))?;
            if inverse && onesided { 2 * (n - 1) } else { n }
        }
    };
    let transform = Transform { points: positive(points, "the number of points")?, inverse, onesided };
    let (real, imaginary) = parts(b, &x)?;
    let real = moved(b, &real, axis, rank - 2)?;
    let imaginary = imaginary.map(|x| moved(b, &x, axis, rank - 2)).transpose()?;
    let y = transform.apply(b, real, imaginary)?;
    Ok(smallvec![moved(b, &y, rank - 2, axis)?])
}

/// ONNX STFT: transforms of overlapping parts of a signal of shape `[batch, length, 1 or 2]`.
pub(crate) fn stft(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let signal = required(inputs, 0)?;
    let fact = b.tensor_fact(&signal)?;
    let step = number(b, inputs, 1)?.ok_or_else(|| Error::format("frame_step is missing"))?;
    let window = optional(inputs, 2);
    let unknown = || Error::unsupported("a Fourier transform of an unknown number of points");
    let length = fact.shape.get(1).and_then(Dim::known).ok_or_else(unknown)?;
    let frame = match (number(b, inputs, 3)?, &window) {
        (Some(n), _) => n,
        (None, Some(w)) => b.tensor_fact(w)?.shape.first().and_then(Dim::known).ok_or_else(unknown)?,
        (None, None) => length,
    };
    let (step, points) = (positive(step, "frame_step")?, positive(frame, "frame_length")?);
    let length = positive(length, "the length of the signal")?;
    let frames = length.checked_sub(points).map_or(0, |rest| rest / step + 1);
    if frames.checked_mul(points).is_none_or(|n| n > MOST) {
        return Err(Error::unsupported(format!("{frames} frames of {points} points")));
    }
    let at: Vec<i64> = (0..frames * points).map(|i| (i / points * step + i % points) as i64).collect();
    let at = b.constant(HostTensor::from_slice(&[frames, points], &at)?)?;
    let (real, imaginary) = parts(b, &signal)?;
    let mut framed = |x: Var| -> Result<Var> {
        let y = gather(b, &x, &at, 1)?;
        match &window {
            Some(w) => mul(b, &y, w),
            None => Ok(y),
        }
    };
    let real = framed(real)?;
    let imaginary = imaginary.map(framed).transpose()?;
    let transform = Transform { points, inverse: false, onesided: node.int("onesided", 1)? != 0 };
    Ok(smallvec![transform.apply(b, real, imaginary)?])
}
