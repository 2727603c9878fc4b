//! The adjoint of convolution with respect to its weights.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    Saved, Saves, TensorFact, Var,
};

use crate::build::{Conv, conv, conv_input_grad};
use crate::common;
use crate::window;

/// The gradient of a convolution's weights from its input `x` `[N, C, ...]` and the gradient `g` `[N, M, ...]` of its
/// output; linear in both.
#[derive(Clone, Debug, Attrs)]
pub struct ConvWeightGrad {
    /// Spatial sizes of the weights.
    pub kernel: Vec<Dim>,
    /// Steps of the convolution.
    pub strides: Vec<i64>,
    /// Padding of the convolution in front of every spatial axis, then behind.
    pub pads: Vec<Dim>,
    /// Dilations of the convolution.
    pub dilations: Vec<i64>,
    /// Groups of the convolution.
    #[attr(default = 1)]
    pub group: i64,
}

/// Gradient of the weights, with spatial sizes `kernel`, of the convolution `of` over `x` from the gradient `g` of its output.
pub fn conv_weight_grad(b: &mut dyn Builder, of: &Conv, x: &Var, g: &Var, kernel: Vec<Dim>) -> Result<Var> {
    let Conv { strides, pads, dilations, group, .. } = of.clone();
    b.one(&ConvWeightGrad { kernel, strides, pads, dilations, group }, &[x.clone(), g.clone()])
}

impl ConvWeightGrad {
    /// The convolution whose adjoint this is.
    pub fn forward(&self) -> Conv {
        Conv {
            strides: self.strides.clone(),
            pads: self.pads.clone(),
            dilations: self.dilations.clone(),
            group: self.group,
            channels_last: false,
        }
    }
}

impl Op for ConvWeightGrad {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Contraction
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, g) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        window::check_pair(x, g, Self::DTYPES)?;
        if self.kernel.len() + 2 != x.rank() {
            return Err(Error::value(format!("kernel [{}] is no list of spatial sizes", Dim::join(&self.kernel)))
                .with_expected(format!("{} sizes", x.rank() - 2)));
        }
        window::check_group(self.group, &x.shape[1])?;
        window::check_group(self.group, &g.shape[1])?;
        window::check_equal("the batch size of the gradient", &g.shape[0], &x.shape[0])?;
        self.forward().window(&self.kernel)?.check_outputs(&x.shape[2..], &g.shape[2..])?;
        let channels = x.shape[1].floor_div(&Dim::Known(self.group));
        let shape = [g.shape[1].clone(), channels].into_iter().chain(self.kernel.iter().cloned());
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, g) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let mut shape = vec![g.shape()[1], x.shape()[1] / self.group as usize];
        shape.extend(common::sizes(&self.kernel)?);
        let mut sums = vec![0.0; shape.iter().product()];
        let (xs, gs) = (x.to_f64(), g.to_f64());
        let window = self.forward().window(&self.kernel)?;
        window::convolve(&window, self.group, x.shape(), &shape, g.shape(), |i, k, o| sums[k] += xs[i] * gs[o])?;
        common::out(HostTensor::from_f64(x.dtype(), &shape, &sums)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut result = vec![None, None];
        let Some(w) = &grads[0] else { return Ok(result) };
        let of = self.forward();
        if needs[0] {
            result[0] = Some(conv_input_grad(b, &of, s.input(1)?, w, s.input_fact(0)?.shape[2..].to_vec())?);
        }
        if needs[1] {
            result[1] = Some(conv(b, &of, s.input(0)?, w, None)?);
        }
        Ok(result)
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let g = inputs[1].as_tensor().ok();
        let rows = g.and_then(|g| g.shape.get(1)?.known()).unwrap_or(64).max(1) as f64;
        let weights = outputs.first().map_or(0.0, window::estimate);
        let bytes = inputs.iter().copied().chain(outputs).map(|f| window::estimate(f) * f.dtype().size() as f64).sum();
        Cost { flops: 2.0 * weights * window::estimate(inputs[1]) / rows, bytes }
    }
}

impl OpType for ConvWeightGrad {
    const NAME: &'static str = "conv_weight_grad";
    const DOC: &'static str = "Gradient of a convolution's weights.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Common;
    const AUTOCAST: Autocast = Autocast::Low;

    fn cases() -> Vec<Case> {
        let gradient = |g: &window::Geometry| [vec![g.1[0], g.2[0]], window::case_outputs(g)].concat();
        let op = |g: &window::Geometry| ConvWeightGrad {
            kernel: g.2[2..].iter().map(|&d| Dim::from(d)).collect(),
            strides: g.3.clone(),
            pads: window::known(&g.4),
            dilations: g.5.clone(),
            group: g.6,
        };
        let mut cases = window::geometry_cases(|g| [g.1.clone(), gradient(g)], op);
        let plane = ConvWeightGrad {
            kernel: window::known(&[3, 3]),
            strides: vec![1, 1],
            pads: window::known(&[1; 4]),
            dilations: vec![1, 1],
            group: 1,
        };
        let inputs = |d: DType| vec![CaseInput::new(d, &[2, 3, 6, 5]), CaseInput::new(d, &[2, 4, 6, 5])];
        for &d in DType::FLOATS {
            let case = Case::new(format!("plain-{d}"), &plane, inputs(d));
            let case = case.symbol(0, 0, "batch").symbol(1, 0, "batch");
            cases.push(if d == DType::BF16 { case.tolerance(0.1, 0.02) } else { case });
        }
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            let all = inputs(DType::F32).into_iter().map(|x| x.view(view)).collect();
            cases.push(Case::new(name, &plane, all).with_gradient());
        }
        let all = vec![CaseInput::new(DType::F32, &[2, 16, 28, 30]), CaseInput::new(DType::F32, &[2, 24, 28, 30])];
        cases.push(Case::new("large", &plane, all).tolerance(1e-3, 1e-4));
        cases
    }
}
