//! Division by a norm along an axis, and the operators of ONNX that standardise without weights.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, to_dtype};

/// `x / |x|` with the 1-norm or 2-norm along an axis; zeros where that is 0.
#[derive(Clone, Debug, Attrs)]
pub struct Normalize {
    /// Which norm, 1 or 2.
    #[attr(default = 2)]
    pub p: i64,
    /// The axis; negative ones count from the end.
    #[attr(default = -1)]
    pub axis: i64,
}

/// `x` divided by its `p`-norm along `axis`.
pub fn normalize(b: &mut dyn Builder, x: &Var, p: i64, axis: i64) -> Result<Var> {
    b.one(&Normalize { p, axis }, std::slice::from_ref(x))
}

impl Normalize {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Vars> {
        let fact = b.tensor_fact(x)?;
        let wide = accumulator(fact.dtype);
        let x = to_dtype(b, x, wide)?;
        let (zero, one) = (b.scalar(wide, 0.0)?, b.scalar(wide, 1.0)?);
        let sizes = if self.p == 1 {
            let negative = neg(b, &x)?;
            let below = less(b, &x, &zero)?;
            where_(b, &below, &negative, &x)?
        } else {
            mul(b, &x, &x)?
        };
        let sum = reduce_sum(b, &sizes, &[self.axis], true)?;
        let none = equal(b, &sum, &zero)?;
        let safe = where_(b, &none, &one, &sum)?;
        let norm = if self.p == 1 { safe } else { sqrt(b, &safe)? };
        let y = div(b, &x, &norm)?;
        Ok(smallvec![to_dtype(b, &y, fact.dtype)?])
    }
}

impl Op for Normalize {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        common::axis(self.axis, x.rank())?;
        if self.p != 1 && self.p != 2 {
            return Err(Error::value(format!("p is {}", self.p)).with_expected("1 or 2"));
        }
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = inputs[0].tensor()?;
        let mut y = t.to_f64();
        for row in common::reduce_groups(t, &[self.axis], true)?.1 {
            let sum: f64 = row.iter().map(|&i| y[i].abs().powi(self.p as i32)).sum();
            let norm = if self.p == 1 { sum } else { sum.sqrt() };
            row.iter().filter(|_| norm != 0.0).for_each(|&i| y[i] /= norm);
        }
        common::out(HostTensor::from_f64(t.dtype(), t.shape(), &y)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(
            OnnxExport::new("LpNormalization", 1)
                .attr("axis", OnnxAttr::Int(self.axis))
                .attr("p", OnnxAttr::Int(self.p)),
        )
    }
}

/// ONNX MeanVarianceNormalization: `(x - mean) / (deviation + 1e-9)` over axes.
fn mean_variance(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let fact = b.tensor_fact(&x)?;
    let wide = accumulator(fact.dtype);
    let axes = node.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    if common::axis_dims(&fact.shape, &common::axes(&axes, fact.rank())?).contains(&Dim::Known(0)) {
        return Ok(smallvec![x]);
    }
    let x = to_dtype(b, &x, wide)?;
    let mean = reduce_mean(b, &x, &axes, true)?;
    let centred = sub(b, &x, &mean)?;
    let square = mul(b, &centred, &centred)?;
    let variance = reduce_mean(b, &square, &axes, true)?;
    let deviation = sqrt(b, &variance)?;
    let least = b.scalar(wide, 1e-9)?;
    let deviation = add(b, &deviation, &least)?;
    let y = div(b, &centred, &deviation)?;
    Ok(smallvec![to_dtype(b, &y, fact.dtype)?])
}

impl OpType for Normalize {
    const NAME: &'static str = "normalize";
    const DOC: &'static str = "Division by the norm along an axis.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::new("LpNormalization", 1, |node, b, x| {
                Ok(smallvec![normalize(b, &required(x, 0)?, node.int("p", 2)?, node.int("axis", -1)?)?])
            }),
            OnnxMapping::new("MeanVarianceNormalization", 9, mean_variance),
        ]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for p in [1, 2] {
            for &d in DType::FLOATS {
                let input = |shape: &[usize]| CaseInput::new(d, shape).fill(Fill::Distinct(-2.0, 2.0, 3));
                let mut add = |name: &str, axis: i64, x: CaseInput| {
                    let case = Case::new(format!("{p}-{name}-{d}"), &Normalize { p, axis }, vec![x]);
                    cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
                };
                add("last", -1, input(&[2, 3, 5]));
                add("first", 0, input(&[4, 3]));
                add("empty", -1, input(&[0, 3]));
                for (name, view) in crate::cases::VIEWS {
                    add(name, -1, input(&[3, 5]).view(view));
                }
                let zeros = CaseInput::new(d, &[2, 3]).values(&[0.0, 0.0, 0.0, 1.0, -2.0, 0.5]);
                cases.push(Case::new(format!("{p}-zeros-{d}"), &Normalize { p, axis: -1 }, vec![zeros]));
            }
            let op = Normalize { p, axis: 1 };
            cases.push(Case::new(format!("{p}-large"), &op, vec![CaseInput::new(DType::F32, &[61, 997])]));
            let x = CaseInput::new(DType::F32, &[3, 4]).fill(Fill::Distinct(-2.0, 2.0, 3));
            let symbolic = Case::new(format!("{p}-symbolic"), &op, vec![x]);
            cases.push(symbolic.symbol(0, 0, "n").symbol(0, 1, "m").with_gradient());
        }
        cases
    }
}
