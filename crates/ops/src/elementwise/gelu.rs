//! Gaussian error linear unit (Hendrycks and Gimpel 2016).

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use lampyr_base::{DType, Error, Result};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr, Unary};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Var, Vars};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;

const CUBIC: f64 = 0.044715;

/// `x * Phi(x)` with the normal distribution function `Phi`, or its approximation by a hyperbolic tangent
/// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
#[derive(Clone, Debug, Attrs)]
pub struct Gelu {
    /// `none` (exact) or `tanh`.
    #[attr(default = String::from("none"))]
    pub approximate: String,
}

/// `x * Phi(x)`; `approximate` is `none` or `tanh`.
pub fn gelu(b: &mut dyn Builder, x: &Var, approximate: &str) -> Result<Var> {
    b.one(&Gelu { approximate: approximate.to_string() }, std::slice::from_ref(x))
}

impl Gelu {
    fn is_tanh(&self) -> bool {
        self.approximate == "tanh"
    }

    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let one = b.tensor_fact(x)?.dtype;
        let one = b.scalar(one, 1.0)?;
        let inner = if self.is_tanh() {
            let square = mul(b, x, x)?;
            let cube = mul(b, &square, x)?;
            let cube = scale(b, &cube, CUBIC)?;
            let sum = add(b, x, &cube)?;
            let sum = scale(b, &sum, (2.0 / PI).sqrt())?;
            tanh(b, &sum)?
        } else {
            let z = scale(b, x, FRAC_1_SQRT_2)?;
            erf(b, &z)?
        };
        let inner = add(b, &inner, &one)?;
        let half = scale(b, x, 0.5)?;
        mul(b, &half, &inner)
    }
}

impl Op for Gelu {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        if self.approximate != "none" && self.approximate != "tanh" {
            return Err(Error::value(format!("approximate is `{}`", self.approximate)).with_expected("none or tanh"));
        }
        common::elementwise(inputs, 0, Self::DTYPES, None)
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let ty = Compute::of(dtypes[0]);
        let mut e = ScalarExpr::new(dtypes);
        let x = e.load(0);
        let inner = if self.is_tanh() {
            let square = e.binary(Binary::Mul, x, x);
            let cube = e.binary(Binary::Mul, square, x);
            let cubic = e.constant(CUBIC, ty);
            let cube = e.binary(Binary::Mul, cube, cubic);
            let sum = e.binary(Binary::Add, x, cube);
            let factor = e.constant((2.0 / PI).sqrt(), ty);
            let sum = e.binary(Binary::Mul, sum, factor);
            e.unary(Unary::Tanh, sum)
        } else {
            let factor = e.constant(FRAC_1_SQRT_2, ty);
            let z = e.binary(Binary::Mul, x, factor);
            e.unary(Unary::Erf, z)
        };
        let one = e.constant(1.0, ty);
        let inner = e.binary(Binary::Add, inner, one);
        let half = e.constant(0.5, ty);
        let half = e.binary(Binary::Mul, x, half);
        let y = e.binary(Binary::Mul, half, inner);
        Some(e.store(y, dtypes[0]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let tanh = self.is_tanh();
        common::reference_unary(inputs, |x| {
            let phi = if tanh {
                ((2.0 / PI).sqrt() * (x + CUBIC * x.powi(3))).tanh()
            } else {
                lampyr_ir::scalar::erf(x / 2f64.sqrt())
            };
            0.5 * x * (1.0 + phi)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Gelu", 20).attr("approximate", OnnxAttr::Str(self.approximate.clone())))
    }
}

impl OpType for Gelu {
    const NAME: &'static str = "gelu";
    const DOC: &'static str = "Gaussian error linear unit.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        let exact = OnnxMapping::new("Gelu", 1, |_, b, x| Ok(smallvec![gelu(b, &required(x, 0)?, "none")?]));
        vec![
            OnnxMapping::new("Gelu", 20, |node, b, x| {
                let approximate = node.text("approximate", "none")?;
                Ok(smallvec![gelu(b, &required(x, 0)?, &approximate)?])
            }),
            OnnxMapping { domain: "com.microsoft", ..exact },
        ]
    }

    fn cases() -> Vec<lampyr_ir::case::Case> {
        let mut cases = Vec::new();
        for approximate in ["none", "tanh"] {
            let op = Gelu { approximate: approximate.to_string() };
            for mut case in crate::cases::elementwise(&op, 1, Self::DTYPES, true, (-3.0, 3.0)) {
                case.name = format!("{approximate}-{}", case.name);
                cases.push(case);
            }
        }
        cases
    }
}
