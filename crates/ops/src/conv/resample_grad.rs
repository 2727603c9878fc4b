//! The adjoint of average pooling and resizing.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpRef, OpType, Saved, Saves,
    TensorFact, Var,
};

use crate::build::{AvgPool, Resize};
use crate::common;
use crate::sample::AxisMap;
use crate::window;

/// The gradient of the input of an op that is a linear map along some axes (`avg_pool` or `resize`), from the gradient of
/// its result; linear.
#[derive(Clone, Debug, Attrs)]
pub struct ResampleGrad {
    /// The op.
    pub of: OpRef,
    /// Sizes of its input, the result here.
    pub input: Vec<Dim>,
}

/// Gradient of the input, of sizes `input`, of the op `of` from the gradient `g` of its result.
pub fn resample_grad(b: &mut dyn Builder, of: &dyn Op, g: &Var, input: Vec<Dim>) -> Result<Var> {
    b.one(&ResampleGrad { of: of.to_ref(), input }, std::slice::from_ref(g))
}

/// The axes that `op` maps, and how, from sizes `input` to sizes `output`.
///
/// # Errors
/// When `op` is no such map, or a size is still symbolic.
pub fn axis_maps(op: &dyn Op, input: &[usize], output: &[usize]) -> Result<Vec<(usize, AxisMap)>> {
    if let Some(pool) = op.as_any().downcast_ref::<AvgPool>() {
        let first = if pool.channels_last { 1 } else { 2 };
        let acts = |a: usize| pool.kernel[a] != 1 || pool.strides[a] != 1 || input[a + first] != output[a + first];
        let every = pool.divisor_override.is_some();
        let maps = pool.maps(&input[first..], &output[first..])?.into_iter().enumerate();
        return Ok(maps.filter(|(a, _)| every || acts(*a)).map(|(a, m)| (a + first, m)).collect());
    }
    match op.as_any().downcast_ref::<Resize>() {
        Some(resize) => resize.maps(input, output),
        None => Err(Error::value(format!("`{}` is no linear map along axes", op.name()))),
    }
}

impl Op for ResampleGrad {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let g = inputs[0].as_tensor()?;
        common::check_dtype(g.dtype, Self::DTYPES)?;
        let x = Fact::tensor(g.dtype, self.input.iter().cloned());
        let made = self.of.infer(&[&x])?;
        let y = made.first().ok_or_else(|| Error::internal("an op without a result"))?.as_tensor()?;
        let differs = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
        if y.rank() != g.rank() || y.shape.iter().zip(&g.shape).any(differs) {
            return Err(Error::shape(format!("the gradient is {g}")).with_expected(y.to_string()));
        }
        Ok(common::one(TensorFact::new(g.dtype, self.input.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let g = inputs[0].tensor()?;
        let mut shape = g.shape().to_vec();
        let mut values = g.to_f64();
        for (axis, map) in axis_maps(&*self.of, &common::sizes(&self.input)?, g.shape())? {
            values = map.transposed().apply(&values, &mut shape, axis);
        }
        common::out(HostTensor::from_f64(g.dtype(), &shape, &values)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, _: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(x) = &grads[0] else { return Ok(vec![None]) };
        let linear = self.of.downcast::<Resize>().map(|r| Resize { extrapolation_value: 0.0, ..r.clone() });
        let y = match &linear {
            Some(resize) => b.one(resize, std::slice::from_ref(x))?,
            None => b.one(&*self.of, std::slice::from_ref(x))?,
        };
        Ok(vec![Some(y)])
    }
}

impl OpType for ResampleGrad {
    const NAME: &'static str = "resample_grad";
    const DOC: &'static str = "Gradient of the input of average pooling or resizing.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn cases() -> Vec<Case> {
        let pool = AvgPool {
            kernel: vec![3, 2],
            strides: vec![2, 1],
            pads: window::known(&[1, 0, 1, 1]),
            dilations: vec![1, 1],
            ceil_mode: false,
            count_include_pad: false,
            divisor_override: None,
            channels_last: false,
        };
        let dense = AvgPool { kernel: vec![3, 3], strides: vec![1, 1], pads: window::known(&[1; 4]), ..pool.clone() };
        let linear = Resize { axes: vec![2, 3], sizes: window::known(&[6, 9]), ..Resize::default() };
        let line = Resize { axes: vec![1], sizes: window::known(&[5]), ..Resize::default() };
        let last = AvgPool { channels_last: true, ..pool.clone() };
        let case = |name: String, of: &dyn Op, input: &[i64], g: CaseInput| {
            Case::new(name, &ResampleGrad { of: of.to_ref(), input: window::known(input) }, vec![g])
        };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let g = CaseInput::new(d, &[2, 3, 3, 6]);
            let smooth = matches!(d, DType::F32 | DType::F64);
            let made = case(format!("pool-{d}"), &pool, &[2, 3, 6, 6], g);
            cases.push(if smooth { made.with_gradient() } else { made });
            let made = case(format!("resize-{d}"), &linear, &[2, 2, 4, 5], CaseInput::new(d, &[2, 2, 6, 9]));
            cases.push(if smooth { made.with_gradient() } else { made });
        }
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            let g = CaseInput::new(DType::F32, &[2, 5, 3]).view(view);
            cases.push(case(name.to_string(), &line, &[2, 3, 3], g).with_gradient());
        }
        let g = CaseInput::new(DType::F64, &[2, 3, 6, 3]);
        cases.push(case("pool-last".to_string(), &last, &[2, 6, 6, 3], g).with_gradient());
        let none = CaseInput::new(DType::F64, &[0, 2, 6, 9]);
        cases.push(case("no-batch".to_string(), &linear, &[0, 2, 4, 5], none).with_gradient());
        let large = CaseInput::new(DType::F32, &[2, 8, 40, 61]);
        cases.push(case("large".to_string(), &dense, &[2, 8, 40, 61], large));
        cases
    }
}
