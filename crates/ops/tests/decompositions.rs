use lampyr_base::DType;
use lampyr_ir::case::Tolerance;
use lampyr_ir::interpret::ReferenceBuilder;
use lampyr_ir::{Fact, GraphBuilder, Var, interpret};

use crate::support::{bound, close, every_case, symbolic_facts, text, widest};

/// What an op is written out as computes what the op does, in graphs with symbols too.
#[test]
fn decompositions_agree_with_the_reference() {
    every_case(|case| {
        let values = case.values().map_err(text)?;
        let (facts, bindings) = symbolic_facts(case, &values);
        let op = bound(&case.op, &bindings);
        let inputs: Vec<Var> = values.iter().cloned().map(ReferenceBuilder::value).collect();
        let Some(outputs) = op.decompose(&mut ReferenceBuilder, &inputs) else { return Ok(false) };
        let want = op.reference(&values).map_err(text)?;
        let outputs = outputs.map_err(text)?;
        if outputs.len() != want.len() {
            return Err(format!("{} outputs, want {}", outputs.len(), want.len()));
        }
        let tolerance = |dtype: DType| {
            let slack = match dtype {
                DType::F16 => 1e-2,
                DType::BF16 => 8e-2,
                _ => 0.0,
            };
            widest(case.tolerance, dtype, Tolerance { absolute: slack, relative: slack })
        };
        for (have, want) in outputs.iter().zip(&want) {
            let have = ReferenceBuilder::get(have).map_err(text)?;
            close(have, want, tolerance(crate::support::fact_of(want).dtype()))?;
        }
        if !case.symbolic.is_empty() {
            let mut g = GraphBuilder::new("decomposed");
            let add = |(i, fact): (usize, &Fact)| g.input(&format!("x{i}"), fact.clone());
            let inputs: Vec<Var> = facts.iter().enumerate().map(add).collect();
            let outputs = case.op.decompose(&mut g, &inputs).ok_or("no decomposition with symbols")?.map_err(text)?;
            outputs.iter().try_for_each(|y| g.output("", y)).map_err(text)?;
            let have = interpret::reference(&g.finish(), &values, &bindings).map_err(text)?;
            for (have, want) in have.iter().zip(&want) {
                close(have, want, tolerance(crate::support::fact_of(want).dtype()))?;
            }
        }
        Ok(true)
    });
}
