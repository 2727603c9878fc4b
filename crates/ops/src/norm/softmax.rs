//! Softmax along an axis.

use lampyr_base::{DType, Dim, Result};
use lampyr_ir::case::Case;
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Autocast, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, NodeId, Op, OpType, Patch,
    Promote, Rewrite, Rule, Saved, Saves, TensorFact, Var, Vars, Wires,
};
use smallvec::smallvec;

use crate::build::*;
use crate::common;
use crate::patterns::{difference, exponential, named, reduced};

/// `e^x / sum(e^x)` along an axis, computed with the maximum taken off. Rows without a finite maximum give NaN.
#[derive(Clone, Debug, Attrs)]
pub struct Softmax {
    /// The axis; negative ones count from the end.
    #[attr(default = -1)]
    pub axis: i64,
}

/// `e^x / sum(e^x)` along `axis`.
pub fn softmax(b: &mut dyn Builder, x: &Var, axis: i64) -> Result<Var> {
    b.one(&Softmax { axis }, std::slice::from_ref(x))
}

impl Softmax {
    fn written_out(&self, b: &mut dyn Builder, x: &Var) -> Result<Var> {
        let fact = b.tensor_fact(x)?;
        if fact.shape.contains(&Dim::Known(0)) {
            return Ok(x.clone());
        }
        let most = reduce_max(b, x, &[self.axis], true)?;
        let shifted = sub(b, x, &most)?;
        let powers = exp(b, &shifted)?;
        let total = reduce_sum(b, &powers, &[self.axis], true)?;
        div(b, &powers, &total)
    }
}

/// Applies `f` along the last axis of `x` viewed as a matrix that is split before `axis`: the meaning of ONNX Softmax
/// and LogSoftmax before opset 13.
pub(crate) fn flattened(
    b: &mut dyn Builder,
    x: &Var,
    axis: i64,
    f: fn(&mut dyn Builder, &Var, i64) -> Result<Var>,
) -> Result<Var> {
    let fact = b.tensor_fact(x)?;
    let axis = common::axis(axis, fact.rank())?;
    if axis + 1 == fact.rank() {
        return f(b, x, -1);
    }
    let (rows, columns) = fact.shape.split_at(axis);
    let flat = reshape(b, x, vec![Dim::product(rows), Dim::product(columns)])?;
    let y = f(b, &flat, -1)?;
    reshape(b, &y, fact.shape.to_vec())
}

/// `e / sum(e)` with `e = exp(x)` or `e = exp(x - max(x))`.
fn recognise(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let node = graph.node(id)?;
    let (Some(result), [a, b]) = (node.outputs.first().copied(), node.inputs.as_slice()) else {
        return Ok(Rewrite::No);
    };
    let mut nodes = vec![id];
    let found = if node.op.downcast::<Div>().is_some() {
        Some((*a, *b))
    } else {
        w.pairs(node).into_iter().flatten().find_map(|(e, r)| {
            let (inverse, n) = named(w, r, "reciprocal")?;
            nodes.push(inverse);
            Some((e, *n.inputs.first()?))
        })
    };
    let Some((powers, total)) = found else { return Ok(Rewrite::No) };
    let (Some((x, e)), Some((summed, axes, s))) = (exponential(w, powers), reduced(w, total, "reduce_sum")) else {
        return Ok(Rewrite::No);
    };
    if summed != powers {
        return Ok(Rewrite::No);
    }
    nodes.extend([e, s]);
    let [axis] = axes.as_slice() else {
        return Ok(Rewrite::Refused(nodes, "the sum is over several axes"));
    };
    let shifted = difference(w, x).and_then(|(x, most, d)| {
        let (of, over, m) = reduced(w, most, "reduce_max")?;
        (of == x && over == axes).then_some((x, [d, m]))
    });
    let x = match shifted {
        Some((x, more)) => {
            nodes.extend(more);
            x
        }
        None => x,
    };
    if !w.closed(&nodes, result) {
        return Ok(Rewrite::Refused(nodes, "a value inside is read elsewhere"));
    }
    let x = patch.tap(graph, x)?;
    let y = softmax(patch, &x, *axis as i64)?;
    patch.replace(result, &y)?;
    Ok(Rewrite::Done(nodes))
}

impl Op for Softmax {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        common::axis(self.axis, x.rank())?;
        Ok(common::one(TensorFact::new(x.dtype, x.shape.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let values = x.to_f64();
        let mut result = vec![0.0; values.len()];
        for row in common::reduce_groups(x, &[self.axis], true)?.1 {
            let most = row.iter().fold(f64::NEG_INFINITY, |m, &i| m.max(values[i]));
            let total: f64 = row.iter().map(|&i| (values[i] - most).exp()).sum();
            for i in row {
                result[i] = (values[i] - most).exp() / total;
            }
        }
        common::out(HostTensor::from_f64(x.dtype(), x.shape(), &result)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let y = s.output(0)?;
        let product = mul(b, g, y)?;
        let sum = reduce_sum(b, &product, &[self.axis], true)?;
        let centred = sub(b, g, &sum)?;
        Ok(vec![Some(mul(b, y, &centred)?)])
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs.first()?).map(|y| smallvec![y]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        Some(OnnxExport::new("Softmax", 13).attr("axis", OnnxAttr::Int(self.axis)))
    }
}

impl OpType for Softmax {
    const NAME: &'static str = "softmax";
    const DOC: &'static str = "Softmax along an axis.";
    const DTYPES: &'static [DType] = DType::FLOATS;
    const PROMOTE: Promote = Promote::Float;
    const AUTOCAST: Autocast = Autocast::Full;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Softmax", 1, 12, |node, b, x| {
                Ok(smallvec![flattened(b, &required(x, 0)?, node.int("axis", 1)?, softmax)?])
            }),
            OnnxMapping::new("Softmax", 13, |node, b, x| {
                Ok(smallvec![softmax(b, &required(x, 0)?, node.int("axis", -1)?)?])
            }),
        ]
    }

    fn rules() -> Vec<Rule> {
        vec![Rule { name: "softmax", roots: &["div", "mul"], recognises: true, run: recognise }]
    }

    fn cases() -> Vec<Case> {
        crate::cases::rows(|axis| Softmax { axis })
    }
}
