//! New entries written into a cache.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::gradient::to_dtype;
use crate::index::arange::counting;
use crate::index::gather::check_indices;

/// The cache with the update written along `axis`, for every element of the first axis from the place on that the third
/// input says (without one: 0). Writing past the end is an error when the op runs, unless `circular`.
#[derive(Clone, Debug, Attrs)]
pub struct TensorScatter {
    /// The axis along which entries lie; not the first one.
    #[attr(default = -2)]
    pub axis: i64,
    /// Whether places behind the end count from the front again.
    #[attr(default = false)]
    pub circular: bool,
}

/// `cache` with `update` written along `axis` from `at` on.
pub fn tensor_scatter(
    b: &mut dyn Builder,
    cache: &Var,
    update: &Var,
    at: Option<&Var>,
    axis: i64,
    circular: bool,
) -> Result<Var> {
    let all: Vec<Var> = [cache, update].into_iter().chain(at).cloned().collect();
    b.one(&TensorScatter { axis, circular }, &all)
}

impl TensorScatter {
    fn checked_axis(&self, rank: usize) -> Result<usize> {
        match common::axis(self.axis, rank)? {
            0 => Err(Error::value("the axis is that of the batch").with_expected("another axis")),
            axis => Ok(axis),
        }
    }

    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Var> {
        let [cache, update, rest @ ..] = inputs else { return Err(Error::internal("two inputs are needed")) };
        let fact = b.tensor_fact(update)?;
        let axis = self.checked_axis(fact.rank())?;
        let across = |axis: usize| (1..(fact.rank() - axis) as i64).collect::<Vec<_>>();
        let size = ShapeOf { start: axis as i64, end: Some(axis as i64 + 1) };
        let count = b.one(&size, std::slice::from_ref(update))?;
        let line = counting(b, &count)?;
        let mut places = unsqueeze(b, &line, &across(axis))?;
        if let Some(at) = rest.first() {
            let at = to_dtype(b, at, DType::I64)?;
            let at = unsqueeze(b, &at, &across(0))?;
            places = add(b, &places, &at)?;
        }
        if self.circular {
            let n = b.one(&size, std::slice::from_ref(cache))?;
            let rounds = div(b, &places, &n)?;
            let rounds = mul(b, &rounds, &n)?;
            places = sub(b, &places, &rounds)?;
        }
        let places = expand(b, &places, fact.shape.to_vec())?;
        scatter_elements(b, cache, &places, update, axis as i64, "none")
    }
}

impl Op for TensorScatter {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let (cache, update) = (inputs[0].as_tensor()?, inputs[1].as_tensor()?);
        let axis = self.checked_axis(cache.rank())?;
        let fits = cache.rank() == update.rank()
            && cache.shape.iter().zip(&update.shape).enumerate().all(|(i, (n, k))| {
                let room = n.known().zip(k.known()).is_none_or(|(n, k)| k <= n);
                if i == axis { room } else { common::same_dim(n, k).is_ok() }
            });
        if cache.dtype != update.dtype || !fits {
            return Err(Error::shape(format!("{update} cannot be written into {cache} along axis {axis}")));
        }
        if let Some(at) = inputs.get(2) {
            let at = at.as_tensor()?;
            check_indices(at)?;
            if at.rank() != 1 || common::same_dim(&at.shape[0], &cache.shape[0]).is_err() {
                return Err(Error::shape(format!("places are {at}")).with_expected(format!("[{}]", cache.shape[0])));
            }
        }
        Ok(common::one(TensorFact::new(cache.dtype, cache.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (cache, update) = (inputs[0].tensor()?, inputs[1].tensor()?);
        let axis = self.checked_axis(cache.shape().len())?;
        let at = match inputs.get(2) {
            Some(at) => at.tensor()?.to_i64(),
            None => vec![0; cache.shape()[0]],
        };
        let n = cache.shape()[axis];
        let strides = lampyr_base::contiguous_strides(cache.shape());
        let size = cache.dtype().size();
        let mut bytes = cache.bytes().to_vec();
        for i in 0..update.len() {
            let mut to = common::unravel(i, update.shape());
            let place = at.get(to[0]).copied().unwrap_or(0).saturating_add(to[axis] as i64);
            let place = if self.circular { place.rem_euclid(n as i64) } else { place };
            to[axis] = common::element(place, n)?;
            let j: usize = to.iter().zip(&strides).map(|(&i, &s)| i * s as usize).sum();
            bytes[j * size..(j + 1) * size].copy_from_slice(&update.bytes()[i * size..(i + 1) * size]);
        }
        common::out(HostTensor::copy_bytes(cache.dtype(), cache.shape(), &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let mode = if self.circular { "circular" } else { "linear" };
        let node = OnnxExport::new("TensorScatter", 24).attr("axis", OnnxAttr::Int(self.axis));
        Some(node.attr("mode", OnnxAttr::Str(mode.to_string())))
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, x: &[Option<Var>]) -> Result<Vars> {
    let circular = match node.text("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(Error::value(format!("mode is `{other}`")).with_expected("linear or circular")),
    };
    let at = optional(x, 2);
    let axis = node.int("axis", -2)?;
    Ok(smallvec![tensor_scatter(b, &required(x, 0)?, &required(x, 1)?, at.as_ref(), axis, circular)?])
}

impl OpType for TensorScatter {
    const NAME: &'static str = "tensor_scatter";
    const DOC: &'static str = "New entries written into a cache along an axis.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("TensorScatter", 24, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |axis, circular| TensorScatter { axis, circular };
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let at = |d: DType, v: &[f64]| CaseInput::new(d, &[v.len()]).values(v);
        let mut cases = Vec::new();
        for &d in DType::ALL {
            let inputs = vec![x(d, &[2, 5, 3]), x(d, &[2, 2, 3]), at(DType::I64, &[1.0, 3.0])];
            cases.push(Case::new(format!("linear-{d}"), &op(-2, false), inputs));
        }
        let round = vec![x(DType::F64, &[2, 3, 4, 2]), x(DType::F64, &[2, 3, 3, 2]), at(DType::I32, &[3.0, 6.0])];
        cases.push(Case::new("circular", &op(2, true), round).with_gradient().symbol(0, 2, "n").symbol(1, 2, "m"));
        let start = vec![x(DType::F64, &[2, 4, 2]), x(DType::F64, &[2, 3, 2])];
        cases.push(Case::new("start", &op(1, false), start).with_gradient());
        for (name, view) in crate::cases::VIEWS {
            let f = |s: &[usize]| x(DType::F32, s).view(view);
            cases.push(Case::new(name, &op(1, false), vec![f(&[3, 5]), f(&[3, 2])]).with_gradient());
        }
        cases.push(Case::new("nothing", &op(1, false), vec![x(DType::F32, &[2, 4]), x(DType::F32, &[2, 0])]));
        cases
    }
}
