//! Sequences of different lengths turned round.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::to_dtype;
use crate::index::arange::counting;
use crate::index::gather::check_indices;

/// The first elements along `time_axis`, as many as the second input says for each place of `batch_axis`, in reverse
/// order; the others stay. Lengths are from 0 to the size of the axis; larger ones are an error when the op runs.
#[derive(Clone, Debug, Attrs)]
pub struct ReverseSequence {
    /// The axis of the sequences; 0 or 1.
    #[attr(default = 1)]
    pub batch_axis: i64,
    /// The axis along which they run; 0 or 1.
    #[attr(default = 0)]
    pub time_axis: i64,
}

/// `x` with the first `lengths[i]` elements of every sequence `i` in reverse order.
pub fn reverse_sequence(b: &mut dyn Builder, x: &Var, lengths: &Var, batch_axis: i64, time_axis: i64) -> Result<Var> {
    b.one(&ReverseSequence { batch_axis, time_axis }, &[x.clone(), lengths.clone()])
}

impl ReverseSequence {
    fn axes(&self, rank: usize) -> Result<(usize, usize)> {
        let (batch, time) = (common::axis(self.batch_axis, rank)?, common::axis(self.time_axis, rank)?);
        if batch == time {
            return Err(Error::value(format!("both axes are {batch}")).with_expected("two axes"));
        }
        Ok((batch, time))
    }

    fn written_out(&self, b: &mut dyn Builder, x: &Var, lengths: &Var) -> Result<Var> {
        let fact = b.tensor_fact(x)?;
        let (batch, time) = self.axes(fact.rank())?;
        let across = |axis: usize| (1..(fact.rank() - axis) as i64).collect::<Vec<_>>();
        let lengths = to_dtype(b, lengths, DType::I64)?;
        let lengths = unsqueeze(b, &lengths, &across(batch))?;
        let size = ShapeOf { start: time as i64, end: Some(time as i64 + 1) };
        let size = b.one(&size, std::slice::from_ref(x))?;
        let line = counting(b, &size)?;
        let line = unsqueeze(b, &line, &across(time))?;
        let one = b.constant(HostTensor::scalar(1i64))?;
        let last = sub(b, &lengths, &one)?;
        let turned = sub(b, &last, &line)?;
        let inside = less(b, &line, &lengths)?;
        let at = where_(b, &inside, &turned, &line)?;
        let at = expand(b, &at, fact.shape.to_vec())?;
        gather_elements(b, x, &at, time as i64)
    }
}

impl Op for ReverseSequence {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (x, lengths) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        check_indices(lengths)?;
        let (batch, _) = self.axes(x.rank())?;
        if lengths.rank() != 1 || common::same_dim(&lengths.shape[0], &x.shape[batch]).is_err() {
            return Err(Error::shape(format!("lengths are {lengths}")).with_expected(format!("[{}]", x.shape[batch])));
        }
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (x, lengths) = (inputs[0].tensor()?, inputs[1].tensor()?.to_i64());
        let (batch, time) = self.axes(x.shape().len())?;
        let stride: usize = x.shape()[time + 1..].iter().product();
        let size = x.dtype().size();
        let mut bytes = Vec::with_capacity(x.bytes().len());
        for i in 0..x.len() {
            let at = common::unravel(i, x.shape());
            let n = lengths.get(at[batch]).copied().unwrap_or(0);
            let t = at[time] as i64;
            let from = if t < n { common::element(n - 1 - t, x.shape()[time])? } else { at[time] };
            let j = i - at[time] * stride + from * stride;
            bytes.extend_from_slice(&x.bytes()[j * size..(j + 1) * size]);
        }
        common::out(HostTensor::copy_bytes(x.dtype(), x.shape(), &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let [x, lengths] = inputs else { return None };
        Some(self.written_out(b, x, lengths).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let node = OnnxExport::new("ReverseSequence", 10).attr("batch_axis", OnnxAttr::Int(self.batch_axis));
        Some(node.attr("time_axis", OnnxAttr::Int(self.time_axis)))
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, x: &[Option<Var>]) -> Result<Vars> {
    let (batch, time) = (node.int("batch_axis", 1)?, node.int("time_axis", 0)?);
    Ok(smallvec![reverse_sequence(b, &required(x, 0)?, &required(x, 1)?, batch, time)?])
}

impl OpType for ReverseSequence {
    const NAME: &'static str = "reverse_sequence";
    const DOC: &'static str = "Sequences of different lengths in reverse order.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("ReverseSequence", 10, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |batch_axis, time_axis| ReverseSequence { batch_axis, time_axis };
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let lengths = |n: usize| CaseInput::new(DType::I64, &[n]).values(&[2.0, 0.0, 4.0, 1.0]);
        let mut cases: Vec<Case> = DType::ALL
            .iter()
            .map(|&d| Case::new(format!("plain-{d}"), &op(1, 0), vec![x(d, &[4, 3, 2]), lengths(3)]))
            .collect();
        for (name, view) in crate::cases::VIEWS {
            let inputs = vec![x(DType::F32, &[3, 5]).view(view), lengths(3)];
            cases.push(Case::new(name, &op(0, 1), inputs).with_gradient());
        }
        let symbolic = Case::new("symbolic", &op(0, 1), vec![x(DType::F64, &[4, 5, 2]), lengths(4)]);
        cases.push(symbolic.with_gradient().symbol(0, 0, "n").symbol(1, 0, "n").symbol(0, 1, "t"));
        let far = CaseInput::new(DType::I32, &[3]).values(&[3.0, 2.0, 1.0]);
        cases.push(Case::new("far-axes", &op(2, 0), vec![x(DType::F32, &[4, 2, 3]), far]));
        cases.push(Case::new("empty", &op(1, 0), vec![x(DType::F32, &[4, 0]), lengths(0)]));
        cases
    }
}
