//! Two axes out of many.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, Var, Vars};
use smallvec::smallvec;

use crate::common;
use crate::shape::reshape::{Reshape, fact_as, reference_as, reshape_like, view_as, vjp_as};

/// The axes before `axis` merged into one, and the others into another.
#[derive(Clone, Debug, Attrs)]
pub struct Flatten {
    /// First axis of the second group, `-rank..=rank`.
    #[attr(default = 1)]
    pub axis: i64,
}

/// `x` as a matrix: axes before `axis` are its rows, the others its columns.
pub fn flatten(b: &mut dyn Builder, x: &Var, axis: i64) -> Result<Var> {
    b.one(&Flatten { axis }, std::slice::from_ref(x))
}

impl Flatten {
    fn shape(&self, from: &[Dim]) -> Result<Vec<Dim>> {
        let rank = from.len();
        let axis = if self.axis == rank as i64 { rank } else { common::axis(self.axis, rank.max(1))? };
        if axis > rank {
            return Err(Error::index(format!("axis {axis} is out of range for a tensor of rank {rank}")));
        }
        Ok(vec![Dim::product(&from[..axis]), Dim::product(&from[axis..])])
    }

    fn fixed(&self, shape: &[usize]) -> Result<Vec<Dim>> {
        self.shape(&common::fixed_dims(shape))
    }
}

impl Op for Flatten {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        Ok(common::one(fact_as(x, self.shape(&x.shape)?)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        reference_as(x, &self.fixed(x.shape())?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        vjp_as(b, s, grads)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let x = inputs.first()?;
        Some(b.tensor_fact(x).and_then(|f| self.shape(&f.shape)).and_then(|shape| b.apply(&Reshape { shape }, inputs)))
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        view_as(base, &self.fixed(&base.shape).ok()?)
    }

    fn unview(&self, b: &mut dyn Builder, base: &Var, new: &Var) -> Option<Result<Var>> {
        Some(reshape_like(b, base, new))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Flatten", 13).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

impl OpType for Flatten {
    const NAME: &'static str = "flatten";
    const DOC: &'static str = "Two axes out of many: those before an axis, and the rest.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Flatten", 1, |node, b, inputs| {
            Ok(smallvec![flatten(b, &required(inputs, 0)?, node.int("axis", 1)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let op = |axis| Flatten { axis };
        let x = |d: DType, s: &[usize]| vec![CaseInput::new(d, s)];
        let mut cases: Vec<Case> =
            DType::ALL.iter().map(|&d| Case::new(format!("plain-{d}"), &op(1), x(d, &[2, 3, 4]))).collect();
        cases.push(Case::new("symbolic", &op(1), x(DType::F64, &[2, 3, 4])).with_gradient().symbol(0, 0, "n"));
        cases.push(Case::new("all", &op(0), x(DType::F32, &[2, 3])).with_gradient());
        cases.push(Case::new("columns", &op(3), x(DType::F32, &[2, 3, 4])).with_gradient());
        cases.push(Case::new("negative", &op(-1), x(DType::F32, &[2, 3, 4])).with_gradient());
        cases.push(Case::new("scalar", &op(0), x(DType::F32, &[])).with_gradient());
        cases.push(Case::new("empty", &op(1), x(DType::F32, &[2, 0, 3])));
        cases
    }
}
