//! Tensors one after another along an axis.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote, Saved, Saves,
    TensorFact, Var,
};
use smallvec::smallvec;

use crate::common;
use crate::shape::slice::narrow;

/// The inputs one after another along `axis`; their other sizes are equal.
#[derive(Clone, Debug, Attrs)]
pub struct Concat {
    /// The axis along which they lie; negative ones count from the last.
    #[attr(default = 0)]
    pub axis: i64,
}

/// `inputs` one after another along `axis`.
pub fn concat(b: &mut dyn Builder, inputs: &[Var], axis: i64) -> Result<Var> {
    b.one(&Concat { axis }, inputs)
}

impl Op for Concat {
    fn arity(&self) -> Arity {
        Arity::at_least(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let all = common::tensors(inputs)?;
        let axis = common::axis(self.axis, all[0].rank())?;
        let mut shape = all[0].shape.to_vec();
        for x in &all[1..] {
            if x.dtype != all[0].dtype {
                return Err(Error::dtype(format!("inputs have different types: {} and {}", all[0].dtype, x.dtype))
                    .with_expected("equal types")
                    .with_help("cast some of them"));
            }
            let differ = || {
                let (a, b) = (Dim::join(&all[0].shape), Dim::join(&x.shape));
                Error::shape(format!("shapes [{a}] and [{b}] cannot be joined along axis {axis}"))
                    .with_expected("equal sizes on all other axes")
            };
            if x.rank() != shape.len() {
                return Err(differ());
            }
            for (i, d) in x.shape.iter().enumerate() {
                shape[i] =
                    if i == axis { shape[i].add(d) } else { common::same_dim(&shape[i], d).map_err(|_| differ())? };
            }
        }
        let parts: Option<Vec<&[Dim]>> = all.iter().map(|x| x.known.as_deref()).collect();
        let known = parts.filter(|_| shape.len() == 1).map(|p| p.concat().into());
        Ok(common::one(TensorFact::new(all[0].dtype, shape).with_known(known)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let all = common::host(inputs)?;
        let axis = common::axis(self.axis, all[0].shape().len())?;
        let mut shape = all[0].shape().to_vec();
        shape[axis] = 0;
        for x in &all {
            let fits =
                x.shape().len() == shape.len() && (0..shape.len()).all(|i| i == axis || shape[i] == x.shape()[i]);
            if !fits {
                return Err(Error::shape(format!("shapes {:?} and {:?} cannot be joined", all[0].shape(), x.shape())));
            }
            shape[axis] += x.shape()[axis];
        }
        let outer: usize = shape[..axis].iter().product();
        let mut bytes = Vec::new();
        for i in 0..outer {
            for x in &all {
                let row = x.bytes().len() / outer;
                bytes.extend_from_slice(&x.bytes()[i * row..(i + 1) * row]);
            }
        }
        common::out(HostTensor::copy_bytes(all[0].dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None; needs.len()]) };
        let axis = common::axis(self.axis, s.input_fact(0)?.rank())?;
        let mut start = Dim::Known(0);
        let mut result = Vec::with_capacity(needs.len());
        for (i, need) in needs.iter().enumerate() {
            let end = start.add(&s.input_fact(i)?.shape[axis]);
            let from = std::mem::replace(&mut start, end.clone());
            result.push(if *need { Some(narrow(b, g, axis as i64, from, end)?) } else { None });
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Concat", 13).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

impl OpType for Concat {
    const NAME: &'static str = "concat";
    const DOC: &'static str = "Tensors one after another along an axis.";
    const DTYPES: &'static [DType] = DType::ALL;
    const PROMOTE: Promote = Promote::Common;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Concat", 1, |node, b, inputs| {
            let all: Vec<Var> = inputs.iter().flatten().cloned().collect();
            let axis = node.int("axis", if node.opset() < 4 { 1 } else { 0 })?;
            Ok(smallvec![concat(b, &all, axis)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let mut cases = Vec::new();
        for &d in DType::ALL {
            let inputs = vec![x(d, &[2, 3, 4]), x(d, &[2, 1, 4]), x(d, &[2, 2, 4])];
            cases.push(Case::new(format!("inner-{d}"), &Concat { axis: -2 }, inputs).symbol(0, 1, "n"));
        }
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let inputs = vec![x(DType::F32, &[3, 4]).view(v), x(DType::F32, &[2, 4]).view(v)];
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &Concat { axis: 0 }, inputs).with_gradient());
        }
        let f = |s: &[usize]| x(DType::F64, s);
        cases.push(Case::new("one", &Concat { axis: 0 }, vec![f(&[3])]).with_gradient());
        cases.push(
            Case::new("symbolic", &Concat { axis: 0 }, vec![f(&[3, 2]), f(&[4, 2])])
                .with_gradient()
                .symbol(0, 0, "n")
                .symbol(1, 0, "m"),
        );
        cases.push(Case::new("with-empty", &Concat { axis: 1 }, vec![f(&[2, 0]), f(&[2, 3])]).with_gradient());
        cases.push(Case::new("empty", &Concat { axis: 1 }, vec![f(&[0, 2]), f(&[0, 3])]));
        cases.push(Case::new(
            "large",
            &Concat { axis: 1 },
            vec![x(DType::F32, &[33, 511]), x(DType::F32, &[33, 1027])],
        ));
        cases
    }
}
