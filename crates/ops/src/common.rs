//! What op files share: shape rules and loops of reference implementations.

use lampyr_base::{DType, Dim, Error, Layout, Result, broadcast_shapes};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxNode, optional, required};
use lampyr_ir::{Builder, Fact, Facts, GraphBuilder, HostTensor, HostValue, Numbers, Op, TensorFact, Var, Vars};
use smallvec::smallvec;

use crate::gradient::to_dtype;
use crate::shape::unsqueeze::unsqueeze;

/// The tensor facts of all inputs.
pub fn tensors<'a>(inputs: &[&'a Fact]) -> Result<Vec<&'a TensorFact>> {
    inputs.iter().map(|f| f.as_tensor()).collect()
}

/// The host tensors of all inputs.
pub fn host(inputs: &[HostValue]) -> Result<Vec<&HostTensor>> {
    inputs.iter().map(HostValue::tensor).collect()
}

/// One output.
pub fn one(fact: TensorFact) -> Facts {
    smallvec![Fact::Tensor(fact)]
}

/// One host output.
pub fn out(value: HostTensor) -> Result<Vec<HostValue>> {
    Ok(vec![HostValue::Tensor(value)])
}

/// Symbolic broadcasting (ONNX "Broadcasting", NumPy rules). Two different symbols give their maximum, which is the
/// size whenever the shapes broadcast at all.
pub fn broadcast_dims(shapes: &[&[Dim]]) -> Result<Vec<Dim>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result = vec![Dim::Known(1); rank];
    for shape in shapes {
        for (i, d) in shape.iter().enumerate() {
            let slot = &mut result[rank - shape.len() + i];
            *slot = match (&*slot, d) {
                (a, b) if a == b => continue,
                (Dim::Known(1), b) => b.clone(),
                (_, Dim::Known(1)) => continue,
                (Dim::Known(a), Dim::Known(b)) => {
                    let all = shapes.iter().map(|s| format!("[{}]", Dim::join(s))).collect::<Vec<_>>().join(" and ");
                    return Err(Error::shape(format!("shapes {all} do not broadcast: {a} against {b}"))
                        .with_expected("equal sizes, or 1 on one side, counted from the last axis"));
                }
                (Dim::Known(0), _) | (_, Dim::Known(0)) => Dim::Known(0),
                (Dim::Known(a), _) => Dim::Known(*a),
                (_, Dim::Known(b)) => Dim::Known(*b),
                (a, b) => a.maximum(b),
            };
        }
    }
    Ok(result)
}

/// The fact of an elementwise result; all inputs from `from` on must have one dtype, which is `expected` to be among
/// `allowed`. Known integer elements are not followed.
pub fn elementwise(inputs: &[&Fact], from: usize, allowed: &[DType], dtype: Option<DType>) -> Result<Facts> {
    let facts = tensors(inputs)?;
    let common = facts.get(from).map_or(DType::F32, |f| f.dtype);
    check_dtype(common, allowed)?;
    if let Some(other) = facts[from..].iter().find(|f| f.dtype != common) {
        return Err(Error::dtype(format!("inputs have different types: {common} and {}", other.dtype))
            .with_expected("equal types")
            .with_help("cast one of them"));
    }
    let shapes: Vec<&[Dim]> = facts.iter().map(|f| f.shape.as_slice()).collect();
    Ok(one(TensorFact::new(dtype.unwrap_or(common), broadcast_dims(&shapes)?)))
}

/// Elementwise facts of two integer vectors whose elements are known: `f` combines the elements.
pub fn known_binary(facts: Facts, inputs: &[&Fact], f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Facts {
    if inputs.len() == 2 { known_elements(facts, inputs, |d| f(d[0], d[1])) } else { facts }
}

/// Elementwise facts of integer or `bool` vectors whose elements are known: `f` combines one element of each input.
pub fn known_elements(mut facts: Facts, inputs: &[&Fact], f: impl Fn(&[&Dim]) -> Option<Dim>) -> Facts {
    let known: Option<Vec<&[Dim]>> = inputs
        .iter()
        .map(|fact| match fact {
            Fact::Tensor(t) => t.known.as_deref(),
            _ => None,
        })
        .collect();
    if let (Some(known), Some(Fact::Tensor(result))) = (known, facts.first_mut())
        && !result.dtype.is_float()
    {
        let n = known.iter().map(|k| k.len()).max().unwrap_or(0);
        if n > 0 && known.iter().all(|k| k.len() == n || k.len() == 1) {
            let dtype = result.dtype;
            let element = |i: usize| {
                let d: Vec<&Dim> = known.iter().map(|k| &k[i % k.len()]).collect();
                f(&d).filter(|d| fits(dtype, d))
            };
            result.known = (0..n).map(element).collect::<Option<Vec<Dim>>>().map(Into::into);
        }
    }
    facts
}

/// Whether a tensor of the integer type `dtype` (or `bool`) can hold the known value of `d`; expressions count as sizes, which always fit.
pub fn fits(dtype: DType, d: &Dim) -> bool {
    let Some(n) = d.known() else { return true };
    let bits = if dtype == DType::Bool { 1 } else { dtype.bits() as u32 };
    let n = i128::from(n);
    if dtype.is_signed_integer() {
        -(1i128 << (bits - 1)) <= n && n < 1i128 << (bits - 1)
    } else {
        0 <= n && n < 1i128 << bits
    }
}

/// # Errors
/// When `dtype` is not among `allowed`.
pub fn check_dtype(dtype: DType, allowed: &[DType]) -> Result<()> {
    if allowed.contains(&dtype) {
        return Ok(());
    }
    let names = allowed.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ");
    Err(Error::dtype(format!("{dtype} is not accepted")).with_expected(format!("one of {names}")))
}

/// `axis` counted from the front.
///
/// # Errors
/// When it is outside `-rank..rank`.
pub fn axis(axis: i64, rank: usize) -> Result<usize> {
    let r = rank as i64;
    let a = if axis < 0 { axis + r } else { axis };
    if a < 0 || a >= r {
        return Err(Error::index(format!("axis {axis} is out of range for a tensor of rank {rank}"))
            .with_expected(format!("{}..={}", -r, r - 1)));
    }
    Ok(a as usize)
}

/// Axes counted from the front, sorted; empty means all.
///
/// # Errors
/// When one is out of range or occurs twice.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>> {
    if list.is_empty() {
        return Ok((0..rank).collect());
    }
    let mut all = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?;
    all.sort_unstable();
    if all.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::value(format!("axes {list:?} name one axis twice")));
    }
    Ok(all)
}

/// For every element of the broadcast result, the flat indices of the operands.
pub fn broadcast_indices(shapes: &[&[usize]]) -> Result<(Vec<usize>, Vec<Vec<usize>>)> {
    let mut shape = lampyr_base::Shape::new();
    for s in shapes {
        shape = broadcast_shapes(&shape, s)?;
    }
    let indices = shapes
        .iter()
        .map(|s| Ok(Layout::contiguous(s).broadcast_to(&shape)?.indices().collect()))
        .collect::<Result<Vec<Vec<usize>>>>()?;
    Ok((shape.to_vec(), indices))
}

/// Plain loop over two broadcast operands of one dtype.
pub fn reference_binary(
    inputs: &[HostValue],
    dtype: Option<DType>,
    float: impl Fn(f64, f64) -> f64,
    signed: impl Fn(i64, i64) -> i64,
    unsigned: impl Fn(u64, u64) -> u64,
) -> Result<Vec<HostValue>> {
    let x = host(inputs)?;
    let (shape, at) = broadcast_indices(&[x[0].shape(), x[1].shape()])?;
    let pairs = at[0].iter().zip(&at[1]);
    let numbers = match (x[0].numbers(), x[1].numbers()) {
        (Numbers::F(a), Numbers::F(b)) => Numbers::F(pairs.map(|(&i, &j)| float(a[i], b[j])).collect()),
        (Numbers::I(a), Numbers::I(b)) => Numbers::I(pairs.map(|(&i, &j)| signed(a[i], b[j])).collect()),
        (Numbers::U(a), Numbers::U(b)) => Numbers::U(pairs.map(|(&i, &j)| unsigned(a[i], b[j])).collect()),
        _ => return Err(Error::dtype("operands have different kinds of numbers")),
    };
    out(HostTensor::from_numbers(dtype.unwrap_or(x[0].dtype()), &shape, &numbers)?)
}

/// Plain loop over one operand of a float dtype.
pub fn reference_unary(inputs: &[HostValue], f: impl Fn(f64) -> f64) -> Result<Vec<HostValue>> {
    let x = host(inputs)?;
    let values: Vec<f64> = x[0].to_f64().into_iter().map(f).collect();
    out(HostTensor::from_f64(x[0].dtype(), x[0].shape(), &values)?)
}

/// Concrete sizes of attributes that were symbolic in the graph.
pub fn sizes(dims: &[Dim]) -> Result<Vec<usize>> {
    let none = lampyr_base::Bindings::new();
    dims.iter().map(|d| d.size(&none)).collect()
}

/// The elements of `x` that `layout` (over its row-major storage) names, as a contiguous tensor.
pub fn gather_layout(x: &HostTensor, layout: &Layout) -> Result<HostTensor> {
    let size = x.dtype().size();
    let mut bytes = Vec::with_capacity(layout.len() * size);
    for i in layout.indices() {
        bytes.extend_from_slice(&x.bytes()[i * size..(i + 1) * size]);
    }
    HostTensor::copy_bytes(x.dtype(), &layout.shape, &bytes)
}

/// Known sizes as attributes.
pub fn fixed_dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::from(d)).collect()
}

/// One size for an axis on which two tensors must agree.
///
/// # Errors
/// When both are known and differ.
pub fn same_dim(a: &Dim, b: &Dim) -> Result<Dim> {
    match (a, b) {
        (Dim::Known(x), Dim::Known(y)) if x != y => Err(Error::shape(format!("sizes {x} and {y} must be equal"))),
        (Dim::Known(_), _) => Ok(a.clone()),
        (_, Dim::Known(_)) => Ok(b.clone()),
        _ => Ok(a.clone()),
    }
}

/// Row-major index `flat` over `shape` as one index per axis.
pub fn unravel(mut flat: usize, shape: &[usize]) -> lampyr_base::Shape {
    let mut index = lampyr_base::Shape::from_elem(0, shape.len());
    for (i, &d) in shape.iter().enumerate().rev() {
        index[i] = flat % d.max(1);
        flat /= d.max(1);
    }
    index
}

/// `index` counted from the front of an axis of `size` elements.
///
/// # Errors
/// When it is outside `-size..size`.
pub fn element(index: i64, size: usize) -> Result<usize> {
    let n = size as i64;
    let i = if index < 0 { index.saturating_add(n) } else { index };
    if i < 0 || i >= n {
        return Err(Error::index(format!("index {index} is out of range for an axis of {size} elements"))
            .with_expected(format!("{}..={}", -n, n - 1)));
    }
    Ok(i as usize)
}

/// The facts of a composite op: those of its decomposition.
///
/// # Errors
/// When the op has none, or an op that it is made of refuses its inputs.
pub fn infer_decomposed(op: &dyn Op, inputs: &[&Fact]) -> Result<Facts> {
    let mut b = GraphBuilder::new(op.name());
    let vars: Vec<Var> = inputs.iter().enumerate().map(|(i, f)| b.input(&i.to_string(), (*f).clone())).collect();
    let made = op.decompose(&mut b, &vars).ok_or_else(|| Error::internal("the op has no decomposition"))??;
    made.iter().map(|v| b.fact(v)).collect()
}

/// The elements of an integer tensor that must be known before the graph runs.
///
/// # Errors
/// [`lampyr_base::ErrorKind::Unsupported`] when they are not.
pub fn fixed_ints(b: &mut dyn Builder, var: &Var) -> Result<Vec<i64>> {
    let dims = b.dims(var)?;
    let known: Option<Vec<i64>> = dims.iter().map(Dim::known).collect();
    known.ok_or_else(|| {
        Error::unsupported(format!("axes or steps [{}] computed while the model runs", Dim::join(&dims)))
    })
}

/// `shape` with `axes` (sorted, from the front) folded away, or kept as ones.
pub fn reduced_dims(shape: &[Dim], axes: &[usize], keepdims: bool) -> Vec<Dim> {
    let kept = shape.iter().enumerate().filter_map(|(i, d)| match (axes.contains(&i), keepdims) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(Dim::Known(1)),
        (true, false) => None,
    });
    kept.collect()
}

/// The sizes of `axes` in `shape`.
pub fn axis_dims(shape: &[Dim], axes: &[usize]) -> Vec<Dim> {
    axes.iter().filter_map(|&a| shape.get(a).cloned()).collect()
}

/// For every element of a tensor of `shape`, the flat index of the result element that it is folded into; with the
/// number of result elements.
pub fn reduce_targets(shape: &[usize], axes: &[usize]) -> (usize, Vec<usize>) {
    let kept: Vec<usize> = shape.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
    let mut layout = Layout::contiguous(&kept);
    layout.shape = shape.into();
    for &a in axes {
        layout.strides[a] = 0;
    }
    (kept.iter().product(), layout.indices().collect())
}

/// Plain loop over one operand of any dtype.
pub fn reference_numbers(
    inputs: &[HostValue],
    float: impl Fn(f64) -> f64,
    signed: impl Fn(i64) -> i64,
    unsigned: impl Fn(u64) -> u64,
) -> Result<Vec<HostValue>> {
    let x = host(inputs)?;
    let numbers = match x[0].numbers() {
        Numbers::F(v) => Numbers::F(v.into_iter().map(float).collect()),
        Numbers::I(v) => Numbers::I(v.into_iter().map(signed).collect()),
        Numbers::U(v) => Numbers::U(v.into_iter().map(unsigned).collect()),
    };
    out(HostTensor::from_numbers(x[0].dtype(), x[0].shape(), &numbers)?)
}

/// Plain loop over two broadcast operands of one dtype, with a `bool` result.
pub fn reference_compare(
    inputs: &[HostValue],
    float: impl Fn(f64, f64) -> bool,
    signed: impl Fn(i64, i64) -> bool,
    unsigned: impl Fn(u64, u64) -> bool,
) -> Result<Vec<HostValue>> {
    let x = host(inputs)?;
    let (shape, at) = broadcast_indices(&[x[0].shape(), x[1].shape()])?;
    let pairs = at[0].iter().zip(&at[1]);
    let values: Vec<bool> = match (x[0].numbers(), x[1].numbers()) {
        (Numbers::F(a), Numbers::F(b)) => pairs.map(|(&i, &j)| float(a[i], b[j])).collect(),
        (Numbers::I(a), Numbers::I(b)) => pairs.map(|(&i, &j)| signed(a[i], b[j])).collect(),
        (Numbers::U(a), Numbers::U(b)) => pairs.map(|(&i, &j)| unsigned(a[i], b[j])).collect(),
        _ => return Err(Error::dtype("operands have different kinds of numbers")),
    };
    out(HostTensor::from_slice(&shape, &values)?)
}

/// The fact of a reduction over `axes`.
pub fn reduce(inputs: &[&Fact], list: &[i64], keepdims: bool, allowed: &[DType]) -> Result<Facts> {
    let x = inputs[0].as_tensor()?;
    check_dtype(x.dtype, allowed)?;
    let axes = axes(list, x.rank())?;
    Ok(one(TensorFact::new(x.dtype, reduced_dims(&x.shape, &axes, keepdims))))
}

/// Plain grouping of the elements of `x` by result element: the sizes of the result and, for each of its elements, the
/// flat indices of those folded into it.
pub fn reduce_groups(x: &HostTensor, list: &[i64], keepdims: bool) -> Result<(Vec<usize>, Vec<Vec<usize>>)> {
    let axes = axes(list, x.shape().len())?;
    let dims: Vec<Dim> = x.shape().iter().map(|&d| Dim::from(d)).collect();
    let (n, targets) = reduce_targets(x.shape(), &axes);
    let mut groups = vec![Vec::new(); n];
    for (i, target) in targets.into_iter().enumerate() {
        groups[target].push(i);
    }
    Ok((sizes(&reduced_dims(&dims, &axes, keepdims))?, groups))
}

/// The axes of an ONNX reduction: attribute `axes` before opset `input_since`, then input 1. `None` where the node
/// passes its input through.
pub fn onnx_axes(
    node: &dyn OnnxNode,
    b: &mut dyn Builder,
    inputs: &[Option<Var>],
    input_since: u32,
) -> Result<Option<Vec<i64>>> {
    if node.opset() < input_since {
        return Ok(Some(node.ints("axes")?.unwrap_or_default()));
    }
    let list = match optional(inputs, 1) {
        None => Vec::new(),
        Some(var) => b
            .read(&var)?
            .ok_or_else(|| Error::unsupported(format!("axes of {} that are computed at run time", node.op_type())))?
            .to_i64(),
    };
    let pass = list.is_empty() && node.int("noop_with_empty_axes", 0)? != 0;
    Ok((!pass).then_some(list))
}

/// The ONNX node of a reduction that takes its axes as an input from opset `opset` on.
pub fn reduce_to_onnx(op_type: &str, opset: u32, list: &[i64], keepdims: bool) -> Option<OnnxExport> {
    let node = OnnxExport::new(op_type, opset).attr("keepdims", OnnxAttr::Int(i64::from(keepdims)));
    Some(if list.is_empty() { node } else { node.input(HostTensor::ints(list).ok()?) })
}

/// `bool` and integers.
pub const BITS: &[DType] =
    &[DType::Bool, DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32, DType::U64, DType::I64];

/// All inputs of an ONNX node with any number of them, combined by `f` from the first on.
///
/// # Errors
/// When there are none, or one in the middle is absent.
pub fn onnx_fold(
    b: &mut dyn Builder,
    inputs: &[Option<Var>],
    f: impl Fn(&mut dyn Builder, &Var, &Var) -> Result<Var>,
) -> Result<Var> {
    let mut result = required(inputs, 0)?;
    for i in 1..inputs.len() {
        result = f(b, &result, &required(inputs, i)?)?;
    }
    Ok(result)
}

/// The facts of a reduction of one integer vector whose elements are known: `f` combines two elements.
pub fn known_total(mut facts: Facts, input: &Fact, f: impl Fn(&Dim, &Dim) -> Dim) -> Facts {
    if let (Fact::Tensor(x), Some(Fact::Tensor(result))) = (input, facts.first_mut())
        && let (1, Some([first, rest @ ..])) = (x.rank(), x.known.as_deref())
        && x.dtype.is_integer()
    {
        let total = rest.iter().fold(first.clone(), |total, d| f(&total, d));
        result.known = fits(x.dtype, &total).then(|| [total].into());
    }
    facts
}

/// The facts of a running fold along an integer vector whose elements are known.
pub fn known_running(
    mut facts: Facts,
    input: &Fact,
    first: i64,
    exclusive: bool,
    reverse: bool,
    f: fn(&Dim, &Dim) -> Dim,
) -> Facts {
    if let (Fact::Tensor(x), Some(Fact::Tensor(result))) = (input, facts.first_mut())
        && let (1, Some(known)) = (x.rank(), x.known.as_deref())
    {
        let mut total = Dim::Known(first);
        let mut step = |d: &Dim| {
            let next = f(&total, d);
            let shown = if exclusive { total.clone() } else { next.clone() };
            total = next;
            Some(shown).filter(|d| fits(x.dtype, d))
        };
        let all: Option<Vec<Dim>> =
            if reverse { known.iter().rev().map(&mut step).collect() } else { known.iter().map(&mut step).collect() };
        result.known = all.map(|mut all| {
            if reverse {
                all.reverse();
            }
            all.into()
        });
    }
    facts
}

/// Reads an ONNX reduction that also does something to the elements and makes it with `make(x, axes, keepdims)`. Where
/// the node folds no axes, only that something is done. With `floats`, integers are computed as `float64`.
pub fn onnx_reduction(
    node: &dyn OnnxNode,
    b: &mut dyn Builder,
    inputs: &[Option<Var>],
    floats: bool,
    make: fn(&mut dyn Builder, &Var, &[i64], bool) -> Result<Var>,
) -> Result<Vars> {
    let given = required(inputs, 0)?;
    let dtype = b.tensor_fact(&given)?.dtype;
    let through = floats && !dtype.is_float();
    let x = if through { to_dtype(b, &given, DType::F64)? } else { given };
    let y = match onnx_axes(node, b, inputs, 18)? {
        Some(axes) => {
            let keepdims = node.int("keepdims", 1)? != 0;
            make(b, &x, &axes, keepdims)?
        }
        None => {
            let single = unsqueeze(b, &x, &[-1])?;
            make(b, &single, &[-1], false)?
        }
    };
    Ok(smallvec![to_dtype(b, &y, dtype)?])
}
