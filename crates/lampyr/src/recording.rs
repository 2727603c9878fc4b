//! A function on tensors as a graph: its ops are recorded while it runs. Where axes may have any size it is run with
//! several sizes, and the numbers that follow from them become expressions.

use std::collections::HashMap;

use lampyr_base::{Bindings, Dim, Error, Result, Symbol};
use lampyr_ir::{
    AttrMap, AttrValue, Builder, Fact, Graph, GraphBuilder, HostTensor, Numbers, OpRef, TensorFact, ValueId, Var,
};
use lampyr_onnx::sizes::Sources;
use lampyr_ops::build::{Arange, Cast, Expand};
use lampyr_runtime::{Named, Tensor, apply_one, record};

/// The most different sizes that may vary: the function is run `2^n + 1` times for `n` of them.
const SYMBOLS: usize = 3;

/// An input of the function that is recorded.
#[derive(Clone, Debug)]
pub struct Input {
    /// Name in the graph.
    pub name: String,
    /// An example, whose sizes are fixed but for `axes`.
    pub example: Tensor,
    /// Axes of any size, with the name of the size. Axes of one name have one size.
    pub axes: Vec<(usize, String)>,
}

/// What may vary.
struct Size {
    symbol: Symbol,
    /// The smallest size that is tried.
    from: i64,
}

/// The ops that `call` applies to the inputs, as a graph whose inputs and outputs are named. Tensors among `weights`
/// become constants of their names.
///
/// # Errors
/// When `call` fails or cannot be recorded (see [`lampyr_runtime::record`]), when what it does depends on the sizes that
/// may vary in another way than by sums and products of them, or when there are more than three such sizes.
pub fn record_graph(
    inputs: &[Input],
    weights: &[(String, Tensor)],
    outputs: &[String],
    call: &mut dyn FnMut(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<Graph> {
    crate::init();
    let sizes = sizes(inputs)?;
    let weights: Vec<Named> = weights.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let mut run = |at: &Bindings| {
        let examples = inputs.iter().map(|i| resized(i, at)).collect::<Result<Vec<_>>>()?;
        let named: Vec<Named> = inputs.iter().zip(&examples).map(|(i, t)| (i.name.as_str(), t)).collect();
        record(&named, &weights, &outputs, || call(&examples))
    };
    let at = |more: &dyn Fn(usize) -> i64| {
        let mut bound = Bindings::default();
        sizes.iter().enumerate().for_each(|(i, s)| bound.set(s.symbol.clone(), s.from + more(i)));
        bound
    };
    let mut graphs = Vec::new();
    for corner in 0..1usize << sizes.len() {
        graphs.push(run(&at(&|i| (corner >> i & 1) as i64))?);
    }
    if sizes.is_empty() {
        return graphs.pop().ok_or_else(|| Error::internal("nothing was recorded"));
    }
    // A point outside of the cube shows what is no such expression.
    let check = at(&|_| 3);
    graphs.push(run(&check)?);
    Fit { sizes: &sizes, graphs: &graphs, check }.build(inputs)
}

fn sizes(inputs: &[Input]) -> Result<Vec<Size>> {
    let mut all: Vec<(Size, i64)> = Vec::new();
    for input in inputs {
        for (axis, name) in &input.axes {
            let Some(&n) = input.example.shape().get(*axis) else {
                return Err(Error::index(format!(
                    "axis {axis} of the input `{}`, which has {} axes, cannot vary",
                    input.name,
                    input.example.rank()
                )));
            };
            let n = n as i64;
            match all.iter().find(|(s, _)| s.symbol.name() == name) {
                Some((_, m)) if *m == n => {}
                Some((_, m)) => {
                    return Err(Error::shape(format!(
                        "the size `{name}` is {m}, and {n} in the input `{}`",
                        input.name
                    ))
                    .with_help("give axes of different sizes different names"));
                }
                // An axis of size 1 would be broadcast, and of size 0 skipped.
                None => all.push((Size { symbol: Symbol::new(name), from: n.max(2) }, n)),
            }
        }
    }
    if all.len() > SYMBOLS {
        return Err(Error::unsupported(format!("{} sizes that vary", all.len()))
            .with_expected(format!("{SYMBOLS} at most; axes of one name have one size")));
    }
    Ok(all.into_iter().map(|(s, _)| s).collect())
}

/// The example with the sizes of `at`: its elements again and again along an axis.
fn resized(input: &Input, at: &Bindings) -> Result<Tensor> {
    let mut x = input.example.detach();
    for (axis, name) in &input.axes {
        let want = at.get(&Symbol::new(name)).unwrap_or_default();
        let have = x.shape().get(*axis).map_or(0, |&n| n as i64);
        if have == 0 {
            return Err(Error::shape(format!("the axis {axis} of the input `{}` is empty", input.name))
                .with_expected("an example with at least one element along axes that vary"));
        }
        let index: Vec<i64> = (0..want).map(|i| i % have).collect();
        let index = Tensor::from_host(&HostTensor::ints(&index)?, x.device())?;
        x = apply_one(&lampyr_ops::build::Gather { axis: *axis as i64 }, &[&x, &index])?;
    }
    // Inputs are told apart by their memory.
    x.copy_contiguous()
}

/// Recordings at the corners of a cube of sizes, and one outside.
struct Fit<'a> {
    sizes: &'a [Size],
    graphs: &'a [Graph],
    check: Bindings,
}

impl Fit<'_> {
    /// The expression that takes these values in the recordings.
    fn dim(&self, values: &[i64], what: &dyn Fn() -> String) -> Result<Dim> {
        let first = values.first().copied().unwrap_or_default();
        if values.iter().all(|v| *v == first) {
            return Ok(Dim::Known(first));
        }
        let fail = || {
            Error::unsupported(format!(
                "{} takes the values {values:?} for sizes {}: no sum of products of them",
                what(),
                self.described()
            ))
            .with_help("fix the size of that axis, or compute with tensors instead of their sizes")
        };
        let (mut corners, last) = match values.split_last() {
            Some((last, corners)) => (corners.to_vec(), *last),
            None => return Err(fail()),
        };
        for i in 0..self.sizes.len() {
            for set in 0..corners.len() {
                if set >> i & 1 == 1 {
                    corners[set] = corners[set].checked_sub(corners[set & !(1 << i)]).ok_or_else(fail)?;
                }
            }
        }
        let mut sum = Dim::Known(0);
        for (set, c) in corners.iter().enumerate() {
            let over = self.sizes.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1);
            let product = over.fold(Dim::Known(*c), |p, (_, s)| p.mul(&Dim::of(&s.symbol).sub(&Dim::Known(s.from))));
            sum = sum.add(&product);
        }
        if sum.eval(&self.check) == Some(last) { Ok(sum) } else { Err(fail()) }
    }

    fn described(&self) -> String {
        self.sizes.iter().map(|s| format!("{} from {}", s.symbol.name(), s.from)).collect::<Vec<_>>().join(", ")
    }

    fn dims(&self, values: &[&[Dim]], what: &dyn Fn() -> String) -> Result<Vec<Dim>> {
        let count = values.first().map_or(0, |v| v.len());
        if values.iter().any(|v| v.len() != count) {
            return Err(self.differs(what()));
        }
        (0..count)
            .map(|k| {
                let numbers: Option<Vec<i64>> = values.iter().map(|v| v.get(k)?.known()).collect();
                self.dim(&numbers.ok_or_else(|| self.differs(what()))?, what)
            })
            .collect()
    }

    #[cold]
    fn differs(&self, what: String) -> Error {
        Error::unsupported(format!("{what} depends on the sizes {}", self.described()))
            .with_help("fix the sizes of these axes, or compute in the same way for all sizes")
    }

    fn op(&self, at: usize, ops: &[&OpRef]) -> Result<OpRef> {
        let first = *ops.first().ok_or_else(|| Error::internal("no recording"))?;
        if ops.iter().any(|o| o.name() != first.name()) {
            let names: Vec<&str> = ops.iter().map(|o| o.name()).collect();
            return Err(self.differs(format!("which ops are applied (number {at} is one of {names:?})")));
        }
        if ops.iter().all(|o| *o == first) {
            return Ok(first.clone());
        }
        let all: Vec<_> = ops.iter().map(|o| o.attrs()).collect();
        let mut made = AttrMap::new();
        for (k, (name, value)) in all.first().into_iter().flatten().enumerate() {
            let what = || format!("the attribute `{name}` of `{}` (op number {at})", first.name());
            let values: Vec<&AttrValue> = all.iter().filter_map(|a| a.get(k).map(|(_, v)| v)).collect();
            let fitted = if values.iter().all(|v| *v == value) {
                value.clone()
            } else if let AttrValue::Dim(_) = value {
                let each: Vec<&[Dim]> = values
                    .iter()
                    .map(|v| if let AttrValue::Dim(d) = v { std::slice::from_ref(d) } else { &[] })
                    .collect();
                let mut dims = self.dims(&each, &what)?;
                AttrValue::Dim(dims.pop().ok_or_else(|| self.differs(what()))?)
            } else if let AttrValue::Dims(_) = value {
                let each: Vec<&[Dim]> =
                    values.iter().map(|v| if let AttrValue::Dims(d) = v { d.as_slice() } else { &[] }).collect();
                AttrValue::Dims(self.dims(&each, &what)?)
            } else {
                return Err(self.differs(what()));
            };
            made.insert((*name).to_string(), fitted);
        }
        first.remake(made).ok_or_else(|| self.differs(format!("`{}` (op number {at})", first.name())))
    }

    /// A constant of which every recording has another one: of one number throughout, or numbers at equal distances.
    fn constant(&self, b: &mut GraphBuilder, sources: &Sources, values: &[&HostTensor]) -> Result<Var> {
        let first = *values.first().ok_or_else(|| Error::internal("no recording"))?;
        if values.iter().all(|v| *v == first) {
            return b.constant(first.clone());
        }
        let what = || format!("a constant {}{:?}", first.dtype(), first.shape());
        let shapes: Vec<Vec<Dim>> = values.iter().map(|v| v.shape().iter().map(|&d| Dim::from(d)).collect()).collect();
        let shape = self.dims(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>(), &what)?;
        let dtype = first.dtype();
        if let Some(number) = values.iter().map(|v| uniform(v)).collect::<Option<Vec<_>>>() {
            let one = if let Some(first) = number.first().filter(|n| number.iter().all(|m| m.to_bits() == n.to_bits()))
            {
                b.constant(HostTensor::from_f64(dtype, &[], &[*first])?)?
            } else {
                let whole = |n: &f64| (n.fract() == 0.0 && n.abs() < (1u64 << 52) as f64).then_some(*n as i64);
                let whole: Option<Vec<i64>> = number.iter().map(whole).collect();
                let dim = self.dim(&whole.ok_or_else(|| self.differs(what()))?, &what)?;
                let size = sources.scalar(b, &dim)?;
                (b as &mut dyn Builder).one(&Cast { to: dtype }, &[size])?
            };
            if shape.is_empty() {
                return Ok(one);
            }
            return (b as &mut dyn Builder).one(&Expand { shape }, &[one]);
        }
        let ranges: Option<Vec<(i64, i64)>> = values.iter().map(|v| range(v)).collect();
        match (ranges.as_deref(), shape.as_slice()) {
            (Some([(start, step), rest @ ..]), [n]) if rest.iter().all(|r| r == &(*start, *step)) => {
                let end = Dim::Known(*start).add(&n.mul(&Dim::Known(*step)));
                let scalar = |n: i64| HostTensor::scalar(n);
                let (from, by) = (b.constant(scalar(*start))?, b.constant(scalar(*step))?);
                let to = sources.scalar(b, &end)?;
                let made = (b as &mut dyn Builder).one(&Arange, &[from, to, by])?;
                (b as &mut dyn Builder).one(&Cast { to: dtype }, &[made])
            }
            _ => Err(self.differs(what())),
        }
    }

    /// The graph for all sizes.
    fn build(&self, inputs: &[Input]) -> Result<Graph> {
        let [first, others @ ..] = self.graphs else { return Err(Error::internal("nothing was recorded")) };
        let mut b = GraphBuilder::new(&first.name);
        let mut vars: HashMap<ValueId, Var> = HashMap::new();
        for (input, id) in inputs.iter().zip(first.inputs()) {
            let mut shape: Vec<Dim> = input.example.shape().iter().map(|&d| Dim::from(d)).collect();
            for (axis, name) in &input.axes {
                if let Some(d) = shape.get_mut(*axis) {
                    *d = Dim::named(name);
                }
            }
            vars.insert(*id, b.input(&input.name, Fact::Tensor(TensorFact::new(input.example.dtype(), shape))));
        }
        let given: Vec<Var> = first.inputs().iter().filter_map(|v| vars.get(v).cloned()).collect();
        let sources = Sources::of(&b, &given)?;
        if others.iter().any(|g| g.len() != first.len()) {
            return Err(self.differs("how many ops are applied".into()));
        }
        let order = first.order()?;
        let mut orders = vec![order.clone()];
        orders.extend(others.iter().map(Graph::order).collect::<Result<Vec<_>>>()?);
        for (at, id) in order.iter().enumerate() {
            let nodes = orders.iter().zip(self.graphs).map(|(o, g)| {
                let id = o.get(at).ok_or_else(|| Error::internal("recordings of one length"))?;
                g.node(*id)
            });
            let nodes = nodes.collect::<Result<Vec<_>>>()?;
            let node = first.node(*id)?;
            let op = self.op(at, &nodes.iter().map(|n| &n.op).collect::<Vec<_>>())?;
            let mut args = Vec::with_capacity(node.inputs.len());
            for (k, v) in node.inputs.iter().enumerate() {
                if let Some(var) = vars.get(v) {
                    if nodes.iter().any(|n| n.inputs.get(k) != Some(v)) {
                        return Err(self.differs(format!("what `{}` (op number {at}) is applied to", op.name())));
                    }
                    args.push(var.clone());
                    continue;
                }
                let each: Option<Vec<&HostTensor>> =
                    nodes.iter().zip(self.graphs).map(|(n, g)| g.constant(*n.inputs.get(k)?)).collect();
                let each =
                    each.ok_or_else(|| self.differs(format!("what `{}` (op number {at}) is applied to", op.name())))?;
                let var = self.constant(&mut b, &sources, &each)?;
                if first.constant(*v).is_some() {
                    let name = &first.value(*v).name;
                    if !name.starts_with("constant_") && !each.windows(2).any(|w| w[0] != w[1]) {
                        b.name(&var, name)?;
                    }
                }
                vars.insert(*v, var.clone());
                args.push(var);
            }
            let made = b.apply(&*op, &args)?;
            vars.extend(node.outputs.iter().copied().zip(made));
        }
        for (k, id) in first.outputs().iter().enumerate() {
            let name = &first.value(*id).name;
            let var = match (vars.get(id), first.constant(*id)) {
                (Some(var), _) => var.clone(),
                (None, Some(_)) => {
                    let each: Option<Vec<&HostTensor>> =
                        self.graphs.iter().map(|g| g.constant(*g.outputs().get(k)?)).collect();
                    let each = each.ok_or_else(|| self.differs(format!("output {k}")))?;
                    self.constant(&mut b, &sources, &each)?
                }
                (None, None) => return Err(Error::internal("an output was not recorded")),
            };
            b.output(name, &var)?;
        }
        Ok(b.finish())
    }
}

/// The number that all elements are.
fn uniform(t: &HostTensor) -> Option<f64> {
    let size = t.dtype().size();
    let bytes = t.bytes();
    let first = bytes.get(..size)?;
    let same = bytes.chunks_exact(size).all(|c| c == first);
    same.then(|| t.to_f64().first().copied()).flatten()
}

/// Start and step of a vector of whole numbers at equal distances.
fn range(t: &HostTensor) -> Option<(i64, i64)> {
    if t.shape().len() != 1 {
        return None;
    }
    let values: Vec<i64> = match t.numbers() {
        Numbers::I(v) => v,
        Numbers::U(v) => v.into_iter().map(|u| i64::try_from(u).ok()).collect::<Option<_>>()?,
        Numbers::F(v) => {
            let whole = |x: f64| (x.fract() == 0.0 && x.abs() < (1u64 << 52) as f64).then_some(x as i64);
            v.into_iter().map(whole).collect::<Option<_>>()?
        }
    };
    let (start, second) = (*values.first()?, *values.get(1)?);
    let step = second.checked_sub(start).filter(|s| *s != 0)?;
    let even = values.windows(2).all(|w| w[1].checked_sub(w[0]) == Some(step));
    even.then_some((start, step))
}
