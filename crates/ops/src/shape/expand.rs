//! Broadcast to a shape, as a view.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, KNOWN_LIMIT, Op, OpType, Saved, Saves,
    TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::sum_to;

/// Broadcast of a tensor to `shape` (NumPy rules, one way only). No copy.
#[derive(Clone, Debug, Attrs)]
pub struct Expand {
    /// Sizes of the result; at least as many as the input has.
    pub shape: Vec<Dim>,
}

/// `x` broadcast to `shape`.
pub fn expand(b: &mut dyn Builder, x: &Var, shape: Vec<Dim>) -> Result<Var> {
    b.one(&Expand { shape }, std::slice::from_ref(x))
}

impl Op for Expand {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let lead = self.shape.len().checked_sub(x.rank());
        let fits = lead.is_some_and(|lead| {
            x.shape.iter().zip(&self.shape[lead..]).all(|(from, to)| match (from, to) {
                (Dim::Known(f), Dim::Known(t)) => f == t || *f == 1,
                _ => true,
            })
        });
        if !fits || self.shape.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
            return Err(Error::shape(format!(
                "cannot expand [{}] to [{}]",
                Dim::join(&x.shape),
                Dim::join(&self.shape)
            ))
            .with_expected("each size equal to the target's or 1, counted from the last axis"));
        }
        let known = match (x.known.as_deref(), self.shape.as_slice()) {
            (Some([d]), []) => Some(vec![d.clone()]),
            (Some([d]), [Dim::Known(n)]) if *n <= KNOWN_LIMIT as i64 => Some(vec![d.clone(); *n as usize]),
            (Some(all), [Dim::Known(n)]) if *n == all.len() as i64 => Some(all.to_vec()),
            _ => None,
        };
        let fact = TensorFact::new(x.dtype, self.shape.iter().cloned());
        Ok(common::one(fact.with_known(known.map(Into::into))))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let shape = common::sizes(&self.shape)?;
        let layout = Layout::contiguous(x.shape()).broadcast_to(&shape)?;
        common::out(common::gather_layout(x, &layout)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(sum_to(b, g, s.input_fact(0)?)?)])
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        base.broadcast_to(&common::sizes(&self.shape).ok()?).ok()
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let shape: Option<Vec<i64>> = self.shape.iter().map(Dim::known).collect();
        Some(OnnxExport::new("Expand", 13).input(HostTensor::ints(&shape?).ok()?))
    }
}

impl OpType for Expand {
    const NAME: &'static str = "expand";
    const DOC: &'static str = "Broadcast to a shape, without a copy.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Expand", 8, |_, b, inputs| {
            let x = required(inputs, 0)?;
            let want = b.dims(&required(inputs, 1)?)?;
            let have = b.tensor_fact(&x)?;
            let shape = common::broadcast_dims(&[&have.shape, &want])?;
            Ok(smallvec![expand(b, &x, shape)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let dims = |s: &[usize]| s.iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
        let mut cases = Vec::new();
        for &d in DType::ALL {
            let op = Expand { shape: dims(&[4, 2, 3]) };
            cases.push(Case::new(format!("rank-{d}"), &op, vec![CaseInput::new(d, &[2, 1])]));
        }
        let op = Expand { shape: dims(&[5, 2, 3]) };
        cases.push(Case::new("inner", &op, vec![CaseInput::new(DType::F32, &[5, 1, 3])]).with_gradient());
        let strided = CaseInput::new(DType::F64, &[2, 3]).view(View::Strided);
        cases.push(Case::new("strided", &op, vec![strided]).with_gradient());
        cases.push(Case::new("scalar", &op, vec![CaseInput::new(DType::F32, &[])]).with_gradient());
        let op = Expand { shape: dims(&[0, 3]) };
        cases.push(Case::new("empty", &op, vec![CaseInput::new(DType::F32, &[1, 3])]));
        cases
    }
}
