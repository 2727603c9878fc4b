//! Activation functions of recurrent layers (ONNX LSTM, GRU and RNN).

use lampyr_base::{Error, Result};
use lampyr_ir::{Builder, Var};

use crate::build::*;
use crate::gradient::scale;

/// The kind of an activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`
    Relu,
    /// `alpha x + beta`
    Affine,
    /// `x`, or `alpha x` below 0.
    LeakyRelu,
    /// `x` from `alpha` on, else 0.
    ThresholdedRelu,
    /// `alpha tanh(beta x)`
    ScaledTanh,
    /// `alpha x + beta` between 0 and 1.
    HardSigmoid,
    /// `x`, or `alpha (e^x - 1)` below 0.
    Elu,
    /// `x / (1 + |x|)`
    Softsign,
    /// `log(1 + e^x)`
    Softplus,
}

/// An activation function with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// Which.
    pub kind: Kind,
    /// First constant.
    pub alpha: f64,
    /// Second constant.
    pub beta: f64,
}

/// Kinds by name, with the defaults of their constants where they have them.
const KINDS: [(&str, Kind, Option<f64>, Option<f64>); 11] = [
    ("sigmoid", Kind::Sigmoid, None, None),
    ("tanh", Kind::Tanh, None, None),
    ("relu", Kind::Relu, None, None),
    ("affine", Kind::Affine, Some(1.0), Some(0.0)),
    ("leakyrelu", Kind::LeakyRelu, Some(0.01), None),
    ("thresholdedrelu", Kind::ThresholdedRelu, Some(1.0), None),
    ("scaledtanh", Kind::ScaledTanh, Some(1.0), Some(1.0)),
    ("hardsigmoid", Kind::HardSigmoid, Some(0.2), Some(0.5)),
    ("elu", Kind::Elu, Some(1.0), None),
    ("softsign", Kind::Softsign, None, None),
    ("softplus", Kind::Softplus, None, None),
];

impl Activation {
    /// The function called `name`; its constants are taken from the fronts of `alphas` and `betas`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str, alphas: &mut &[f64], betas: &mut &[f64]) -> Result<Activation> {
        let lower = name.to_ascii_lowercase();
        let Some((_, kind, alpha, beta)) = KINDS.into_iter().find(|k| k.0 == lower) else {
            return Err(
                Error::value(format!("no activation is called `{name}`")).with_expected(KINDS.map(|k| k.0).join(", "))
            );
        };
        let take = |default: Option<f64>, from: &mut &[f64]| match (default, *from) {
            (Some(_), [first, rest @ ..]) => {
                *from = rest;
                *first
            }
            (default, _) => default.unwrap_or(0.0),
        };
        Ok(Activation { kind, alpha: take(alpha, alphas), beta: take(beta, betas) })
    }

    /// As text that [`Activation::list`] reads.
    pub fn text(&self) -> String {
        let name = KINDS.into_iter().find(|k| k.1 == self.kind).map_or("", |k| k.0);
        format!("{name}:{}:{}", self.alpha, self.beta)
    }

    /// Functions from names separated by commas, each with up to two constants behind colons.
    ///
    /// # Errors
    /// When a name or number is wrong.
    pub fn list(text: &str) -> Result<Vec<Activation>> {
        let one = |part: &str| {
            let mut fields = part.split(':');
            let name = fields.next().unwrap_or("");
            let numbers = fields.map(|n| n.parse::<f64>().map_err(|_| Error::value(format!("`{n}` is no number"))));
            let numbers = numbers.collect::<Result<Vec<f64>>>()?;
            let (alpha, beta) = numbers.split_at(numbers.len().min(1));
            Activation::named(name, &mut &*alpha, &mut &*beta)
        };
        text.split(',').map(one).collect()
    }

    /// The function of one number.
    pub fn of(&self, x: f64) -> f64 {
        match self.kind {
            Kind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Kind::Tanh => x.tanh(),
            Kind::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Kind::Affine => self.alpha * x + self.beta,
            Kind::LeakyRelu => {
                if x < 0.0 {
                    self.alpha * x
                } else {
                    x
                }
            }
            Kind::ThresholdedRelu => {
                if x >= self.alpha {
                    x
                } else {
                    0.0
                }
            }
            Kind::ScaledTanh => self.alpha * (self.beta * x).tanh(),
            Kind::HardSigmoid => (self.alpha * x + self.beta).clamp(0.0, 1.0),
            Kind::Elu => {
                if x < 0.0 {
                    self.alpha * (x.exp() - 1.0)
                } else {
                    x
                }
            }
            Kind::Softsign => x / (1.0 + x.abs()),
            Kind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }

    /// The function written with other ops.
    pub(crate) fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let dtype = b.tensor_fact(x)?.dtype;
        let zero = b.scalar(dtype, 0.0)?;
        let one = b.scalar(dtype, 1.0)?;
        let affine = |b: &mut dyn Builder, x: &Var| {
            let x = scale(b, x, self.alpha)?;
            let beta = b.scalar(dtype, self.beta)?;
            add(b, &x, &beta)
        };
        let magnitude = |b: &mut dyn Builder| {
            let negative = neg(b, x)?;
            let (up, down) = (relu(b, x)?, relu(b, &negative)?);
            add(b, &up, &down)
        };
        match self.kind {
            Kind::Sigmoid => {
                let half = scale(b, x, 0.5)?;
                let t = tanh(b, &half)?;
                let t = add(b, &t, &one)?;
                scale(b, &t, 0.5)
            }
            Kind::Tanh => tanh(b, x),
            Kind::Relu => relu(b, x),
            Kind::Affine => affine(b, x),
            Kind::LeakyRelu => {
                let low = scale(b, x, self.alpha)?;
                let below = less(b, x, &zero)?;
                where_(b, &below, &low, x)
            }
            Kind::ThresholdedRelu => {
                let alpha = b.scalar(dtype, self.alpha)?;
                let below = less(b, x, &alpha)?;
                where_(b, &below, &zero, x)
            }
            Kind::ScaledTanh => {
                let x = scale(b, x, self.beta)?;
                let t = tanh(b, &x)?;
                scale(b, &t, self.alpha)
            }
            Kind::HardSigmoid => {
                let x = affine(b, x)?;
                between(b, &x, 0.0, 1.0)
            }
            Kind::Elu => {
                let power = exp(b, x)?;
                let low = sub(b, &power, &one)?;
                let low = scale(b, &low, self.alpha)?;
                let below = less(b, x, &zero)?;
                where_(b, &below, &low, x)
            }
            Kind::Softsign => {
                let size = magnitude(b)?;
                let size = add(b, &size, &one)?;
                div(b, x, &size)
            }
            Kind::Softplus => {
                let size = magnitude(b)?;
                let power = neg(b, &size)?;
                let power = exp(b, &power)?;
                let power = add(b, &power, &one)?;
                let rest = log(b, &power)?;
                let up = relu(b, x)?;
                add(b, &up, &rest)
            }
        }
    }
}

/// `x` kept between two numbers.
pub(crate) fn between(b: &mut dyn Builder, x: &Var, low: f64, high: f64) -> Result<Var> {
    let dtype = b.tensor_fact(x)?.dtype;
    let (low, high) = (b.scalar(dtype, low)?, b.scalar(dtype, high)?);
    let below = less(b, x, &low)?;
    let x = where_(b, &below, &low, x)?;
    let above = greater(b, &x, &high)?;
    where_(b, &above, &high, &x)
}
