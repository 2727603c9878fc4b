//! Root mean square normalisation (Zhang and Sennrich 2019).

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    Rule, Saved, Saves, Var, Vars,
};
use smallvec::smallvec;

use super::layer_norm::{
    along, infer_rows, inverse_root, normalised, plus, row_axes, row_cases, row_cost, sum_outside,
};
use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, divide_by_count, scale as times, to_dtype};
use crate::pattern_norms;

/// `x / sqrt(mean(x^2) + epsilon) * scale`, with the mean over the axes from `axis` on.
///
/// Inputs: `x` and optionally `scale` of the sizes of the normalised axes and the type of `x`. Outputs: `y` and, hidden,
/// `1 / sqrt(mean(x^2) + epsilon)` with ones for the normalised axes, in `float32` or `float64`.
#[derive(Clone, Debug, Attrs)]
pub struct RmsNorm {
    /// First normalised axis; negative ones count from the end.
    #[attr(default = -1)]
    pub axis: i64,
    /// Added to the mean square.
    #[attr(default = 1e-5)]
    pub epsilon: f64,
}

/// Root mean square normalisation of `x` over the axes from `axis` on; `scale` broadcasts to `x`.
pub fn rms_norm(b: &mut dyn Builder, x: &Var, scale: Option<&Var>, axis: i64, epsilon: f64) -> Result<Var> {
    let op = RmsNorm { axis, epsilon };
    let fact = b.tensor_fact(x)?;
    let inside = normalised(&fact, axis)?;
    let Some(scale) = scale else { return b.one(&op, std::slice::from_ref(x)) };
    if let Some(v) = along(b, scale, &fact, &inside)? {
        return b.one(&op, &[x.clone(), v]);
    }
    let y = b.one(&op, std::slice::from_ref(x))?;
    let dtype = b.tensor_fact(scale)?.dtype;
    let y = to_dtype(b, &y, dtype)?;
    mul(b, &y, scale)
}

impl RmsNorm {
    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let Some(x) = inputs.first() else { return Err(Error::internal("no input")) };
        let fact = b.tensor_fact(x)?;
        let wide = accumulator(fact.dtype);
        let axes = row_axes(self.axis, fact.rank())?;
        let x = to_dtype(b, x, wide)?;
        let square = mul(b, &x, &x)?;
        let mean = reduce_mean(b, &square, &axes, true)?;
        let inverse = inverse_root(b, &mean, self.epsilon)?;
        let mut y = mul(b, &x, &inverse)?;
        if let Some(v) = inputs.get(1) {
            let v = to_dtype(b, v, wide)?;
            y = mul(b, &y, &v)?;
        }
        Ok(smallvec![to_dtype(b, &y, fact.dtype)?, inverse])
    }
}

impl Op for RmsNorm {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        infer_rows(inputs, self.axis, &["scale"])
    }

    fn visible_outputs(&self) -> Option<usize> {
        Some(1)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let x = t[0].to_f64();
        let first = common::axis(self.axis, t[0].shape().len())?;
        let n: usize = t[0].shape()[first..].iter().product();
        let rows: usize = t[0].shape()[..first].iter().product();
        let scale = t.get(1).map(|v| v.to_f64());
        let (mut y, mut inverses) = (Vec::new(), Vec::new());
        for r in 0..rows {
            let row = &x[r * n..(r + 1) * n];
            let mean = row.iter().map(|v| v * v).sum::<f64>() / n as f64;
            let inverse = 1.0 / (mean + self.epsilon).sqrt();
            y.extend(row.iter().enumerate().map(|(i, v)| v * inverse * scale.as_ref().map_or(1.0, |s| s[i])));
            inverses.push(inverse);
        }
        let mut outer = t[0].shape().to_vec();
        outer[first..].fill(1);
        Ok(vec![
            HostTensor::from_f64(t[0].dtype(), t[0].shape(), &y)?.into(),
            HostTensor::from_f64(accumulator(t[0].dtype()), &outer, &inverses)?.into(),
        ])
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b11, outputs: 0b10 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let fact = s.input_fact(0)?;
        let wide = accumulator(fact.dtype);
        let first = common::axis(self.axis, fact.rank())?;
        let axes = row_axes(self.axis, fact.rank())?;
        let inside = fact.shape[first..].to_vec();
        let inverse = s.output(1)?;
        let x = to_dtype(b, s.input(0)?, wide)?;
        let normal = mul(b, &x, inverse)?;
        let mut result = vec![None; needs.len()];
        let mut total: Option<Var> = None;
        if let Some(g) = &grads[0] {
            let g = to_dtype(b, g, wide)?;
            if needs.get(1) == Some(&true) {
                let product = mul(b, &g, &normal)?;
                result[1] = Some(sum_outside(b, &product, first, s.input_fact(1)?)?);
            }
            let g = match needs.len() > 1 {
                true => {
                    let scale = to_dtype(b, s.input(1)?, wide)?;
                    mul(b, &g, &scale)?
                }
                false => g,
            };
            let product = mul(b, &g, &normal)?;
            let share = reduce_mean(b, &product, &axes, true)?;
            let along = mul(b, &normal, &share)?;
            let rest = sub(b, &g, &along)?;
            total = Some(mul(b, &rest, inverse)?);
        }
        if let Some(g) = &grads[1] {
            // d inverse / dx = -inverse^2 normal / n
            let square = mul(b, inverse, inverse)?;
            let part = mul(b, g, &square)?;
            let part = divide_by_count(b, &part, &inside)?;
            let part = times(b, &part, -1.0)?;
            let part = mul(b, &normal, &part)?;
            total = Some(plus(b, total, part)?);
        }
        if let (Some(total), true) = (total, needs[0]) {
            result[0] = Some(to_dtype(b, &total, fact.dtype)?);
        }
        Ok(result)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        row_cost(inputs, outputs, 4.0)
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        // The operator has no form without a scale.
        (inputs.len() > 1).then(|| {
            OnnxExport::new("RMSNormalization", 23)
                .attr("axis", OnnxAttr::Int(self.axis))
                .attr("epsilon", OnnxAttr::Float(self.epsilon as f32))
        })
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, scale) = (required(inputs, 0)?, required(inputs, 1)?);
    Ok(smallvec![rms_norm(b, &x, Some(&scale), node.int("axis", -1)?, node.float("epsilon", 1e-5)?)?])
}

impl OpType for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const DOC: &'static str = "Division by the root mean square over the last axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("RMSNormalization", 23, import)]
    }

    fn rules() -> Vec<Rule> {
        vec![Rule { name: "rms_norm", roots: &["mul", "div"], recognises: true, run: pattern_norms::rms }]
    }

    fn cases() -> Vec<Case> {
        row_cases(|axis| RmsNorm { axis, epsilon: 1e-3 }, 1)
    }
}
