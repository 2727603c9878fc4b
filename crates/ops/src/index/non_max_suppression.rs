//! Boxes chosen by score and overlap.

use lampyr_base::{DType, Dim, Error, Result, Symbol};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};

use crate::common;
use crate::gradient::to_dtype;

/// For every picture and class, boxes by falling score, without those that overlap a chosen one: `int64` rows of picture,
/// class and box. Inputs: `float32` boxes `[pictures, n, 4]` and scores `[pictures, classes, n]`; then, of one element
/// each, how many boxes are chosen per class at most (`int64`), from which intersection over union on a box is dropped,
/// and the score that it must exceed (both `float32`). Among equal scores the lower box comes first.
#[derive(Clone, Debug, Attrs)]
pub struct NonMaxSuppression {
    /// Boxes are centre x, centre y, width and height; else two opposite corners, y first.
    #[attr(default = false)]
    pub center_point_box: bool,
}

impl NonMaxSuppression {
    /// Smaller corner, larger corner and area of a box.
    fn corners(&self, v: &[f32]) -> [f32; 5] {
        let [a, b, c, d] = [v[0], v[1], v[2], v[3]];
        if self.center_point_box {
            let (x1, x2, y1, y2) = (a - c / 2.0, a + c / 2.0, b - d / 2.0, b + d / 2.0);
            [x1, y1, x2, y2, (x2 - x1) * (y2 - y1)]
        } else {
            let (y1, y2, x1, x2) = (a.min(c), a.max(c), b.min(d), b.max(d));
            [x1, y1, x2, y2, (x2 - x1) * (y2 - y1)]
        }
    }
}

fn overlap(p: &[f32; 5], q: &[f32; 5]) -> f32 {
    let width = p[2].min(q[2]) - p[0].max(q[0]);
    let height = p[3].min(q[3]) - p[1].max(q[1]);
    if width <= 0.0 || height <= 0.0 || p[4] <= 0.0 || q[4] <= 0.0 {
        return 0.0;
    }
    let shared = width * height;
    shared / (p[4] + q[4] - shared)
}

impl Op for NonMaxSuppression {
    fn arity(&self) -> Arity {
        Arity::exactly(5)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let all = common::tensors(inputs)?;
        for (i, (x, dtype)) in all.iter().zip([DType::F32, DType::F32, DType::I64, DType::F32, DType::F32]).enumerate()
        {
            if x.dtype != dtype {
                return Err(Error::dtype(format!("input {i} is {}", x.dtype)).with_expected(dtype.name()));
            }
            if i > 1 && (x.rank() > 1 || x.elements().known().is_some_and(|n| n != 1)) {
                return Err(Error::shape(format!("input {i} is {x}")).with_expected("one element"));
            }
        }
        let fits = match (all[0].shape.as_slice(), all[1].shape.as_slice()) {
            ([pictures, n, four], [p, _, m]) => {
                common::same_dim(pictures, p).is_ok()
                    && common::same_dim(n, m).is_ok()
                    && four.known().is_none_or(|four| four == 4)
            }
            _ => false,
        };
        if !fits {
            return Err(Error::shape(format!("boxes are {} and scores {}", all[0], all[1]))
                .with_expected("[pictures, n, 4] and [pictures, classes, n]"));
        }
        Ok(common::one(TensorFact::new(DType::I64, [Dim::of(&Symbol::fresh("selected")), Dim::Known(3)])))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let all = common::host(inputs)?;
        let (boxes, scores) = (all[0].to_f64(), all[1].to_f64());
        let [pictures, classes, n] = *all[1].shape() else { return Err(Error::shape("scores have three axes")) };
        if all[0].shape() != [pictures, n, 4] {
            return Err(Error::shape(format!("boxes have shape {:?}", all[0].shape())));
        }
        let one = |i: usize| all[i].to_f64().first().copied().ok_or_else(|| Error::shape("one element is needed"));
        let (most, overlapping, above) = (one(2)?, one(3)? as f32, one(4)?);
        let mut chosen: Vec<i64> = Vec::new();
        for (picture, class) in (0..pictures).flat_map(|p| (0..classes).map(move |c| (p, c))) {
            let score = |i: usize| scores[(picture * classes + class) * n + i];
            let mut ranked: Vec<usize> = (0..n).filter(|&i| score(i) > above).collect();
            ranked.sort_by(|&i, &j| score(j).total_cmp(&score(i)));
            let mut kept: Vec<[f32; 5]> = Vec::new();
            for i in ranked {
                let at = (picture * n + i) * 4;
                let corners: Vec<f32> = boxes[at..at + 4].iter().map(|&x| x as f32).collect();
                let candidate = self.corners(&corners);
                if (kept.len() as f64) < most && !kept.iter().any(|k| overlap(k, &candidate) > overlapping) {
                    kept.push(candidate);
                    chosen.extend([picture as i64, class as i64, i as i64]);
                }
            }
        }
        common::out(HostTensor::from_slice(&[chosen.len() / 3, 3], &chosen)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::None("indices are integers")
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("NonMaxSuppression", 11);
        Some(node.attr("center_point_box", OnnxAttr::Int(i64::from(self.center_point_box))))
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let op = NonMaxSuppression { center_point_box: node.int("center_point_box", 0)? != 0 };
    let mut all = vec![required(inputs, 0)?, required(inputs, 1)?];
    for (i, none) in
        [(2, HostTensor::scalar(0i64)), (3, HostTensor::scalar(0f32)), (4, HostTensor::scalar(f32::NEG_INFINITY))]
    {
        all.push(match optional(inputs, i) {
            Some(v) => to_dtype(b, &v, none.dtype())?,
            None => b.constant(none)?,
        });
    }
    b.apply(&op, &all)
}

impl OpType for NonMaxSuppression {
    const NAME: &'static str = "non_max_suppression";
    const DOC: &'static str = "Boxes chosen by score and overlap.";
    const DTYPES: &'static [DType] = &[DType::F32];

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("NonMaxSuppression", 10, import)]
    }

    fn cases() -> Vec<Case> {
        let inputs = |pictures: usize, classes: usize, n: usize, most: f64, iou: f64, score: f64| {
            let f = |s: &[usize], low, high| CaseInput::new(DType::F32, s).fill(Fill::Uniform(low, high, 7));
            let one = |d: DType, x: f64| CaseInput::new(d, &[]).values(&[x]);
            vec![
                f(&[pictures, n, 4], 0.2, 1.0),
                f(&[pictures, classes, n], 0.0, 1.0),
                one(DType::I64, most),
                one(DType::F32, iou),
                one(DType::F32, score),
            ]
        };
        let op = |center_point_box| NonMaxSuppression { center_point_box };
        let mut cases = vec![
            Case::new("corners", &op(false), inputs(2, 3, 9, 100.0, 0.3, 0.2)),
            Case::new("centres", &op(true), inputs(2, 3, 9, 100.0, 0.4, f64::NEG_INFINITY)),
            Case::new("few", &op(true), inputs(1, 2, 20, 2.0, 0.5, 0.1)),
            Case::new("none", &op(false), inputs(1, 2, 5, 0.0, 0.5, 0.0)),
            Case::new("no-boxes", &op(false), inputs(1, 2, 0, 5.0, 0.5, 0.0)),
            Case::new("unlikely", &op(false), inputs(1, 2, 5, 5.0, 0.5, 2.0)),
            Case::new("large", &op(true), inputs(1, 2, 900, 300.0, 0.3, 0.1)),
        ];
        let mut ties = inputs(1, 1, 8, 8.0, 0.9, 0.0);
        ties[1] = CaseInput::new(DType::F32, &[1, 1, 8]).values(&[0.5, 0.5, 0.7]);
        cases.push(Case::new("ties", &op(false), ties));
        let mut vectors = inputs(1, 1, 8, 8.0, 0.3, 0.0);
        for x in &mut vectors[2..] {
            x.shape = vec![1];
        }
        cases.push(Case::new("vectors", &op(false), vectors));
        let mut turned = inputs(2, 3, 4, 8.0, 0.3, 0.0);
        turned[0].view = View::Transposed;
        turned[1].view = View::Reversed;
        cases.push(Case::new("views", &op(false), turned));
        let mut odd = inputs(1, 1, 6, 8.0, 0.3, 0.0);
        odd[1] =
            CaseInput::new(DType::F32, &[1, 1, 6]).values(&[0.5, f64::NAN, f64::INFINITY, 0.6, f64::NEG_INFINITY, 0.2]);
        cases.push(Case::new("special", &op(false), odd));
        cases.push(
            Case::new("symbolic", &op(false), inputs(2, 3, 9, 5.0, 0.3, 0.2)).symbol(0, 1, "n").symbol(1, 2, "n"),
        );
        cases
    }
}
