//! Logarithm of softmax along an axis.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote, Saved,
    Saves, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::norm::softmax::flattened;

/// `x - ln(sum(e^x))` along an axis, computed with the maximum taken off. Rows without a finite maximum give NaN.
#[derive(Clone, Debug, Attrs)]
pub struct LogSoftmax {
    /// The axis; negative ones count from the end.
    #[attr(default = -1)]
    pub axis: i64,
}

/// `x - ln(sum(e^x))` along `axis`.
pub fn log_softmax(b: &mut dyn Builder, x: &Var, axis: i64) -> Result<Var> {
    b.one(&LogSoftmax { axis }, std::slice::from_ref(x))
}

impl LogSoftmax {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let fact = b.tensor_fact(x)?;
        if fact.shape.contains(&Dim::Known(0)) {
            return Ok(x.clone());
        }
        let most = reduce_max(b, x, &[self.axis], true)?;
        let shifted = sub(b, x, &most)?;
        let powers = exp(b, &shifted)?;
        let total = reduce_sum(b, &powers, &[self.axis], true)?;
        let total = log(b, &total)?;
        sub(b, &shifted, &total)
    }
}

impl Op for LogSoftmax {
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
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let values = x.to_f64();
        let mut result = vec![0.0; values.len()];
        for row in common::reduce_groups(x, &[self.axis], true)?.1 {
            let most = row.iter().fold(f64::NEG_INFINITY, |m, &i| m.max(values[i]));
            let total: f64 = row.iter().map(|&i| (values[i] - most).exp()).sum();
            for i in row {
                result[i] = values[i] - most - total.ln();
            }
        }
        common::out(HostTensor::from_f64(x.dtype(), x.shape(), &result)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let y = s.output(0)?;
        let sum = reduce_sum(b, g, &[self.axis], true)?;
        let share = exp(b, y)?;
        let share = mul(b, &share, &sum)?;
        Ok(vec![Some(sub(b, g, &share)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("LogSoftmax", 13).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

impl OpType for LogSoftmax {
    const NAME: &'static str = "log_softmax";
    const DOC: &'static str = "Logarithm of softmax along an axis.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("LogSoftmax", 1, 12, |node, b, x| {
                Ok(smallvec![flattened(b, &required(x, 0)?, node.int("axis", 1)?, log_softmax)?])
            }),
            OnnxMapping::new("LogSoftmax", 13, |node, b, x| {
                Ok(smallvec![log_softmax(b, &required(x, 0)?, node.int("axis", -1)?)?])
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        crate::cases::rows(|axis| LogSoftmax { axis })
    }
}
