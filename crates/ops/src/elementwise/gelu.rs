//! Gaussian error linear unit (Hendrycks and Gimpel 2016).

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use lampyr_base::{DType, Error, Result};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::{Binary, Compute, ScalarExpr, Unary};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, NodeId, Op, OpType, Patch, Rewrite, Rule, ValueId,
    Var, Vars, Wires,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::scale;
use crate::patterns::{Product, plus_number};

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

/// The argument of the error function or tangent in `1 + f(..)`: whether it is the tangent, the argument, the nodes.
fn one_plus(w: &Wires, v: ValueId) -> Option<(bool, ValueId, Vec<NodeId>)> {
    let (one, inner, sum) = plus_number(w, v).filter(|(n, ..)| *n == 1.0)?;
    let (id, node) = w.made_by(inner)?;
    let tangent = node.op.downcast::<Tanh>().is_some();
    (one == 1.0 && (tangent || node.op.downcast::<Erf>().is_some())).then_some((
        tangent,
        *node.inputs.first()?,
        vec![sum, id],
    ))
}

/// The nodes of `sqrt(2/pi) * (x + 0.044715 x^3)`, or of the same with `x` taken out of the sum.
fn cubic(w: &Wires, argument: ValueId, x: ValueId) -> Option<Vec<NodeId>> {
    let outer = Product::of(w, argument);
    if !outer.is((2.0 / PI).sqrt()) {
        return None;
    }
    let mut nodes = outer.nodes.clone();
    match outer.values.as_slice() {
        [sum] => {
            let (id, node, _) = w.op::<Add>(*sum)?;
            let third = w.pairs(node).into_iter().flatten().find_map(|(a, b)| (a == x).then(|| Product::of(w, b)))?;
            nodes.push(id);
            nodes.extend(&third.nodes);
            (third.is(CUBIC) && third.values == [x; 3]).then_some(nodes)
        }
        _ => {
            let rest = outer.without(x)?;
            let [sum] = rest.values.as_slice() else { return None };
            let (one, second, id) = plus_number(w, *sum)?;
            let second = Product::of(w, second);
            nodes.push(id);
            nodes.extend(&second.nodes);
            (one == 1.0 && second.is(CUBIC) && second.values == [x; 2]).then_some(nodes)
        }
    }
}

/// `x/2 * (1 + erf(x / sqrt(2)))` or the approximation, factors in any order.
fn recognise(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let Some(result) = graph.node(id)?.outputs.first().copied() else { return Ok(Rewrite::No) };
    let outer = Product::of(w, result);
    let [a, b] = outer.values.as_slice() else { return Ok(Rewrite::No) };
    let found = [(*a, *b), (*b, *a)].into_iter().find_map(|(x, s)| Some((x, one_plus(w, s)?)));
    let Some((x, (tangent, argument, inner))) = found.filter(|_| outer.is(0.5)) else { return Ok(Rewrite::No) };
    let mut nodes = outer.nodes;
    nodes.extend(inner);
    let more = if tangent {
        cubic(w, argument, x)
    } else {
        let z = Product::of(w, argument);
        (z.is(FRAC_1_SQRT_2) && z.values == [x]).then_some(z.nodes)
    };
    let Some(more) = more else {
        return Ok(Rewrite::Refused(nodes, "the argument inside is not that of the function"));
    };
    nodes.extend(more);
    if !w.closed(&nodes, result) {
        return Ok(Rewrite::Refused(nodes, "a value inside is read elsewhere"));
    }
    let x = patch.tap(graph, x)?;
    let y = gelu(patch, &x, if tangent { "tanh" } else { "none" })?;
    patch.replace(result, &y)?;
    Ok(Rewrite::Done(nodes))
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

    fn rules() -> Vec<Rule> {
        vec![Rule { name: "gelu", roots: &["mul", "div"], recognises: true, run: recognise }]
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
