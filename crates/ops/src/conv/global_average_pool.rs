//! Mean over all spatial axes.

use std::ops::Range;

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::reduce_mean;
use crate::channels_last;
use crate::common;

/// Mean of `x` `[N, C, ...]` over everything behind the channels, whose axes stay with size 1 (ONNX GlobalAveragePool).
#[derive(Clone, Debug, Attrs)]
pub struct GlobalAveragePool {
    /// Whether `x` is `[N, ..., C]`; the result then has size 1 between both.
    #[attr(default = false)]
    pub channels_last: bool,
}

/// Mean of `x` over its spatial axes.
pub fn global_average_pool(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&GlobalAveragePool { channels_last: false }, std::slice::from_ref(x))
}

impl GlobalAveragePool {
    /// The axes of which means are taken, for a tensor of this rank.
    pub fn spatial(&self, rank: usize) -> Range<usize> {
        if self.channels_last { 1..rank.max(2) - 1 } else { 2..rank.max(2) }
    }
}

impl Op for GlobalAveragePool {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        if x.rank() < 3 {
            return Err(Error::shape(format!("got a tensor of rank {}", x.rank()))
                .with_expected("rank 3 or more: batch, channels and spatial axes"));
        }
        let spatial = self.spatial(x.rank());
        let shape =
            x.shape.iter().enumerate().map(|(a, d)| if spatial.contains(&a) { Dim::Known(1) } else { d.clone() });
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        if self.channels_last {
            let plain = GlobalAveragePool { channels_last: false };
            let made = plain.reference(&[channels_last::first_host(&inputs[0])?])?;
            return made.iter().map(channels_last::last_host).collect();
        }
        let x = inputs[0].tensor()?;
        let plane: usize = x.shape()[2..].iter().product();
        let values = x.to_f64();
        let count = x.shape()[0] * x.shape()[1];
        let means: Vec<f64> =
            (0..count).map(|i| values[i * plane..(i + 1) * plane].iter().sum::<f64>() / plane as f64).collect();
        let shape: Vec<usize> = x.shape().iter().enumerate().map(|(a, &d)| if a < 2 { d } else { 1 }).collect();
        common::out(HostTensor::from_f64(x.dtype(), &shape, &means)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let mean = |b: &mut dyn Builder| {
            let axes: Vec<i64> = self.spatial(b.tensor_fact(&inputs[0])?.rank()).map(|a| a as i64).collect();
            Ok(smallvec![reduce_mean(b, &inputs[0], &axes, true)?])
        };
        Some(mean(b))
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        if self.channels_last {
            return None;
        }
        Some(OnnxExport::new("GlobalAveragePool", if inputs.first()?.dtype() == DType::BF16 { 22 } else { 1 }))
    }
}

impl OpType for GlobalAveragePool {
    const NAME: &'static str = "global_average_pool";
    const DOC: &'static str = "Mean over all spatial axes.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("GlobalAveragePool", 1, |_, b, x| {
            Ok(smallvec![global_average_pool(b, &required(x, 0)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let op = GlobalAveragePool { channels_last: false };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases = Vec::new();
        for &d in DType::FLOATS {
            let case = Case::new(format!("plane-{d}"), &op, x(d, &[2, 3, 4, 5]));
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 0, "batch").symbol(0, 2, "height"));
        }
        for (name, shape) in [("line", &[2, 3, 7][..]), ("volume", &[1, 2, 3, 4, 5]), ("no-batch", &[0, 3, 4, 4])] {
            cases.push(Case::new(name, &op, x(DType::F64, shape)).with_gradient());
        }
        cases.push(Case::new("no-elements", &op, x(DType::F32, &[2, 3, 0, 4])));
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            cases
                .push(Case::new(name, &op, vec![CaseInput::new(DType::F32, &[2, 3, 4, 5]).view(view)]).with_gradient());
        }
        let wild = [1.0, f64::NAN, 2.0, 3.0, 1.0, f64::INFINITY, 1.0, 2.0, f64::INFINITY, f64::NEG_INFINITY, 1.0, 1.0];
        cases.push(Case::new(
            "special",
            &op,
            vec![CaseInput::new(DType::F32, &[1, 3, 2, 2]).fill(Fill::Values(wild.into()))],
        ));
        cases.push(Case::new("large", &op, x(DType::F32, &[3, 40, 31, 33])));
        let last = GlobalAveragePool { channels_last: true };
        cases.extend(cases.iter().map(|case| channels_last::case(case, &last)).collect::<Vec<_>>());
        cases
    }
}
