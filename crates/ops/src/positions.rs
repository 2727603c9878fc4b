//! What argmax and argmin share.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxNode};
use lampyr_ir::{Fact, Facts, HostTensor, HostValue, Numbers, Op, TensorFact};

use crate::common;

/// The attributes of both.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The axis; none: all elements in row-major order.
    pub axis: Option<i64>,
    /// Whether the axis stays, with size 1.
    pub keepdims: bool,
    /// The last one among equals, not the first.
    pub last: bool,
    /// Largest, not smallest.
    pub largest: bool,
}

impl Search {
    /// The axes that are searched together.
    fn axes(&self) -> Vec<i64> {
        self.axis.into_iter().collect()
    }

    /// How many lines there are, how long each is, and how far apart its elements lie in a row-major tensor.
    pub fn lines(&self, shape: &[usize]) -> Result<(usize, usize, usize)> {
        let Some(axis) = self.axis else { return Ok((1, shape.iter().product(), 1)) };
        let axis = common::axis(axis, shape.len())?;
        Ok((shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()))
    }

    pub(crate) fn infer(&self, inputs: &[&Fact], allowed: &[DType]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, allowed)?;
        let axes = common::axes(&self.axes(), x.rank())?;
        let shape = common::reduced_dims(&x.shape, &axes, self.keepdims);
        if common::axis_dims(&x.shape, &axes).contains(&Dim::Known(0)) && !shape.contains(&Dim::Known(0)) {
            return Err(nothing(&Dim::join(&x.shape)));
        }
        Ok(common::one(TensorFact::new(DType::I64, shape)))
    }

    pub(crate) fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let (shape, groups) = common::reduce_groups(x, &self.axes(), self.keepdims)?;
        let numbers = x.numbers();
        let beats = |i: usize, j: usize| {
            let (above, below, equal) = match &numbers {
                Numbers::F(v) if v[i].is_nan() || v[j].is_nan() => {
                    let alone = v[i].is_nan() && !v[j].is_nan();
                    (alone, alone, v[i].is_nan() && v[j].is_nan())
                }
                Numbers::F(v) => (v[i] > v[j], v[i] < v[j], v[i] == v[j]),
                Numbers::I(v) => (v[i] > v[j], v[i] < v[j], v[i] == v[j]),
                Numbers::U(v) => (v[i] > v[j], v[i] < v[j], v[i] == v[j]),
            };
            (if self.largest { above } else { below }) || (self.last && equal)
        };
        let mut found = Vec::with_capacity(groups.len());
        for group in &groups {
            let mut best = 0;
            let first = *group.first().ok_or_else(|| nothing(&format!("{:?}", x.shape())))?;
            let mut at = first;
            for (k, &i) in group.iter().enumerate().skip(1) {
                if beats(i, at) {
                    (best, at) = (k, i);
                }
            }
            found.push(best as i64);
        }
        common::out(HostTensor::from_slice(&shape, &found)?)
    }

    pub(crate) fn to_onnx(self, op_type: &str) -> Option<OnnxExport> {
        let flag = |v: bool| OnnxAttr::Int(i64::from(v));
        let node = OnnxExport::new(op_type, 13).attr("axis", OnnxAttr::Int(self.axis?));
        Some(node.attr("keepdims", flag(self.keepdims)).attr("select_last_index", flag(self.last)))
    }

    /// Attributes of an ONNX node.
    pub(crate) fn read(node: &dyn OnnxNode, largest: bool) -> Result<Search> {
        Ok(Search {
            axis: Some(node.int("axis", 0)?),
            keepdims: node.int("keepdims", 1)? != 0,
            last: node.int("select_last_index", 0)? != 0,
            largest,
        })
    }
}

fn nothing(shape: &str) -> Error {
    Error::shape(format!("no element can be chosen from the empty axis of a tensor of shape {shape}"))
        .with_expected("at least one element along the axis")
}

/// Cases of an op made by `make(axis, keepdims, select_last_index)`.
pub(crate) fn cases<T: Op + Clone>(make: impl Fn(Option<i64>, bool, bool) -> T, dtypes: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &d in dtypes {
        let mut add = |name: &str, op: T, x: CaseInput| cases.push(Case::new(format!("{name}-{d}"), &op, vec![x]));
        add("last", make(Some(-1), false, false), CaseInput::new(d, &[2, 3, 7]));
        add("middle", make(Some(1), true, false), CaseInput::new(d, &[2, 5, 4]));
        add("first", make(Some(0), false, false), CaseInput::new(d, &[4, 3]));
        add("all", make(None, false, false), CaseInput::new(d, &[3, 4]));
        add("all-kept", make(None, true, true), CaseInput::new(d, &[3, 4]));
        add("scalar", make(None, false, false), CaseInput::new(d, &[]));
        let ties = CaseInput::new(d, &[3, 6]).values(&[1.0, 2.0, 2.0, 1.0, 0.0, 2.0, 0.0]);
        add("ties", make(Some(1), false, false), ties.clone());
        add("ties-last", make(Some(1), false, true), ties.clone());
        add("ties-columns", make(Some(0), false, true), ties);
        add("special", make(Some(1), false, false), CaseInput::new(d, &[4, 12]).fill(Fill::Special(9)));
        add("special-last", make(Some(0), false, true), CaseInput::new(d, &[12, 4]).fill(Fill::Special(8)));
        add("no-result", make(Some(1), false, false), CaseInput::new(d, &[0, 3]));
    }
    for (name, view) in crate::cases::VIEWS {
        let x = CaseInput::new(DType::F32, &[3, 5]).view(view);
        cases.push(Case::new(name, &make(Some(-1), true, false), vec![x]));
    }
    for (name, shape, axis) in [("rows", [61, 997], 1), ("columns", [997, 61], 0), ("long", [1, 60013], 1)] {
        let x = CaseInput::new(DType::F32, &shape);
        cases.push(Case::new(format!("large-{name}"), &make(Some(axis), false, false), vec![x]));
    }
    let symbolic = Case::new("symbolic", &make(Some(1), false, false), vec![CaseInput::new(DType::F32, &[3, 4])]);
    cases.push(symbolic.symbol(0, 0, "n").symbol(0, 1, "m"));
    cases
}
