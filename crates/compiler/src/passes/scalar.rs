//! One scalar expression out of several nodes.

use std::collections::HashMap;

use lampyr_base::DType;
use lampyr_ir::scalar::{Compute, Instr, ScalarExpr, Step};
use lampyr_ir::{Graph, HostTensor, Node, ValueId};

/// Most instructions of one expression: the tile interpreter keeps one buffer per register.
pub const STEP_LIMIT: usize = 64;
/// Most inputs of one expression.
pub const INPUT_LIMIT: usize = 12;

/// Joins expressions of nodes; values become registers.
#[derive(Clone)]
pub struct Joined {
    /// The code so far.
    pub expr: ScalarExpr,
    registers: HashMap<ValueId, u16>,
    /// Values read by `Instr::Input`, in order.
    pub inputs: Vec<ValueId>,
}

/// The single element of a small constant as bits for [`Instr::Const`].
fn constant_bits(t: &HostTensor) -> Option<u64> {
    if t.len() != 1 {
        return None;
    }
    Some(match Compute::of(t.dtype()) {
        Compute::F32 | Compute::F64 => t.to_f64().first()?.to_bits(),
        Compute::U64 => *t.to_i64().first()? as u64,
        _ => *t.to_i64().first()? as u64,
    })
}

/// Whether storing to `dtype` can change a value of its compute type.
fn rounds(dtype: DType) -> bool {
    !matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U64)
}

impl Joined {
    /// No code.
    pub fn new() -> Joined {
        Joined { expr: ScalarExpr::new(&[]), registers: HashMap::new(), inputs: Vec::new() }
    }

    /// Makes `value` the next input; its register. `rounded`: the value arrives in its compute type and is rounded here.
    pub fn load(&mut self, value: ValueId, dtype: DType, rounded: bool) -> u16 {
        self.expr.inputs.push(dtype);
        self.inputs.push(value);
        let mut r = self.expr.load((self.inputs.len() - 1) as u8);
        if rounded && rounds(dtype) {
            r = self.expr.push(Instr::Round(dtype, r), Compute::of(dtype));
        }
        self.registers.insert(value, r);
        r
    }

    fn read(&mut self, graph: &Graph, value: ValueId) -> Option<u16> {
        if let Some(r) = self.registers.get(&value) {
            return Some(*r);
        }
        let dtype = graph.fact(value).as_tensor().ok()?.dtype;
        if let Some(bits) = graph.constant(value).and_then(constant_bits) {
            let r = self.expr.push(Instr::Const(bits), Compute::of(dtype));
            self.registers.insert(value, r);
            return Some(r);
        }
        if self.inputs.len() >= INPUT_LIMIT {
            return None;
        }
        Some(self.load(value, dtype, false))
    }

    /// Appends the code of `node`, which has one output; `None` when it does not fit.
    pub fn append(&mut self, graph: &Graph, node: &Node) -> Option<()> {
        let mut dtypes = Vec::with_capacity(node.inputs.len());
        for v in &node.inputs {
            dtypes.push(graph.fact(*v).as_tensor().ok()?.dtype);
        }
        let code = node.op.scalar(&dtypes)?;
        let [(result, dtype)] = code.outputs.as_slice() else { return None };
        let arguments: Vec<u16> = node.inputs.iter().map(|v| self.read(graph, *v)).collect::<Option<_>>()?;
        let mut map: Vec<u16> = Vec::with_capacity(code.steps.len());
        for Step { instr, ty } in &code.steps {
            let at = |r: u16| map.get(r as usize).copied();
            let moved = match *instr {
                Instr::Input(i) => {
                    map.push(*arguments.get(i as usize)?);
                    continue;
                }
                Instr::Const(bits) => Instr::Const(bits),
                Instr::Unary(f, x) => Instr::Unary(f, at(x)?),
                Instr::Binary(f, x, y) => Instr::Binary(f, at(x)?, at(y)?),
                Instr::Compare(f, x, y) => Instr::Compare(f, at(x)?, at(y)?),
                Instr::Select(c, x, y) => Instr::Select(at(c)?, at(x)?, at(y)?),
                Instr::Convert(x) => Instr::Convert(at(x)?),
                Instr::Round(d, x) => Instr::Round(d, at(x)?),
            };
            map.push(self.expr.push(moved, *ty));
        }
        let mut r = *map.get(*result as usize)?;
        r = self.expr.convert(r, Compute::of(*dtype));
        if rounds(*dtype) {
            r = self.expr.push(Instr::Round(*dtype, r), Compute::of(*dtype));
        }
        self.registers.insert(*node.outputs.first()?, r);
        (self.expr.steps.len() <= STEP_LIMIT).then_some(())
    }

    /// The code with `value` as its output.
    pub fn finish(self, value: ValueId, dtype: DType) -> Option<(ScalarExpr, Vec<ValueId>)> {
        let r = *self.registers.get(&value)?;
        Some((self.expr.store(r, dtype), self.inputs))
    }
}
