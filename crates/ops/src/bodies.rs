//! What ops with sub-graphs share: facts across the border of a body, and gradient bodies.

use std::collections::{HashMap, HashSet};

use lampyr_base::{DType, Dim, Error, Result, Symbol};
use lampyr_ir::{Builder, Fact, Graph, GraphBuilder, HostTensor, HostValue, TensorFact, Var};

use crate::gradient::full;

/// What the symbols inside a body stand for outside.
pub(crate) struct Outside {
    map: HashMap<Symbol, Dim>,
    outer: HashSet<Symbol>,
}

impl Outside {
    /// A border over which values with these facts enter.
    pub(crate) fn new(outer: &[&Fact]) -> Outside {
        let mut symbols = HashSet::new();
        for fact in outer {
            if let Fact::Tensor(t) = fact {
                t.shape.iter().for_each(|d| symbols.extend(d.symbols()));
            }
        }
        Outside { map: HashMap::new(), outer: symbols }
    }

    /// The size `inside` of a body input is `outside`.
    pub(crate) fn bind(&mut self, inside: &Dim, outside: &Dim) {
        if let Some(s) = inside.symbol() {
            self.map.entry(s.clone()).or_insert_with(|| outside.clone());
        }
    }

    /// All sizes of a body input are those of `outside`.
    pub(crate) fn bind_fact(&mut self, inside: &Fact, outside: &Fact) {
        if let (Fact::Tensor(x), Fact::Tensor(y)) = (inside, outside) {
            x.shape.iter().zip(&y.shape).for_each(|(x, y)| self.bind(x, y));
        }
    }

    /// `d` in terms of outer symbols, if it can be.
    pub(crate) fn dim(&self, d: &Dim) -> Option<Dim> {
        let known = |s: &Symbol| self.map.contains_key(s) || self.outer.contains(s);
        if !d.symbols().iter().all(known) {
            return None;
        }
        Some(d.map_symbols(&mut |s| self.map.get(s).cloned().unwrap_or_else(|| Dim::of(s))))
    }

    /// The fact of a body's result as it is seen outside; sizes that depend on data get fresh symbols.
    pub(crate) fn fact(&self, inside: &Fact) -> Fact {
        match inside {
            Fact::Tensor(t) => {
                let shape = t.shape.iter().map(|d| self.dim(d).unwrap_or_else(fresh));
                let known: Option<Vec<Dim>> =
                    t.known.as_ref().and_then(|known| known.iter().map(|d| self.dim(d)).collect());
                Fact::Tensor(TensorFact::new(t.dtype, shape).with_known(known.map(Into::into)))
            }
            Fact::Sequence(s) => {
                let mut s = s.clone();
                s.shape.iter_mut().flatten().for_each(|d| *d = d.as_ref().and_then(|d| self.dim(d)));
                Fact::Sequence(s)
            }
            Fact::Optional(inner) => Fact::Optional(Box::new(self.fact(inner))),
        }
    }
}

/// A size that is known only when the body has run.
pub(crate) fn fresh() -> Dim {
    Dim::of(&Symbol::fresh("body"))
}

/// # Errors
/// When a value with fact `given` cannot enter or replace one with fact `want`.
pub(crate) fn check_same_kind(what: &str, want: &Fact, given: &Fact) -> Result<()> {
    let fits = match (want, given) {
        (Fact::Tensor(w), Fact::Tensor(g)) => w.dtype == g.dtype && w.rank() == g.rank(),
        (Fact::Tensor(_), _) | (_, Fact::Tensor(_)) => false,
        (w, g) => w.dtype() == g.dtype(),
    };
    if fits {
        return Ok(());
    }
    Err(Error::dtype(format!("{what} is {given}")).with_expected(want.to_string()))
}

/// # Errors
/// When `fact` is not a single element of one of `dtypes`.
pub(crate) fn check_single(what: &str, fact: &Fact, dtypes: &[DType]) -> Result<()> {
    let t = fact.as_tensor()?;
    let single = t.rank() <= 1 && t.shape.iter().all(|d| d.known().is_none_or(|n| n == 1));
    if single && dtypes.contains(&t.dtype) {
        return Ok(());
    }
    let names = dtypes.iter().map(|d| d.name()).collect::<Vec<_>>().join(" or ");
    Err(Error::dtype(format!("{what} is {t}")).with_expected(format!("one {names} element")))
}

/// The single element of `t`.
pub(crate) fn single(t: &HostTensor) -> Result<i64> {
    match t.to_i64().as_slice() {
        [v] => Ok(*v),
        other => Err(Error::shape(format!("got {} elements where one is needed", other.len()))),
    }
}

/// What is true of a value that has one of two facts.
pub(crate) fn join(a: &Fact, b: &Fact) -> Result<Fact> {
    if let (Fact::Tensor(x), Fact::Tensor(y)) = (a, b)
        && x.dtype == y.dtype
        && x.rank() != y.rank()
    {
        return Err(Error::unsupported(format!("branches that give {x} and {y}, of different numbers of axes")));
    }
    check_same_kind("the other branch's result", a, b)?;
    Ok(match (a, b) {
        (Fact::Tensor(x), Fact::Tensor(y)) => {
            let shape = x.shape.iter().zip(&y.shape).map(|(x, y)| if x == y { x.clone() } else { fresh() });
            let known = x.known.clone().filter(|_| x.known == y.known);
            Fact::Tensor(TensorFact::new(x.dtype, shape).with_known(known))
        }
        (Fact::Sequence(x), Fact::Sequence(y)) => Fact::Sequence(x.join(y)?),
        (Fact::Optional(x), Fact::Optional(y)) => Fact::Optional(Box::new(join(x, y)?)),
        (x, y) if x == y => x.clone(),
        (x, y) => return Err(Error::unsupported(format!("a value that is either {x} or {y}"))),
    })
}

/// `fact` without known elements, for values that change from one run of a body to the next.
pub(crate) fn any_elements(fact: &Fact) -> Fact {
    match fact {
        Fact::Tensor(t) => Fact::Tensor(t.clone().with_known(None)),
        other => other.clone(),
    }
}

/// `body` as a graph that takes inputs with `facts` and hands on those at `picks`.
pub(crate) fn with_inputs(body: &Graph, facts: &[Fact], picks: &[usize]) -> Result<Graph> {
    let mut g = GraphBuilder::new(&body.name);
    let inputs: Vec<Var> = facts.iter().enumerate().map(|(i, f)| g.input(&format!("input{i}"), f.clone())).collect();
    let args: Vec<Var> = picks.iter().filter_map(|&i| inputs.get(i).cloned()).collect();
    for output in g.inline(body, &args)? {
        g.output("", &output)?;
    }
    Ok(g.finish())
}

/// Results of `gradient` (a gradient graph with a result for each true entry of `has`) with zeros like `like[i]` where
/// it has none.
pub(crate) fn complete(
    g: &mut GraphBuilder,
    gradient: &Graph,
    has: &[bool],
    args: &[Var],
    like: &[&TensorFact],
) -> Result<Vec<Var>> {
    let mut found = g.inline(gradient, args)?.into_iter();
    let mut all = Vec::with_capacity(has.len());
    for (has, like) in has.iter().zip(like) {
        let next = if *has { found.next() } else { None };
        all.push(match next {
            Some(grad) => grad,
            None => full(g, like.dtype, &like.shape, 0.0)?,
        });
    }
    Ok(all)
}

/// Equal-shaped tensors along a new first axis.
pub(crate) fn stack(rows: &[HostTensor], empty: &TensorFact) -> Result<HostValue> {
    let Some(first) = rows.first() else {
        let size = |d: &Dim| d.known().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let mut shape: Vec<usize> = empty.shape.iter().map(size).collect();
        if let Some(n) = shape.first_mut() {
            *n = 0;
        }
        return HostTensor::zeros(empty.dtype, &shape).map(HostValue::Tensor);
    };
    let mut bytes = Vec::with_capacity(first.bytes().len() * rows.len());
    for row in rows {
        if row.shape() != first.shape() {
            return Err(Error::shape(format!(
                "iterations give a result of shape {:?} and one of shape {:?}",
                first.shape(),
                row.shape()
            ))
            .with_expected("equal shapes in all iterations"));
        }
        bytes.extend_from_slice(row.bytes());
    }
    let shape: Vec<usize> = std::iter::once(rows.len()).chain(first.shape().iter().copied()).collect();
    HostTensor::copy_bytes(first.dtype(), &shape, &bytes).map(HostValue::Tensor)
}

/// The facts of host values.
pub(crate) fn facts_of(values: &[HostValue]) -> Result<Vec<Fact>> {
    use lampyr_ir::interpret::ReferenceBuilder;
    values.iter().map(|v| ReferenceBuilder.fact(&ReferenceBuilder::value(v.clone()))).collect()
}

/// Whether gradients flow through a value.
pub(crate) fn is_float(fact: &Fact) -> bool {
    matches!(fact, Fact::Tensor(t) if t.dtype.is_float())
}
