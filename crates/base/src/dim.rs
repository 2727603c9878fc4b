use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// The name of a size that is known only when a model runs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The symbol called `name`; equal names are the same symbol.
    pub fn new(name: &str) -> Symbol {
        Symbol(name.into())
    }

    /// A symbol different from every other one; `hint` becomes part of its name.
    pub fn fresh(hint: &str) -> Symbol {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Symbol(format!("{hint}%{}", NEXT.fetch_add(1, Ordering::Relaxed)).into())
    }

    /// A fresh symbol for an element read from a tensor, which may be negative; all other symbols are sizes.
    pub fn fresh_element() -> Symbol {
        Symbol::fresh("u")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// False for symbols of [`Symbol::fresh_element`].
    pub fn is_size(&self) -> bool {
        !self.0.starts_with("u%")
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Values of symbols at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bindings(BTreeMap<Symbol, i64>);

impl Bindings {
    /// No symbol bound.
    pub fn new() -> Bindings {
        Bindings::default()
    }

    /// The value of `symbol`, if bound.
    pub fn get(&self, symbol: &Symbol) -> Option<i64> {
        self.0.get(symbol).copied()
    }

    /// Binds `symbol`, replacing an earlier value.
    pub fn set(&mut self, symbol: Symbol, value: i64) {
        self.0.insert(symbol, value);
    }

    /// All bound symbols with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Symbol, i64)> {
        self.0.iter().map(|(s, &v)| (s, v))
    }

    /// Binds the free symbols of `dims` so that they equal `sizes`. A dim that is a lone symbol is bound; any other is
    /// checked.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] when rank or a size does not fit.
    pub fn unify(&mut self, dims: &[Dim], sizes: &[usize]) -> Result<()> {
        let fail = |what: String| Error::shape(what).with_expected(format!("shape [{}]", Dim::join(dims)));
        if dims.len() != sizes.len() {
            return Err(fail(format!("got a tensor of rank {} with shape {sizes:?}", sizes.len())));
        }
        for (axis, (dim, &size)) in dims.iter().zip(sizes).enumerate() {
            let size = size as i64;
            if let Some(symbol) = dim.symbol()
                && self.get(symbol).is_none()
            {
                self.set(symbol.clone(), size);
                continue;
            }
            let want = dim.eval(self);
            if want.is_some_and(|w| w != size) {
                let w = want.unwrap_or_default();
                return Err(fail(format!("got shape {sizes:?}: axis {axis} is {size}, not {dim} = {w}")));
            }
        }
        Ok(())
    }
}

/// How deep maxima and minima are looked into when sizes are compared.
const NESTED: usize = 6;
/// Operands of a maximum or minimum up to which covered ones are looked for.
const OPERANDS: usize = 8;

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Symbol),
    FloorDiv(Dim, Dim),
    Max(Dim, Dim),
    Min(Dim, Dim),
}

/// Sum of integer multiples of products of atoms, plus a constant; sorted, so that equal expressions compare equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Poly {
    constant: i64,
    terms: Vec<(Vec<Atom>, i64)>,
}

/// A size: a number, or an integer expression over [`Symbol`]s kept in a canonical form, so that `==` means "equal for
/// every value of the symbols" for sums, differences and products.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A known size.
    Known(i64),
    /// An expression; made only by the operations of this type.
    #[doc(hidden)]
    Expr(DimExpr),
}

/// The inside of a symbolic [`Dim`].
#[doc(hidden)]
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimExpr(Arc<Poly>);

impl Dim {
    fn atom(atom: Atom) -> Dim {
        Dim::Expr(DimExpr(Arc::new(Poly { constant: 0, terms: vec![(vec![atom], 1)] })))
    }

    fn poly(&self) -> Poly {
        match self {
            Dim::Known(n) => Poly { constant: *n, terms: Vec::new() },
            Dim::Expr(e) => (*e.0).clone(),
        }
    }

    fn from_poly(constant: i64, terms: BTreeMap<Vec<Atom>, i64>) -> Dim {
        let terms: Vec<_> = terms.into_iter().filter(|(_, c)| *c != 0).collect();
        if terms.is_empty() { Dim::Known(constant) } else { Dim::Expr(DimExpr(Arc::new(Poly { constant, terms }))) }
    }

    /// The size that `symbol` names.
    pub fn of(symbol: &Symbol) -> Dim {
        Dim::atom(Atom::Symbol(symbol.clone()))
    }

    /// The size named `name`.
    pub fn named(name: &str) -> Dim {
        Dim::of(&Symbol::new(name))
    }

    /// The number, when this is one.
    pub fn known(&self) -> Option<i64> {
        match self {
            Dim::Known(n) => Some(*n),
            Dim::Expr(_) => None,
        }
    }

    /// The symbol, when this is exactly one.
    pub fn symbol(&self) -> Option<&Symbol> {
        match self.only_atom()? {
            Atom::Symbol(s) => Some(s),
            _ => None,
        }
    }

    /// Sum.
    pub fn add(&self, other: &Dim) -> Dim {
        if let (Dim::Known(a), Dim::Known(b)) = (self, other) {
            return Dim::Known(a.saturating_add(*b));
        }
        let (a, b) = (self.poly(), other.poly());
        let mut terms: BTreeMap<_, _> = a.terms.into_iter().collect();
        for (atoms, c) in b.terms {
            let sum = terms.entry(atoms).or_insert(0i64);
            *sum = sum.saturating_add(c);
        }
        Dim::from_poly(a.constant.saturating_add(b.constant), terms)
    }

    /// Difference.
    pub fn sub(&self, other: &Dim) -> Dim {
        self.add(&other.mul(&Dim::Known(-1)))
    }

    /// Product.
    pub fn mul(&self, other: &Dim) -> Dim {
        if let (Dim::Known(a), Dim::Known(b)) = (self, other) {
            return Dim::Known(a.saturating_mul(*b));
        }
        let (a, b) = (self.poly(), other.poly());
        let mut terms: BTreeMap<Vec<Atom>, i64> = BTreeMap::new();
        let with_constant = |p: Poly| {
            let mut all = p.terms;
            all.push((Vec::new(), p.constant));
            all
        };
        let right = with_constant(b);
        for (xa, xc) in with_constant(a) {
            for (ya, yc) in &right {
                let mut atoms: Vec<Atom> = xa.iter().chain(ya).cloned().collect();
                atoms.sort();
                let sum = terms.entry(atoms).or_insert(0i64);
                *sum = sum.saturating_add(xc.saturating_mul(*yc));
            }
        }
        let constant = terms.remove(&Vec::new()).unwrap_or(0);
        Dim::from_poly(constant, terms)
    }

    /// Quotient rounded towards minus infinity. Division by zero gives zero, as an unusable size.
    pub fn floor_div(&self, other: &Dim) -> Dim {
        match (self, other) {
            (_, Dim::Known(1)) => return self.clone(),
            (_, Dim::Known(0)) => return Dim::Known(0),
            (Dim::Known(a), Dim::Known(b)) => {
                let below = i64::from(*b < 0 && a.wrapping_rem_euclid(*b) != 0);
                return Dim::Known(a.checked_div_euclid(*b).map_or(i64::MAX, |q| q - below));
            }
            (a, b) if a == b => return Dim::Known(1),
            _ => {}
        }
        self.divide_exactly(other).unwrap_or_else(|| Dim::atom(Atom::FloorDiv(self.clone(), other.clone())))
    }

    fn divide_exactly(&self, other: &Dim) -> Option<Dim> {
        let (a, b) = (self.poly(), other.poly());
        let (divisor, factor) = match (b.terms.as_slice(), b.constant) {
            ([], c) => (Vec::new(), c),
            ([(atoms, c)], 0) => (atoms.clone(), *c),
            _ => return None,
        };
        let mut terms = BTreeMap::new();
        let mut constant = 0i64;
        let all = a.terms.into_iter().chain((a.constant != 0).then_some((Vec::new(), a.constant)));
        for (mut atoms, c) in all {
            for d in &divisor {
                let at = atoms.iter().position(|x| x == d)?;
                atoms.remove(at);
            }
            if c.checked_rem(factor)? != 0 {
                return None;
            }
            let quotient = c.checked_div(factor)?;
            if atoms.is_empty() {
                constant = quotient.saturating_add(constant);
            } else {
                let sum = terms.entry(atoms).or_insert(0i64);
                *sum = sum.saturating_add(quotient);
            }
        }
        Some(Dim::from_poly(constant, terms))
    }

    /// Quotient rounded up, for positive divisors.
    pub fn ceil_div(&self, other: &Dim) -> Dim {
        if let (Dim::Known(a), Dim::Known(b)) = (self, other)
            && *b > 0
        {
            return Dim::Known(a.div_euclid(*b) + i64::from(a.rem_euclid(*b) != 0));
        }
        self.add(other).sub(&Dim::Known(1)).floor_div(other)
    }

    /// Whether the value is zero or more whatever sizes the symbols stand for; false when that cannot be seen.
    pub fn is_nonnegative(&self) -> bool {
        let poly = match self {
            Dim::Known(n) => return *n >= 0,
            Dim::Expr(e) => &e.0,
        };
        let atom = |a: &Atom| match a {
            Atom::Symbol(s) => s.is_size(),
            Atom::FloorDiv(a, b) | Atom::Min(a, b) => a.is_nonnegative() && b.is_nonnegative(),
            Atom::Max(a, b) => a.is_nonnegative() || b.is_nonnegative(),
        };
        poly.constant >= 0 && poly.terms.iter().all(|(atoms, c)| *c >= 0 && atoms.iter().all(atom))
    }

    /// Whether the value is at most `other` whatever sizes the symbols stand for; false when that cannot be seen.
    pub fn is_at_most(&self, other: &Dim) -> bool {
        self.within(other, NESTED)
    }

    fn within(&self, other: &Dim, depth: usize) -> bool {
        if self == other || other.sub(self).is_nonnegative() {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        match (self.only_atom(), other.only_atom()) {
            (Some(Atom::Max(a, b)), _) => a.within(other, depth) && b.within(other, depth),
            (_, Some(Atom::Min(a, b))) => self.within(a, depth) && self.within(b, depth),
            (Some(Atom::Min(a, b)), _) if a.within(other, depth) || b.within(other, depth) => true,
            (_, Some(Atom::Max(a, b))) => self.within(a, depth) || self.within(b, depth),
            _ => false,
        }
    }

    fn only_atom(&self) -> Option<&Atom> {
        match self {
            Dim::Expr(e) if e.0.constant == 0 => match e.0.terms.as_slice() {
                [(atoms, 1)] => <&[Atom; 1]>::try_from(atoms.as_slice()).ok().map(|[atom]| atom),
                _ => None,
            },
            _ => None,
        }
    }

    /// What this is the maximum (or minimum) of.
    fn operands(&self, larger: bool, all: &mut Vec<Dim>) {
        match self.only_atom() {
            Some(Atom::Max(a, b)) if larger => [a, b].into_iter().for_each(|x| x.operands(larger, all)),
            Some(Atom::Min(a, b)) if !larger => [a, b].into_iter().for_each(|x| x.operands(larger, all)),
            _ => all.push(self.clone()),
        }
    }

    fn extreme(&self, other: &Dim, larger: bool) -> Dim {
        let mut all = Vec::new();
        self.operands(larger, &mut all);
        other.operands(larger, &mut all);
        let covers = |a: &Dim, b: &Dim| if larger { b.is_at_most(a) } else { a.is_at_most(b) };
        let mut kept: Vec<Dim> = Vec::new();
        for next in all {
            let few = kept.len() < OPERANDS;
            if kept.contains(&next) || few && kept.iter().any(|k| covers(k, &next)) {
                continue;
            }
            if few {
                kept.retain(|k| !covers(&next, k));
            }
            kept.push(next);
        }
        kept.sort();
        let join = |a: Dim, b: Dim| Dim::atom(if larger { Atom::Max(a, b) } else { Atom::Min(a, b) });
        kept.into_iter().reduce(join).unwrap_or_else(|| self.clone())
    }

    /// The larger one.
    pub fn maximum(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Known(a), Dim::Known(b)) => Dim::Known(*a.max(b)),
            (a, b) => a.extreme(b, true),
        }
    }

    /// The smaller one.
    pub fn minimum(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Known(a), Dim::Known(b)) => Dim::Known(*a.min(b)),
            (a, b) => a.extreme(b, false),
        }
    }

    /// The value under `bindings`; `None` when a symbol is unbound.
    pub fn eval(&self, bindings: &Bindings) -> Option<i64> {
        self.substitute(bindings).known()
    }

    /// The value as a size under `bindings`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] when a symbol is unbound or the value is negative.
    pub fn size(&self, bindings: &Bindings) -> Result<usize> {
        let value = self
            .eval(bindings)
            .ok_or_else(|| Error::shape(format!("size {self} is not known: a symbol of it has no value yet")))?;
        usize::try_from(value).map_err(|_| Error::shape(format!("size {self} is negative: {value}")))
    }

    /// This expression with the bound symbols replaced by their values.
    pub fn substitute(&self, bindings: &Bindings) -> Dim {
        self.map_symbols(&mut |s| match bindings.get(s) {
            Some(v) => Dim::Known(v),
            None => Dim::of(s),
        })
    }

    /// This expression with every symbol replaced by what `f` gives for it.
    pub fn map_symbols(&self, f: &mut dyn FnMut(&Symbol) -> Dim) -> Dim {
        let Dim::Expr(e) = self else { return self.clone() };
        let mut sum = Dim::Known(e.0.constant);
        for (atoms, c) in &e.0.terms {
            let mut product = Dim::Known(*c);
            for atom in atoms {
                let value = match atom {
                    Atom::Symbol(s) => f(s),
                    Atom::FloorDiv(a, b) => a.map_symbols(f).floor_div(&b.map_symbols(f)),
                    Atom::Max(a, b) => a.map_symbols(f).maximum(&b.map_symbols(f)),
                    Atom::Min(a, b) => a.map_symbols(f).minimum(&b.map_symbols(f)),
                };
                product = product.mul(&value);
            }
            sum = sum.add(&product);
        }
        sum
    }

    /// The symbols in this expression, each once, by name.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut all = Vec::new();
        self.map_symbols(&mut |s| {
            all.push(s.clone());
            Dim::of(s)
        });
        all.sort();
        all.dedup();
        all
    }

    /// `a, b, c` for messages.
    pub fn join(dims: &[Dim]) -> String {
        dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The number of elements of a shape.
    pub fn product(dims: &[Dim]) -> Dim {
        dims.iter().fold(Dim::Known(1), |p, d| p.mul(d))
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim::Known(n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::Known(n.min(i64::MAX as usize) as i64)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Dim {
        Dim::named(name)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(s) => f.write_str(s.name()),
            Atom::FloorDiv(a, b) => write!(f, "floor(({a})/({b}))"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = match self {
            Dim::Known(n) => return write!(f, "{n}"),
            Dim::Expr(e) => &e.0,
        };
        for (i, (atoms, c)) in e.terms.iter().enumerate() {
            let sign = if *c < 0 { "-" } else { "+" };
            if i > 0 || *c < 0 {
                f.write_str(sign)?;
            }
            if c.unsigned_abs() != 1 {
                write!(f, "{}*", c.unsigned_abs())?;
            }
            for (k, atom) in atoms.iter().enumerate() {
                write!(f, "{}{atom}", if k > 0 { "*" } else { "" })?;
            }
        }
        if e.constant != 0 {
            write!(f, "{:+}", e.constant)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
