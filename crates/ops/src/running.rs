//! What running sums and products share.

use lampyr_base::{DType, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::{Builder, Numbers, Op, Var};

use crate::common;

/// The flat indices of a tensor of `shape`, line by line along `axis`.
pub(crate) fn order(shape: &[usize], axis: usize, reverse: bool) -> Vec<Vec<usize>> {
    let n = shape.get(axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(axis + 1).product();
    let outer: usize = shape.iter().take(axis).product();
    let mut lines = Vec::new();
    for start in (0..outer).flat_map(|o| (0..inner).map(move |i| o * n * inner + i)) {
        let mut line: Vec<usize> = (0..n).map(|k| start + k * inner).collect();
        if reverse {
            line.reverse();
        }
        lines.push(line);
    }
    lines
}

/// Folds along every line, noting each step.
pub(crate) fn fold(
    numbers: &Numbers,
    lines: &[Vec<usize>],
    first: u8,
    exclusive: bool,
    float: impl Fn(f64, f64) -> f64,
    signed: impl Fn(i64, i64) -> i64,
    unsigned: impl Fn(u64, u64) -> u64,
) -> Numbers {
    fn run<T: Copy>(v: &[T], lines: &[Vec<usize>], first: T, exclusive: bool, f: impl Fn(T, T) -> T) -> Vec<T> {
        let mut result = v.to_vec();
        for line in lines {
            let mut total = first;
            for &i in line {
                let next = f(total, v[i]);
                result[i] = if exclusive { total } else { next };
                total = next;
            }
        }
        result
    }
    match numbers {
        Numbers::F(v) => Numbers::F(run(v, lines, f64::from(first), exclusive, float)),
        Numbers::I(v) => Numbers::I(run(v, lines, i64::from(first), exclusive, signed)),
        Numbers::U(v) => Numbers::U(run(v, lines, u64::from(first), exclusive, unsigned)),
    }
}

/// The axis that ONNX gives as an input.
pub(crate) fn axis(b: &mut dyn Builder, var: &Var) -> Result<i64> {
    match common::fixed_ints(b, var)?.as_slice() {
        [axis] => Ok(*axis),
        other => Err(Error::value(format!("axes {other:?} are given")).with_expected("one axis")),
    }
}

/// Cases of an op made by `make(axis, exclusive, reverse)`.
pub(crate) fn cases<T: Op + Clone>(make: impl Fn(i64, bool, bool) -> T, dtypes: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &d in dtypes {
        let input = |shape: &[usize]| {
            let x = CaseInput::new(d, shape);
            if d.is_float() { x.fill(Fill::Uniform(-1.5, 1.5, 3 + shape.len() as u64)) } else { x }
        };
        let mut add = |name: &str, op: T, x: CaseInput| {
            let case = Case::new(format!("{name}-{d}"), &op, vec![x]);
            cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
        };
        add("last", make(-1, false, false), input(&[2, 3, 5]));
        add("first", make(0, false, true), input(&[4, 3]));
        add("middle", make(1, true, false), input(&[2, 4, 3]));
        add("both", make(1, true, true), input(&[3, 4]));
        add("empty", make(1, false, false), input(&[2, 0]));
        add("no-lines", make(1, true, false), input(&[0, 3]));
        for (name, view) in crate::cases::VIEWS {
            add(name, make(-1, false, false), input(&[3, 5]).view(view));
        }
        let special = CaseInput::new(d, &[4, 12]).fill(Fill::Special(9));
        cases.push(Case::new(format!("special-{d}"), &make(1, false, false), vec![special]));
    }
    for (name, shape, axis) in [("rows", [61, 997], 1), ("columns", [997, 61], 0), ("long", [1, 20011], 1)] {
        let x = CaseInput::new(DType::F32, &shape);
        cases.push(Case::new(format!("large-{name}"), &make(axis, false, false), vec![x]).tolerance(1e-4, 1e-4));
    }
    let symbolic = Case::new("symbolic", &make(1, false, false), vec![CaseInput::new(DType::F32, &[3, 4])]);
    cases.push(symbolic.symbol(0, 0, "n").symbol(0, 1, "m").with_gradient());
    cases
}
