use lampyr_base::{Bindings, DType, Dim, Result};
use lampyr_ir::case::{Case, SplitMix, Tolerance};
use lampyr_ir::interpret::ReferenceBuilder;
use lampyr_ir::{Builder, Fact, HostTensor, HostValue, Numbers, OpRef};
use lampyr_ops::registry;

/// Runs `check` on every case of the registry and fails with the messages of all cases that do not pass. `check` gives
/// whether it had anything to check.
pub fn every_case(check: impl Fn(&Case) -> std::result::Result<bool, String>) {
    let (mut failures, mut checked) = (Vec::new(), 0);
    for entry in registry::builtin() {
        let cases = (entry.cases)();
        assert!(!cases.is_empty(), "{} has no cases", entry.name);
        for case in cases {
            match check(&case) {
                Ok(done) => checked += usize::from(done),
                Err(message) => failures.push(format!("{}/{} {}: {message}", entry.family, entry.name, case.name)),
            }
        }
    }
    let shown = failures.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {} cases fail:\n{shown}", failures.len(), checked + failures.len());
    assert!(checked > 0, "nothing was checked");
    println!("{checked} cases checked");
}

/// Facts of the inputs of a case: its symbolic axes as symbols, and the sizes of those symbols.
pub fn symbolic_facts(case: &Case, values: &[HostValue]) -> (Vec<Fact>, Bindings) {
    let mut facts: Vec<Fact> = values.iter().map(fact_of).collect();
    let mut bindings = Bindings::new();
    for (input, axis, name) in &case.symbolic {
        if let (Some(Fact::Tensor(t)), HostValue::Tensor(v)) = (facts.get_mut(*input), &values[*input]) {
            let dim = Dim::named(name);
            if let Some(symbol) = dim.symbol() {
                bindings.set(symbol.clone(), v.shape()[*axis] as i64);
            }
            t.shape[*axis] = dim;
            t.known = None;
        }
    }
    (facts, bindings)
}

/// The fact of a value whose integer elements are known.
pub fn fact_of(value: &HostValue) -> Fact {
    match value {
        HostValue::Optional(Some(inner)) => Fact::Optional(Box::new(fact_of(inner))),
        HostValue::Optional(None) => Fact::Optional(Box::new(Fact::sequence(DType::F32))),
        value => ReferenceBuilder.fact(&ReferenceBuilder::value(value.clone())).expect("a tensor or a plain sequence"),
    }
}

/// The case's op with its symbols replaced by numbers.
pub fn bound(op: &OpRef, bindings: &Bindings) -> OpRef {
    op.substitute(bindings).unwrap_or_else(|| op.clone())
}

/// Compares two values; NaN equals NaN.
pub fn close(have: &HostValue, want: &HostValue, tolerance: Option<Tolerance>) -> std::result::Result<(), String> {
    match (have, want) {
        (HostValue::Tensor(a), HostValue::Tensor(b)) => tensors_close(a, b, tolerance),
        (HostValue::Sequence(a), HostValue::Sequence(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| tensors_close(a, b, tolerance))
        }
        (HostValue::Optional(a), HostValue::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => close(a, b, tolerance),
            (None, None) => Ok(()),
            _ => Err("one value is absent".to_string()),
        },
        _ => Err("values of different kinds".to_string()),
    }
}

fn tensors_close(a: &HostTensor, b: &HostTensor, tolerance: Option<Tolerance>) -> std::result::Result<(), String> {
    if a.dtype() != b.dtype() || a.shape() != b.shape() {
        return Err(format!("got {}, want {}", a.describe(), b.describe()));
    }
    if let (Numbers::F(x), Numbers::F(y)) = (a.numbers(), b.numbers()) {
        let t = tolerance.unwrap_or_else(|| Tolerance::of(b.dtype()));
        for (i, (x, y)) in x.iter().zip(&y).enumerate() {
            let same = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= t.absolute + t.relative * y.abs();
            if !same {
                return Err(format!("element {i} is {x}, want {y} ({})", b.describe()));
            }
        }
        return Ok(());
    }
    match a.numbers() == b.numbers() {
        true => Ok(()),
        false => Err(format!("got {:?}, want {:?}", a.numbers(), b.numbers())),
    }
}

/// A tolerance at least as wide as `other`.
pub fn widest(tolerance: Option<Tolerance>, dtype: DType, other: Tolerance) -> Option<Tolerance> {
    let t = tolerance.unwrap_or_else(|| Tolerance::of(dtype));
    Some(Tolerance { absolute: t.absolute.max(other.absolute), relative: t.relative.max(other.relative) })
}

/// Uniform numbers in -1..1 as a `float64` tensor.
pub fn noise(shape: &[usize], seed: u64) -> Result<HostTensor> {
    let mut rng = SplitMix(seed);
    let n: usize = shape.iter().product();
    HostTensor::from_f64(DType::F64, shape, &(0..n).map(|_| rng.unit() * 2.0 - 1.0).collect::<Vec<_>>())
}

/// The error as text.
pub fn text(e: lampyr_base::Error) -> String {
    e.to_string()
}
