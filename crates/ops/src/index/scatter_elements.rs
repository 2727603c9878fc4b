//! Elements placed one by one along an axis.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::common;
use crate::index::gather::{case_indices, check_indices};
use crate::index::gather_elements::{check_inside, gather_elements, places};
use crate::scatter::{self, Reduction};

/// The first input with the elements of the third placed at the indices of the second along `axis`: the counterpart of
/// [`crate::index::gather_elements::GatherElements`]. Updates are taken in row-major order; each result is rounded to
/// the element type. Among equal minima and maxima the gradient is split evenly; of `mul` it is NaN for updates that
/// are 0.
#[derive(Clone, Debug, Attrs)]
pub struct ScatterElements {
    /// The axis that the indices count along; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
    /// `none` (replace), `add`, `mul`, `min` or `max`.
    #[attr(default = String::from("none"))]
    pub reduction: String,
}

/// `data` with `updates` placed at `indices` along `axis`.
pub fn scatter_elements(
    b: &mut dyn Builder,
    data: &Var,
    indices: &Var,
    updates: &Var,
    axis: i64,
    reduction: &str,
) -> Result<Var> {
    let op = ScatterElements { axis, reduction: reduction.to_string() };
    b.one(&op, &[data.clone(), indices.clone(), updates.clone()])
}

impl Op for ScatterElements {
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
        check_inside(&data.shape, &indices.shape, common::axis(self.axis, data.rank())?)?;
        let fits = indices.rank() == updates.rank()
            && indices.shape.iter().zip(&updates.shape).all(|(a, b)| common::same_dim(a, b).is_ok());
        if !fits {
            return Err(Error::shape(format!("updates have shape [{}]", Dim::join(&updates.shape)))
                .with_expected(format!("[{}], as the indices", Dim::join(&indices.shape))));
        }
        Ok(common::one(TensorFact::new(data.dtype, data.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let [data, indices, updates] = [inputs[0].tensor()?, inputs[1].tensor()?, inputs[2].tensor()?];
        let at = places(data.shape(), indices, common::axis(self.axis, data.shape().len())?)?;
        common::out(scatter::place(data, updates, &at, Reduction::parse(&self.reduction)?)?)
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
        let pick = |b: &mut dyn Builder, x: &Var| gather_elements(b, x, indices, self.axis);
        let put = |b: &mut dyn Builder, x: &Var, updates: &Var, reduction: &str| {
            scatter_elements(b, x, indices, updates, self.axis, reduction)
        };
        scatter::vjp(b, s, Reduction::parse(&self.reduction)?, g, needs, &pick, &put)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("ScatterElements", 18).attr("axis", OnnxAttr::Int(self.axis));
        Some(node.attr("reduction", OnnxAttr::Str(self.reduction.clone())))
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, x: &[Option<Var>]) -> Result<Vars> {
    let (axis, reduction) = (node.int("axis", 0)?, node.text("reduction", "none")?);
    Ok(smallvec![scatter_elements(b, &required(x, 0)?, &required(x, 1)?, &required(x, 2)?, axis, &reduction)?])
}

impl OpType for ScatterElements {
    const NAME: &'static str = "scatter_elements";
    const DOC: &'static str = "Elements placed one by one along an axis.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ScatterElements", 11, import), OnnxMapping::new("Scatter", 9, import)]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |s: &[usize], n| case_indices(DType::I64, s, n);
        let op = |axis, reduction: &str| ScatterElements { axis, reduction: reduction.to_string() };
        let mut cases = Vec::new();
        for &d in DType::ALL {
            let inputs = vec![x(d, &[2, 4, 3]), at(&[2, 3, 2], 4), x(d, &[2, 3, 2])];
            cases.push(Case::new(format!("none-{d}"), &op(-2, "none"), inputs.clone()));
            for reduction in ["add", "mul", "min", "max"].into_iter().filter(|_| d != DType::Bool) {
                cases.push(Case::new(format!("{reduction}-{d}"), &op(1, reduction), inputs.clone()));
            }
        }
        let distinct = |s: &[usize], seed| x(DType::F64, s).fill(Fill::Distinct(0.5, 2.0, seed));
        for reduction in ["none", "add", "mul", "min", "max"] {
            let indices = CaseInput::new(DType::I32, &[3, 2]).values(&[2.0, 0.0, -4.0, 1.0, 1.0, -1.0]);
            let inputs = vec![distinct(&[4, 3], 1), indices, distinct(&[3, 2], 2)];
            let apart = Case::new(format!("{reduction}-apart"), &op(0, reduction), inputs).with_gradient();
            cases.push(apart.symbol(0, 1, "m"));
        }
        let special = CaseInput::new(DType::F32, &[12]).fill(Fill::Special(2));
        let order: Vec<f64> = (0..12).rev().map(f64::from).collect();
        for reduction in ["min", "max", "add"] {
            let inputs = vec![special.clone(), CaseInput::new(DType::I64, &[12]).values(&order), special.clone()];
            cases.push(Case::new(format!("{reduction}-special"), &op(0, reduction), inputs));
        }
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![x(DType::F32, &[4, 5]).view(v), at(&[4, 3], 5).view(v), x(DType::F32, &[4, 3]).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op(1, "add"), inputs).with_gradient());
        }
        let nothing = vec![distinct(&[4, 2], 1), at(&[0, 2], 4), distinct(&[0, 2], 2)];
        cases.push(Case::new("nothing", &op(0, "none"), nothing));
        let large = vec![x(DType::F32, &[67, 501]), at(&[67, 333], 501), x(DType::F32, &[67, 333])];
        cases.push(Case::new("large", &op(1, "add"), large));
        cases
    }
}
