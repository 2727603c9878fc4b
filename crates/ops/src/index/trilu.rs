//! Triangles of matrices.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var,
};
use smallvec::smallvec;

use crate::common;

/// The upper or lower triangle of the matrices in the last two axes, the rest zero: elements whose column is at least
/// (lower: at most) their row plus `k`.
#[derive(Clone, Debug, Attrs)]
pub struct Trilu {
    /// Upper, not lower.
    #[attr(default = true)]
    pub upper: bool,
    /// Which diagonal bounds the triangle: 0 the main one, positive ones lie above it.
    #[attr(default = Dim::Known(0))]
    pub k: Dim,
}

/// The upper or lower triangle of `x` bounded by diagonal `k`.
pub fn trilu(b: &mut dyn Builder, x: &Var, upper: bool, k: Dim) -> Result<Var> {
    b.one(&Trilu { upper, k }, std::slice::from_ref(x))
}

impl Op for Trilu {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        if x.rank() < 2 {
            return Err(Error::shape(format!("got shape [{}]", Dim::join(&x.shape))).with_expected("two axes or more"));
        }
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let [.., rows, columns] = *x.shape() else { return Err(Error::shape("a matrix is needed")) };
        let k = self.k.known().ok_or_else(|| Error::shape(format!("diagonal {} has no value yet", self.k)))?;
        let size = x.dtype().size();
        let kept = |i: usize| {
            let (row, column) = ((i / columns % rows) as i64, (i % columns) as i64);
            let bound = row.saturating_add(k);
            if self.upper { column >= bound } else { column <= bound }
        };
        let bytes: Vec<u8> =
            x.bytes().iter().enumerate().map(|(i, &byte)| if kept(i / size) { byte } else { 0 }).collect();
        common::out(HostTensor::copy_bytes(x.dtype(), x.shape(), &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, _s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(trilu(b, g, self.upper, self.k.clone())?)])
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("Trilu", 14).attr("upper", OnnxAttr::Int(i64::from(self.upper)));
        Some(node.input(HostTensor::scalar(self.k.known()?)))
    }
}

impl OpType for Trilu {
    const NAME: &'static str = "trilu";
    const DOC: &'static str = "The upper or lower triangle of matrices.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Trilu", 14, |node, b, inputs| {
            let k = match optional(inputs, 1) {
                Some(k) => b.dims(&k)?.into_iter().next().ok_or_else(|| Error::value("no diagonal is given"))?,
                None => Dim::Known(0),
            };
            Ok(smallvec![trilu(b, &required(inputs, 0)?, node.int("upper", 1)? != 0, k)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let op = |upper, k: i64| Trilu { upper, k: Dim::Known(k) };
        let mut cases = Vec::new();
        for &d in DType::ALL {
            cases.push(Case::new(format!("upper-{d}"), &op(true, 0), vec![x(d, &[2, 4, 5])]));
            cases.push(Case::new(format!("lower-{d}"), &op(false, -1), vec![x(d, &[4, 3])]));
        }
        for (name, view) in crate::cases::VIEWS {
            cases.push(Case::new(name, &op(true, 1), vec![x(DType::F32, &[4, 5]).view(view)]).with_gradient());
        }
        for (name, upper, k) in
            [("all", true, -9), ("nothing", true, 9), ("huge", false, i64::MAX), ("far", true, i64::MIN)]
        {
            cases.push(Case::new(name, &op(upper, k), vec![x(DType::F64, &[3, 4])]).with_gradient());
        }
        cases
            .push(Case::new("symbolic", &op(false, 0), vec![x(DType::F64, &[3, 4])]).with_gradient().symbol(0, 0, "n"));
        cases.push(Case::new("empty", &op(true, 0), vec![x(DType::F32, &[3, 0])]));
        cases.push(Case::new("no-rows", &op(true, 0), vec![x(DType::F32, &[2, 0, 3])]));
        let special = x(DType::F32, &[3, 4]).values(&[f64::NAN, f64::INFINITY, -0.0, 1.0]).view(View::Contiguous);
        cases.push(Case::new("special", &op(true, 1), vec![special]));
        cases.push(Case::new("large", &op(false, 0), vec![x(DType::F32, &[3, 301, 517])]));
        cases
    }
}
