//! Choice by a condition.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, required};
use lampyr_ir::scalar::ScalarExpr;
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Promote, Saved, Saves, Var,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::sum_to;

/// `x` where the `bool` condition holds, `y` elsewhere, with broadcasting. Inputs: condition, `x`, `y`.
#[derive(Clone, Debug, Attrs)]
pub struct Where;

/// `if condition { x } else { y }`
pub fn where_(b: &mut dyn Builder, condition: &Var, x: &Var, y: &Var) -> Result<Var> {
    b.one(&Where, &[condition.clone(), x.clone(), y.clone()])
}

impl Op for Where {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        if inputs[0].dtype() != DType::Bool {
            return Err(Error::dtype(format!("the condition is {}", inputs[0].dtype())).with_expected("bool"));
        }
        let facts = common::elementwise(inputs, 1, Self::DTYPES, None)?;
        Ok(common::known_elements(facts, inputs, |d| match d[0].known()? {
            0 => Some(d[2].clone()),
            _ => Some(d[1].clone()),
        }))
    }

    fn scalar(&self, dtypes: &[DType]) -> Option<ScalarExpr> {
        let mut e = ScalarExpr::new(dtypes);
        let (c, x, y) = (e.load(0), e.load(1), e.load(2));
        let z = e.select(c, x, y);
        Some(e.store(z, dtypes[1]))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = common::host(inputs)?;
        let (shape, at) = common::broadcast_indices(&[x[0].shape(), x[1].shape(), x[2].shape()])?;
        let condition = x[0].to_i64();
        let size = x[1].dtype().size();
        let mut bytes = Vec::with_capacity(at[0].len() * size);
        for ((&c, &i), &j) in at[0].iter().zip(&at[1]).zip(&at[2]) {
            let (from, k) = if condition[c] != 0 { (x[1], i) } else { (x[2], j) };
            bytes.extend_from_slice(&from.bytes()[k * size..(k + 1) * size]);
        }
        common::out(HostTensor::copy_bytes(x[1].dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b1, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None, None, None]) };
        let zero = b.scalar(s.output_fact(0)?.dtype, 0.0)?;
        let mut result = vec![None, None, None];
        for i in (1..3).filter(|&i| needs[i]) {
            let (x, y) = if i == 1 { (g, &zero) } else { (&zero, g) };
            let part = where_(b, s.input(0)?, x, y)?;
            result[i] = Some(sum_to(b, &part, s.input_fact(i)?)?);
        }
        Ok(result)
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Where", 9))
    }
}

impl OpType for Where {
    const NAME: &'static str = "where";
    const DOC: &'static str = "Elements of one of two tensors, chosen by a condition, with broadcasting.";
    const DTYPES: &'static [DType] = DType::ALL;
    const PROMOTE: Promote = Promote::Branches;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Where", 9, |_, b, x| {
            Ok(smallvec![where_(b, &required(x, 0)?, &required(x, 1)?, &required(x, 2)?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let inputs = |d: DType, c: &[usize], x: &[usize], y: &[usize], view: View| {
            let branch = |shape: &[usize], seed: u64| {
                let input = CaseInput::new(d, shape).view(view);
                if d.is_float() { input.fill(Fill::Uniform(-2.0, 2.0, seed)) } else { input }
            };
            vec![CaseInput::new(DType::Bool, c).view(view), branch(x, 3), branch(y, 4)]
        };
        let mut cases = Vec::new();
        for &d in DType::ALL {
            let smooth = matches!(d, DType::F32 | DType::F64);
            let mut add = |name: &str, inputs| {
                let case = Case::new(format!("{name}-{d}"), &Where, inputs);
                cases.push(if smooth { case.with_gradient() } else { case });
            };
            let s: &[usize] = &[3, 4];
            add("plain", inputs(d, s, s, s, View::Contiguous));
            add("scalar", inputs(d, &[], &[], &[], View::Contiguous));
            add("empty", inputs(d, &[0, 4], &[0, 4], &[4], View::Contiguous));
            add("broadcast", inputs(d, &[2, 1, 4], &[3, 1], &[], View::Contiguous));
            for (name, view) in crate::cases::VIEWS {
                add(name, inputs(d, s, s, s, view));
            }
            let mut special = inputs(d, &[4, 12], &[4, 12], &[4, 12], View::Contiguous);
            special[1].fill = Fill::Special(5);
            special[2].fill = Fill::Special(6);
            cases.push(Case::new(format!("special-{d}"), &Where, special));
        }
        let s: &[usize] = &[37, 1021];
        cases.push(Case::new("large", &Where, inputs(DType::F32, s, s, s, View::Contiguous)));
        let symbolic = Case::new("symbolic", &Where, inputs(DType::F32, &[3, 1], &[3, 4], &[3, 4], View::Contiguous));
        cases.push(symbolic.symbol(0, 0, "n").symbol(1, 0, "n").symbol(2, 0, "n").with_gradient());
        cases
    }
}
