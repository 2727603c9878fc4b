//! Matrix product.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, NodeId, Numbers, Op,
    OpType, Patch, Promote, Rewrite, Rule, Saved, Saves, TensorFact, ValueId, Var, Wires,
};
use smallvec::smallvec;

use crate::build::{Gemm, add, swap_axes};
use crate::common;
use crate::gradient::{sum_to, to_shape};
use crate::patterns::only_shape;

/// Matrix product of the last two axes; the axes before them broadcast (ONNX MatMul, `numpy.matmul`). A vector on the
/// left is a row and on the right a column, and its axis of size 1 is left out of the result. Integers wrap; a sum of no
/// products is 0.
#[derive(Clone, Debug, Attrs)]
pub struct Matmul;

/// `x @ y`
pub fn matmul(b: &mut dyn Builder, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Matmul, &[x.clone(), y.clone()])
}

/// Sizes of a product: batch axes of both operands and of the result, rows, inner size, columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Batch axes of the left operand.
    pub left_batch: Vec<Dim>,
    /// Batch axes of the right operand.
    pub right_batch: Vec<Dim>,
    /// Batch axes of the result.
    pub batch: Vec<Dim>,
    /// Rows of the result; 1 when the left operand is a vector.
    pub rows: Dim,
    /// Products summed for one element.
    pub inner: Dim,
    /// Columns of the result; 1 when the right operand is a vector.
    pub columns: Dim,
}

impl Product {
    /// The sizes for operands of these shapes.
    ///
    /// # Errors
    /// When an operand is 0-d, or the inner sizes or batch axes do not fit.
    pub fn new(left: &[Dim], right: &[Dim]) -> Result<Product> {
        let one = Dim::Known(1);
        let (left_batch, rows, inner) = match left {
            [] => return Err(scalar_operand("left")),
            [k] => (&[][..], &one, k),
            [batch @ .., m, k] => (batch, m, k),
        };
        let (right_batch, right_inner, columns) = match right {
            [] => return Err(scalar_operand("right")),
            [k] => (&[][..], k, &one),
            [batch @ .., k, n] => (batch, k, n),
        };
        if let (Some(a), Some(b)) = (inner.known(), right_inner.known())
            && a != b
        {
            let shapes = format!("[{}] and [{}]", Dim::join(left), Dim::join(right));
            return Err(Error::shape(format!("shapes {shapes} do not multiply: {a} columns meet {b} rows"))
                .with_expected("last size of the left operand = second to last size of the right one"));
        }
        Ok(Product {
            left_batch: left_batch.to_vec(),
            right_batch: right_batch.to_vec(),
            batch: common::broadcast_dims(&[left_batch, right_batch])?,
            rows: rows.clone(),
            inner: if inner.known().is_some() { inner.clone() } else { right_inner.clone() },
            columns: columns.clone(),
        })
    }
}

fn scalar_operand(side: &str) -> Error {
    Error::shape(format!("the {side} operand is 0-d"))
        .with_expected("at least one axis")
        .with_help("multiply with `mul`")
}

fn with(batch: &[Dim], rows: &Dim, columns: &Dim) -> Vec<Dim> {
    batch.iter().chain([rows, columns]).cloned().collect()
}

/// A [`Gemm`] of rows, whose axes were merged for it and are split again behind it, is a product with a sum.
fn of_rows(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let node = graph.node(id)?;
    let ([v], [result], true) = (node.inputs.as_slice(), node.outputs.as_slice(), only_shape(node)) else {
        return Ok(Rewrite::No);
    };
    let Some((_, product, gemm)) = w.op::<Gemm>(*v).filter(|_| w.read_once(*v)) else { return Ok(Rewrite::No) };
    let ([rows, right, bias @ ..], true) =
        (product.inputs.as_slice(), gemm.alpha == 1.0 && gemm.beta == 1.0 && !gemm.trans_a)
    else {
        return Ok(Rewrite::No);
    };
    let Some((_, merge)) = w.made_by(*rows).filter(|(_, n)| only_shape(n)) else { return Ok(Rewrite::No) };
    let Some(x) = merge.inputs.first().copied() else { return Ok(Rewrite::No) };
    let (Some(from), Some(flat), Some(to), Some(wide)) = (w.shape(x), w.shape(*rows), w.shape(*result), w.shape(*v))
    else {
        return Ok(Rewrite::No);
    };
    let (Some((inner, before)), Some((columns, after))) = (from.split_last(), to.split_last()) else {
        return Ok(Rewrite::No);
    };
    let plain = |v: &ValueId| w.shape(*v).is_some_and(|s| s.len() <= 1);
    if before != after || flat.last() != Some(inner) || wide.last() != Some(columns) || !bias.iter().all(plain) {
        return Ok(Rewrite::No);
    }
    let (x, mut right) = (patch.tap(graph, x)?, patch.tap(graph, *right)?);
    if gemm.trans_b {
        right = swap_axes(patch, &right, 0, 1)?;
    }
    let mut y = matmul(patch, &x, &right)?;
    if let Some(bias) = bias.first() {
        let bias = patch.tap(graph, *bias)?;
        y = add(patch, &y, &bias)?;
    }
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(vec![id]))
}

impl Op for Matmul {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Contraction
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, y) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        common::check_dtype(x.dtype, Self::DTYPES)?;
        if x.dtype != y.dtype {
            return Err(Error::dtype(format!("operands have different types: {} and {}", x.dtype, y.dtype))
                .with_expected("equal types")
                .with_help("cast one of them"));
        }
        let p = Product::new(&x.shape, &y.shape)?;
        let mut shape = p.batch;
        if x.rank() > 1 {
            shape.push(p.rows);
        }
        if y.rank() > 1 {
            shape.push(p.columns);
        }
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, y) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let dims = |t: &HostTensor| t.shape().iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
        let p = Product::new(&dims(x), &dims(y))?;
        let sizes = common::sizes(&[p.rows, p.inner, p.columns])?;
        let (m, k, n) = (sizes[0], sizes[1], sizes[2]);
        let batch = common::sizes(&p.batch)?;
        let blocks = |own: &[Dim]| -> Result<Vec<usize>> {
            Ok(Layout::contiguous(&common::sizes(own)?).broadcast_to(&batch)?.indices().collect())
        };
        let at: Vec<_> = blocks(&p.left_batch)?.into_iter().zip(blocks(&p.right_batch)?).collect();
        let mut shape = batch.clone();
        if x.shape().len() > 1 {
            shape.push(m);
        }
        if y.shape().len() > 1 {
            shape.push(n);
        }
        macro_rules! product {
            ($x:expr, $y:expr, $zero:expr, $step:expr) => {{
                let mut sums = Vec::with_capacity(at.len() * m * n);
                for &(i, j) in &at {
                    for row in 0..m {
                        for column in 0..n {
                            let terms = (0..k).map(|l| ($x[(i * m + row) * k + l], $y[(j * k + l) * n + column]));
                            sums.push(terms.fold($zero, $step));
                        }
                    }
                }
                sums
            }};
        }
        let numbers = match (x.numbers(), y.numbers()) {
            (Numbers::F(x), Numbers::F(y)) => Numbers::F(product!(x, y, 0.0, |s, (a, b)| s + a * b)),
            (Numbers::I(x), Numbers::I(y)) => {
                Numbers::I(product!(x, y, 0i64, |s: i64, (a, b): (i64, i64)| s.wrapping_add(a.wrapping_mul(b))))
            }
            (Numbers::U(x), Numbers::U(y)) => {
                Numbers::U(product!(x, y, 0u64, |s: u64, (a, b): (u64, u64)| s.wrapping_add(a.wrapping_mul(b))))
            }
            _ => return Err(Error::dtype("operands have different kinds of numbers")),
        };
        common::out(HostTensor::from_numbers(x.dtype(), &shape, &numbers)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let (xf, yf) = (s.input_fact(0)?, s.input_fact(1)?);
        let p = Product::new(&xf.shape, &yf.shape)?;
        let g = to_shape(b, g, with(&p.batch, &p.rows, &p.columns))?;
        let mut result = vec![None, None];
        if needs[0] {
            let shape = with(&p.left_batch, &p.rows, &p.inner);
            let y = to_shape(b, s.input(1)?, with(&p.right_batch, &p.inner, &p.columns))?;
            let y = swap_axes(b, &y, -1, -2)?;
            let full = matmul(b, &g, &y)?;
            let own = sum_to(b, &full, &TensorFact::new(xf.dtype, shape))?;
            result[0] = Some(to_shape(b, &own, xf.shape.to_vec())?);
        }
        if needs[1] {
            let mut shape = with(&p.right_batch, &p.inner, &p.columns);
            let mut x = to_shape(b, s.input(0)?, with(&p.left_batch, &p.rows, &p.inner))?;
            let mut g = g;
            if p.right_batch.is_empty() && !p.batch.is_empty() {
                // One product over all rows instead of a batch of products and a sum over it.
                let rows = Dim::product(&p.batch).mul(&p.rows);
                x = to_shape(b, &x, vec![rows.clone(), p.inner.clone()])?;
                g = to_shape(b, &g, vec![rows, p.columns.clone()])?;
                shape = vec![p.inner.clone(), p.columns.clone()];
            }
            let x = swap_axes(b, &x, -1, -2)?;
            let full = matmul(b, &x, &g)?;
            let own = sum_to(b, &full, &TensorFact::new(yf.dtype, shape))?;
            result[1] = Some(to_shape(b, &own, yf.shape.to_vec())?);
        }
        Ok(result)
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let size = |d: &Dim| d.known().unwrap_or(64).max(0) as f64;
        let count = |f: &Fact| f.as_tensor().map_or(0.0, |t| t.shape.iter().map(size).product());
        let inner = inputs[0].as_tensor().ok().and_then(|t| t.shape.last()).map_or(1.0, size);
        Cost {
            flops: 2.0 * inner * outputs.iter().map(count).sum::<f64>(),
            bytes: inputs.iter().copied().chain(outputs).map(|f| count(f) * f.dtype().size() as f64).sum(),
        }
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("MatMul", 13))
    }
}

impl OpType for Matmul {
    const NAME: &'static str = "matmul";
    const DOC: &'static str = "Matrix product of the last two axes; the axes before them broadcast.";
    const DTYPES: &'static [DType] =
        &[DType::F16, DType::BF16, DType::F32, DType::F64, DType::I32, DType::I64, DType::U32, DType::U64];
    const PROMOTE: Promote = Promote::Common;
    const AUTOCAST: Autocast = Autocast::Low;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("MatMul", 1, |_, b, x| Ok(smallvec![matmul(b, &required(x, 0)?, &required(x, 1)?)?]))]
    }

    fn rules() -> Vec<Rule> {
        let roots = &["reshape", "flatten", "squeeze", "unsqueeze"];
        vec![Rule { name: "product_of_rows", roots, recognises: false, run: of_rows }]
    }

    fn cases() -> Vec<Case> {
        let pair = |d: DType, x: &[usize], y: &[usize]| vec![CaseInput::new(d, x), CaseInput::new(d, y)];
        let smooth = |c: Case, d: DType| if matches!(d, DType::F32 | DType::F64) { c.with_gradient() } else { c };
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            cases
                .push(smooth(Case::new(format!("plain-{d}"), &Matmul, pair(d, &[3, 5], &[5, 4])), d).symbol(0, 0, "m"));
            let batched = Case::new(format!("batched-{d}"), &Matmul, pair(d, &[2, 1, 3, 5], &[4, 5, 2]));
            cases.push(smooth(batched, d).symbol(0, 0, "batch"));
            cases.push(smooth(Case::new(format!("no-terms-{d}"), &Matmul, pair(d, &[3, 0], &[0, 4])), d));
        }
        let shapes: [(&str, &[usize], &[usize]); 10] = [
            ("dot", &[5], &[5]),
            ("row", &[5], &[5, 4]),
            ("column", &[3, 5], &[5]),
            ("row-batched", &[5], &[2, 5, 4]),
            ("column-batched", &[2, 3, 5], &[5]),
            ("shared-right", &[2, 3, 5], &[5, 4]),
            ("shared-left", &[3, 5], &[2, 5, 4]),
            ("one-element", &[1, 1], &[1, 1]),
            ("no-rows", &[0, 5], &[5, 4]),
            ("no-batch", &[0, 3, 5], &[5, 4]),
        ];
        for (name, x, y) in shapes {
            cases.push(Case::new(name, &Matmul, pair(DType::F64, x, y)).with_gradient());
        }
        let shared = Case::new("shared-right-symbolic", &Matmul, pair(DType::F32, &[2, 3, 5], &[5, 4]));
        cases.push(shared.symbol(0, 0, "batch").symbol(0, 1, "steps").with_gradient());
        for (name, view) in [
            ("transposed", View::Transposed),
            ("strided", View::Strided),
            ("reversed", View::Reversed),
            ("expanded", View::Broadcast),
        ] {
            let inputs = pair(DType::F32, &[7, 9], &[9, 6]).into_iter().map(|x| x.view(view)).collect();
            cases.push(Case::new(name, &Matmul, inputs).with_gradient());
        }
        let wild = [f64::NAN, 1.0, 2.0, f64::INFINITY, 1.0, 2.0, f64::NEG_INFINITY, 1.0, 0.5, 1.0, 2.0, 3.0];
        for &d in DType::FLOATS {
            let y = CaseInput::new(d, &[3, 2]).values(&[1.0, 0.5, 2.0, 1.5, 0.25, 4.0]);
            cases.push(Case::new(format!("special-{d}"), &Matmul, vec![CaseInput::new(d, &[4, 3]).values(&wild), y]));
        }
        let extreme = [i32::MAX, i32::MIN, -1, 3].map(f64::from);
        let wrap = |s: &[usize]| CaseInput::new(DType::I32, s).values(&extreme);
        cases.push(Case::new("wraps-int32", &Matmul, vec![wrap(&[2, 4]), wrap(&[4, 2])]));
        for d in [DType::F32, DType::I64] {
            cases
                .push(Case::new(format!("large-{d}"), &Matmul, pair(d, &[67, 129], &[129, 141])).tolerance(1e-4, 1e-5));
        }
        for (name, x, y) in
            [("one-row", [1, 300], [300, 90]), ("few-rows", [5, 300], [300, 40]), ("tall", [260, 3], [3, 33])]
        {
            cases.push(Case::new(name, &Matmul, pair(DType::F32, &x, &y)).tolerance(1e-4, 1e-5));
        }
        cases
    }
}
