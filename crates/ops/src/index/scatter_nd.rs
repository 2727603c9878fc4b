//! Slices placed by index tuples.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;
use crate::index::gather::check_indices;
use crate::index::gather_nd::{check_tuples, gather_nd, starts};
use crate::scatter::{self, Reduction};

/// The first input with slices of the third placed where the index tuples in the second say: the counterpart of
/// [`crate::index::gather_nd::GatherNd`]. Updates are taken in row-major order; each result is rounded to the element
/// type. Among equal minima and maxima the gradient is split evenly; of `mul` it is NaN for updates that are 0.
#[derive(Clone, Debug, Attrs)]
pub struct ScatterNd {
    /// `none` (replace), `add`, `mul`, `min` or `max`.
    #[attr(default = String::from("none"))]
    pub reduction: String,
    /// Leading axes that all inputs share.
    #[attr(default = 0)]
    pub batch_dims: i64,
}

/// `data` with `updates` placed where the tuples in `indices` say.
pub fn scatter_nd(b: &mut dyn Builder, data: &Var, indices: &Var, updates: &Var, reduction: &str) -> Result<Var> {
    let op = ScatterNd { reduction: reduction.to_string(), batch_dims: 0 };
    b.one(&op, &[data.clone(), indices.clone(), updates.clone()])
}

impl Op for ScatterNd {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let [data, indices, updates] = [inputs[0].as_tensor()?, inputs[1].as_tensor()?, inputs[2].as_tensor()?];
        check_indices(indices)?;
        Reduction::parse(&self.reduction)?.check(data.dtype)?;
        if data.dtype != updates.dtype {
            return Err(Error::dtype(format!("updates are {}", updates.dtype)).with_expected(data.dtype.name()));
        }
        let (batch, width) = check_tuples(&data.shape, &indices.shape, self.batch_dims)?;
        let lead = indices.shape.iter().take(indices.rank() - 1);
        let want: Vec<Dim> = lead.chain(data.shape.iter().skip(batch + width)).cloned().collect();
        let fits = want.len() == updates.rank()
            && want.iter().zip(&updates.shape).all(|(a, b)| common::same_dim(a, b).is_ok());
        if !fits {
            return Err(Error::shape(format!("updates have shape [{}]", Dim::join(&updates.shape)))
                .with_expected(format!("[{}]", Dim::join(&want))));
        }
        Ok(common::one(TensorFact::new(data.dtype, data.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let [data, indices, updates] = [inputs[0].tensor()?, inputs[1].tensor()?, inputs[2].tensor()?];
        let (starts, row) = starts(data.shape(), indices, self.batch_dims)?;
        let places: Vec<usize> = starts.into_iter().flat_map(|s| s..s + row).collect();
        common::out(scatter::place(data, updates, &places, Reduction::parse(&self.reduction)?)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        match self.reduction.as_str() {
            "none" | "add" => Saves { inputs: 0b10, outputs: 0 },
            _ => Saves::ALL,
        }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None, None]) };
        let indices = s.input(1)?;
        let pick = |b: &mut dyn Builder, x: &Var| gather_nd(b, x, indices, self.batch_dims);
        let put = |b: &mut dyn Builder, x: &Var, updates: &Var, reduction: &str| {
            let op = ScatterNd { reduction: reduction.to_string(), batch_dims: self.batch_dims };
            b.one(&op, &[x.clone(), indices.clone(), updates.clone()])
        };
        scatter::vjp(b, s, Reduction::parse(&self.reduction)?, g, needs, &pick, &put)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("ScatterND", 18).attr("reduction", OnnxAttr::Str(self.reduction.clone()));
        (self.batch_dims == 0).then_some(node)
    }
}

impl OpType for ScatterNd {
    const NAME: &'static str = "scatter_nd";
    const DOC: &'static str = "Slices placed into a tensor by index tuples.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ScatterND", 11, |node, b, x| {
            let reduction = node.text("reduction", "none")?;
            Ok(smallvec![scatter_nd(b, &required(x, 0)?, &required(x, 1)?, &required(x, 2)?, &reduction)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |s: &[usize]| CaseInput::new(DType::I64, s).fill(Fill::Uniform(-3.0, 3.0, 11));
        let op = |reduction: &str, batch_dims| ScatterNd { reduction: reduction.to_string(), batch_dims };
        let mut cases = Vec::new();
        for &d in DType::ALL {
            let inputs = vec![x(d, &[3, 4, 2]), at(&[5, 2]), x(d, &[5, 2])];
            cases.push(Case::new(format!("none-{d}"), &op("none", 0), inputs.clone()));
            for reduction in ["add", "mul", "min", "max"].into_iter().filter(|_| d != DType::Bool) {
                cases.push(Case::new(format!("{reduction}-{d}"), &op(reduction, 0), inputs.clone()));
            }
        }
        let distinct = |s: &[usize], seed| x(DType::F64, s).fill(Fill::Distinct(0.5, 2.0, seed));
        let apart = |values: &[f64], s: &[usize]| CaseInput::new(DType::I32, s).values(values);
        for reduction in ["none", "add", "mul", "min", "max"] {
            let rows = vec![distinct(&[4, 3], 1), apart(&[2.0, -4.0, 1.0], &[3, 1]), distinct(&[3, 3], 2)];
            let rows = Case::new(format!("{reduction}-rows"), &op(reduction, 0), rows).with_gradient();
            cases.push(rows.symbol(0, 1, "m").symbol(2, 1, "m"));
            let batch = vec![distinct(&[2, 4], 3), apart(&[2.0, 0.0, 3.0, 1.0], &[2, 2, 1]), distinct(&[2, 2], 4)];
            cases.push(Case::new(format!("{reduction}-batch"), &op(reduction, 1), batch).with_gradient());
        }
        let twice = vec![distinct(&[4], 1), apart(&[2.0, 0.0, 2.0], &[3, 1]), distinct(&[3], 2)];
        cases.push(Case::new("add-twice", &op("add", 0), twice).with_gradient());
        let special = CaseInput::new(DType::F32, &[12]).fill(Fill::Special(2));
        let order: Vec<f64> = (0..12).rev().map(f64::from).collect();
        for reduction in ["min", "max", "add"] {
            let inputs = vec![special.clone(), apart(&order, &[12, 1]), special.clone()];
            cases.push(Case::new(format!("{reduction}-special"), &op(reduction, 0), inputs));
        }
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![x(DType::F32, &[4, 5]).view(v), at(&[6, 1]).view(v), x(DType::F32, &[6, 5]).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op("add", 0), inputs).with_gradient());
        }
        cases.push(Case::new("nothing", &op("none", 0), vec![distinct(&[4, 2], 1), at(&[0, 1]), distinct(&[0, 2], 2)]));
        let large = vec![x(DType::F32, &[301, 3, 6007]), at(&[40, 2]), x(DType::F32, &[40, 6007])];
        cases.push(Case::new("large", &op("add", 0), large).tolerance(1e-4, 1e-4));
        cases
    }
}
