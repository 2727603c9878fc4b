use lampyr_base::{Bindings, Dim};
use lampyr_ir::case::Case;
use lampyr_ir::{Fact, HostTensor, HostValue, Op};

use crate::support::{bound, every_case, fact_of, symbolic_facts, text};

/// What `infer` says is what the reference does: number of outputs, types and sizes, hidden outputs included.
#[test]
fn inference_agrees_with_the_reference() {
    every_case(|case| {
        let values = case.values().map_err(text)?;
        let (symbolic, bindings) = symbolic_facts(case, &values);
        let op = bound(&case.op, &bindings);
        let arity = op.arity();
        if values.len() < arity.min || values.len() > arity.max {
            return Err(format!("{} inputs for {arity:?}", values.len()));
        }
        let results = op.reference(&values).map_err(text)?;
        let fixed: Vec<Fact> = values.iter().map(fact_of).collect();
        compare(&*op, &fixed, &results, &Bindings::new())?;
        if !case.symbolic.is_empty() {
            compare(&*case.op, &symbolic, &results, &bindings).map_err(|e| format!("with symbols: {e}"))?;
        }
        Ok(true)
    });
}

fn compare(op: &dyn Op, facts: &[Fact], results: &[HostValue], bindings: &Bindings) -> Result<(), String> {
    let inferred = op.infer(&facts.iter().collect::<Vec<_>>()).map_err(text)?;
    if inferred.len() != results.len() {
        return Err(format!("{} outputs inferred, {} made", inferred.len(), results.len()));
    }
    if op.visible_outputs().is_some_and(|n| n > inferred.len()) {
        return Err("more visible outputs than outputs".to_string());
    }
    for (k, (fact, result)) in inferred.iter().zip(results).enumerate() {
        let wrong = || format!("output {k} is inferred as {fact}, made as {:?}", fact_of(result));
        match (fact, result) {
            (Fact::Tensor(t), HostValue::Tensor(r)) => {
                let sizes = t.shape.len() == r.shape().len()
                    && t.shape.iter().zip(r.shape()).all(|(d, n)| d.eval(bindings).is_none_or(|d| d == *n as i64));
                if t.dtype != r.dtype() || !sizes {
                    return Err(wrong());
                }
                let known = t.known.as_deref().unwrap_or_default().iter().map(|d| Dim::eval(d, bindings));
                let agree = known.zip(r.to_i64()).all(|(d, n)| d.is_none_or(|d| d == n));
                if !agree || t.known.as_ref().is_some_and(|k| k.len() != r.len()) {
                    return Err(format!("output {k} has elements {:?}, inferred as {:?}", r.to_i64(), t.known));
                }
            }
            (Fact::Sequence(f), HostValue::Sequence(s)) => {
                let fits = |t: &HostTensor| match &f.shape {
                    Some(shape) => {
                        let size = |(d, n): (&Option<Dim>, &usize)| {
                            d.as_ref().and_then(|d| d.eval(bindings)).is_none_or(|d| d == *n as i64)
                        };
                        shape.len() == t.shape().len() && shape.iter().zip(t.shape()).all(size)
                    }
                    None => true,
                };
                if !s.iter().all(|t| t.dtype() == f.dtype && fits(t)) {
                    return Err(wrong());
                }
            }
            (Fact::Optional(_), HostValue::Optional(_)) => {}
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

/// Ops name their cases apart, so a report names one.
#[test]
fn case_names_are_unique() {
    for entry in lampyr_ops::registry::builtin() {
        let mut names: Vec<String> = (entry.cases)().into_iter().map(|c: Case| c.name).collect();
        names.sort();
        let twice: Vec<_> = names.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0].clone()).collect();
        assert!(twice.is_empty(), "{}: {twice:?}", entry.name);
    }
}
