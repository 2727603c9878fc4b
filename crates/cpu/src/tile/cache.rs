use std::cell::RefCell;
use std::rc::Rc;

use lampyr_ir::scalar::ScalarExpr;

use super::Program;
use crate::simd::Tier;
use crate::simd::prim::Prims;

/// Programs that a thread keeps.
const KEPT: usize = 24;

#[derive(Default)]
struct Recent {
    programs: Vec<(Tier, ScalarExpr, Rc<Program>)>,
    next: usize,
}

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new(Recent { programs: Vec::new(), next: 0 }) };
}

/// `expr` compiled for `tier`; programs used lately by this thread are at hand. `None` when [`Program::compile`] refuses.
pub(crate) fn compiled(expr: &ScalarExpr, tier: Tier) -> Option<Rc<Program>> {
    let known = RECENT.try_with(|recent| {
        let recent = recent.try_borrow().ok()?;
        let same = |e: &&(Tier, ScalarExpr, Rc<Program>)| e.0 == tier && e.1 == *expr;
        recent.programs.iter().find(same).map(|e| e.2.clone())
    });
    if let Ok(Some(program)) = known {
        return Some(program);
    }
    let program = Rc::new(Program::compile(expr, Prims::of(tier))?);
    // A thread that is ending compiles without keeping anything.
    let _ = RECENT.try_with(|recent| {
        let Ok(mut recent) = recent.try_borrow_mut() else { return };
        let entry = (tier, expr.clone(), program.clone());
        let at = recent.next;
        match recent.programs.get_mut(at) {
            Some(old) => *old = entry,
            None => recent.programs.push(entry),
        }
        recent.next = (at + 1) % KEPT;
    });
    Some(program)
}
