//! Determinant.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote,
    TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;

/// The determinants of square matrices in the last two axes; that of an empty matrix is 1.
#[derive(Clone, Debug, Attrs)]
pub struct Det;

/// The determinants of the matrices `x[.., n, n]`.
pub fn det(b: &mut dyn Builder, x: &Var) -> Result<Var> {
    b.one(&Det, std::slice::from_ref(x))
}

/// The determinant of a row-major `n x n` matrix by elimination with row exchanges; destroys it.
pub fn eliminate(a: &mut [f64], n: usize) -> f64 {
    let mut result = 1.0;
    for k in 0..n {
        let size = |i: usize| a[i * n + k].abs();
        let pivot = (k + 1..n).fold(k, |best, i| if size(i) > size(best) || size(i).is_nan() { i } else { best });
        if pivot != k {
            (0..n).for_each(|j| a.swap(k * n + j, pivot * n + j));
            result = -result;
        }
        let top = a[k * n + k];
        result *= top;
        if top == 0.0 {
            return result;
        }
        let (upper, lower) = a.split_at_mut((k + 1) * n);
        let row = &upper[k * n + k..];
        for other in lower.chunks_exact_mut(n) {
            let factor = other[k] / top;
            other[k..].iter_mut().zip(row).for_each(|(x, &y)| *x -= factor * y);
        }
    }
    result
}

impl Op for Det {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        match x.shape.as_slice() {
            [batch @ .., m, n] if common::same_dim(m, n).is_ok() => {
                Ok(common::one(TensorFact::new(x.dtype, batch.iter().cloned())))
            }
            shape => {
                Err(Error::shape(format!("got [{}]", Dim::join(shape))).with_expected("square matrices [.., n, n]"))
            }
        }
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = inputs[0].tensor()?;
        let (values, rank) = (t.to_f64(), t.shape().len());
        let (batch, n) = (&t.shape()[..rank - 2], t.shape()[rank - 1]);
        let matrices = (0..batch.iter().product::<usize>()).map(|i| &values[i * n * n..(i + 1) * n * n]);
        let results: Vec<f64> =
            matrices.map(|m| expand(&m.chunks(n.max(1)).map(<[f64]>::to_vec).collect::<Vec<_>>())).collect();
        common::out(HostTensor::from_f64(t.dtype(), batch, &results)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("it needs the inverse matrix")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Det", 11))
    }
}

/// The determinant by expansion along the first row (small matrices), else by elimination.
fn expand(rows: &[Vec<f64>]) -> f64 {
    let n = rows.len();
    if n > 6 {
        return eliminate(&mut rows.concat(), n);
    }
    let Some((first, rest)) = rows.split_first() else { return 1.0 };
    let minor = |j: usize| -> Vec<Vec<f64>> {
        rest.iter().map(|r| r.iter().enumerate().filter(|(k, _)| *k != j).map(|(_, v)| *v).collect()).collect()
    };
    first.iter().enumerate().map(|(j, v)| if j % 2 == 0 { v * expand(&minor(j)) } else { -v * expand(&minor(j)) }).sum()
}

impl OpType for Det {
    const NAME: &'static str = "det";
    const DOC: &'static str = "Determinants of square matrices.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Det", 11, |_, b, x| Ok(smallvec![det(b, &required(x, 0)?)?]))]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for &d in DType::FLOATS {
            let mut add = |name: &str, x: CaseInput| cases.push(Case::new(format!("{name}-{d}"), &Det, vec![x]));
            add("matrix", CaseInput::new(d, &[3, 3]));
            add("batch", CaseInput::new(d, &[2, 3, 4, 4]));
            add("one", CaseInput::new(d, &[2, 1, 1]));
            add("none", CaseInput::new(d, &[2, 0, 0]));
            add("no-matrices", CaseInput::new(d, &[0, 2, 2]));
            add("singular", CaseInput::new(d, &[2, 2]).values(&[1.0, 2.0, 2.0, 4.0]));
            add("exchanged", CaseInput::new(d, &[2, 2]).values(&[0.0, 2.0, 3.0, 4.0]));
            for (name, view) in crate::cases::VIEWS {
                add(name, CaseInput::new(d, &[3, 2, 2]).view(view));
            }
        }
        let large = Case::new("large", &Det, vec![CaseInput::new(DType::F32, &[2, 12, 12])]).tolerance(1e-2, 1e-4);
        cases.push(large);
        cases.push(Case::new("symbolic", &Det, vec![CaseInput::new(DType::F32, &[3, 2, 2])]).symbol(0, 0, "n"));
        cases
    }
}
