use std::sync::OnceLock;

use lampyr_base::DType;
use lampyr_ir::scalar::{Binary, Compute, Instr, ScalarExpr, Unary};
use smallvec::{SmallVec, smallvec};

use super::Known;
use crate::simd::prim::{Prim, Prims, is_native};

/// Most slots a program may have.
pub(super) const MAX_SLOTS: usize = 250;

/// One primitive call; operands and result are slots.
#[derive(Clone, Copy)]
pub(super) struct Inst {
    pub run: Prim,
    pub dst: u16,
    pub args: [u16; 3],
}

/// An input tile: filled before the instructions run.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub input: u8,
    pub slot: u16,
    /// `None` when elements are their own lanes.
    pub widen: Option<Prim>,
}

/// An output tile: written after the instructions have run.
#[derive(Clone, Copy)]
pub(super) struct Store {
    pub slot: u16,
    pub size: u8,
    /// `None` when lanes are the elements.
    pub narrow: Option<Prim>,
    /// Whether the slot is this output's alone, so that instructions may write the tensor itself.
    pub direct: bool,
}

/// A constant tile.
#[derive(Clone, Copy)]
pub(super) struct Constant {
    pub slot: u16,
    pub bits: u64,
}

/// A scalar expression compiled for one tier: primitive calls over slots, which are reused when their value is dead.
pub(crate) struct Program {
    pub(super) insts: SmallVec<[Inst; 6]>,
    pub(super) loads: SmallVec<[Load; 4]>,
    pub(super) constants: SmallVec<[Constant; 4]>,
    pub(super) stores: SmallVec<[Store; 1]>,
    /// Bytes of a lane of each slot.
    pub(super) slots: SmallVec<[u8; 16]>,
    /// Estimated work of one lane, in additions.
    pub(crate) weight: usize,
    known: OnceLock<Option<Known>>,
}

const UNSEEN: u16 = u16::MAX;
const ALWAYS: usize = usize::MAX;

fn constant_bits(bits: u64, ty: Compute) -> u64 {
    match ty {
        Compute::F32 => u64::from((f64::from_bits(bits) as f32).to_bits()),
        _ => bits,
    }
}

/// Additions that one element is worth.
pub(crate) fn work(expr: &ScalarExpr) -> usize {
    1 + expr.steps.iter().map(|s| weight(&s.instr)).sum::<usize>()
}

fn weight(instr: &Instr) -> usize {
    match instr {
        Instr::Input(_) | Instr::Const(_) => 0,
        Instr::Unary(Unary::Sqrt, _) | Instr::Binary(Binary::Div, ..) => 3,
        Instr::Unary(f, _) if f.is_float_only() => 8,
        Instr::Binary(Binary::Pow | Binary::Fmod | Binary::Remainder, ..) => 16,
        _ => 1,
    }
}

fn operands(instr: &Instr) -> SmallVec<[u16; 3]> {
    match *instr {
        Instr::Input(_) | Instr::Const(_) => smallvec![],
        Instr::Unary(_, x) | Instr::Convert(x) | Instr::Round(_, x) => smallvec![x],
        Instr::Binary(_, x, y) | Instr::Compare(_, x, y) => smallvec![x, y],
        Instr::Select(c, x, y) => smallvec![c, x, y],
    }
}

struct Slots {
    sizes: SmallVec<[u8; 16]>,
    free: [SmallVec<[u16; 8]>; 2],
}

impl Slots {
    fn fresh(&mut self, ty: Compute) -> u16 {
        self.sizes.push(ty.size() as u8);
        (self.sizes.len() - 1) as u16
    }

    fn take(&mut self, ty: Compute) -> u16 {
        self.free[usize::from(ty.size() == 8)].pop().unwrap_or_else(|| self.fresh(ty))
    }

    fn give_back(&mut self, slot: u16) {
        self.free[usize::from(self.sizes[slot as usize] == 8)].push(slot);
    }
}

impl Program {
    /// What `expr`, which this was compiled from, is, where kernels have a form of their own for it.
    pub(crate) fn known(&self, expr: &ScalarExpr) -> Option<Known> {
        *self.known.get_or_init(|| Known::of(expr))
    }

    /// Compiles `expr`; `None` when its steps are malformed or need too many slots.
    pub(crate) fn compile(expr: &ScalarExpr, prims: &Prims) -> Option<Program> {
        let steps = &expr.steps;
        let well_formed = steps.iter().enumerate().all(|(i, s)| {
            operands(&s.instr).iter().all(|&r| (r as usize) < i)
                && !matches!(s.instr, Instr::Input(k) if k as usize >= expr.inputs.len())
        }) && expr.outputs.iter().all(|&(r, _)| (r as usize) < steps.len());
        if !well_formed {
            return None;
        }

        let mut root: SmallVec<[u16; 16]> = SmallVec::with_capacity(steps.len());
        for (i, step) in steps.iter().enumerate() {
            let same = match step.instr {
                Instr::Convert(x) if expr.ty(x) == step.ty => Some(x),
                Instr::Round(d, x) if prims.round(d, step.ty).is_none() => Some(x),
                Instr::Input(k) => steps[..i].iter().position(|s| s.instr == Instr::Input(k)).map(|p| p as u16),
                _ => None,
            };
            root.push(same.map_or(i as u16, |x| root[x as usize]));
        }

        let mut last_use: SmallVec<[usize; 16]> = smallvec![0; steps.len()];
        for (i, step) in steps.iter().enumerate() {
            if root[i] as usize == i {
                operands(&step.instr).iter().for_each(|&r| last_use[root[r as usize] as usize] = i);
            }
        }
        for &(r, _) in &expr.outputs {
            last_use[root[r as usize] as usize] = ALWAYS;
        }

        let mut p = Program {
            insts: SmallVec::new(),
            loads: SmallVec::new(),
            constants: SmallVec::new(),
            stores: SmallVec::new(),
            slots: SmallVec::new(),
            weight: 1,
            known: OnceLock::new(),
        };
        let mut slots = Slots { sizes: SmallVec::new(), free: Default::default() };
        let mut slot_of: SmallVec<[u16; 16]> = smallvec![UNSEEN; steps.len()];
        for (i, step) in steps.iter().enumerate() {
            if root[i] as usize != i {
                continue;
            }
            let slot = |r: u16| slot_of[root[r as usize] as usize];
            p.weight += weight(&step.instr);
            let (run, args) = match step.instr {
                Instr::Input(k) => {
                    let dtype = expr.inputs[k as usize];
                    let widen = (!is_native(dtype)).then(|| prims.load(dtype));
                    slot_of[i] = slots.fresh(step.ty);
                    p.loads.push(Load { input: k, slot: slot_of[i], widen });
                    continue;
                }
                Instr::Const(bits) => {
                    slot_of[i] = slots.fresh(step.ty);
                    p.constants.push(Constant { slot: slot_of[i], bits: constant_bits(bits, step.ty) });
                    continue;
                }
                Instr::Unary(f, x) => (prims.unary(f, expr.ty(x))?, [slot(x); 3]),
                Instr::Binary(f, x, y) => (prims.binary(f, step.ty)?, [slot(x), slot(y), slot(y)]),
                Instr::Compare(f, x, y) => (prims.compare(f, expr.ty(x)), [slot(x), slot(y), slot(y)]),
                Instr::Select(c, x, y) => (prims.select(step.ty), [slot(c), slot(x), slot(y)]),
                Instr::Convert(x) => (prims.convert(expr.ty(x), step.ty), [slot(x); 3]),
                Instr::Round(d, x) => (prims.round(d, step.ty)?, [slot(x); 3]),
            };
            let is_output = |&(r, d): &(u16, DType)| root[r as usize] as usize == i && Compute::of(d) == step.ty;
            let dst = if expr.outputs.iter().any(is_output) { slots.fresh(step.ty) } else { slots.take(step.ty) };
            slot_of[i] = dst;
            p.insts.push(Inst { run, dst, args });
            let mut dead: SmallVec<[u16; 3]> = operands(&step.instr).iter().map(|&r| root[r as usize]).collect();
            dead.sort_unstable();
            dead.dedup();
            for r in dead {
                let computed = !matches!(steps[r as usize].instr, Instr::Input(_) | Instr::Const(_));
                if computed && last_use[r as usize] == i {
                    slots.give_back(slot_of[r as usize]);
                }
            }
            if last_use[i] == 0 {
                slots.give_back(dst);
            }
        }

        for &(r, dtype) in &expr.outputs {
            let (from, to) = (expr.ty(r), Compute::of(dtype));
            let mut slot = slot_of[root[r as usize] as usize];
            let mut computed = !matches!(steps[root[r as usize] as usize].instr, Instr::Input(_) | Instr::Const(_));
            if from != to {
                let dst = slots.fresh(to);
                p.insts.push(Inst { run: prims.convert(from, to), dst, args: [slot; 3] });
                (slot, computed) = (dst, true);
            }
            let taken = p.stores.iter().any(|s| s.direct && s.slot == slot);
            let narrow = (!is_native(dtype)).then(|| prims.store(dtype));
            let direct = computed && !taken && narrow.is_none();
            p.stores.push(Store { slot, size: dtype.size() as u8, narrow, direct });
        }
        p.slots = slots.sizes;
        (p.slots.len() <= MAX_SLOTS).then_some(p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Tier;

    #[test]
    fn slots_are_reused() {
        let mut e = ScalarExpr::new(&[DType::F32]);
        let mut x = e.load(0);
        for _ in 0..100 {
            x = e.unary(Unary::Neg, x);
        }
        let p = Program::compile(&e.store(x, DType::F32), Prims::of(Tier::Scalar)).expect("well formed");
        assert_eq!(p.insts.len(), 100);
        assert_eq!(p.slots.len(), 4, "input, output and two in turn");
        assert!(p.insts.iter().all(|i| i.dst != i.args[0]));
    }

    #[test]
    fn malformed_steps_are_refused() {
        let mut e = ScalarExpr::new(&[DType::F32]);
        e.push(Instr::Unary(Unary::Neg, 0), Compute::F32);
        assert!(Program::compile(&e.store(0, DType::F32), Prims::of(Tier::Scalar)).is_none());
        let e = ScalarExpr::new(&[DType::F32]).store(3, DType::F32);
        assert!(Program::compile(&e, Prims::of(Tier::Scalar)).is_none());
    }
}
