use std::sync::Arc;

use lampyr_base::{DType, Dim, Result, Symbol};
use smallvec::smallvec;

use super::*;
use crate::case::Case;
use crate::{
    Arity, Attrs, Builder, Class, Facts, Gradient, GraphBuilder, HostTensor, HostValue, Listed, Op, OpId, OpType,
    TensorFact,
};

/// Returns its input; may hold a size and a body.
#[derive(Clone, Debug, Attrs)]
struct Same {
    size: Dim,
    body: Option<Arc<Graph>>,
}

impl Listed for Same {
    const ID: OpId = OpId(0);
    const FAMILY: &'static str = "test";
}

impl OpType for Same {
    const NAME: &'static str = "same";
    const DOC: &'static str = "Its input.";
    const DTYPES: &'static [DType] = DType::ALL;
    fn cases() -> Vec<Case> {
        Vec::new()
    }
}

impl Op for Same {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }
    fn class(&self) -> Class {
        Class::Opaque
    }
    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        Ok(smallvec![inputs[0].clone()])
    }
    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        Ok(vec![inputs[0].clone()])
    }
    fn gradient(&self) -> Gradient {
        Gradient::None("a test op")
    }
    fn bodies(&self) -> Vec<Arc<Graph>> {
        self.body.iter().cloned().collect()
    }
}

fn good() -> Graph {
    let mut b = GraphBuilder::new("good");
    let x = b.input("x", Fact::tensor(DType::F32, [Dim::named("n")]));
    let k = b.constant(HostTensor::ints(&[1, 2]).unwrap()).unwrap();
    let same = Same { size: Dim::Known(1), body: None };
    let y = (&mut b as &mut dyn Builder).one(&same, &[x]).unwrap();
    let z = (&mut b as &mut dyn Builder).one(&same, &[y]).unwrap();
    let w = (&mut b as &mut dyn Builder).one(&same, &[k]).unwrap();
    b.output("z", &z).unwrap();
    b.output("w", &w).unwrap();
    b.finish()
}

fn broken_rule(break_it: impl FnOnce(&mut Graph)) -> String {
    let mut g = good();
    verify(&g).unwrap();
    break_it(&mut g);
    let message = verify(&g).unwrap_err().message().to_string();
    let from = message.find("rule `").unwrap() + 6;
    message[from..].split('`').next().unwrap().to_string()
}

fn op(g: &mut Graph, node: usize, op: Same) {
    g.nodes[node].as_mut().unwrap().op = crate::OpRef::new(op);
}

#[test]
fn every_rule_rejects_a_broken_graph() {
    let body = || {
        let mut g = good();
        g.nodes[0].as_mut().unwrap().inputs.push(ValueId(0));
        Some(Arc::new(g))
    };
    let broken = [
        broken_rule(|g| g.outputs.push(ValueId(99))),
        broken_rule(|g| g.values[0].source = Source::Input(3)),
        broken_rule(|g| g.nodes[1].as_mut().unwrap().outputs[0] = ValueId(2)),
        broken_rule(|g| g.nodes[0] = None),
        broken_rule(|g| g.nodes[0].as_mut().unwrap().inputs[0] = ValueId(3)),
        broken_rule(|g| g.values[1].fact = TensorFact::fixed(DType::I64, &[3]).into()),
        broken_rule(|g| g.nodes[0].as_mut().unwrap().inputs.push(ValueId(0))),
        broken_rule(|g| g.values[3].fact = Fact::fixed(DType::F64, &[2])),
        broken_rule(|g| op(g, 1, Same { size: Dim::named("nobody"), body: None })),
        broken_rule(|g| op(g, 1, Same { size: Dim::Known(1), body: body() })),
    ];
    let names: Vec<&str> = RULES.iter().map(|r| r.name).collect();
    assert_eq!(broken.iter().map(String::as_str).collect::<Vec<_>>(), names);
}

#[test]
fn reads_of_sizes_must_name_integer_elements() {
    let rule = broken_rule(|g| {
        g.symbol_sources.insert(Symbol::new("s"), (ValueId(1), 2));
    });
    assert_eq!(rule, "symbols");
}
