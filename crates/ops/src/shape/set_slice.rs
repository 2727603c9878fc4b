//! A tensor with a regular part replaced: `x[i] = v` without changing `x`.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var,
};

use crate::common;
use crate::gradient::{full, sum_to};
use crate::shape::slice::{Slice, regions};

/// The first input with the region that [`Slice`] with the same attributes shows replaced by the second, which is
/// broadcast to it.
#[derive(Clone, Debug, Attrs)]
pub struct SetSlice {
    /// Axes that are cut; negative ones count from the last.
    pub axes: Vec<i64>,
    /// First element on each of `axes`.
    pub starts: Vec<Dim>,
    /// One past the last element on each of `axes`.
    pub ends: Vec<Dim>,
    /// Steps, not 0; negative ones walk backwards.
    pub steps: Vec<i64>,
}

/// `base` with the region `region` replaced by `value`.
pub fn set_slice(b: &mut dyn Builder, base: &Var, value: &Var, region: &Slice) -> Result<Var> {
    b.one(&region.setter(), &[base.clone(), value.clone()])
}

impl SetSlice {
    fn region(&self) -> Slice {
        Slice {
            axes: self.axes.clone(),
            starts: self.starts.clone(),
            ends: self.ends.clone(),
            steps: self.steps.clone(),
        }
    }
}

impl Op for SetSlice {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (base, value) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        if base.dtype != value.dtype {
            return Err(Error::dtype(format!("{} elements cannot be placed into {}", value.dtype, base.dtype))
                .with_expected("equal types")
                .with_help("cast one of them"));
        }
        let region = self.region().region(&base.shape)?;
        let lead = region.len().checked_sub(value.rank());
        let fits = lead.is_some_and(|lead| {
            value.shape.iter().zip(&region[lead..]).all(|(from, to)| match (from, to) {
                (Dim::Known(f), Dim::Known(t)) => f == t || *f == 1,
                _ => true,
            })
        });
        if !fits {
            return Err(Error::shape(format!(
                "a value of shape [{}] does not fit a region of shape [{}]",
                Dim::join(&value.shape),
                Dim::join(&region)
            ))
            .with_expected("a value that broadcasts to the region"));
        }
        Ok(common::one(TensorFact::new(base.dtype, base.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (base, value) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let size = base.dtype().size();
        let to = self.region().layout(&Layout::contiguous(base.shape()))?;
        let from = Layout::contiguous(value.shape()).broadcast_to(&to.shape)?;
        let mut bytes = base.bytes().to_vec();
        for (i, j) in to.indices().zip(from.indices()) {
            bytes[i * size..(i + 1) * size].copy_from_slice(&value.bytes()[j * size..(j + 1) * size]);
        }
        common::out(HostTensor::copy_bytes(base.dtype(), base.shape(), &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None]) };
        let base = if needs[0] {
            let zero = full(b, s.input_fact(0)?.dtype, &[], 0.0)?;
            Some(b.one(self, &[g.clone(), zero])?)
        } else {
            None
        };
        let value = if needs[1] {
            let part = b.one(&self.region(), std::slice::from_ref(g))?;
            Some(sum_to(b, &part, s.input_fact(1)?)?)
        } else {
            None
        };
        Ok(vec![base, value])
    }
}

impl OpType for SetSlice {
    const NAME: &'static str = "set_slice";
    const DOC: &'static str = "A tensor with a regular part replaced by another tensor.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, shape, region) in regions() {
            let op = region.setter();
            let Ok(layout) = region.layout(&Layout::contiguous(shape)) else { continue };
            let inputs = |d| vec![CaseInput::new(d, shape), CaseInput::new(d, &layout.shape)];
            cases.push(Case::new(name, &op, inputs(DType::F32)).with_gradient());
            cases.push(
                Case::new(
                    format!("{name}-number"),
                    &op,
                    vec![CaseInput::new(DType::F64, shape), CaseInput::new(DType::F64, &[])],
                )
                .with_gradient(),
            );
            if name == "plain" {
                cases.extend(DType::ALL.iter().map(|&d| Case::new(format!("all-{d}"), &op, inputs(d))));
                for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
                    let viewed = inputs(DType::F32).into_iter().map(|x| x.view(v)).collect();
                    cases.push(Case::new(format!("{v:?}").to_lowercase(), &op, viewed));
                }
            }
        }
        cases
    }
}
