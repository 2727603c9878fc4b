//! Different elements or slices.

use std::cmp::Ordering;

use lampyr_base::{DType, Dim, Result, Symbol};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Numbers, Op, OpType, TensorFact, Var,
    Vars,
};

use crate::common;

/// The different elements, or slices along an axis, in ascending order or in that of their first appearance; then, as
/// `int64` vectors, where each appears first, for every element or slice which of these it is, and how often each
/// appears. NaN comes last; all NaN are one.
#[derive(Clone, Debug, Attrs)]
pub struct Unique {
    /// The axis whose slices are compared; none: all elements in row-major order.
    pub axis: Option<i64>,
    /// Ascending order.
    #[attr(default = true)]
    pub sorted: bool,
}

/// The different elements of `x` (slices along `axis`), where they appear first, which of them every element is, and how
/// often they appear.
pub fn unique(b: &mut dyn Builder, x: &Var, axis: Option<i64>, sorted: bool) -> Result<Vars> {
    b.apply(&Unique { axis, sorted }, std::slice::from_ref(x))
}

impl Unique {
    /// How many slices there are before, along and behind the axis.
    ///
    /// # Errors
    /// When the axis is out of range.
    pub fn parts(&self, shape: &[usize]) -> Result<[usize; 3]> {
        let Some(axis) = self.axis else { return Ok([1, shape.iter().product(), 1]) };
        let axis = common::axis(axis, shape.len())?;
        Ok([shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()])
    }

    /// Sizes of the first output with `count` different elements or slices.
    pub fn shape(&self, shape: &[usize], count: usize) -> Result<Vec<usize>> {
        let Some(axis) = self.axis else { return Ok(vec![count]) };
        let mut shape = shape.to_vec();
        let axis = common::axis(axis, shape.len())?;
        shape[axis] = count;
        Ok(shape)
    }
}

fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl Op for Unique {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        let count = Dim::of(&Symbol::fresh("unique"));
        let vector = |n: &Dim| Fact::Tensor(TensorFact::new(DType::I64, [n.clone()]));
        let (shape, all) = match self.axis {
            None => (vec![count.clone()], x.elements()),
            Some(axis) => {
                let axis = common::axis(axis, x.rank())?;
                let mut shape = x.shape.to_vec();
                let all = std::mem::replace(&mut shape[axis], count.clone());
                (shape, all)
            }
        };
        let first = Fact::Tensor(TensorFact::new(x.dtype, shape));
        Ok([first, vector(&count), vector(&all), vector(&count)].into_iter().collect())
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let [outer, n, inner] = self.parts(x.shape())?;
        let numbers = x.numbers();
        let order = |i: usize, j: usize| match &numbers {
            Numbers::F(v) => compare(v[i], v[j]),
            Numbers::I(v) => v[i].cmp(&v[j]),
            Numbers::U(v) => v[i].cmp(&v[j]),
        };
        let slices = |a: usize, b: usize| {
            let places = (0..outer).flat_map(|o| (0..inner).map(move |i| (o * n * inner + i, inner)));
            places.map(|(at, step)| order(at + a * step, at + b * step)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        };
        // Groups of equal slices; the first of each group is the one that appears first.
        let mut ranked: Vec<usize> = (0..n).collect();
        ranked.sort_by(|&a, &b| slices(a, b));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for i in ranked {
            match groups.last_mut() {
                Some(group) if slices(group[0], i).is_eq() => group.push(i),
                _ => groups.push(vec![i]),
            }
        }
        if !self.sorted {
            groups.sort_by_key(|g| g[0]);
        }
        let size = x.dtype().size();
        let mut bytes = Vec::new();
        for o in 0..outer {
            for group in &groups {
                let at = (o * n + group[0]) * inner * size;
                bytes.extend_from_slice(&x.bytes()[at..at + inner * size]);
            }
        }
        let mut inverse = vec![0i64; n];
        for (k, i) in groups.iter().enumerate().flat_map(|(k, g)| g.iter().map(move |&i| (k, i))) {
            inverse[i] = k as i64;
        }
        let first: Vec<i64> = groups.iter().map(|g| g[0] as i64).collect();
        let counts: Vec<i64> = groups.iter().map(|g| g.len() as i64).collect();
        Ok(vec![
            HostTensor::copy_bytes(x.dtype(), &self.shape(x.shape(), groups.len())?, &bytes)?.into(),
            HostTensor::ints(&first)?.into(),
            HostTensor::ints(&inverse)?.into(),
            HostTensor::ints(&counts)?.into(),
        ])
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("which elements are equal is not smooth")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let mut node = OnnxExport::new("Unique", 11).attr("sorted", OnnxAttr::Int(i64::from(self.sorted)));
        if let Some(axis) = self.axis {
            node = node.attr("axis", OnnxAttr::Int(axis));
        }
        node.outputs = 4;
        Some(node)
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, x: &[Option<Var>]) -> Result<Vars> {
    let axis = node.attr("axis").map(|_| node.int("axis", 0)).transpose()?;
    unique(b, &required(x, 0)?, axis, node.int("sorted", 1)? != 0)
}

impl OpType for Unique {
    const NAME: &'static str = "unique";
    const DOC: &'static str = "The different elements or slices of a tensor.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Unique", 11, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |axis, sorted| Unique { axis, sorted };
        let few = |d: DType, s: &[usize]| CaseInput::new(d, s).values(&[2.0, 1.0, 1.0, 3.0, 0.0, 1.0, 2.0]);
        let mut cases = Vec::new();
        for &d in DType::ALL {
            cases.push(Case::new(format!("sorted-{d}"), &op(None, true), vec![few(d, &[3, 4])]));
            cases.push(Case::new(format!("met-{d}"), &op(None, false), vec![few(d, &[3, 4])]));
        }
        let rows = |s: &[usize]| CaseInput::new(DType::F32, s).values(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        cases.push(Case::new("first-axis", &op(Some(0), true), vec![rows(&[6, 2])]));
        cases.push(Case::new("last-axis", &op(Some(-1), false), vec![rows(&[2, 6])]));
        cases.push(Case::new("middle-axis", &op(Some(1), true), vec![rows(&[2, 4, 2])]));
        let special = CaseInput::new(DType::F32, &[24]).fill(Fill::Special(3));
        cases.push(Case::new("special", &op(None, true), vec![special.clone()]));
        cases.push(Case::new("special-met", &op(None, false), vec![special]));
        cases.push(Case::new("scalar", &op(None, true), vec![few(DType::F32, &[])]));
        cases.push(Case::new("empty", &op(None, true), vec![few(DType::F32, &[0, 3])]));
        cases.push(Case::new("symbolic", &op(Some(0), true), vec![rows(&[6, 2])]).symbol(0, 0, "n"));
        for (name, view) in crate::cases::VIEWS {
            cases.push(Case::new(name, &op(Some(0), true), vec![rows(&[4, 4]).view(view)]));
        }
        let many = CaseInput::new(DType::I64, &[5003]).fill(Fill::Uniform(0.0, 300.0, 1));
        cases.push(Case::new("large", &op(None, true), vec![many]));
        cases
    }
}
