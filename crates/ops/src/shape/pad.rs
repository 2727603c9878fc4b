//! A tensor with elements added around it.

use lampyr_base::{Bindings, DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, OnnxNode, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, Saved, Saves, TensorFact,
    Var, Vars,
};
use smallvec::smallvec;

use crate::build::{concat, expand, mul, reduce_sum, reshape, slice};
use crate::common;
use crate::gradient::full;
use crate::shape::slice::narrow;

/// The input with `begins[i]` elements put before and `ends[i]` after it along axis `i`; negative numbers take
/// elements away. New elements are the second input (one element, 0 when left out) in mode `constant`; copies of the
/// border in mode `edge`; the input mirrored at its first and last elements, again and again, in mode `reflect`; the
/// input repeated in mode `wrap`.
#[derive(Clone, Debug, Attrs)]
pub struct Pad {
    /// Elements put before, for every axis.
    pub begins: Vec<Dim>,
    /// Elements put after, for every axis.
    pub ends: Vec<Dim>,
    /// `constant`, `reflect`, `edge` or `wrap`.
    #[attr(default = String::from("constant"))]
    pub mode: String,
}

/// `x` with elements put around it; see [`Pad`].
pub fn pad(
    b: &mut dyn Builder,
    x: &Var,
    value: Option<&Var>,
    begins: Vec<Dim>,
    ends: Vec<Dim>,
    mode: &str,
) -> Result<Var> {
    let inputs: Vec<Var> = [x].into_iter().chain(value).cloned().collect();
    b.one(&Pad { begins, ends, mode: mode.to_string() }, &inputs)
}

/// How the new elements are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// One value.
    Constant,
    /// Mirrored at the border elements.
    Reflect,
    /// The border elements.
    Edge,
    /// Repeated.
    Wrap,
}

impl PadMode {
    /// Where the element at `i` comes from on an axis of `n` elements, of which there is at least one; `None`: from
    /// the value.
    pub fn source(self, i: i64, n: i64) -> Option<i64> {
        match self {
            _ if (0..n).contains(&i) => Some(i),
            PadMode::Constant => None,
            PadMode::Edge => Some(i.clamp(0, n - 1)),
            PadMode::Wrap => Some(i.rem_euclid(n)),
            PadMode::Reflect if n == 1 => Some(0),
            PadMode::Reflect => {
                let at = i.rem_euclid(2 * (n - 1));
                Some(if at < n { at } else { 2 * (n - 1) - at })
            }
        }
    }
}

fn number(d: &Dim) -> Result<i64> {
    d.eval(&Bindings::new()).ok_or_else(|| Error::shape(format!("padding {d} has no value yet")))
}

impl Pad {
    /// The mode.
    ///
    /// # Errors
    /// When it is none of the four.
    pub fn how(&self) -> Result<PadMode> {
        Ok(match self.mode.as_str() {
            "constant" => PadMode::Constant,
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            "wrap" => PadMode::Wrap,
            other => {
                return Err(Error::value(format!("mode is `{other}`")).with_expected("constant, reflect, edge or wrap"));
            }
        })
    }

    /// Numbers of elements before and after on axis `i`, when they are known.
    pub fn amounts(&self, i: usize) -> Result<(i64, i64)> {
        match (self.begins.get(i), self.ends.get(i)) {
            (Some(begin), Some(end)) => Ok((number(begin)?, number(end)?)),
            _ => Err(Error::internal(format!("no padding for axis {i}"))),
        }
    }

    fn shape(&self, from: &[Dim]) -> Result<Vec<Dim>> {
        let mode = self.how()?;
        if self.begins.len() != from.len() || self.ends.len() != from.len() {
            return Err(Error::value(format!(
                "paddings [{}] and [{}] for a tensor of shape [{}]",
                Dim::join(&self.begins),
                Dim::join(&self.ends),
                Dim::join(from)
            ))
            .with_expected("two for every axis"));
        }
        let mut shape = Vec::with_capacity(from.len());
        for (i, d) in from.iter().enumerate() {
            let size = d.add(&self.begins[i]).add(&self.ends[i]);
            if size.known().is_some_and(|n| n < 0) {
                return Err(Error::shape(format!(
                    "paddings {} and {} take more than all {d} elements of axis {i} away",
                    self.begins[i], self.ends[i]
                )));
            }
            let zero = Dim::Known(0);
            let kept = d.add(&self.begins[i].minimum(&zero)).add(&self.ends[i].minimum(&zero));
            let nothing = kept.known().is_some_and(|n| n < 1) && size.known().is_none_or(|n| n > 0);
            if mode != PadMode::Constant && nothing {
                return Err(Error::shape(format!("axis {i} has no element to fill the padding with"))
                    .with_expected("mode constant for empty axes"));
            }
            shape.push(size);
        }
        Ok(shape)
    }

    /// The other modes written with slices and joins; the numbers of elements must be known.
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let mode = self.how()?;
        let mut y = x.clone();
        for i in 0..self.begins.len() {
            let (mut low, mut high) = self.amounts(i)?;
            let axis = i as i64;
            let n = b.tensor_fact(&y)?.shape[i].clone();
            if low < 0 || high < 0 {
                y = narrow(b, &y, axis, Dim::Known(-low.min(0)), n.add(&Dim::Known(high.min(0))))?;
            }
            let n = b.tensor_fact(&y)?.shape[i].clone();
            if mode == PadMode::Edge {
                let mut parts = vec![y.clone()];
                for (count, at) in [(low, 0), (high, -1)] {
                    if count > 0 {
                        let end = if at == 0 { Dim::Known(1) } else { n.clone() };
                        let border = narrow(b, &y, axis, Dim::Known(at), end)?;
                        let mut shape = b.tensor_fact(&y)?.shape.to_vec();
                        shape[i] = Dim::Known(count);
                        parts.insert(if at == 0 { 0 } else { parts.len() }, expand(b, &border, shape)?);
                    }
                }
                y = concat(b, &parts, axis)?;
                continue;
            }
            let mirrored = mode == PadMode::Reflect && n.known() != Some(1);
            while low > 0 || high > 0 {
                let now = b.tensor_fact(&y)?.shape[i].clone();
                let most = if mirrored { now.known().map(|n| n - 1) } else { n.known() }.unwrap_or(i64::MAX);
                let front = low > 0;
                let take = most.min(if front { low } else { high });
                let (start, end, step) = match (mirrored, front) {
                    (true, true) => (Dim::Known(take), Dim::Known(0), -1),
                    (true, false) => (Dim::Known(-2), Dim::Known(-2 - take), -1),
                    (false, true) => (n.sub(&Dim::Known(take)), n.clone(), 1),
                    (false, false) => (now.sub(&n), now.sub(&n).add(&Dim::Known(take)), 1),
                };
                let part = slice(b, &y, &[axis], vec![start], vec![end], &[step])?;
                y = concat(b, &if front { [part, y] } else { [y, part] }, axis)?;
                *(if front { &mut low } else { &mut high }) -= take;
            }
        }
        Ok(y)
    }
}

impl Op for Pad {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        if let Some(value) = inputs.get(1) {
            let value = value.as_tensor()?;
            if value.dtype != x.dtype || value.rank() != 0 {
                return Err(Error::dtype(format!("the value is {value} and the tensor {x}"))
                    .with_expected("a 0-d value of the tensor's type"));
            }
        }
        Ok(common::one(TensorFact::new(x.dtype, self.shape(&x.shape)?)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let mode = self.how()?;
        let shape = common::sizes(&self.shape(&common::fixed_dims(x.shape()))?)?;
        let size = x.dtype().size();
        let value = match inputs.get(1) {
            Some(value) => value.tensor()?.bytes().to_vec(),
            None => vec![0; size],
        };
        let mut bytes = Vec::new();
        for flat in 0..lampyr_base::num_elements(&shape)? {
            let mut from = Some(0);
            for (i, at) in common::unravel(flat, &shape).into_iter().enumerate() {
                let (begin, end) = self.amounts(i)?;
                let (n, at) = (x.shape()[i] as i64, at as i64 - begin);
                let source = if mode == PadMode::Constant {
                    mode.source(at, n)
                } else {
                    let cut = -begin.min(0);
                    mode.source(at - cut, n - cut + end.min(0)).map(|j| j + cut)
                };
                from = from.zip(source).map(|(from, j)| from * x.shape()[i] + j as usize);
            }
            match from {
                Some(i) => bytes.extend_from_slice(&x.bytes()[i * size..(i + 1) * size]),
                None => bytes.extend_from_slice(&value),
            }
        }
        common::out(HostTensor::copy_bytes(x.dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        if self.mode == "constant" { Gradient::Vjp } else { Gradient::Decompose }
    }

    fn saves(&self) -> Saves {
        if self.mode == "constant" { Saves::NOTHING } else { Saves::INPUTS }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None; needs.len()]) };
        let mut result = Vec::with_capacity(needs.len());
        let negated = |list: &[Dim]| list.iter().map(|d| Dim::Known(0).sub(d)).collect::<Vec<_>>();
        result.push(match needs[0] {
            true => Some(pad(b, g, None, negated(&self.begins), negated(&self.ends), "constant")?),
            false => None,
        });
        if let Some(need) = needs.get(1) {
            let inside = s.input_fact(0)?;
            result.push(if *need {
                let inside = full(b, inside.dtype, &inside.shape, 0.0)?;
                let one = b.scalar(s.input_fact(0)?.dtype, 1.0)?;
                let outside = b.one(self, &[inside, one])?;
                let kept = mul(b, g, &outside)?;
                Some(reduce_sum(b, &kept, &[], false)?)
            } else {
                None
            });
        }
        Ok(result)
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        if self.mode == "constant" || self.begins.iter().chain(&self.ends).any(|d| d.known().is_none()) {
            return None;
        }
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, inputs: &[&Fact]) -> Option<OnnxExport> {
        let pads: Option<Vec<i64>> = self.begins.iter().chain(&self.ends).map(Dim::known).collect();
        let opset = if self.mode == "wrap" { 19 } else { 13 };
        let export = OnnxExport::new("Pad", opset).attr("mode", OnnxAttr::Str(self.mode.clone()));
        if inputs.len() == 1 { Some(export.input(HostTensor::ints(&pads?).ok()?)) } else { None }
    }
}

fn from_onnx(
    node: &dyn OnnxNode,
    b: &mut dyn Builder,
    x: &Var,
    value: Option<Var>,
    pads: Vec<Dim>,
    axes: Option<Vec<i64>>,
) -> Result<Vars> {
    let rank = b.tensor_fact(x)?.rank();
    let axes = match axes {
        Some(list) => list.iter().map(|&a| common::axis(a, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Error::shape(format!("{} paddings for {} axes", pads.len(), axes.len()))
            .with_expected("two for every axis"));
    }
    let (mut begins, mut ends) = (vec![Dim::Known(0); rank], vec![Dim::Known(0); rank]);
    for (k, &a) in axes.iter().enumerate() {
        begins[a] = pads[k].clone();
        ends[a] = pads[axes.len() + k].clone();
    }
    let value = match value {
        Some(value) if b.tensor_fact(&value)?.rank() > 0 => Some(reshape(b, &value, Vec::new())?),
        other => other,
    };
    // A zero needs no input.
    let value = match value {
        Some(value) => match b.read(&value)? {
            Some(v) if v.bytes().iter().all(|&byte| byte == 0) => None,
            _ => Some(value),
        },
        None => None,
    };
    let mode = node.text("mode", "constant")?;
    let value = value.filter(|_| mode == "constant");
    Ok(smallvec![pad(b, x, value.as_ref(), begins, ends, &mode)?])
}

impl OpType for Pad {
    const NAME: &'static str = "pad";
    const DOC: &'static str = "A tensor with elements put around it.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Pad", 1, 10, |node, b, inputs| {
                let x = required(inputs, 0)?;
                let name = if node.opset() < 2 { "paddings" } else { "pads" };
                let pads = node.ints(name)?.unwrap_or_default().into_iter().map(Dim::Known).collect();
                let value = b.scalar(b.tensor_fact(&x)?.dtype, node.float("value", 0.0)?)?;
                from_onnx(node, b, &x, Some(value), pads, None)
            }),
            OnnxMapping::new("Pad", 11, |node, b, inputs| {
                let pads = b.dims(&required(inputs, 1)?)?;
                let axes = optional(inputs, 3).map(|v| common::fixed_ints(b, &v)).transpose()?;
                from_onnx(node, b, &required(inputs, 0)?, optional(inputs, 2), pads, axes)
            }),
        ]
    }

    fn cases() -> Vec<Case> {
        let op = |mode: &str, begins: &[i64], ends: &[i64]| {
            let dims = |v: &[i64]| v.iter().map(|&n| Dim::Known(n)).collect();
            Pad { begins: dims(begins), ends: dims(ends), mode: mode.to_string() }
        };
        let x = |d: DType, s: &[usize]| CaseInput::new(d, s);
        let value = |d: DType| CaseInput::new(d, &[]).values(&[3.0]);
        let mut cases = Vec::new();
        for mode in ["constant", "reflect", "edge", "wrap"] {
            let add = |name: String, op: &Pad, inputs: Vec<CaseInput>| Case::new(format!("{mode}-{name}"), op, inputs);
            for &d in DType::ALL {
                cases.push(add(format!("plain-{d}"), &op(mode, &[0, 2, 1], &[1, 0, 2]), vec![x(d, &[2, 4, 3])]));
            }
            for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
                let input = x(DType::F32, &[3, 5]).view(v);
                let name = format!("{v:?}").to_lowercase();
                cases.push(add(name, &op(mode, &[1, 2], &[2, 1]), vec![input]).with_gradient());
            }
            let negative = op(mode, &[-1, 2], &[1, -2]);
            cases.push(add("negative".into(), &negative, vec![x(DType::F64, &[3, 5])]).with_gradient());
            let far = op(mode, &[7, 0], &[4, 9]);
            cases.push(add("far".into(), &far, vec![x(DType::F64, &[3, 2])]).with_gradient());
            cases.push(add("one".into(), &op(mode, &[2], &[3]), vec![x(DType::F64, &[1])]).with_gradient());
            let symbolic = add("symbolic".into(), &op(mode, &[1, 1], &[1, 0]), vec![x(DType::F64, &[3, 4])]);
            cases.push(symbolic.symbol(0, 0, "n").symbol(0, 1, "m").with_gradient());
            cases.push(add("scalar".into(), &op(mode, &[], &[]), vec![x(DType::F32, &[])]));
            let rows = op(mode, &[0, 0, 1, 1], &[0, 0, 1, 1]);
            cases.push(add("large".into(), &rows, vec![x(DType::F32, &[2, 3, 57, 61])]));
        }
        for &d in DType::ALL {
            let op = op("constant", &[1, -1], &[0, 2]);
            cases.push(Case::new(format!("value-{d}"), &op, vec![x(d, &[2, 3]), value(d)]));
        }
        let away = op("constant", &[-5, 1], &[4, 1]);
        cases.push(Case::new("value-far", &away, vec![x(DType::F64, &[3, 2]), value(DType::F64)]).with_gradient());
        let empty = op("constant", &[1, 2], &[1, 0]);
        cases.push(Case::new("value-empty", &empty, vec![x(DType::F32, &[0, 2]), value(DType::F32)]).with_gradient());
        cases.push(Case::new("nothing", &op("edge", &[-1], &[-2]), vec![x(DType::F32, &[3])]));
        cases
    }
}
