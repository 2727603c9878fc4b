//! ONNX Resize and Upsample in all their versions.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::onnx::{OnnxNode, optional, required};
use lampyr_ir::{Builder, TensorFact, Var, Vars};
use smallvec::smallvec;

use crate::build::{Resize, identity, resize};
use crate::common;
use crate::gradient::to_dtype;
use crate::sample::fraction;

/// `floor(size * scale)`; the scale counts as the simplest fraction that rounds to it.
pub fn scaled(size: &Dim, scale: f32) -> Option<Dim> {
    let (p, q) = fraction(scale)?;
    match size.known() {
        Some(n) => Some(Dim::Known(i64::try_from(i128::from(n) * i128::from(p) / i128::from(q)).ok()?)),
        None => Some(size.mul(&Dim::Known(p)).floor_div(&Dim::Known(q))),
    }
}

/// The elements of a float input that is present and not empty.
fn floats(b: &mut dyn Builder, var: Option<Var>, what: &str) -> Result<Option<Vec<f64>>> {
    let Some(var) = var else { return Ok(None) };
    if b.tensor_fact(&var)?.elements().known() == Some(0) {
        return Ok(None);
    }
    let value = b.read(&var)?.ok_or_else(|| Error::unsupported(format!("{what} computed while the model runs")))?;
    Ok(Some(value.to_f64()))
}

/// Scales as numbers that coordinates are computed with, and the sizes they give.
fn by_scales(x: &TensorFact, axes: &[usize], scales: &[f64]) -> Result<Vec<(Dim, f64)>> {
    let one = |(&a, &s): (&usize, &f64)| {
        let refused = || Error::value(format!("scale {s} of axis {a}")).with_expected("a positive number");
        let (p, q) = fraction(s as f32).ok_or_else(refused)?;
        Ok((scaled(&x.shape[a], s as f32).ok_or_else(refused)?, p as f64 / q as f64))
    };
    axes.iter().zip(scales).map(one).collect()
}

/// Sizes that keep the ratio of an image within (`not_larger`) or around (`not_smaller`) the box `sizes`.
fn keep_ratio(x: &TensorFact, axes: &[usize], sizes: &[Dim], policy: &str) -> Result<(Vec<Dim>, f64)> {
    let ratio = |(&a, m): (&usize, &Dim)| Some(m.known()? as f64 / x.shape[a].known().filter(|&n| n > 0)? as f64);
    let ratios: Option<Vec<f64>> = axes.iter().zip(sizes).map(ratio).collect();
    let unknown = || Error::unsupported(format!("keep_aspect_ratio_policy `{policy}` for sizes not yet known"));
    let ratios = ratios.ok_or_else(unknown)?.into_iter();
    let scale = match policy {
        "not_larger" => ratios.reduce(f64::min),
        "not_smaller" => ratios.reduce(f64::max),
        other => {
            return Err(Error::format(format!("keep_aspect_ratio_policy is `{other}`"))
                .with_expected("stretch, not_larger or not_smaller"));
        }
    };
    let scale = scale.unwrap_or(1.0);
    let size = |&a: &usize| Dim::Known((scale * x.shape[a].known().unwrap_or(0) as f64 + 0.5) as i64);
    Ok((axes.iter().map(size).collect(), scale))
}

/// The axes, sizes and scales that change something.
fn build(
    b: &mut dyn Builder,
    x: &Var,
    plain: Resize,
    axes: &[usize],
    sizes: Vec<Dim>,
    scales: Option<Vec<f64>>,
) -> Result<Vars> {
    let fact = b.tensor_fact(x)?;
    let crop = plain.coordinates == "tf_crop_and_resize";
    let mut op = Resize { axes: Vec::new(), sizes: Vec::new(), roi: None, ..plain.clone() };
    let (mut starts, mut ends, mut factors) = (Vec::new(), Vec::new(), Vec::new());
    for (i, &a) in axes.iter().enumerate() {
        let scale = scales.as_ref().map(|s| s[i]);
        let bounds = plain.roi.as_ref().map(|r| (r[i], r[axes.len() + i]));
        let same = sizes[i] == fact.shape[a] && scale.is_none_or(|s| s == 1.0);
        if same && (!crop || bounds.is_none_or(|b| b == (0.0, 1.0))) {
            continue;
        }
        op.axes.push(a as i64);
        op.sizes.push(sizes[i].clone());
        factors.extend(scale);
        if let Some((start, end)) = bounds {
            starts.push(start);
            ends.push(end);
        }
    }
    if op.axes.is_empty() {
        return Ok(smallvec![identity(b, x)?]);
    }
    op.scales = scales.map(|_| factors);
    if crop && plain.roi.is_some() {
        starts.extend(ends);
        op.roi = Some(starts);
    }
    if fact.dtype.is_float() || op.is_nearest() {
        return Ok(smallvec![resize(b, &op, x)?]);
    }
    let wide = to_dtype(b, x, DType::F32)?;
    let made = resize(b, &op, &wide)?;
    Ok(smallvec![to_dtype(b, &made, fact.dtype)?])
}

/// ONNX Resize.
pub(crate) fn import_resize(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    if node.opset() < 11 {
        return import_upsample(node, b, inputs);
    }
    let x = required(inputs, 0)?;
    let fact = b.tensor_fact(&x)?;
    let given = node.ints("axes")?.unwrap_or_else(|| (0..fact.rank() as i64).collect());
    let axes = given.iter().map(|&a| common::axis(a, fact.rank())).collect::<Result<Vec<_>>>()?;
    let count = |what: &str, have: usize, want: usize| match have == want {
        true => Ok(()),
        false => Err(Error::value(format!("{what} has {have} numbers")).with_expected(format!("{want} numbers"))),
    };
    let coordinates = node.text("coordinate_transformation_mode", "half_pixel")?;
    // Opset 11 also had a mode of this name, which is `half_pixel` for nearest.
    let coordinates = match coordinates.as_str() {
        "tf_half_pixel_for_nn" => "half_pixel".to_string(),
        _ => coordinates,
    };
    let roi = match coordinates.as_str() {
        "tf_crop_and_resize" => floats(b, optional(inputs, 1), "regions of Resize")?,
        _ => None,
    };
    if let Some(roi) = &roi {
        count("roi", roi.len(), 2 * axes.len())?;
    }
    let plain = Resize {
        mode: node.text("mode", "nearest")?,
        coordinates,
        nearest_mode: node.text("nearest_mode", "round_prefer_floor")?,
        cubic_coeff_a: node.float("cubic_coeff_a", -0.75)?,
        exclude_outside: node.int("exclude_outside", 0)? != 0,
        antialias: node.int("antialias", 0)? != 0,
        extrapolation_value: node.float("extrapolation_value", 0.0)?,
        roi,
        ..Resize::default()
    };
    if let Some(sizes) = optional(inputs, 3) {
        let sizes = b.dims(&sizes)?;
        if !sizes.is_empty() {
            count("sizes", sizes.len(), axes.len())?;
            let policy = node.text("keep_aspect_ratio_policy", "stretch")?;
            if policy == "stretch" {
                return build(b, &x, plain, &axes, sizes, None);
            }
            let (sizes, scale) = keep_ratio(&fact, &axes, &sizes, &policy)?;
            return build(b, &x, plain, &axes, sizes, Some(vec![scale; axes.len()]));
        }
    }
    let scales = floats(b, optional(inputs, 2), "scales of Resize")?
        .ok_or_else(|| Error::format("Resize has neither scales nor sizes"))?;
    count("scales", scales.len(), axes.len())?;
    let (sizes, scales) = by_scales(&fact, &axes, &scales)?.into_iter().unzip();
    build(b, &x, plain, &axes, sizes, Some(scales))
}

/// ONNX Upsample, and Resize of opset 10: coordinates are those of the input times the scale, rounded outward.
pub(crate) fn import_upsample(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let fact = b.tensor_fact(&x)?;
    let attribute = match node.attr("scales") {
        Some(lampyr_ir::onnx::OnnxAttr::Floats(v)) => Some(v.iter().map(|&s| f64::from(s)).collect()),
        _ => None,
    };
    let given = floats(b, optional(inputs, 1), &format!("scales of {}", node.op_type()))?;
    let scales: Vec<f64> =
        attribute.or(given).ok_or_else(|| Error::format(format!("{} has no scales", node.op_type())))?;
    if scales.len() != fact.rank() {
        return Err(Error::value(format!("scales has {} numbers", scales.len()))
            .with_expected(format!("{} numbers", fact.rank())));
    }
    let axes: Vec<usize> = (0..fact.rank()).collect();
    let (sizes, scales): (Vec<Dim>, Vec<f64>) = by_scales(&fact, &axes, &scales)?.into_iter().unzip();
    let mode = match node.text("mode", "nearest")?.as_str() {
        "bilinear" | "trilinear" => "linear".to_string(),
        other => other.to_string(),
    };
    let nearest_mode = match scales.iter().all(|&s| s >= 1.0) {
        true => "floor",
        false => "outward",
    };
    let plain = Resize {
        mode,
        coordinates: "asymmetric".to_string(),
        nearest_mode: nearest_mode.to_string(),
        ..Resize::default()
    };
    build(b, &x, plain, &axes, sizes, Some(scales))
}
