//! Sizes that are known when a graph runs, as values of the graph.

use lampyr_base::{Bindings, Dim, Error, Result, Symbol};
use lampyr_ir::{Builder, Fact, HostTensor, Var};
use lampyr_ops::build::{Gather, Reshape, add, concat, mul, shape_of};

/// The most symbols in one size.
const SYMBOLS: usize = 6;

/// `dim` as a sum of multiples of products of different symbols; `None` when it is no such sum.
pub fn products(dim: &Dim) -> Option<Vec<(Vec<Symbol>, i64)>> {
    let symbols = dim.symbols();
    if symbols.len() > SYMBOLS {
        return None;
    }
    let subset = |set: usize| symbols.iter().enumerate().filter(move |(i, _)| set >> i & 1 == 1);
    let mut sums = (0..1usize << symbols.len())
        .map(|set| {
            let mut at = Bindings::default();
            for (i, symbol) in symbols.iter().enumerate() {
                at.set(symbol.clone(), (set >> i & 1) as i64);
            }
            dim.eval(&at)
        })
        .collect::<Option<Vec<i64>>>()?;
    // From values at corners of the unit cube to coefficients (Moebius inversion over subsets).
    for i in 0..symbols.len() {
        for set in 0..sums.len() {
            if set >> i & 1 == 1 {
                sums[set] = sums[set].checked_sub(sums[set & !(1 << i)])?;
            }
        }
    }
    let terms = sums.iter().enumerate().filter(|(_, c)| **c != 0);
    let terms: Vec<_> = terms.map(|(set, c)| (subset(set).map(|(_, s)| s.clone()).collect(), *c)).collect();
    (joined(&terms) == *dim).then_some(terms)
}

fn joined(terms: &[(Vec<Symbol>, i64)]) -> Dim {
    terms.iter().fold(Dim::Known(0), |sum, (symbols, c)| {
        sum.add(&symbols.iter().fold(Dim::Known(*c), |product, s| product.mul(&Dim::of(s))))
    })
}

/// Where the sizes named by symbols can be read: axes of inputs.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<(Symbol, Var, usize)>);

impl Sources {
    /// The axes of `inputs` whose size is a symbol.
    pub fn of(b: &dyn Builder, inputs: &[Var]) -> Result<Sources> {
        let mut all: Vec<(Symbol, Var, usize)> = Vec::new();
        for var in inputs {
            let Fact::Tensor(fact) = b.fact(var)? else { continue };
            for (axis, dim) in fact.shape.iter().enumerate() {
                if let Some(symbol) = dim.symbol().filter(|s| all.iter().all(|(have, ..)| have != *s)) {
                    all.push((symbol.clone(), var.clone(), axis));
                }
            }
        }
        Ok(Sources(all))
    }

    /// Whether no size can be read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn symbol(&self, b: &mut dyn Builder, symbol: &Symbol) -> Result<Var> {
        let missing = || Error::unsupported(format!("the size {}, which is no size of an input", symbol.name()));
        let (_, var, axis) = self.0.iter().find(|(s, ..)| s == symbol).ok_or_else(missing)?;
        let shape = shape_of(b, var)?;
        let at = b.constant(HostTensor::ints(&[*axis as i64])?)?;
        b.one(&Gather { axis: 0 }, &[shape, at])
    }

    /// `dim` as an int64 tensor of one element and one axis.
    ///
    /// # Errors
    /// When it is not made of sums and products of sizes of inputs.
    pub fn value(&self, b: &mut dyn Builder, dim: &Dim) -> Result<Var> {
        let terms = products(dim).ok_or_else(|| Error::unsupported(format!("the size {dim} as a value")))?;
        let mut sum: Option<Var> = None;
        for (symbols, factor) in terms {
            let mut product = match (factor, symbols.is_empty()) {
                (1, false) => None,
                _ => Some(b.constant(HostTensor::ints(&[factor])?)?),
            };
            for symbol in &symbols {
                let size = self.symbol(b, symbol)?;
                product = Some(match product {
                    Some(p) => mul(b, &p, &size)?,
                    None => size,
                });
            }
            sum = match (sum, product) {
                (Some(s), Some(p)) => Some(add(b, &s, &p)?),
                (s, p) => s.or(p),
            };
        }
        match sum {
            Some(sum) => Ok(sum),
            None => b.constant(HostTensor::ints(&[0])?),
        }
    }

    /// `dim` as an int64 tensor without axes.
    ///
    /// # Errors
    /// As [`Sources::value`].
    pub fn scalar(&self, b: &mut dyn Builder, dim: &Dim) -> Result<Var> {
        let one = self.value(b, dim)?;
        b.one(&Reshape { shape: Vec::new() }, &[one])
    }

    /// `dims` as an int64 vector.
    ///
    /// # Errors
    /// As [`Sources::value`].
    pub fn vector(&self, b: &mut dyn Builder, dims: &[Dim]) -> Result<Var> {
        if let Some(known) = dims.iter().map(Dim::known).collect::<Option<Vec<_>>>() {
            return b.constant(HostTensor::ints(&known)?);
        }
        let parts = dims.iter().map(|d| self.value(b, d)).collect::<Result<Vec<_>>>()?;
        if let [only] = parts.as_slice() {
            return Ok(only.clone());
        }
        concat(b, &parts, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_taken_apart() {
        let (a, b) = (Dim::named("a"), Dim::named("b"));
        let dim = a.mul(&b).mul(&Dim::Known(3)).add(&a).sub(&Dim::Known(2));
        let terms = products(&dim).unwrap_or_default();
        assert_eq!(joined(&terms), dim);
        assert_eq!(terms.len(), 3);
        assert_eq!(products(&a.mul(&a)), None);
        assert_eq!(products(&a.floor_div(&Dim::Known(2))), None);
    }
}
