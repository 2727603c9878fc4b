//! General matrix product of two matrices, scaled and shifted.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType,
    Promote, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{Matmul, add, matmul, transpose};
use crate::common;
use crate::gradient::scale;

/// `alpha * A' @ B' + beta * C` with `A'` and `B'` transposed on demand and `C` broadcast to the result (ONNX Gemm). `C`
/// is not read when `beta` is 0. Integers need whole factors and wrap.
#[derive(Clone, Debug, Attrs)]
pub struct Gemm {
    /// Factor of the product.
    #[attr(default = 1.0)]
    pub alpha: f64,
    /// Factor of `C`.
    #[attr(default = 1.0)]
    pub beta: f64,
    /// Whether `A` is transposed.
    #[attr(default = false)]
    pub trans_a: bool,
    /// Whether `B` is transposed.
    #[attr(default = false)]
    pub trans_b: bool,
}

/// `alpha * a' @ y' + beta * c`, see [`Gemm`].
pub fn gemm(b: &mut dyn Builder, op: &Gemm, x: &Var, y: &Var, c: Option<&Var>) -> Result<Var> {
    let inputs: Vec<Var> = [x, y].into_iter().chain(c).cloned().collect();
    b.one(op, &inputs)
}

impl Gemm {
    /// Rows, inner size and columns for operands of these shapes.
    ///
    /// # Errors
    /// When they are no matrices or the inner sizes differ.
    pub fn sizes(&self, x: &[Dim], y: &[Dim]) -> Result<(Dim, Dim, Dim)> {
        let ([xr, xc], [yr, yc]) = (x, y) else {
            return Err(
                Error::shape(format!("got operands of rank {} and {}", x.len(), y.len())).with_expected("matrices")
            );
        };
        let (m, k) = if self.trans_a { (xc, xr) } else { (xr, xc) };
        let (l, n) = if self.trans_b { (yc, yr) } else { (yr, yc) };
        if let (Some(a), Some(b)) = (k.known(), l.known())
            && a != b
        {
            return Err(Error::shape(format!("the inner sizes differ: {a} and {b}"))
                .with_expected("as many columns on the left as rows on the right, after transposition"));
        }
        Ok((m.clone(), if k.known().is_some() { k.clone() } else { l.clone() }, n.clone()))
    }

    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let x = if self.trans_a { transpose(b, &inputs[0], &[1, 0])? } else { inputs[0].clone() };
        let y = if self.trans_b { transpose(b, &inputs[1], &[1, 0])? } else { inputs[1].clone() };
        let product = matmul(b, &x, &y)?;
        let mut result = if self.alpha == 1.0 { product } else { scale(b, &product, self.alpha)? };
        if let Some(c) = inputs.get(2).filter(|_| self.beta != 0.0) {
            let c = if self.beta == 1.0 { c.clone() } else { scale(b, c, self.beta)? };
            result = add(b, &result, &c)?;
        }
        Ok(smallvec![result])
    }
}

impl Op for Gemm {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn class(&self) -> Class {
        Class::Contraction
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let facts = common::tensors(inputs)?;
        let dtype = facts[0].dtype;
        common::check_dtype(dtype, Self::DTYPES)?;
        if let Some(other) = facts.iter().find(|f| f.dtype != dtype) {
            return Err(Error::dtype(format!("inputs have different types: {dtype} and {}", other.dtype))
                .with_expected("equal types")
                .with_help("cast one of them"));
        }
        let lowest = if dtype.is_signed_integer() { -(2f64.powi(31)) } else { 0.0 };
        let fits = |f: f64| f.fract() == 0.0 && (lowest..2f64.powi(31)).contains(&f);
        let scales = dtype.is_float() || (fits(self.alpha) && fits(self.beta));
        if !scales {
            return Err(Error::value(format!("{dtype} cannot be scaled by {} and {}", self.alpha, self.beta))
                .with_expected("whole factors that the type holds"));
        }
        let (m, _, n) = self.sizes(&facts[0].shape, &facts[1].shape)?;
        let shape = [m, n];
        if let Some(c) = facts.get(2) {
            let lead = 2usize.checked_sub(c.rank());
            let fits = lead.is_some_and(|lead| {
                c.shape.iter().zip(&shape[lead..]).all(|(from, to)| match (from.known(), to.known()) {
                    (Some(f), Some(t)) => f == t || f == 1,
                    _ => true,
                })
            });
            if !fits {
                return Err(Error::shape(format!(
                    "C [{}] does not broadcast to [{}]",
                    Dim::join(&c.shape),
                    Dim::join(&shape)
                )));
            }
        }
        Ok(common::one(TensorFact::new(dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let dims = |t: &HostTensor| t.shape().iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
        let (m, k, n) = self.sizes(&dims(t[0]), &dims(t[1]))?;
        let sizes = common::sizes(&[m, k, n])?;
        let (m, k, n) = (sizes[0], sizes[1], sizes[2]);
        let x_at = |i: usize, l: usize| if self.trans_a { l * m + i } else { i * k + l };
        let y_at = |l: usize, j: usize| if self.trans_b { j * k + l } else { l * n + j };
        let c_at: Vec<usize> = match t.get(2).filter(|_| self.beta != 0.0) {
            Some(c) => Layout::contiguous(c.shape()).broadcast_to(&[m, n])?.indices().collect(),
            None => Vec::new(),
        };
        let c = t.get(2).map(|c| c.numbers());
        macro_rules! all {
            ($x:expr, $y:expr, $kind:ident, $ty:ty, $sum:expr, $scale:expr) => {{
                let (alpha, beta) = (self.alpha as $ty, self.beta as $ty);
                let c = if let Some(Numbers::$kind(c)) = &c { c.as_slice() } else { &[] };
                let element = |at: usize| {
                    let (i, j) = (at / n, at % n);
                    let product = (0..k).map(|l| $scale($x[x_at(i, l)], $y[y_at(l, j)])).fold(0 as $ty, $sum);
                    let product = $scale(alpha, product);
                    c_at.get(at).map_or(product, |&q| $sum(product, $scale(beta, c[q])))
                };
                Numbers::$kind((0..m * n).map(element).collect())
            }};
        }
        let numbers = match (t[0].numbers(), t[1].numbers()) {
            (Numbers::F(x), Numbers::F(y)) => all!(x, y, F, f64, |a: f64, b: f64| a + b, |a: f64, b: f64| a * b),
            (Numbers::I(x), Numbers::I(y)) => all!(x, y, I, i64, i64::wrapping_add, i64::wrapping_mul),
            (Numbers::U(x), Numbers::U(y)) => all!(x, y, U, u64, u64::wrapping_add, u64::wrapping_mul),
            _ => return Err(Error::dtype("operands have different kinds of numbers")),
        };
        common::out(HostTensor::from_numbers(t[0].dtype(), &[m, n], &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let bare = Matmul.cost(&inputs[..2.min(inputs.len())], outputs);
        let inner = inputs[0].as_tensor().ok().and_then(|t| t.shape.get(usize::from(!self.trans_a)));
        let size = |d: &Dim| d.known().unwrap_or(64).max(0) as f64;
        let elements: f64 =
            outputs.iter().filter_map(|f| f.as_tensor().ok()).flat_map(|t| t.shape.iter().map(size)).product();
        Cost { flops: 2.0 * inner.map_or(1.0, size) * elements, bytes: bare.bytes }
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(
            OnnxExport::new("Gemm", 13)
                .attr("alpha", OnnxAttr::Float(self.alpha as f32))
                .attr("beta", OnnxAttr::Float(self.beta as f32))
                .attr("transA", OnnxAttr::Int(self.trans_a.into()))
                .attr("transB", OnnxAttr::Int(self.trans_b.into())),
        )
    }
}

impl OpType for Gemm {
    const NAME: &'static str = "gemm";
    const DOC: &'static str = "alpha * A @ B + beta * C, A and B transposed on demand.";
    const DTYPES: &'static [DType] = Matmul::DTYPES;
    const PROMOTE: Promote = Promote::Common;
    const AUTOCAST: Autocast = Autocast::Low;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Gemm", 1, |node, b, inputs| {
            let op = Gemm {
                alpha: node.float("alpha", 1.0)?,
                beta: node.float("beta", 1.0)?,
                trans_a: node.int("transA", 0)? != 0,
                trans_b: node.int("transB", 0)? != 0,
            };
            let c = optional(inputs, 2);
            Ok(smallvec![gemm(b, &op, &required(inputs, 0)?, &required(inputs, 1)?, c.as_ref())?])
        })]
    }

    fn cases() -> Vec<Case> {
        let plain = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
        let inputs = |d: DType, shapes: &[&[usize]]| shapes.iter().map(|s| CaseInput::new(d, s)).collect::<Vec<_>>();
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("plain-{d}"), &plain, inputs(d, &[&[3, 5], &[5, 4], &[4]])).symbol(0, 0, "n");
            cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
            let op = Gemm { alpha: 2.0, beta: 3.0, trans_a: true, trans_b: true };
            cases.push(Case::new(format!("whole-factors-{d}"), &op, inputs(d, &[&[5, 3], &[4, 5], &[3, 1]])));
        }
        let d = DType::F64;
        for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let op = Gemm { alpha: 0.5, beta: -1.5, trans_a, trans_b };
            let x: &[usize] = if trans_a { &[5, 3] } else { &[3, 5] };
            let y: &[usize] = if trans_b { &[4, 5] } else { &[5, 4] };
            let name = format!("factors-{}{}", i32::from(trans_a), i32::from(trans_b));
            cases.push(Case::new(name, &op, inputs(d, &[x, y, &[3, 4]])).with_gradient());
        }
        for (name, c) in [("shift-0d", &[][..]), ("shift-one", &[1]), ("shift-row", &[1, 4]), ("shift-column", &[3, 1])]
        {
            cases.push(Case::new(name, &plain, inputs(d, &[&[3, 5], &[5, 4], c])).with_gradient());
        }
        cases.push(Case::new("no-shift", &plain, inputs(d, &[&[3, 5], &[5, 4]])).with_gradient());
        cases.push(Case::new("no-terms", &plain, inputs(d, &[&[3, 0], &[0, 4], &[4]])));
        cases.push(Case::new("no-rows", &plain, inputs(DType::F32, &[&[0, 5], &[5, 4], &[4]])));
        let mut unread = inputs(DType::F32, &[&[3, 5], &[5, 4]]);
        unread.push(CaseInput::new(DType::F32, &[4]).values(&[f64::NAN]));
        cases.push(Case::new("beta-0", &Gemm { beta: 0.0, ..plain.clone() }, unread));
        for (name, view) in [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed)]
        {
            let all = inputs(DType::F32, &[&[7, 9], &[9, 6], &[6]]).into_iter().map(|x| x.view(view)).collect();
            cases.push(Case::new(name, &plain, all).with_gradient());
        }
        let wild = CaseInput::new(DType::F32, &[3, 2]).values(&[f64::NAN, 1.0, f64::INFINITY, 1.0, 1.0, 2.0]);
        let y = CaseInput::new(DType::F32, &[2, 2]).values(&[1.0, 0.5, 2.0, 1.5]);
        cases.push(Case::new("special", &plain, vec![wild, y]));
        let op = Gemm { trans_b: true, ..plain };
        cases.push(Case::new("large", &op, inputs(DType::F32, &[&[65, 130], &[70, 130], &[70]])).tolerance(1e-4, 1e-5));
        cases
    }
}
