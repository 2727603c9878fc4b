//! A tensor cut into parts along an axis.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};

use crate::common;
use crate::shape::slice::narrow;

/// Parts of the input along `axis`, one output for each of `sizes`, whose sum is the size of that axis.
#[derive(Clone, Debug, Attrs)]
pub struct Split {
    /// The axis that is cut; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
    /// Sizes of the parts.
    pub sizes: Vec<Dim>,
}

/// `x` cut along `axis` into parts of the given sizes, as views.
pub fn split(b: &mut dyn Builder, x: &Var, axis: i64, sizes: &[Dim]) -> Result<Vars> {
    let fact = b.tensor_fact(x)?;
    check(&fact, common::axis(axis, fact.rank())?, sizes)?;
    let mut start = Dim::Known(0);
    let mut parts = Vars::new();
    for size in sizes {
        let end = start.add(size);
        let from = std::mem::replace(&mut start, end.clone());
        parts.push(narrow(b, x, axis, from, end)?);
    }
    Ok(parts)
}

/// Sizes of `count` parts of an axis of `n` elements: equal ones, the last smaller where they do not fit.
pub fn even(n: &Dim, count: usize) -> Result<Vec<Dim>> {
    if count == 0 || count > lampyr_ir::KNOWN_LIMIT {
        return Err(Error::value(format!("{count} parts")).with_expected(format!("1 to {}", lampyr_ir::KNOWN_LIMIT)));
    }
    let each = n.ceil_div(&Dim::from(count));
    let mut sizes = vec![each.clone(); count - 1];
    let last = n.sub(&each.mul(&Dim::from(count - 1)));
    if last.known().is_some_and(|n| n < 0) {
        return Err(Error::shape(format!("{n} elements do not make {count} parts of {each}")));
    }
    sizes.push(last);
    Ok(sizes)
}

fn check(x: &TensorFact, axis: usize, sizes: &[Dim]) -> Result<()> {
    let total = sizes.iter().fold(Dim::Known(0), |sum, d| sum.add(d));
    let negative = sizes.iter().any(|d| d.known().is_some_and(|n| n < 0));
    let differs = matches!((&total, &x.shape[axis]), (Dim::Known(a), Dim::Known(b)) if a != b);
    if negative || differs {
        return Err(Error::shape(format!(
            "parts of sizes [{}] do not fill axis {axis} of [{}]",
            Dim::join(sizes),
            Dim::join(&x.shape)
        ))
        .with_expected(format!("sizes that sum to {}", x.shape[axis])));
    }
    Ok(())
}

impl Op for Split {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let axis = common::axis(self.axis, x.rank())?;
        check(x, axis, &self.sizes)?;
        let part = |size: &Dim| {
            let mut shape = x.shape.to_vec();
            shape[axis] = size.clone();
            Fact::tensor(x.dtype, shape)
        };
        Ok(self.sizes.iter().map(part).collect())
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let axis = common::axis(self.axis, x.shape().len())?;
        let sizes = common::sizes(&self.sizes)?;
        if sizes.iter().sum::<usize>() != x.shape()[axis] {
            return Err(Error::shape(format!("parts of sizes {sizes:?} do not fill axis {axis} of {:?}", x.shape())));
        }
        let outer: usize = x.shape()[..axis].iter().product();
        let row = x.bytes().len() / outer.max(1);
        let inner = row / x.shape()[axis].max(1);
        let mut start = 0;
        let mut parts = Vec::new();
        for size in sizes {
            let mut bytes = Vec::new();
            for i in 0..outer {
                bytes.extend_from_slice(&x.bytes()[i * row + start * inner..i * row + (start + size) * inner]);
            }
            let mut shape = x.shape().to_vec();
            shape[axis] = size;
            parts.push(HostTensor::copy_bytes(x.dtype(), &shape, &bytes)?.into());
            start += size;
        }
        Ok(parts)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(split(b, inputs.first()?, self.axis, &self.sizes))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let sizes: Option<Vec<i64>> = self.sizes.iter().map(Dim::known).collect();
        let mut export = OnnxExport::new("Split", 13).attr("axis", OnnxAttr::Int(self.axis));
        export.outputs = self.sizes.len();
        Some(export.input(HostTensor::ints(&sizes?).ok()?))
    }
}

fn from_onnx(
    node: &dyn OnnxNode,
    b: &mut dyn Builder,
    inputs: &[Option<Var>],
    sizes: Option<Vec<Dim>>,
) -> Result<Vars> {
    let x = required(inputs, 0)?;
    let axis = node.int("axis", 0)?;
    let fact = b.tensor_fact(&x)?;
    let n = fact.shape[common::axis(axis, fact.rank())?].clone();
    let sizes = match sizes {
        Some(sizes) => sizes,
        None => {
            let count = match node.int("num_outputs", 0)? {
                0 => node.output_count(),
                count => usize::try_from(count).unwrap_or(0),
            };
            even(&n, count)?
        }
    };
    split(b, &x, axis, &sizes)
}

impl OpType for Split {
    const NAME: &'static str = "split";
    const DOC: &'static str = "A tensor cut into parts along an axis.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Split", 1, 12, |node, b, inputs| {
                let sizes = match (optional(inputs, 1), node.ints("split")?) {
                    (Some(v), _) => Some(b.dims(&v)?),
                    (None, sizes) => sizes.map(|s| s.into_iter().map(Dim::Known).collect()),
                };
                from_onnx(node, b, inputs, sizes)
            }),
            OnnxMapping::new("Split", 13, |node, b, inputs| {
                let sizes = optional(inputs, 1).map(|v| b.dims(&v)).transpose()?;
                from_onnx(node, b, inputs, sizes)
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |axis: i64, sizes: &[usize]| Split { axis, sizes: common::fixed_dims(sizes) };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &op(1, &[1, 3]), x(d, &[2, 4, 3]))).collect();
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let input = CaseInput::new(DType::F32, &[4, 5]).view(v);
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(0, &[2, 2]), vec![input]).with_gradient());
        }
        cases.push(Case::new("last", &op(-1, &[2, 2, 1]), x(DType::F64, &[3, 5])).with_gradient());
        cases.push(Case::new("symbolic", &op(1, &[2, 1]), x(DType::F64, &[2, 3])).symbol(0, 0, "n").with_gradient());
        cases.push(Case::new("empty-part", &op(0, &[0, 3]), x(DType::F32, &[3, 2])));
        cases.push(Case::new("empty", &op(1, &[1, 2]), x(DType::F32, &[0, 3])));
        cases
    }
}
