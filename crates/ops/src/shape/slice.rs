//! A regular part of a tensor, as a view.

use lampyr_base::{DType, Dim, Error, Layout, Result, Symbol};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, optional, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, NodeId, Op, OpType, Patch, Rewrite,
    Rule, Saved, Saves, TensorFact, Var, Vars, Wires,
};
use smallvec::smallvec;

use crate::common;
use crate::gradient::full;
use crate::index::gather::Gather;
use crate::shape::set_slice::SetSlice;
use crate::shape::squeeze::squeeze;

/// The elements from `starts` (included) to `ends` (excluded) by `steps` along `axes`. Bounds count from the end when
/// negative and are clamped, as ONNX Slice does. No copy.
#[derive(Clone, Debug, Attrs)]
pub struct Slice {
    /// Axes that are cut; negative ones count from the last.
    pub axes: Vec<i64>,
    /// First element on each of `axes`.
    pub starts: Vec<Dim>,
    /// One past the last element on each of `axes`.
    pub ends: Vec<Dim>,
    /// Steps, not 0; negative ones walk backwards.
    pub steps: Vec<i64>,
}

/// `x[.., starts:ends:steps, ..]`
pub fn slice(
    b: &mut dyn Builder,
    x: &Var,
    axes: &[i64],
    starts: Vec<Dim>,
    ends: Vec<Dim>,
    steps: &[i64],
) -> Result<Var> {
    b.one(&Slice { axes: axes.to_vec(), starts, ends, steps: steps.to_vec() }, std::slice::from_ref(x))
}

/// `x[.., start:end, ..]` along one axis.
pub fn narrow(b: &mut dyn Builder, x: &Var, axis: i64, start: Dim, end: Dim) -> Result<Var> {
    slice(b, x, &[axis], vec![start], vec![end], &[1])
}

/// Exporters write the largest 32-bit number for "to the end"; no axis is that long.
const END: i64 = i32::MAX as i64;

/// `bound` counted from the front of an axis of `n` elements; `None` when its sign is not known.
fn from_front(bound: &Dim, n: &Dim) -> Option<Dim> {
    match bound {
        Dim::Known(v) if n.known().is_none() && *v >= END => Some(n.clone()),
        Dim::Known(v) if n.known().is_none() && *v <= -END => Some(Dim::Known(-1)),
        Dim::Known(v) if *v < 0 => Some(n.add(bound)),
        d if d.is_nonnegative() => Some(d.clone()),
        d if Dim::Known(-1).sub(d).is_nonnegative() => Some(n.add(d)),
        _ => None,
    }
}

/// How many elements one axis of `n` elements keeps; `None` when that depends on unknown signs.
fn count(n: &Dim, start: &Dim, end: &Dim, step: i64) -> Option<Dim> {
    let (start, end) = (from_front(start, n)?, from_front(end, n)?);
    let zero = Dim::Known(0);
    let (distance, step) = if step > 0 {
        (end.minimum(n).sub(&start.maximum(&zero)), step)
    } else {
        let last = n.sub(&Dim::Known(1));
        (start.maximum(&zero).minimum(&last).sub(&end.maximum(&Dim::Known(-1))), step.checked_neg()?)
    };
    Some(distance.ceil_div(&Dim::Known(step)).maximum(&zero))
}

/// A gather of one constant element of an axis is a view.
fn pick(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let node = w.graph().node(id)?;
    let (Some(op), [x, index], [result]) =
        (node.op.downcast::<Gather>(), node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return Ok(Rewrite::No);
    };
    let (Some(at), Some(shape)) = (w.graph().constant(*index), w.shape(*x)) else { return Ok(Rewrite::No) };
    let at = at.to_i64();
    let (Ok(axis), [at]) = (common::axis(op.axis, shape.len()), at.as_slice()) else { return Ok(Rewrite::No) };
    let at = *at;
    let [rank_0, rank_1] = [0, 1].map(|n| w.shape(*index).is_some_and(|s| s.len() == n));
    let Some(size) = shape[axis].known().filter(|n| (-n..*n).contains(&at)) else { return Ok(Rewrite::No) };
    if w.tensor(*result).is_some_and(|t| t.known.is_some()) || !(rank_0 || rank_1) {
        return Ok(Rewrite::No);
    }
    let at = if at < 0 { at + size } else { at };
    let x = patch.tap(w.graph(), *x)?;
    let part = narrow(patch, &x, axis as i64, Dim::Known(at), Dim::Known(at + 1))?;
    let y = if rank_0 { squeeze(patch, &part, &[axis as i64])? } else { part };
    patch.replace(*result, &y)?;
    Ok(Rewrite::Done(vec![id]))
}

impl Slice {
    fn checked_axes(&self, rank: usize) -> Result<Vec<usize>> {
        let n = self.axes.len();
        if self.starts.len() != n || self.ends.len() != n || self.steps.len() != n {
            return Err(Error::value(format!(
                "{n} axes, {} starts, {} ends and {} steps were given",
                self.starts.len(),
                self.ends.len(),
                self.steps.len()
            ))
            .with_expected("one of each for every axis"));
        }
        if self.steps.contains(&0) {
            return Err(Error::value("a step is 0").with_expected("steps other than 0"));
        }
        let all = self.axes.iter().map(|&a| common::axis(a, rank)).collect::<Result<Vec<_>>>()?;
        if (1..n).any(|i| all[..i].contains(&all[i])) {
            return Err(Error::value(format!("axes {:?} name one axis twice", self.axes)));
        }
        Ok(all)
    }

    /// Sizes of the region of a tensor of shape `shape`; unknown ones get fresh symbols.
    pub(crate) fn region(&self, shape: &[Dim]) -> Result<Vec<Dim>> {
        let mut sizes = shape.to_vec();
        for (i, a) in self.checked_axes(shape.len())?.into_iter().enumerate() {
            sizes[a] = count(&shape[a], &self.starts[i], &self.ends[i], self.steps[i])
                .unwrap_or_else(|| Dim::of(&Symbol::fresh("slice")));
        }
        Ok(sizes)
    }

    /// The region's layout over that of the whole.
    pub(crate) fn layout(&self, base: &Layout) -> Result<Layout> {
        let mut layout = base.clone();
        for (i, a) in self.checked_axes(base.rank())?.into_iter().enumerate() {
            let n = Dim::from(base.shape[a]);
            let (start, end, step) = (&self.starts[i], &self.ends[i], self.steps[i]);
            let unknown = || Error::shape(format!("bounds {start} and {end} have no value yet"));
            let kept =
                count(&n, start, end, step).and_then(|d| usize::try_from(d.known()?).ok()).ok_or_else(unknown)?;
            let first = from_front(start, &n).and_then(|d| d.known()).ok_or_else(unknown)?;
            let first = first.clamp(0, (base.shape[a] as i64 - i64::from(step < 0)).max(0));
            // The step of a single element may be too large to multiply with.
            let step = if kept > 1 { step as isize } else { 1 };
            layout = layout.slice(a, first as usize, step, kept);
        }
        Ok(layout)
    }

    pub(crate) fn setter(&self) -> SetSlice {
        SetSlice {
            axes: self.axes.clone(),
            starts: self.starts.clone(),
            ends: self.ends.clone(),
            steps: self.steps.clone(),
        }
    }

    fn known(&self, x: &TensorFact) -> Option<Vec<Dim>> {
        let known = x.known.as_ref().filter(|k| x.rank() == 1 && x.shape[0] == Dim::from(k.len()))?;
        let layout = self.layout(&Layout::contiguous(&[known.len()])).ok()?;
        Some(layout.indices().filter_map(|i| known.get(i).cloned()).collect())
    }
}

impl Op for Slice {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let fact = TensorFact::new(x.dtype, self.region(&x.shape)?);
        Ok(common::one(fact.with_known(self.known(x).map(Into::into))))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        common::out(common::gather_layout(x, &self.layout(&Layout::contiguous(x.shape()))?)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        let x = s.input_fact(0)?;
        let zeros = full(b, x.dtype, &x.shape, 0.0)?;
        Ok(vec![Some(b.one(&self.setter(), &[zeros, g.clone()])?)])
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        self.layout(base).ok()
    }

    fn unview(&self, b: &mut dyn Builder, base: &Var, new: &Var) -> Option<Result<Var>> {
        Some(b.one(&self.setter(), &[base.clone(), new.clone()]))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let ints = |dims: &[Dim]| HostTensor::ints(&dims.iter().map(Dim::known).collect::<Option<Vec<_>>>()?).ok();
        let export = OnnxExport::new("Slice", 13).input(ints(&self.starts)?).input(ints(&self.ends)?);
        Some(export.input(HostTensor::ints(&self.axes).ok()?).input(HostTensor::ints(&self.steps).ok()?))
    }
}

fn from_onnx(
    b: &mut dyn Builder,
    x: &Var,
    axes: Option<Vec<i64>>,
    starts: Vec<Dim>,
    ends: Vec<Dim>,
    steps: Option<Vec<i64>>,
) -> Result<Vars> {
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    Ok(smallvec![slice(b, x, &axes, starts, ends, &steps)?])
}

impl OpType for Slice {
    const NAME: &'static str = "slice";
    const DOC: &'static str = "A regular part of a tensor, without a copy.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![
            OnnxMapping::range("Slice", 1, 9, |node, b, inputs| {
                let dims = |v: Option<Vec<i64>>| v.unwrap_or_default().into_iter().map(Dim::Known).collect();
                let (starts, ends) = (dims(node.ints("starts")?), dims(node.ints("ends")?));
                from_onnx(b, &required(inputs, 0)?, node.ints("axes")?, starts, ends, None)
            }),
            OnnxMapping::new("Slice", 10, |_, b, inputs| {
                let starts = b.dims(&required(inputs, 1)?)?;
                let ends = b.dims(&required(inputs, 2)?)?;
                let mut fixed = |i: usize| match optional(inputs, i) {
                    None => Ok(None),
                    Some(v) => common::fixed_ints(b, &v).map(Some),
                };
                let (axes, steps) = (fixed(3)?, fixed(4)?);
                from_onnx(b, &required(inputs, 0)?, axes, starts, ends, steps)
            }),
        ]
    }

    fn rules() -> Vec<Rule> {
        vec![Rule { name: "gather_of_one", roots: &["gather"], recognises: false, run: pick }]
    }

    fn cases() -> Vec<Case> {
        regions()
            .into_iter()
            .flat_map(|(name, shape, op)| {
                let x = |d| CaseInput::new(d, shape);
                let mut list = vec![Case::new(name, &op, vec![x(DType::F32)]).with_gradient()];
                match name {
                    "plain" => {
                        list.extend(DType::ALL.iter().map(|&d| Case::new(format!("all-{d}"), &op, vec![x(d)])));
                        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
                            list.push(Case::new(format!("{v:?}").to_lowercase(), &op, vec![x(DType::F64).view(v)]));
                        }
                        list.push(Case::new("symbolic", &op, vec![x(DType::F64)]).with_gradient().symbol(0, 0, "n"));
                    }
                    "backwards" => list.push(Case::new("symbolic-back", &op, vec![x(DType::I64)]).symbol(0, 0, "n")),
                    _ => {}
                }
                list
            })
            .collect()
    }
}

/// Regions that slicing and its counterpart are tested with: name, shape of the whole, slice.
pub(crate) fn regions() -> Vec<(&'static str, &'static [usize], Slice)> {
    let op = |axes: &[i64], starts: &[i64], ends: &[i64], steps: &[i64]| {
        let dims = |v: &[i64]| v.iter().map(|&n| Dim::Known(n)).collect();
        Slice { axes: axes.to_vec(), starts: dims(starts), ends: dims(ends), steps: steps.to_vec() }
    };
    vec![
        ("plain", &[5, 4, 3], op(&[0, 2], &[1, 0], &[4, 2], &[1, 1])),
        ("negative", &[5, 4], op(&[-1, 0], &[-3, -4], &[-1, -1], &[1, 1])),
        ("steps", &[7, 6], op(&[0, 1], &[1, 0], &[7, 6], &[2, 4])),
        ("backwards", &[6, 3], op(&[0], &[-1], &[i64::MIN], &[-2])),
        ("all-backwards", &[4], op(&[0], &[i64::MAX], &[-100], &[-1])),
        ("clamped", &[4, 3], op(&[0, 1], &[-100, 1], &[i64::MAX, 100], &[1, 1])),
        ("one-huge-step", &[4, 3], op(&[0], &[2], &[4], &[i64::MAX])),
        ("nothing", &[4, 3], op(&[0], &[3], &[1], &[1])),
        ("empty", &[0, 3], op(&[0, 1], &[0, 1], &[5, 3], &[1, 1])),
        ("whole", &[2, 2], op(&[], &[], &[], &[])),
        ("scalar", &[], op(&[], &[], &[], &[])),
    ]
}
